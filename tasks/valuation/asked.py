"""What is asked: of which market, when, by which run. Without the libraries that answering it needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from blocks.errors import ConfigurationError
from models.configuration import Configuration
from models.valuation import Market, Property

VALUING, TRAINING, STUDYING = "value", "value-train", "value-study"


@dataclass(frozen=True)
class Asked:
    """When a run began, and which it is."""

    started_at: datetime
    run_id: str


def market_of(configuration: Configuration, name: str) -> Market:
    """The market `name` of `lama.toml`.

    Raises:
        ConfigurationError: there is none of that name.
    """
    markets = {market.name: market for market in configuration.valuation.markets}
    if name not in markets:
        there = f"there are {', '.join(markets)}" if markets else "there is none in [[valuation.markets]]"
        raise ConfigurationError(f"no market is called {name!r}; {there}.", component="lama.toml")
    return markets[name]


def property_of(subject: dict[str, object]) -> Property:
    """The property that a caller describes.

    Raises:
        ConfigurationError: it is described wrongly; says each input and why.
    """
    try:
        return Property.model_validate(subject)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'subject'}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(
            f"the property cannot be valued as it is described: {told}.", component=VALUING
        ) from error

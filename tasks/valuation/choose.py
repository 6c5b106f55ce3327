"""Which market is meant."""

from __future__ import annotations

from blocks.errors import ConfigurationError
from models.configuration import Configuration
from models.valuation import Market


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

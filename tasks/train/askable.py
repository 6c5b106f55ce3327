"""Which registered models answer with predictions. Imported without the libraries that run models."""

from __future__ import annotations

from blocks.errors import ConfigurationError
from models.training import MARKET_FAMILY, ModelVersion


def check_askable(version: ModelVersion) -> None:
    """Refuse a market's model: only a valuation knows its units and its ranges, and what it must not be asked.

    Raises:
        ConfigurationError: it is one.
    """
    if version.parameters.get("family") == MARKET_FAMILY:
        raise ConfigurationError(
            f"{version.address} is the model of a market, which values homes: ask `lama value of {version.name}`.",
            component="predict",
        )

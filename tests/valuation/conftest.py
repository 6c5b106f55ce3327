"""One trained market for all tests of a session."""

from __future__ import annotations

import pytest

from tasks.valuation.training import Trained, train_market
from tests.valuation.making import MARKET, QUICK, sales


@pytest.fixture(scope="session")
def market() -> Trained:
    """A market of 900 sales and 40 of land."""
    return train_market(sales(land=40), MARKET, candidates=(QUICK,))

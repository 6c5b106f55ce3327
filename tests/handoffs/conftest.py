from __future__ import annotations

import pytest

from blocks.settings import Settings
from tests.handoffs.making import Bench


@pytest.fixture
def bench(postgres: Settings, database: str) -> Bench:
    """A database of this test's own."""
    return Bench(postgres, database)

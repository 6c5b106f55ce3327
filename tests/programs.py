"""Programs that some tests need and that a machine need not have."""

from __future__ import annotations

import shutil

import pytest


def require(program: str) -> None:
    """Skip the test where `program` is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")

"""The database of a test."""

from __future__ import annotations

from tests.handoffs.conftest import bench

__all__ = ["bench"]

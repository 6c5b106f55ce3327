"""What could not be read, in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class _Unread(Protocol):
    @property
    def place(self) -> str: ...
    @property
    def reason(self) -> str: ...


_SHOWN = 3


def listed(unread: Sequence[_Unread]) -> str:
    """The first of these with their reasons, and how many more there are."""
    first = "; ".join(f"{one.place}: {one.reason}" for one in unread[:_SHOWN])
    return f"{first}; and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else first

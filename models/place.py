"""Where in what a user wrote a mistake is, when only a look at several parts at once shows it."""

from __future__ import annotations

from collections.abc import Sequence


class PlaceError(ValueError):
    """A mistake at `location`: keys and numbers, from the part whose validator raises it.

    Pydantic itself knows only the part that was being looked at; whoever tells the user adds this to it.
    """

    def __init__(self, message: str, *location: int | str) -> None:
        super().__init__(message)
        self.location = location


def second_of_a_name(names: Sequence[str]) -> int | None:
    """The place of the first name that was there before; None when each is there once."""
    return next((place for place, name in enumerate(names) if name in names[:place]), None)

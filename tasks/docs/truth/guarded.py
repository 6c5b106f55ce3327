"""One page or module that a rule trips over costs what is said of it, and not the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from models.report import Skip

_LONGEST = 200


@contextmanager
def guarded(skips: list[Skip], area: str, component: str, place: str, hides: Sequence[str]) -> Iterator[None]:
    """Tell an error of our own in what is done here as a skip: `place` could not be judged.

    Args:
        skips: what gets it, once.
        area: of the report.
        component: the checkout.
        place: what was looked at, such as a file.
        hides: what the keys of the findings begin with that are not told for it.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - what a document says is nobody's to foresee
        reason = f"{place} could not be judged: {cause(error)}"
        skip = Skip(area=area, component=component, reason=reason, hides=tuple(hides))
        if skip not in skips:
            skips.append(skip)


def cause(error: Exception) -> str:
    """An error of our own in a few words, on one line."""
    said = " ".join(str(error).split())[:_LONGEST]
    return f"{type(error).__name__}{f': {said}' if said else ''}"

"""Which categories changes of files belong to, and their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from blocks.errors import LamaError
from models.sync import Category
from tasks.sync.names import OWN

AGAIN_S = 20.0
"""Seconds until a run that could not be started is tried again."""


def follow(
    changes: Iterable[AbstractSet[tuple[object, str]]],
    categories: Sequence[Category],
    start: Callable[[list[str]], str],
    tell: Callable[[str], None],
) -> None:
    """Start a run for each set of changes, for as long as there are any.

    Args:
        changes: what happened to which paths; empty when nothing did for a while, and what failed is tried again.
        categories: those that are watched.
        start: runs categories by name, and says what became of it. A run that it cannot start, which it tells by a
            LamaError, is not given up: the platform may be away for a moment.
        tell: is told what became of each run.
    """
    waiting: dict[str, None] = {}
    for some in changes:
        waiting |= dict.fromkeys(changed([path for _, path in some], categories))
        if not waiting:
            continue
        names = ", ".join(waiting)
        try:
            became = start(list(waiting))
        except LamaError as error:
            tell(f"{names}: tried again in a moment. {error}")
        else:
            waiting.clear()
            tell(f"{names}: {became}")


def seen(_change: object, path: str) -> bool:
    """Whether a change of `path` counts: not of what sync itself makes."""
    return not any(name.startswith(OWN) for name in Path(path).parts)


def changed(paths: Iterable[str], categories: Sequence[Category]) -> list[str]:
    """The names of the categories that `paths` lie in, in their order."""
    found = {Path(path) for path in paths}
    return [one.name for one in categories if any(path.is_relative_to(one.folder) for path in found)]

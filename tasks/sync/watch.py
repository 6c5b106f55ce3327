"""Which categories changes of files belong to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from models.sync import Category
from tasks.sync.names import OWN


def seen(_change: object, path: str) -> bool:
    """Whether a change of `path` counts: not of what sync itself makes."""
    return not any(name.startswith(OWN) for name in Path(path).parts)


def changed(paths: Iterable[str], categories: Sequence[Category]) -> list[str]:
    """The names of the categories that `paths` lie in, in their order."""
    found = {Path(path) for path in paths}
    return [one.name for one in categories if any(path.is_relative_to(one.folder) for path in found)]

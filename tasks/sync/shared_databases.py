"""Databases in a shared folder of plain files: what is whole is taken, and none is replaced that is in use.

What Lama puts there is a copy of one moment, one file without a log. A program that opens it there may keep a log
beside it, on this machine or on another: then the file alone is not the database, and another file in its place would
be given the log of the old one.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from tasks.sync.databases import is_database, log_of, replaceable, unsound
from tasks.sync.reconcile import Judged
from tasks.sync.scan import Found
from tasks.sync.state import State


def leave_in_use(folder: Path, state: State, found: Found) -> None:
    """Conclude nothing of the databases that somebody has open, nor of those that changed and are damaged."""
    for path in list(found.marks):
        place = folder / found.on_disk(path)
        problem = log_of(place)
        known = state.tree.get(path)
        same = known is not None and known.content is not None and known.content.essence == found.contents[path].essence
        try:
            if problem is None and not same and is_database(place):
                problem = unsound(place)
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
        if problem is not None:
            found.skipped[path] = problem
            del found.contents[path], found.marks[path]


def judged_free(folder: Path, found: Found, judged: Judged, busy: MutableMapping[str, str]) -> Judged:
    """`judged`, but for databases that somebody has open; those are put into `busy`, with the reason."""

    def free(path: str) -> bool:
        if not judged(path):
            return False
        place = folder / found.on_disk(path)
        try:
            if is_database(place) and not replaceable(place):
                busy[path] = "somebody has it open"
        except OSError as error:
            busy[path] = f"it cannot be read: {error.strerror}"
        return path not in busy

    return free

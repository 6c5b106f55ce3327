"""One look at a folder that is synced: what stands there, and of what anything can be concluded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from models.sync_versions import Tree
from tasks.sync.names import problem_of
from tasks.sync.reconcile import Judged
from tasks.sync.scan import Found, Mark, Scanner, Takes, colliding, ignores_case
from tasks.sync.state import State

FOLDER_MARKER = "folder.json"
"""In the directory of ours: tells a folder that was synced from an empty mount point."""


def look(root: Path, takes: Takes, state: State, largest: int, now_ns: int, *, decided: bool = False) -> Found:
    """What stands in `root`; directories that only hold what is not synced, and were deleted elsewhere, are left out.

    Args:
        root: the folder.
        takes: the filter.
        state: what is remembered of it; what need not be kept any longer is taken out of `kept`.
        largest: bytes; larger files are skipped.
        now_ns: see `Scanner`.
        decided: see `Scanner`.

    Raises:
        OSError: the folder cannot be read.
    """
    found = Scanner(root, takes, state.tree, state.marks, largest, now_ns, decided=decided).scan()
    for path in sorted(state.kept, key=lambda one: one.count("/"), reverse=True):
        version = state.tree.get(path)
        dead = version is None or version.content is None
        if not dead or any(other.startswith(f"{path}/") for other in found.contents):
            state.kept.discard(path)
        else:
            found.contents.pop(path, None)
            found.left_out.add(path)
    return found


def judged_by(found: Found, takes: Takes) -> Judged:
    """Whether a path was looked at, or would have been."""

    def judged(path: str) -> bool:
        return found.judged(path) and takes_all(takes, path)

    return judged


def takes_all(takes: Takes, path: str) -> bool:
    """Whether the filter takes `path` and all that it lies in, wherever it may be."""
    at = path.find("/")
    while at >= 0:
        if not takes.takes(path[:at], True):  # noqa: FBT003
            return False
        at = path.find("/", at + 1)
    return takes.takes(path, False) or takes.takes(path, True)  # noqa: FBT003


def fitting(root: Path, wanted: Tree, found: Found, skipped: MutableMapping[str, str]) -> Judged:
    """Whether a path can be made in `root`; why one cannot is put into `skipped`."""
    unfit: set[str] = set()
    if ignores_case(root):
        living = (path for path, one in wanted.items() if one.content is not None)
        unfit = colliding(living, found.contents)

    def fits(path: str) -> bool:
        problem = problem_of(path)
        if path in unfit:
            problem = "its name is one with another one's here, where case does not count"
        if problem is not None:
            skipped[path] = problem
        return problem is None

    return fits


def marks_of(tree: Tree, found: Found, changed: Iterable[str] | None = None) -> dict[str, Mark]:
    """The marks that stand for contents of `tree`; what was found and is not told yet has to be hashed again.

    Args:
        tree: what is held.
        found: what was found.
        changed: where one may not be the other; None: anywhere.
    """
    marks = dict(found.marks)
    for path in list(marks) if changed is None else changed:
        version, here = tree.get(path), found.contents.get(path)
        content = version.content if version is not None else None
        # What did not change is the very same; the rest is for what did.
        if content is not here and (content is None or here is None or content.essence != here.essence):
            marks.pop(path, None)
    return marks


def differs(marks: Mapping[str, Mark], found: Found) -> bool:
    """Whether anything was hashed that need not be the next time."""
    return found.hashed_files > 0 and any(mark.sure and marks.get(path) != mark for path, mark in found.marks.items())

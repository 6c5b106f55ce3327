"""One look at a folder that is synced: what stands there, and of what anything can be concluded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path

from models.sync_versions import Kind, Tree, Version
from tasks.sync.names import colliding, problem_of
from tasks.sync.reconcile import Judged
from tasks.sync.scan import Found, Mark, Scanner, Takes, ignores_case
from tasks.sync.state import State

FOLDER_MARKER = "folder.json"
"""In the directory of ours: tells a folder that was synced from an empty mount point."""


def look(root: Path, takes: Takes, state: State, largest: int, now_ns: int, *, decided: bool = False) -> Found:
    """What stands in `root`; directories that only hold what is not synced, and were deleted elsewhere, are none.

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
    _set_aside(state, found, takes)
    for path in sorted(state.kept, key=lambda one: one.count("/"), reverse=True):
        version = state.tree.get(path)
        dead = version is None or version.content is None
        if not dead or any(other.startswith(f"{path}/") for other in found.contents):
            state.kept.discard(path)
        else:
            found.contents.pop(path, None)
    return found


def _set_aside(state: State, found: Found, takes: Takes) -> None:
    """Put aside what is ignored from now on, and take back what is not any longer.

    Nothing is concluded of what is ignored: no device changes or deletes it, and what became of it meanwhile is no
    deletion afterwards. It is not told of either, or a folder that was deleted would come back for its sake.
    """
    for path, version in list(state.ignored.items()):
        if found.judged(path) and _takes_as(found.takes, path, version):
            del state.ignored[path]
            if path in found.contents:
                state.tree.setdefault(path, version)
                found.heeded_again.append(path)
    if state.filter == found.takes.fingerprint or not takes.follows_ignores:
        return
    for path, version in list(state.tree.items()):
        if version.content is None or _takes_as(found.takes, path, version) or not _takes_as(takes, path, version):
            continue
        state.ignored[path] = state.tree.pop(path)
        state.marks.pop(path, None)
        found.ignored.append(path)


def heeded(trees: Sequence[Tree], mine: Tree, found: Found) -> list[Tree]:
    """`trees` without what is ignored here and lives elsewhere, where that is not known yet."""
    if not found.takes.follows_ignores:
        return list(trees)
    ignored = {
        path
        for tree in trees
        for path, version in tree.items()
        if path not in mine and version.content is not None and not _takes_as(found.takes, path, version)
    }
    return [{path: one for path, one in tree.items() if path not in ignored} if ignored else tree for tree in trees]


def _takes_as(takes: Takes, path: str, version: Version) -> bool:
    """Whether the filter takes `path` as what `version` says that it is."""
    is_directory = version.content is not None and version.content.kind is Kind.directory
    return takes.takes(path, is_directory) and takes_all(takes, path)


def judged_by(found: Found) -> Judged:
    """Whether a path was looked at, or would have been."""

    def judged(path: str) -> bool:
        return found.judged(path) and takes_all(found.takes, path)

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

"""What every device comes to when it knows what the others know, and what has to be done here for it. Pure.

A device's *tree* says for each path which version it holds, or that it knows of its deletion. A path that is not in it
was never heard of there: absence is not a deletion, so a tree that is late, filtered or cut short deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.sync_versions import Content, Kind, Tree, Version
from tasks.sync.names import conflict_path
from tasks.sync.versions import Rank, counted, directory, merge, settle

Judged = Callable[[str], bool]
"""Whether a path is looked at: it is not when the filter leaves it out, or it could not be read."""


def observe(
    held: Tree, found: Mapping[str, Content], judged: Judged, *, device: str, count: int, at: int
) -> dict[str, Version]:
    """The versions that came about here since `held`: what was made, changed and deleted.

    Args:
        held: this device's tree, as it was after the last run.
        found: what stands in the folder now.
        judged: see `Judged`; of other paths nothing is concluded.
        device: this device's id.
        count: its counter from now on.
        at: now, in seconds.
    """
    changes: dict[str, Version] = {}
    # Of most, what was found is the very same that is held: nothing is done for each of those but to see that.
    nothing = Version(None, (), "", 0)
    for path in [path for path, content in found.items() if held.get(path, nothing).content is not content]:
        content, known = found[path], held.get(path)
        if known is None:
            changes[path] = Version(content, ((device, count),), device, at)
        elif known.content != content:
            changes[path] = Version(content, counted(known.vector, device, count), device, at)
    new = sum(1 for path in changes if path not in held)
    # Where as much is held as was found of it, everything is there, and nobody has to look for what is not.
    for path in [path for path in held if path not in found] if len(held) > len(found) - new else ():
        known = held[path]
        if known.content is not None and judged(path):
            changes[path] = Version(None, counted(known.vector, device, count), device, at)
    return changes


@dataclass(frozen=True, slots=True)
class Conflict:
    """A version lost its place to one that knew nothing of it."""

    path: str
    loser: Version
    place: str | None
    """Where it is kept; None: only in the trash."""


@dataclass
class Converged:
    """What all devices come to that know the same trees."""

    tree: dict[str, Version]
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def needs(self) -> dict[str, set[str]]:
        """For each path where a version lost its place, the paths where it is to be kept.

        Who takes the path's version without these says that the conflict is settled, and the loser is never seen again.
        """
        found: dict[str, set[str]] = {}
        for one in self.conflicts:
            if one.place is not None:
                found.setdefault(one.path, set()).add(one.place)
        return found


def converge(mine: Tree, others: Iterable[Tree], rank: Rank, *, keeps_both: bool = True) -> Converged:
    """Every path's version when all of these trees are known. Order and repetition do not matter.

    Args:
        mine: this device's tree, with what was changed here.
        others: the trees of the other devices, and what this one last told.
        rank: who stays in their place.
        keeps_both: whether what loses its place gets a copy beside it.
    """
    result = Converged(dict(mine))
    tree = result.tree
    told: dict[str, list[Version]] = {}
    for other in others:
        for path, version in other.items():
            known = tree.get(path)
            if known is None:
                tree[path] = version
            elif known is not version and known != version:
                told.setdefault(path, [known]).append(version)
    lost: list[tuple[str, Version]] = []
    for path, versions in told.items():
        tree[path], losers = settle(versions, rank)
        lost += ((path, loser) for loser in losers)
    _give_place(result, lost, rank, keeps_both=keeps_both)
    while not _settled(tree):
        # What lies in the way of a directory is no second version of it: it always gets another place.
        _give_place(result, _structure(tree), rank, keeps_both=True)
    return result


def _give_place(result: Converged, lost: list[tuple[str, Version]], rank: Rank, *, keeps_both: bool) -> None:
    """Give each version that lost its place one beside it, if it is kept; an existing one there is merged with it."""
    waiting = sorted(lost, key=lambda one: (one[0], one[1].vector, one[1].device))
    while waiting:
        path, loser = waiting.pop()
        if loser.content is None:
            continue
        place = conflict_path(path, loser) if keeps_both else None
        result.conflicts.append(Conflict(path, loser, place))
        if place is None:
            continue
        known = result.tree.get(place)
        if known is None:
            result.tree[place] = loser
        elif known != loser:
            result.tree[place], again = merge(known, loser, rank)
            if again is not None and conflict_path(place, again) != place:
                waiting.append((place, again))


def _settled(tree: Tree) -> bool:
    """Whether everything that lives lies in directories that live."""
    above = {path.rpartition("/")[0] for path, version in tree.items() if version.content is not None}
    above.discard("")
    folders = map(tree.get, above)
    return all(one is not None and one.content is not None and one.content.kind is Kind.directory for one in folders)


def _structure(tree: dict[str, Version]) -> list[tuple[str, Version]]:
    """Make directories of all that something living lies in; what stood there and was none is returned."""
    lost: list[tuple[str, Version]] = []
    for path in [path for path, version in tree.items() if version.content is not None]:
        parent = path.rpartition("/")[0]
        while parent:
            above = tree.get(parent)
            if above is not None and above.content is not None and above.content.kind is Kind.directory:
                break
            # The vector stays: on a device that knows less, living beats deleted and a directory beats a file as well.
            tree[parent] = Version(directory(), above.vector if above else (), "", 0)
            if above is not None and above.content is not None:
                lost.append((parent, above))
            parent = parent.rpartition("/")[0]
    return lost


@dataclass(frozen=True, slots=True)
class Put:
    """A file or link is to stand at `path`."""

    path: str
    content: Content
    expected: Content | None
    """What stands there now; anything else means that somebody was faster."""
    source: str | None = None
    """A path here that holds the same content now."""


@dataclass(frozen=True, slots=True)
class Move:
    """A file goes from one path to another, where nothing stands."""

    path: str
    to: str
    content: Content
    expected: Content


@dataclass(frozen=True, slots=True)
class Remove:
    """Nothing is to stand at `path`."""

    path: str
    expected: Content


@dataclass
class Plan:
    """What has to be done in a folder, in this order."""

    copies: list[Put] = field(default_factory=list)
    """Copies of what is going to lose its place here."""
    cleared: list[Remove] = field(default_factory=list)
    """What stands where a directory is to be, or a directory where something else is to be."""
    directories: list[tuple[str, int]] = field(default_factory=list)
    """Directories that are to be there, with their permissions, from the top down."""
    moved: list[Move] = field(default_factory=list)
    removed: list[Remove] = field(default_factory=list)
    emptied: list[Remove] = field(default_factory=list)
    """Directories that are to go, from the bottom up."""
    put: list[Put] = field(default_factory=list)
    """After all that: where a directory stood before, a file may be put."""
    modes: list[tuple[str, Content, Content]] = field(default_factory=list)
    """Permissions that change: path, what stands there, what is to."""
    needs: Mapping[str, set[str]] = field(default_factory=dict)
    """See `Converged.needs`: a path is left alone when one of its copies could not be made."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not self.size

    @property
    def size(self) -> int:
        """How many things there are to do."""
        parts: list[list[Any]] = [
            self.copies, self.cleared, self.directories, self.moved, self.removed, self.emptied, self.put, self.modes,
        ]  # fmt: skip
        return sum(len(part) for part in parts)

    @property
    def deletions(self) -> int:
        """How many files go and come nowhere else."""
        return len(self.removed)

    @property
    def bytes(self) -> int:
        """Bytes that have to come from elsewhere."""
        return sum(one.content.size for one in (*self.copies, *self.put) if one.source is None)


def plan(
    wanted: Tree,
    found: Mapping[str, Content],
    judged: Judged,
    fits: Judged = lambda _path: True,
    needs: Mapping[str, set[str]] | None = None,
) -> Plan:
    """What makes `wanted` of `found`.

    Args:
        wanted: versions by path; paths that are not in it are left alone.
        found: what stands in the folder now.
        judged: see `Judged`; what is not looked at is left alone.
        fits: whether a path can be made here at all; it cannot when its name collides with another one's.
        needs: see `Converged.needs`.
    """
    result = Plan(needs=needs or {})
    for path in [path for path, version in wanted.items() if version.content is not found.get(path)]:
        content = wanted[path].content
        now = found.get(path)
        if content == now or not judged(path):
            continue
        if content is None:
            if now is not None:
                (result.emptied if now.kind is Kind.directory else result.removed).append(Remove(path, now))
        elif not fits(path):
            continue
        elif now is not None and now.essence == content.essence:
            if content.kind is not Kind.link:
                result.modes.append((path, now, content))
        elif content.kind is Kind.directory:
            if now is not None:
                result.cleared.append(Remove(path, now))
            result.directories.append((path, content.mode))
        else:
            if now is not None and now.kind is Kind.directory:
                result.emptied.append(Remove(path, now))
                now = None
            result.put.append(Put(path, content, now))
    result.directories.sort()
    result.emptied.sort(key=lambda one: one.path.count("/"), reverse=True)
    _find_sources(result, found)
    places = set[str]().union(*result.needs.values())
    result.copies = [one for one in result.put if one.path in places and _can_go_first(one, found)]
    first = {one.path for one in result.copies}
    result.put = [one for one in result.put if one.path not in first]
    return result


def _can_go_first(one: Put, found: Mapping[str, Content]) -> bool:
    parent = found.get(one.path.rpartition("/")[0])
    return one.expected is None and ("/" not in one.path or (parent is not None and parent.kind is Kind.directory))


def _find_sources(result: Plan, found: Mapping[str, Content]) -> None:
    """Recognise what is already here: renamed, or a copy of what stays."""
    wanted = {one.content.digest for one in result.put if one.content.kind is Kind.file}
    if not wanted:
        return
    leaving: dict[bytes, list[Remove]] = {}
    for gone in result.removed:
        if gone.expected.kind is Kind.file and gone.expected.digest in wanted:
            leaving.setdefault(gone.expected.digest, []).append(gone)
    here: dict[bytes, str] = {}
    for path in [path for path, content in found.items() if content.digest in wanted]:
        here.setdefault(found[path].digest, path)
    moved: set[str] = set()
    put: list[Put] = []
    places = set[str]().union(*result.needs.values())
    for one in result.put:
        candidates = leaving.get(one.content.digest)
        if candidates and one.expected is None and one.path not in places:
            gone = candidates.pop()
            moved.add(gone.path)
            result.moved.append(Move(gone.path, one.path, one.content, gone.expected))
        else:
            source = here.get(one.content.digest)
            put.append(one if source is None else Put(one.path, one.content, one.expected, source))
    result.put = put
    result.removed = [one for one in result.removed if one.path not in moved]

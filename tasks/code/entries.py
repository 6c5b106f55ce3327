"""How the modules of a code base stood at a look, and their entries in what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.code import Module
from tasks.code.kept import module_key
from tasks.code.places import Source, Stamp

_AT_ONCE = 32
FIELDS = ("place", "stamps", "sure", "package", "content", "last", "quals", "reason", "stub")


@dataclass(slots=True)
class Entry:
    """How a module stood at the last look."""

    place: str
    stamps: list[list[int] | None]
    """The entries of its file and its stub in the file system."""
    sure: bool
    """Whether the stamps, as long as they stay, vouch for the content."""
    package: bool
    content: str
    """Of the bytes that are there; empty when they could not be read."""
    last: str | None
    """The content that was last understood: this one, unless there is a `reason`."""
    quals: str
    """The names in it, one a line."""
    reason: str | None = None
    """Why the bytes say nothing; empty when something above the file is what could not be read."""
    stub: str | None = None
    """Why its stub says nothing."""


@dataclass(slots=True)
class New:
    """A module whose bytes are not the last ones."""

    source: Source
    entry: Entry
    size: int
    data: bytes
    stub: bytes | None


class Modules:
    """Decodes modules when they are asked for."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        fetch: Callable[[str, Sequence[str]], dict[str, bytes]],
        labels: dict[str, list[str]],
    ) -> None:
        self._entries = entries
        self._order = list(entries)
        self._place = {module: place for place, module in enumerate(self._order)}
        self._fetch = fetch
        self._labels = labels
        self._raw: dict[str, bytes] = {}

    def __call__(self, path: str) -> Module:
        """The module at `path`. Raises KeyError."""
        from tasks.code.rows import module_of  # noqa: PLC0415

        entry = self._entries[path]
        raw = self._raw
        if path not in raw:
            # Whoever asks for one after the other gets several by one look into the cache.
            place = self._place[path]
            raw = self._raw = self._fetch("module", self._order[place : place + _AT_ONCE])
        return module_of(path, entry.place, entry.content, raw[path], self._labels)


def same(known: Entry, source: Source) -> bool:
    """Whether the file system says of `source` what it said at the last look."""
    stub = None if source.stub_stamp is None else row_of(source.stub_stamp)
    return known.place == source.place and known.stamps == [row_of(source.stamp), stub]


def row_of(stamp: Stamp) -> list[int]:
    """`stamp` as it is kept."""
    return [stamp.modified_ns, stamp.changed_ns, stamp.size, stamp.inode]


def key_of(module: str, entry: Entry) -> bytes:
    """What the entries of a module are kept under."""
    return module_key(module, entry.content, package=entry.package)

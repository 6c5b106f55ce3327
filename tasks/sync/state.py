"""What the engine needs of a store, and what a device remembers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from models.sync_store import Manifest, StoreProblem
from models.sync_versions import Version
from tasks.sync.scan import Mark


class Store(Protocol):
    """What the engine needs of a store. Everything raises a `LamaError` or an `OSError` when it cannot be done."""

    @property
    def at_once(self) -> int:
        """How many contents may be put or fetched side by side, each in a thread."""
        ...

    def others(self, category: str, known: Callable[[Manifest], bool]) -> Sequence[Manifest]:
        """What every device told last, this one included; of what is `known`, the tree may be left empty."""
        ...

    def publish(self, manifest: Manifest) -> None:
        """Tell what this device holds."""
        ...

    def has(self, digest: bytes) -> bool:
        """Whether a content is there."""
        ...

    def put(self, digest: bytes, source: BinaryIO) -> None:
        """Store a content unless it is there; raises when what is read has another digest."""
        ...

    def fetch(self, digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
        """Write a content of `size` bytes; raises when it is not there, or not what it should be."""
        ...

    def batch(self) -> contextlib.AbstractContextManager[None]:
        """What is put within gets onto the disk many at once."""
        ...

    def problems(self) -> list[StoreProblem]:
        """What could not be believed or read since the last call."""
        ...


@dataclass
class State:
    """What a device remembers of a category between two runs."""

    tree: dict[str, Version] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    counter: int = 0
    kept: set[str] = field(default_factory=set)
    """Directories that were deleted elsewhere and stayed, for what is in them is not synced."""
    bases: dict[str, bytes] = field(default_factory=dict)
    """What files were made of that were changed here since another device's version was taken."""
    seen: dict[str, bytes] = field(default_factory=dict)
    """Of the other devices, the digests of what they told, as far as everything that follows from it was done."""
    ignored: dict[str, Version] = field(default_factory=dict)
    """What was synced and is ignored by `.gitignore` files since, as it was then. Nobody is told of it any more; when
    it is not ignored any longer, a change of it is one of this."""
    filter: str = ""
    """Fingerprint of the filter that this was done with."""
    began: bool = False
    """Whether the folder was ever synced."""


class States(Protocol):
    """Where a device remembers."""

    def load(self, category: str) -> State:
        """What is remembered."""
        ...

    def save(self, category: str, state: State, done: Mapping[str, str]) -> None:
        """Remember `state`, and what was done for it, together or not at all."""
        ...

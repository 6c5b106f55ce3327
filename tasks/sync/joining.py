"""Texts that two devices changed become one that knows both changes, where the changes do not touch."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from blocks.errors import LamaError
from models.sync_versions import Content, Kind, Tree, Version
from tasks.sync.scan import opened
from tasks.sync.state import State, Store
from tasks.sync.versions import compare, counted, joined

_LARGEST = 1_000_000

Merge = Callable[[str, bytes, bytes, bytes], bytes | None]
"""Joins two contents that came of a third, by the path's kind; None: it cannot be done."""


class Joiner:
    """Joins what can be joined: the result is a change of this device that knows both.

    Args:
        root: the category's folder.
        store: where the other contents are, and the result is put.
        merge: see `Merge`.
        state: what is remembered.
    """

    def __init__(self, root: Path, store: Store, merge: Merge, state: State) -> None:
        self._root = root
        self._store = store
        self._merge = merge
        self._state = state

    def join(
        self,
        mine: Tree,
        changes: Mapping[str, Version],
        trees: Sequence[Tree],
        *,
        device: str,
        count: int,
        at: int,
        keep: bool,
    ) -> dict[str, Version]:
        """The joined versions by path.

        Args:
            mine: this device's tree with `changes`.
            changes: what was new here.
            trees: those of all devices.
            device: this device's id.
            count: its counter.
            at: now.
            keep: whether results are put into the store; not in a dry run.
        """
        done: dict[str, Version] = {}
        for path in changes.keys() | self._state.bases.keys():
            base = self._base(path, changes)
            version = mine.get(path)
            if base is None or version is None:
                continue
            for tree in trees:
                other = tree.get(path)
                if other is None or not _joinable(version, other):
                    continue
                content = self._joined(path, base, version, other)
                if content is None:
                    done.pop(path, None)
                    break
                digest = blake3(content).digest()
                mode = version.content.mode if version.content else 0o644
                version = done[path] = Version(
                    Content(Kind.file, digest, len(content), mode),
                    counted(joined(version.vector, other.vector), device, count),
                    device,
                    at,
                )
                if keep:
                    self._store.put(digest, io.BytesIO(content))
        return done

    def remember(self, changes: Mapping[str, Version]) -> None:
        """Remember what files were before they were changed here, until another device's version is taken."""
        for path, version in changes.items():
            held = self._state.tree.get(path)
            if version.content is None or version.content.kind is not Kind.file:
                self._state.bases.pop(path, None)
            elif held is not None and held.content is not None and held.content.kind is Kind.file:
                self._state.bases.setdefault(path, held.content.digest)

    def _base(self, path: str, changes: Mapping[str, Version]) -> bytes | None:
        if path in self._state.bases:
            return self._state.bases[path]
        held = self._state.tree.get(path)
        if path in changes and held is not None and held.content is not None and held.content.kind is Kind.file:
            return held.content.digest
        return None

    def _joined(self, path: str, base: bytes, mine: Version, other: Version) -> bytes | None:
        if mine.content is None or other.content is None:
            return None
        try:
            before = self._fetched(base)
            ours = self._ours(path, mine.content)
            theirs = self._fetched(other.content.digest)
        except (OSError, LamaError):
            return None
        first, second = (ours, theirs) if mine.device <= other.device else (theirs, ours)
        return self._merge(path, before, first, second)

    def _ours(self, path: str, content: Content) -> bytes:
        if content.size <= _LARGEST:
            try:
                with opened(self._root, path) as file:
                    here = file.read(_LARGEST + 1)
            except OSError:
                here = b""
            if blake3(here).digest() == content.digest:
                return here
        return self._fetched(content.digest)

    def _fetched(self, digest: bytes) -> bytes:
        into = _Limited(_LARGEST)
        self._store.fetch(digest, into)
        return into.getvalue()


class _Limited(io.BytesIO):
    """Takes so many bytes and no more."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def write(self, content: object) -> int:
        self._left -= len(content)  # type: ignore[arg-type]
        if self._left < 0:
            raise OSError("it is larger than what is joined")
        return super().write(content)  # type: ignore[arg-type]


def _joinable(mine: Version, other: Version) -> bool:
    return (
        mine.content is not None
        and other.content is not None
        and mine.content.kind is Kind.file
        and other.content.kind is Kind.file
        and other.content.digest != mine.content.digest
        and compare(mine.vector, other.vector) == "concurrent"
    )

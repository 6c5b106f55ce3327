"""What a device of the benchmark remembers between two processes: a file, where the product has PostgreSQL.

One `marshal` of the whole, and behind it one line for each later save that changed little: both are written at once and
synced to the disk, as a transaction would be.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.sync import Content, Kind, Version
from tasks.sync.scan import Mark
from tasks.sync.state import State

_KINDS = {"f": Kind.file, "d": Kind.directory, "l": Kind.link}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
_GROWN = 4
"""A file is written anew when what was appended is more than one path in so many."""

Row = tuple[Any, ...]


class FileStates:
    """A `States`: one file for one category.

    Args:
        path: the file.
        durable: whether what is saved has reached the disk when `save` returns.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._tree: dict[str, Version] = {}
        self._marks: dict[str, Mark] = {}
        self._appended = 0

    def load(self, category: str) -> State:
        state = State()
        try:
            with self._path.open("rb") as file:
                rows, rest = marshal.load(file)
                _put(state, rows)
                while True:
                    try:
                        rows, rest = marshal.load(file)
                    except (EOFError, ValueError):
                        break  # the end, or a save that was cut off
                    self._appended += len(rows)
                    _put(state, rows)
        except FileNotFoundError:
            return state
        state.counter, kept, state.bases, state.seen, state.filter, state.began = rest
        state.kept = set(kept)
        self._tree, self._marks = dict(state.tree), dict(state.marks)
        return state

    def save(self, category: str, state: State, done: Mapping[str, str]) -> None:
        rest = (state.counter, sorted(state.kept), state.bases, state.seen, state.filter, state.began)
        changed = list(self._changed(state))
        self._appended += len(changed)
        self._tree, self._marks = dict(state.tree), dict(state.marks)
        if self._path.exists() and self._appended * _GROWN < len(state.tree):
            self._write(self._path, "ab", marshal.dumps((changed, rest)))
            return
        rows = [_row(path, version, state.marks.get(path)) for path, version in state.tree.items()]
        new = self._path.with_suffix(".new")
        self._write(new, "wb", marshal.dumps((rows, rest)))
        new.replace(self._path)
        self._appended = 0

    def _changed(self, state: State) -> Iterator[Row]:
        tree, marks = self._tree, self._marks
        for path, version in state.tree.items():
            mark = state.marks.get(path)
            if tree.get(path) is not version or marks.get(path) is not mark:
                yield _row(path, version, mark)
        for path in tree.keys() - state.tree.keys():
            yield (path,)

    def _write(self, path: Path, mode: str, data: bytes) -> None:
        with path.open(mode) as file:
            file.write(data)
            file.flush()
            if self._durable:
                os.fsync(file.fileno())


def _row(path: str, version: Version, mark: Mark | None) -> Row:
    content = version.content
    what = (_LETTERS[content.kind], content.digest, content.size, content.mode, content.target) if content else None
    return (path, what, version.vector, version.device, version.at, tuple(mark) if mark else None)


def _put(state: State, rows: list[Row]) -> None:
    tree, marks, kinds = state.tree, state.marks, _KINDS
    for row in rows:
        if len(row) == 1:
            tree.pop(row[0], None)
            marks.pop(row[0], None)
            continue
        path, what, vector, device, at, mark = row
        content = None
        if what is not None:
            kind, digest, size, mode, target = what
            content = Content(kinds[kind], digest, size, mode, target)
        tree[path] = Version(content, vector, device, at)
        if mark is not None:
            marks[path] = Mark._make(mark)
        else:
            marks.pop(path, None)

"""What a device of the benchmark remembers between two processes: a file, where the product has PostgreSQL.

One `marshal` of the whole, and behind it one line for each later save that changed little: both are written at once and
synced to the disk, as a transaction would be.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from models.sync_versions import Content, Kind, Version
from tasks.sync.scan import Mark
from tasks.sync.state import State

_KINDS = {"f": Kind.file, "d": Kind.directory, "l": Kind.link}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
_GROWN = 4
"""A file is written anew when what was appended is more than one path in so many."""

_content: Callable[[tuple[Any, ...]], Content] = partial(tuple.__new__, Content)
_version: Callable[[tuple[Any, ...]], Version] = partial(tuple.__new__, Version)
_mark: Callable[[tuple[Any, ...]], Mark] = partial(tuple.__new__, Mark)


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
            data = memoryview(self._path.read_bytes())
        except FileNotFoundError:
            return state
        rest: Any = None
        saved: list[int] = []
        while len(data) > 8 and len(data) >= 8 + (size := int.from_bytes(data[:8])):  # less: a save that was cut off
            columns, rest = marshal.loads(data[8 : 8 + size])
            saved.append(len(columns[0][0]))
            _put(state, columns)
            data = data[8 + size :]
        self._appended = sum(saved[1:])
        state.counter, kept, state.bases, state.seen, state.filter, state.began = rest
        state.kept = set(kept)
        self._tree, self._marks = dict(state.tree), dict(state.marks)
        return state

    def save(self, category: str, state: State, done: Mapping[str, str]) -> None:
        rest = (state.counter, sorted(state.kept), state.bases, state.seen, state.filter, state.began)
        changed = self._changed(state)
        self._appended += len(changed)
        self._tree, self._marks = dict(state.tree), dict(state.marks)
        if self._path.exists() and self._appended * _GROWN < len(state.tree):
            self._write(self._path, "ab", marshal.dumps((_columns(state, changed), rest)))
            return
        new = self._path.with_suffix(".new")
        self._write(new, "wb", marshal.dumps((_columns(state, state.tree), rest)))
        new.replace(self._path)
        self._appended = 0

    def _changed(self, state: State) -> set[str]:
        tree, marks = self._tree, self._marks
        changed = {path for path, version in state.tree.items() if tree.get(path) is not version}
        changed |= {path for path, mark in state.marks.items() if marks.get(path) is not mark}
        return changed | (tree.keys() - state.tree.keys()) | (marks.keys() - state.marks.keys())

    def _write(self, path: Path, mode: str, data: bytes) -> None:
        with path.open(mode) as file:
            file.write(len(data).to_bytes(8) + data)
            file.flush()
            if self._durable:
                os.fsync(file.fileno())


def _columns(state: State, paths: Iterable[str]) -> tuple[list[Any], ...]:
    """What is remembered of some paths, column by column, which is read back in the interpreter's own loops."""
    living: tuple[list[Any], ...] = ([], [], [], [], [], [], [], [], [])
    deleted: tuple[list[Any], ...] = ([], [], [], [])
    marks: tuple[list[Any], ...] = ([], [], [], [], [], [])
    forgotten: list[str] = []
    for path in paths:
        version, mark = state.tree.get(path), state.marks.get(path)
        if version is None:
            forgotten.append(path)
            continue
        content = version.content
        row = (path, *(() if content is None else (_LETTERS[content.kind], *content[1:])), *version[1:])
        for column, value in zip(deleted if content is None else living, row, strict=True):
            column.append(value)
        if mark is not None:
            for column, value in zip(marks, (path, *mark), strict=True):
                column.append(value)
    return (list(living), list(deleted), list(marks), forgotten)


def _put(state: State, columns: Any) -> None:
    (paths, kinds, *about, vectors, devices, at), (gone, *rest), (marked, *marks), forgotten = columns
    contents = map(_content, zip(map(_KINDS.__getitem__, kinds), *about, strict=True))
    for path in (*paths, *gone, *forgotten) if state.marks else ():
        state.marks.pop(path, None)
    state.tree.update(zip(paths, map(_version, zip(contents, vectors, devices, at, strict=True)), strict=True))
    state.tree.update(zip(gone, map(_version, zip(repeat(None), *rest)), strict=True))
    state.marks.update(zip(marked, map(_mark, zip(*marks, strict=True)), strict=True))
    for path in forgotten:
        state.tree.pop(path, None)

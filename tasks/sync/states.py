"""What a device remembers, in PostgreSQL: the tree in pieces, so that a change rewrites only its own piece."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb

from models.sync_versions import Content, Kind, Version
from tasks.sync.scan import Mark
from tasks.sync.state import State

_SHARDS = 256
_KEPT_RECORDS = 10_000
"""Records of what was done that are kept for each category."""

_KINDS = {kind.value: kind for kind in Kind}
_content: Callable[[tuple[Any, ...]], Content] = partial(tuple.__new__, Content)
_version: Callable[[tuple[Any, ...]], Version] = partial(tuple.__new__, Version)
_mark: Callable[[Iterable[Any]], Mark] = partial(tuple.__new__, Mark)
"""Without a call of Python's own for each."""

_LOAD = "SELECT state FROM sync_category WHERE device = %s AND category = %s"
_LOAD_SHARDS = "SELECT shard, content FROM sync_shard WHERE device = %s AND category = %s"
_SAVE = """
INSERT INTO sync_category (device, category, state, saved_at) VALUES (%s, %s, %s, now())
ON CONFLICT (device, category) DO UPDATE SET state = excluded.state, saved_at = excluded.saved_at
"""
_SAVE_SHARDS = """
INSERT INTO sync_shard (device, category, shard, content)
SELECT %b, %b, row.shard, row.content FROM unnest(%b::int[], %b::bytea[]) AS row (shard, content)
ON CONFLICT (device, category, shard) DO UPDATE SET content = excluded.content
"""
_RECORD = """
INSERT INTO sync_done (device, category, run, at, what, paths) VALUES (%s, %s, %s, now(), %s, %s)
"""
_FORGET = """
DELETE FROM sync_done WHERE device = %(device)s AND category = %(category)s AND id <= (
    SELECT id FROM sync_done WHERE device = %(device)s AND category = %(category)s ORDER BY id DESC
    OFFSET %(kept)s LIMIT 1)
"""


class PostgresStates:
    """`States` of one device.

    Args:
        connection: in autocommit mode, for this alone.
        device: the device's id.
        run: what the run is called.
    """

    def __init__(self, connection: psycopg.Connection[Any], device: str, run: str) -> None:
        self._connection = connection
        self._device = device
        self._run = run
        self._saved: dict[str, tuple[dict[str, Version], dict[str, Mark]]] = {}

    def load(self, category: str) -> State:
        """What is remembered.

        Raises:
            psycopg.Error: the database is away.
        """
        row = self._connection.execute(_LOAD, (self._device, category)).fetchone()
        state = State()
        if row is not None:
            told = row[0]
            state = State(
                counter=told["counter"],
                kept=set(told["kept"]),
                bases={path: bytes.fromhex(digest) for path, digest in told["bases"].items()},
                seen={device: bytes.fromhex(digest) for device, digest in told["seen"].items()},
                filter=told["filter"],
                began=told["began"],
            )
            shared: dict[Any, Any] = {}
            for _, content in self._connection.execute(_LOAD_SHARDS, (self._device, category), binary=True):
                _read(orjson.loads(zlib.decompress(content)), state.tree, state.marks, shared)
            _read(told.get("ignored", []), state.ignored, {}, shared)
        self._saved[category] = (dict(state.tree), dict(state.marks))
        return state

    def save(self, category: str, state: State, done: Mapping[str, str]) -> None:
        """Remember `state`, and what was done for it, in one transaction.

        Raises:
            psycopg.Error: the database is away; nothing is remembered.
        """
        before, marks_before = self._saved.get(category, ({}, {}))
        changed = {_shard(path) for path in _differing(before, state.tree)}
        changed |= {_shard(path) for path in _differing(marks_before, state.marks)}
        pieces: dict[int, list[Any]] = {shard: [] for shard in changed}
        if changed:
            for path, version in state.tree.items():
                shard = _shard(path)
                if shard in changed:
                    pieces[shard].append(_row(path, version, state.marks.get(path)))
        told = {
            "counter": state.counter,
            "kept": sorted(state.kept),
            "bases": {path: digest.hex() for path, digest in state.bases.items()},
            "seen": {device: digest.hex() for device, digest in state.seen.items()},
            "ignored": [_row(path, version, None) for path, version in sorted(state.ignored.items())],
            "filter": state.filter,
            "began": state.began,
        }
        with self._connection.transaction():
            self._connection.execute(_SAVE, (self._device, category, Jsonb(told)))
            if pieces:
                packed = [zlib.compress(orjson.dumps(rows), 1) for rows in pieces.values()]
                self._connection.execute(_SAVE_SHARDS, (self._device, category, list(pieces), packed))
            for what in sorted(set(done.values())):
                paths = sorted(path for path, was in done.items() if was == what)
                self._connection.execute(_RECORD, (self._device, category, self._run, what, paths))
            if done:
                asked = {"device": self._device, "category": category, "kept": _KEPT_RECORDS}
                self._connection.execute(_FORGET, asked)
        self._saved[category] = (dict(state.tree), dict(state.marks))


def summaries(connection: psycopg.Connection[Any], device: str) -> dict[str, datetime]:
    """When each category was remembered last."""
    rows = connection.execute("SELECT category, saved_at FROM sync_category WHERE device = %s", (device,)).fetchall()
    return dict(rows)


class Counters:
    """What a device remembers of the store, for `Vault`."""

    def __init__(self, connection: psycopg.Connection[Any], device: str) -> None:
        self._connection = connection
        self._device = device

    def load(self) -> MutableMapping[tuple[str, str], int]:
        """By device and category the counter of the newest manifest that was seen."""
        row = self._connection.execute("SELECT counters FROM sync_device WHERE device = %s", (self._device,)).fetchone()
        told = row[0] if row else {}
        return {(device, category): count for device, of in told.items() for category, count in of.items()}

    def save(self, counters: Mapping[tuple[str, str], int]) -> None:
        """Remember them."""
        told: dict[str, dict[str, int]] = {}
        for (device, category), count in counters.items():
            told.setdefault(device, {})[category] = count
        self._connection.execute(
            "INSERT INTO sync_device (device, counters) VALUES (%s, %s) "
            "ON CONFLICT (device) DO UPDATE SET counters = excluded.counters",
            (self._device, Jsonb(told)),
        )

    def due(self, *, days: float) -> bool:
        """Whether objects that nobody names were last removed longer ago than `days`; it counts as done then."""
        row = self._connection.execute(
            "UPDATE sync_device SET collected_at = now() WHERE device = %s AND (collected_at IS NULL "
            "OR collected_at < now() - make_interval(secs => %s)) RETURNING device",
            (self._device, days * 86_400),
        ).fetchone()
        return row is not None


def _shard(path: str) -> int:
    return zlib.crc32(path.rpartition("/")[0].encode()) % _SHARDS


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    for path, value in now.items():
        known = before.get(path)
        if known is not value and known != value:
            yield path
    yield from before.keys() - now.keys()


def _row(path: str, version: Version, mark: Mark | None) -> list[Any]:
    content = version.content
    told = None if content is None else [content.kind, content.digest.hex(), content.size, content.mode, content.target]
    return [path, version.device, version.at, version.vector, told, None if mark is None else tuple(mark)]


def _read(rows: list[list[Any]], tree: dict[str, Version], marks: dict[str, Mark], shared: dict[Any, Any]) -> None:
    """Put what `rows` hold into `tree` and `marks`; vectors and devices that are the same are one, in `shared`."""
    for path, device, at, vector, told, mark in rows:
        content = None
        if told is not None:
            kind, digest, size, mode, target = told
            content = _content((_KINDS[kind], bytes.fromhex(digest), size, mode, target))
        known = tuple([(shared.setdefault(name, name), count) for name, count in vector])
        tree[path] = _version((content, shared.setdefault(known, known), shared.setdefault(device, device), at))
        if mark is not None:
            marks[path] = _mark(mark)

"""Profiles, predictions and truths in PostgreSQL: written in batches, each once, and forgotten when they are old."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from models.drift import Profile, Sketch

_MOST_PAIRS = 1_000_000
_MOST_BATCHES = 50_000
_DELETED_AT_ONCE = 20_000
_LONGEST_KEY = 500

_KEEP = """
INSERT INTO model_profile (model, version, body, kept_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (model, version) DO UPDATE SET body = excluded.body, kept_at = excluded.kept_at
"""
_BATCH = """
INSERT INTO prediction_batch (batch, part, model, version, rows, predicted_at, sketch)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (batch, part) DO NOTHING
"""
_COPY = """
COPY prediction (batch, place, model, version, key, predicted_at, value, label, low, high, confidence) FROM STDIN
"""
_SKETCHES = """
SELECT sketch FROM prediction_batch
WHERE model = %s AND version = %s AND predicted_at >= %s AND predicted_at < %s ORDER BY predicted_at DESC LIMIT %s
"""
_TRUTHS = """
INSERT INTO prediction_truth (model, key, value, label, known_at)
SELECT %s, key, value, label, %s FROM unnest(%s::text[], %s::float8[], %s::text[]) AS given (key, value, label)
ON CONFLICT (model, key) DO UPDATE SET value = excluded.value, label = excluded.label, known_at = excluded.known_at
WHERE (prediction_truth.value IS NOT NULL OR prediction_truth.label IS NOT NULL)
  AND (prediction_truth.value, prediction_truth.label) IS DISTINCT FROM (excluded.value, excluded.label)
"""
# The last that was predicted before the truth was known: what is predicted afterwards proves nothing. Of too many pairs
# the newest count.
_PAIRS = """
SELECT known_at, predicted, predicted_label, truth, truth_label FROM (
    SELECT DISTINCT ON (truth.key) truth.key, truth.known_at, made.value AS predicted, made.label AS predicted_label,
           truth.value AS truth, truth.label AS truth_label
    FROM prediction_truth AS truth JOIN prediction AS made ON made.model = truth.model AND made.key = truth.key
    WHERE truth.model = %s AND made.version = %s AND made.predicted_at < truth.known_at AND truth.known_at < %s
      AND (truth.value IS NOT NULL OR truth.label IS NOT NULL)
    ORDER BY truth.key, made.predicted_at DESC
) AS pair ORDER BY known_at DESC, key DESC LIMIT %s
"""
_SEEN = """
SELECT model, version FROM prediction_batch WHERE predicted_at >= %(since)s AND predicted_at < %(until)s
UNION
SELECT made.model, made.version FROM prediction_truth AS truth
JOIN prediction AS made ON made.model = truth.model AND made.key = truth.key AND made.predicted_at < truth.known_at
WHERE truth.known_at >= %(since)s AND truth.known_at < %(until)s
ORDER BY model, version
"""
_FOUND = """
SELECT EXISTS (SELECT FROM prediction_truth WHERE model = %(model)s), count(*),
       count(*) FILTER (WHERE NOT EXISTS (
           SELECT FROM prediction AS made
           WHERE made.model = truth.model AND made.key = truth.key AND made.predicted_at < truth.known_at))
FROM prediction_truth AS truth WHERE model = %(model)s AND known_at >= %(since)s AND known_at < %(until)s
"""
_KEPT = """
SELECT batch.model, batch.version, sum(batch.rows),
       (SELECT count(*) FROM prediction AS made WHERE made.model = batch.model AND made.version = batch.version),
       (SELECT count(*) FROM prediction_truth AS truth WHERE truth.model = batch.model
        AND (truth.value IS NOT NULL OR truth.label IS NOT NULL)),
       EXISTS (SELECT FROM model_profile AS known
               WHERE known.model = batch.model AND known.version = batch.version),
       max(batch.predicted_at)
FROM prediction_batch AS batch GROUP BY batch.model, batch.version ORDER BY batch.model, batch.version DESC
"""
_OLD = (
    ("prediction", "predicted_at"),
    ("prediction_batch", "predicted_at"),
)
# That and since when it was known stays: told again it would look new, and what was predicted since as if made before.
_EMPTIED = """
UPDATE prediction_truth SET value = NULL, label = NULL WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM prediction_truth WHERE known_at < %s AND (value IS NOT NULL OR label IS NOT NULL)
    LIMIT %s FOR UPDATE SKIP LOCKED))
"""

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Kept:
    """One prediction to be kept; `key` is what the truth will find it by."""

    place: int
    key: str
    value: float | None = None
    label: str | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None


class KeptOf(NamedTuple):
    """How much is kept of a version."""

    model: str
    version: int
    rows: int
    keyed: int
    truths: int
    profile: bool
    last_at: datetime


class Truths(NamedTuple):
    """What is known of a model's truths."""

    ever: bool
    """Whether any was ever taken."""
    in_window: int
    unmatched: int
    """Of those of the window: no version had predicted them before they were known."""


@dataclass(frozen=True)
class Pairs:
    """Losses of a version in the order in which the truth was known."""

    losses: tuple[float, ...]
    before: int
    """How many of them were known before the window."""


async def keep_profile(connection: Connection, model: str, version: int, profile: Profile, *, now: datetime) -> None:
    """Keep the reference of a version; keeping it again replaces it."""
    await connection.execute(_KEEP, (model, version, Jsonb(profile.model_dump(mode="json")), now))


async def profile_of(connection: Connection, model: str, version: int) -> Profile | None:
    """The reference of a version; None where none was kept."""
    cursor = await connection.execute(
        "SELECT body FROM model_profile WHERE model = %s AND version = %s", (model, version)
    )
    row = await cursor.fetchone()
    return None if row is None else Profile.model_validate(row[0])


async def keep_batch(
    connection: Connection,
    *,
    batch: UUID,
    part: int,
    model: str,
    version: int,
    at: datetime,
    sketch: Sketch,
    rows: Iterable[Kept] = (),
) -> bool:
    """Keep a part of a batch, all or nothing; False when it was kept before, and nothing was done."""
    async with connection.transaction():
        body = Jsonb(sketch.model_dump(mode="json"))
        cursor = await connection.execute(_BATCH, (batch, part, model, version, sketch.rows, at, body))
        if not cursor.rowcount:
            return False
        async with connection.cursor().copy(_COPY) as copy:
            for row in rows:
                await copy.write_row(
                    (
                        *(batch, row.place, model, version, row.key[:_LONGEST_KEY].replace("\x00", "\ufffd"), at),
                        *(row.value, row.label, row.low, row.high, row.confidence),
                    )
                )
    return True


async def kept(connection: Connection) -> list[KeptOf]:
    """How much is kept of each version."""
    cursor = await connection.execute(_KEPT)
    return [
        KeptOf(str(model), int(version), int(rows), int(keyed), int(truths), bool(profile), last_at)
        for model, version, rows, keyed, truths, profile, last_at in await cursor.fetchall()
    ]


async def versions_seen(connection: Connection, since: datetime, until: datetime) -> list[tuple[str, int]]:
    """Every model and version that predicted in the window, or of which it became known there what came true."""
    cursor = await connection.execute(_SEEN, {"since": since, "until": until})
    return [(str(model), int(version)) for model, version in await cursor.fetchall()]


async def truths_of(connection: Connection, model: str, since: datetime, until: datetime) -> Truths:
    """How many truths of a model are known, and how many of the window no version had predicted before."""
    cursor = await connection.execute(_FOUND, {"model": model, "since": since, "until": until})
    return Truths(*(await cursor.fetchone() or (False, 0, 0)))


async def sketches(connection: Connection, model: str, version: int, since: datetime, until: datetime) -> list[Sketch]:
    """The sketches of a version's predictions in the window; of very many, the newest."""
    cursor = await connection.execute(_SKETCHES, (model, version, since, until, _MOST_BATCHES))
    return [Sketch.model_validate(body) for (body,) in await cursor.fetchall()]


async def keep_truths(
    connection: Connection, model: str, keys: Sequence[str], values: Sequence[float | str | None], *, now: datetime
) -> int:
    """Keep what came true, by key; how many of them are new or other than before. The last of a key counts.

    What has been forgotten stays forgotten, however often it is told.
    """
    given: dict[str, float | str] = {
        key[:_LONGEST_KEY].replace("\x00", "\ufffd"): value
        for key, value in zip(keys, values, strict=True)
        if value is not None
    }
    numbers = [float(value) if isinstance(value, int | float) else None for value in given.values()]
    labels = [value.replace("\x00", "\ufffd") if isinstance(value, str) else None for value in given.values()]
    cursor = await connection.execute(_TRUTHS, (model, now, list(given), numbers, labels))
    return cursor.rowcount


async def pairs(connection: Connection, model: str, version: int, since: datetime, until: datetime) -> Pairs:
    """The losses of everything that a version predicted and that came true before `until`.

    Absolute errors of numbers; of classes 1 where it was the wrong one, and 0.
    """
    cursor = await connection.execute(_PAIRS, (model, version, until, _MOST_PAIRS))
    losses: list[float] = []
    before = 0
    for known_at, value, label, truth, truth_label in reversed(await cursor.fetchall()):
        loss = _loss(value, label, truth, truth_label)
        if loss is not None and math.isfinite(loss):
            losses.append(loss)
            before += known_at < since
    return Pairs(tuple(losses), before)


def _loss(value: float | None, label: str | None, truth: float | None, truth_label: str | None) -> float | None:
    if value is not None:
        return None if truth is None else abs(value - truth)
    if label is None:
        return None
    # A table of truths may hold classes as numbers.
    told = truth_label if truth_label is not None else None if truth is None else f"{truth:.17g}"
    return None if told is None else float(told != label)


async def forget_old(connection: Connection, *, now: datetime, days: float) -> int:
    """Delete what is older than `days`, and empty truths, a few at a time; how many rows."""
    statements = [
        (
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608 - names of ours
            f"SELECT ctid FROM {table} WHERE {column} < %s LIMIT %s FOR UPDATE SKIP LOCKED))"
        )
        for table, column in _OLD
    ]
    forgotten = 0
    for statement in (*statements, _EMPTIED):
        while True:
            cursor = await connection.execute(statement.encode(), (now - timedelta(days=days), _DELETED_AT_ONCE))
            forgotten += cursor.rowcount
            if cursor.rowcount < _DELETED_AT_ONCE:
                break
    return forgotten

"""Keeps what single rows were predicted, some together and behind the answers, so that nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg

from blocks.logs import logger
from blocks.postgres import Postgres
from models.drift import Profile
from models.training import Prediction

if TYPE_CHECKING:
    from tasks.train.predict import Predictor

_log = logger("predictions")

MOST_WAITING = 20_000
"""Rows that wait for the database; of what comes while it is away longer than that, the newest is not kept."""

_AWAY = (psycopg.Error, OSError, TimeoutError)
_MOST_PROFILES = 32


@dataclass(frozen=True)
class _Row:
    row: Mapping[str, object]
    key: str | None
    said: Prediction


@dataclass(frozen=True)
class _Batch:
    """Rows of one version that are kept together, or not at all; its name stays the same at every attempt."""

    batch: UUID
    at: datetime
    predictor: Predictor
    rows: list[_Row]


class Recorder:
    """Rows that wait to be kept, by the version that predicted them. Safe to share between threads.

    Args:
        database: Lama's.
    """

    def __init__(self, database: Postgres) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._waiting: dict[str, tuple[Predictor, list[_Row]]] = {}
        self._batches: dict[UUID, _Batch] = {}
        self._profiles: dict[str, Profile | None] = {}
        self._count = 0
        self.dropped = 0
        """Rows that were not kept, for want of a database."""

    @property
    def waiting(self) -> int:
        """Rows that are not kept yet."""
        return self._count

    def add(
        self,
        predictor: Predictor,
        rows: Sequence[Mapping[str, object]],
        said: Sequence[Prediction],
        keys: Sequence[str | None],
    ) -> None:
        """Take rows down; they are kept with the next `flush`."""
        with self._guard:
            if self._count + len(rows) > MOST_WAITING:
                self.dropped += len(rows)
                return
            _, waiting = self._waiting.setdefault(predictor.version.address, (predictor, []))
            waiting += [_Row(*one) for one in zip(rows, keys, said, strict=True)]
            self._count += len(rows)

    async def flush(self) -> int:
        """Keep what waits; how many rows. What cannot be kept now waits on, whatever the reason."""
        with self._guard:
            for predictor, rows in self._waiting.values():
                made = _Batch(uuid4(), datetime.now(UTC), predictor, rows)
                self._batches[made.batch] = made
            self._waiting = {}
            batches = list(self._batches.values())
        if not batches:
            return 0
        kept = 0
        try:
            async with await self._database.get_async_client(autocommit=True) as connection:
                for one in batches:
                    await self._keep(connection, one)
                    self._done(one)
                    kept += len(one.rows)
        except _AWAY as error:
            _log.warning("predictions wait to be kept, the database: %s", type(error).__name__)
        if self.dropped:
            _log.warning("%d predictions were not kept: the database was away for too long", self.dropped)
            self.dropped = 0
        return kept

    async def _keep(self, connection: psycopg.AsyncConnection[Any], one: _Batch) -> None:
        from asyncio import to_thread  # noqa: PLC0415

        from tasks.drift.store import keep_batch, profile_of  # noqa: PLC0415

        version = one.predictor.version
        profile = self._profiles.get(version.address)
        if profile is None:  # asked again where there was none: it may come a moment after the version
            profile = await profile_of(connection, version.name, version.version)
            if len(self._profiles) >= _MOST_PROFILES:
                self._profiles.clear()
            self._profiles[version.address] = profile
        sketch, kept = await to_thread(_counted, one.predictor, one.rows, profile)
        # By its name it is kept once, also where a commit was not heard of and it is tried again.
        await keep_batch(
            connection, batch=one.batch, part=0, model=version.name, version=version.version, at=one.at,
            sketch=sketch, rows=kept,
        )  # fmt: skip

    def _done(self, one: _Batch) -> None:
        with self._guard:
            if self._batches.pop(one.batch, None) is not None:
                self._count -= len(one.rows)


def _counted(predictor: Predictor, rows: list[_Row], profile: Profile | None) -> Any:
    import pandas as pd  # noqa: PLC0415

    from tasks.predict.kept import frame_of_predictions, rows_of, sketch_of  # noqa: PLC0415
    from tasks.train.model import frame_of  # noqa: PLC0415

    frame = frame_of([one.row for one in rows], predictor.schema)
    said = frame_of_predictions([one.said for one in rows])
    keys = pd.Series([one.key for one in rows], dtype=object)
    # The profile's cells of losses go by the widths of the model's own intervals, whatever was asked for.
    return sketch_of(frame, predictor.at_own_coverage(said), profile), rows_of(said, keys)

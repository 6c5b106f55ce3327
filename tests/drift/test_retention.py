"""What has been forgotten does not come back as new, and of too much the newest counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from blocks.postgres import Postgres
from blocks.settings import Settings
from models.drift import Sketch
from tasks.drift import store

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


async def test_a_truth_that_was_forgotten_is_not_new_when_it_is_told_again(migrated: Settings) -> None:
    name = f"old-{uuid4().hex[:8]}"
    async with await Postgres.of(migrated).get_async_client(autocommit=True) as connection:
        assert await store.keep_truths(connection, name, ["a", "b"], [15.0, 5.0], now=NOW - 91 * DAY) == 2
        assert await store.keep_truths(connection, name, ["c"], [1.0], now=NOW - 5 * DAY) == 1
        assert await store.forget_old(connection, now=NOW, days=90) >= 2
        for key, value in (("a", 15.5), ("c", 2.0)):  # predicted long after it was sold
            row = store.Kept(place=0, key=key, value=value)
            await store.keep_batch(
                connection, batch=uuid4(), part=0, model=name, version=1, at=NOW - (2 if key == "a" else 6) * DAY,
                sketch=Sketch(rows=1), rows=[row],
            )  # fmt: skip
        assert await store.keep_truths(connection, name, ["a", "b", "c"], [15.0, 5.0, 1.0], now=NOW - DAY) == 0
        assert (await store.pairs(connection, name, 1, NOW - 7 * DAY, NOW)).losses == (1.0,)
        (kept,) = [one for one in await store.kept(connection) if one.model == name]
        assert kept.truths == 1
        values = await connection.execute("SELECT value FROM prediction_truth WHERE model = %s AND key = 'a'", (name,))
        assert await values.fetchone() == (None,)
        assert await store.forget_old(connection, now=NOW, days=90) == 0


async def test_of_too_many_pairs_the_newest_count_in_their_order(
    migrated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"many-{uuid4().hex[:8]}"
    monkeypatch.setattr(store, "_MOST_PAIRS", 3)
    async with await Postgres.of(migrated).get_async_client(autocommit=True) as connection:
        rows = [store.Kept(place=n, key=f"k{n}", value=float(n)) for n in range(5)]
        await store.keep_batch(
            connection, batch=uuid4(), part=0, model=name, version=1, at=NOW - 9 * DAY,
            sketch=Sketch(rows=5), rows=rows,
        )  # fmt: skip
        for n in range(5):
            await store.keep_truths(connection, name, [f"k{n}"], [0.0], now=NOW - (8 - n) * DAY)
        found = await store.pairs(connection, name, 1, NOW - 5.5 * DAY, NOW)
    assert (found.losses, found.before) == ((2.0, 3.0, 4.0), 1)

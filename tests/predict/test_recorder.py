"""What single rows were predicted is kept once: whatever breaks in between, nothing is lost and nothing doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from blocks.postgres import Postgres
from blocks.settings import Settings
from tasks.drift import store
from tasks.predict.recorder import Recorder
from tasks.train.predict import Predictor
from tasks.train.registry import Loaded
from tests.predict.training import houses, trained

ROWS = houses(20, 2).drop(columns=["price", "id"]).to_dict("records")
KEYS = [f"k{n}" for n in range(20)]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    model, _, version = trained()
    return Predictor(Loaded(model, version.model_copy(update={"name": f"kept-{uuid4().hex[:8]}", "version": 1})))


@pytest.fixture
async def connection(migrated: Settings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await Postgres.of(migrated).get_async_client(autocommit=True) as found:
        yield found


async def _kept(connection: psycopg.AsyncConnection[Any], predictor: Predictor) -> int:
    cursor = await connection.execute(
        "SELECT coalesce(sum(rows), 0) FROM prediction_batch WHERE model = %s", (predictor.version.name,)
    )
    (found,) = await cursor.fetchone() or (0,)
    return int(found)


async def test_what_is_cancelled_waits_on_and_is_kept_later(
    migrated: Settings, connection: psycopg.AsyncConnection[Any], predictor: Predictor
) -> None:
    recorder = Recorder(Postgres.of(migrated))
    before = await _kept(connection, predictor)
    recorder.add(predictor, ROWS, predictor.predict_rows(ROWS), KEYS)
    async with connection.transaction():
        await connection.execute("LOCK TABLE prediction_batch IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(recorder.flush(), 1.0)
    assert recorder.waiting == 20
    recorder.add(predictor, ROWS[:5], predictor.predict_rows(ROWS[:5]), KEYS[:5])
    assert await recorder.flush() == 25
    assert await recorder.flush() == recorder.waiting == 0
    assert await _kept(connection, predictor) == before + 25


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_a_commit_that_was_not_heard_of_is_not_repeated(
    migrated: Settings,
    connection: psycopg.AsyncConnection[Any],
    predictor: Predictor,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_batch = store.keep_batch

    async def committed_and_cut_off(*given: Any, **named: Any) -> bool:
        await keep_batch(*given, **named)
        raise error("cut off after the commit")

    recorder = Recorder(Postgres.of(migrated))
    before = await _kept(connection, predictor)
    recorder.add(predictor, ROWS, predictor.predict_rows(ROWS), KEYS)
    with monkeypatch.context() as patched:
        patched.setattr(store, "keep_batch", committed_and_cut_off)
        if error is OSError:
            assert await recorder.flush() == 0
        else:
            with pytest.raises(error):
                await recorder.flush()
    assert recorder.waiting == 20
    assert await recorder.flush() == 20
    assert await _kept(connection, predictor) == before + 20

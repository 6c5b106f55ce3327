"""Predictions, truths and drift through a real Prefect: found when planted, and silent when not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import pandas as pd
import psycopg
import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client

from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import Settings
from flows.drift import drift
from lama.cli import cli
from models.drift import DriftReport, Profile, Sketch, TruthSource
from models.report import Severity, Status
from tasks.drift import store
from tasks.drift.judge import PREDICTION
from tasks.predict.kept import rows_of, sketch_of
from tasks.reports import store as reports
from tasks.train import registry as registered
from tasks.train.predict import Predictor
from tests.flow_runs import artifacts_of
from tests.predict.training import houses, registered_champion


class World:
    """A model with a champion, whose predictions are kept as if they were made at any time."""

    def __init__(self, config: Settings, task: str = "regression") -> None:
        self.config, self.registry = config, ModelRegistry.of(config)
        self.name = f"houses-{uuid4().hex[:8]}"
        self.version, self.profile = registered_champion(self.registry, self.name, task)  # type: ignore[arg-type]
        self.predictor = Predictor(registered.load(self.registry, self.name))

    async def profiled(self) -> World:
        async with await self.connect() as connection:
            await store.keep_profile(connection, self.name, self.version, self.profile, now=datetime.now(UTC))
        return self

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        return await Postgres.of(self.config).get_async_client(autocommit=True)

    async def predicted(self, frame: pd.DataFrame, *, days_ago: float = 1.0, profile: Profile | None = None) -> None:
        said, _ = self.predictor.predict_frame(frame)
        async with await self.connect() as connection:
            await store.keep_batch(
                connection, batch=uuid4(), part=0, model=self.name, version=self.version,
                at=datetime.now(UTC) - timedelta(days=days_ago),
                sketch=sketch_of(frame, said, profile or self.profile), rows=rows_of(said, frame["id"]),
            )  # fmt: skip


@pytest.fixture
async def world(migrated: Settings) -> World:
    return await (await asyncio.to_thread(World, migrated)).profiled()


def _verdicts(report: DriftReport) -> dict[str, str]:
    (model,) = report.models
    return {column.column: column.verdict for column in model.columns}


@pytest.mark.usefixtures("configured")
async def test_without_drift_there_is_nothing_to_tell_and_with_it_there_is(world: World, tmp_path: Path) -> None:
    await world.predicted(houses(900, 11))
    report = await drift(models=[world.name])
    assert (report.status, report.findings) == (Status.ok, ()), report.summary
    assert set(_verdicts(report)) == {"area", "age", "town", PREDICTION}
    await world.predicted(houses(3000, 12, shift=1.0))
    report = await drift(models=[world.name])
    assert report.status is Status.degraded
    worst = {finding.key: finding.severity for finding in report.findings}
    assert worst[f"drift.column:{world.name}@1/area"] is Severity.medium
    assert worst[f"drift.column:{world.name}@1/{PREDICTION}"] is Severity.medium
    assert f"drift.column:{world.name}@1/town" not in worst
    shown = await artifacts_of(report.run_id)
    assert {"drift", "drift-progress"} <= set(shown)
    (picture,) = [data for key, data in shown.items() if key and key.startswith(f"drift-{world.name}")]
    assert "data:image/png;base64," in str(picture)
    stored = await asyncio.to_thread(reports.load, Postgres.of(world.config), report.run_id, DriftReport)
    assert stored is not None
    assert stored.models == report.models


@pytest.mark.usefixtures("configured")
async def test_performance_is_compared_once_the_truth_is_there(world: World, tmp_path: Path) -> None:
    first, second = houses(600, 13), houses(600, 14, noise=25.0).assign(id=lambda frame: "n" + frame["id"])
    await world.predicted(pd.concat([first, second], ignore_index=True))
    report = await drift(models=[world.name])
    assert [(one.known, one.verdict) for one in report.models[0].performance] == [(False, "stable")]
    truth = tmp_path / "sold.csv"
    first[["id", "price"]].to_csv(truth, index=False)
    told = TruthSource(model=world.name, source=str(truth), key="id", value="price")
    report = await drift(models=[world.name], truths=[told])
    assert report.metrics["truths_total"] == 600
    known = report.models[0].performance[0]
    assert (known.known, known.rows, known.verdict) == (True, 600, "stable")
    assert known.value / known.held_out == pytest.approx(1.0, abs=0.15)
    second[["id", "price"]].to_parquet(tmp_path / "more.parquet")
    told = told.model_copy(update={"source": str(tmp_path / "more.parquet")})
    report = await drift(models=[world.name], truths=[told])
    assert report.status is Status.failing
    assert report.findings[0].key == f"drift.performance:{world.name}@1"
    assert report.findings[0].severity is Severity.high
    again = await drift(models=[world.name], truths=[told])
    assert again.metrics["truths_total"] == 0, "what is known is not new"


@pytest.mark.usefixtures("configured")
async def test_classes_have_their_error_estimated_and_known(migrated: Settings) -> None:
    world = await (await asyncio.to_thread(World, migrated, "classification")).profiled()
    frame = houses(800, 15)
    await world.predicted(frame)
    async with await world.connect() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS sold (id text, was text)")
        await connection.execute("TRUNCATE sold")
        limit = float(houses(2000)["price"].median())
        values = [(one, "dear" if price > limit else "cheap") for one, price in frame[["id", "price"]].to_numpy()]
        async with connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO sold VALUES (%s, %s)", values)
    told = TruthSource(model=world.name, source="sql:SELECT id, was FROM sold", key="id", value="was")
    report = await drift(models=[world.name], truths=[told])
    known, estimated = report.models[0].performance
    assert (known.loss, known.known, known.rows) == ("error_rate", True, 800)
    assert estimated.known is False
    assert known.value < 0.1
    assert report.status is Status.ok, [finding.title for finding in report.findings]


@pytest.mark.usefixtures("configured")
async def test_what_is_too_little_is_said_to_be(world: World, migrated: Settings) -> None:
    nothing = await drift(models=[f"{world.name}@champion"])
    assert nothing.status is Status.incomplete
    assert "predicted nothing" in nothing.skipped[0].reason
    await world.predicted(houses(15, 16))
    few = await drift(models=[world.name])
    assert few.status is Status.incomplete
    assert "Too few rows" in few.skipped[0].reason
    bare = await asyncio.to_thread(World, migrated)
    await bare.predicted(houses(500, 17))
    unknown = await drift(models=[bare.name])
    assert unknown.status is Status.incomplete
    assert "no profile" in unknown.skipped[0].reason


@pytest.mark.usefixtures("configured")
async def test_a_table_can_be_looked_at_instead(world: World, tmp_path: Path) -> None:
    houses(2000, 18, shift=1.5).to_parquet(tmp_path / "next.parquet")
    report = await drift(models=[f"{world.name}@champion"], source=str(tmp_path / "next.parquet"), dry_run=True)
    assert _verdicts(report)["area"] == "major"
    assert report.models[0].rows == 2000
    with pytest.raises(ConfigurationError, match="compared with one model"):
        await drift(source=str(tmp_path / "next.parquet"), models=["a", "b"])


@pytest.mark.usefixtures("configured")
async def test_parameters_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is empty"):
        await drift(models=[])
    with pytest.raises(ConfigurationError, match="is no model"):
        await drift(models=["a b"])
    with pytest.raises(ConfigurationError, match="there is no model"):
        await drift(models=[f"nobody-{uuid4().hex}"])


async def test_a_truth_that_cannot_be_read_is_told_and_the_rest_goes_on(world: World, configured: Path) -> None:
    await world.predicted(houses(900, 19))
    told = TruthSource(model=world.name, source="/nowhere/sold.csv", key="id", value="price")
    report = await drift(models=[world.name], truths=[told])
    assert report.status is Status.incomplete
    assert [skip.component for skip in report.skipped] == [f"truths of {world.name}"]
    assert len(report.models) == 1


async def _trained_when_drifted(name: str, configured: Path) -> None:
    """Have a training for challengers of the model."""
    from prefect import flow

    @flow(name="train-of-the-test")
    def train_of_the_test(rows: int) -> int:
        return rows

    async with get_client() as client:
        flow_id = await client.create_flow(train_of_the_test)
        await client.create_deployment(flow_id=flow_id, name="train", entrypoint="none:none")
    with await asyncio.to_thread(configured.open, "a") as file:
        file.write(f'\n[drift]\ntraining = "train-of-the-test/train"\n[drift.trainings.{name}]\nrows = 7\n')


async def test_much_drift_trains_a_challenger_once_a_day_where_it_is_said_how(world: World, configured: Path) -> None:
    await _trained_when_drifted(world.name, configured)
    await world.predicted(houses(2000, 20, shift=2.0))
    tried = await drift(models=[world.name], dry_run=True)
    assert tried.models[0].challenger == ""
    first = await drift(models=[world.name])
    second = await drift(models=[world.name])
    assert "a challenger is being trained" in first.summary
    assert UUID(first.models[0].challenger) == UUID(second.models[0].challenger)
    async with get_client() as client:
        run = await client.read_flow_run(UUID(first.models[0].challenger))
    assert run.parameters == {"rows": 7}
    assert run.deployment_id is not None


async def test_versions_are_told_apart_and_only_the_champion_is_challenged(world: World, configured: Path) -> None:
    await _trained_when_drifted(world.name, configured)
    await world.predicted(houses(2000, 25, shift=2.0))
    world.version, world.profile = await asyncio.to_thread(registered_champion, world.registry, world.name)
    world.predictor = Predictor(await asyncio.to_thread(registered.load, world.registry, world.name))
    await world.profiled()
    await world.predicted(houses(900, 26))
    report = await drift(models=[world.name])
    assert {one.model: one.challenger for one in report.models} == {f"{world.name}@1": "", f"{world.name}@2": ""}
    assert {finding.key.partition("/")[0] for finding in report.findings} == {f"drift.column:{world.name}@1"}
    assert report.metrics[f"{world.name}@1.rows_total"] == 2000
    assert report.metrics[f"{world.name}@2.rows_total"] == 900
    await world.predicted(houses(3000, 27, shift=2.0))
    report = await drift(models=[world.name])
    challengers = {one.model: bool(one.challenger) for one in report.models}
    assert challengers == {f"{world.name}@1": False, f"{world.name}@2": True}
    keys = {finding.key for finding in report.findings}
    assert {f"drift.column:{world.name}@{version}/area" for version in (1, 2)} <= keys


@pytest.mark.usefixtures("configured")
async def test_old_predictions_are_forgotten_and_the_window_is_kept_to(world: World) -> None:
    await world.predicted(houses(300, 21, shift=3.0), days_ago=200)
    await world.predicted(houses(300, 22, shift=3.0), days_ago=20)
    await world.predicted(houses(900, 23), days_ago=1)
    report = await drift(models=[world.name])
    assert report.models[0].rows == 900
    assert report.status is Status.ok
    assert report.metrics["forgotten_rows_total"] >= 301
    async with await world.connect() as connection:
        (left,) = [one for one in await store.kept(connection) if one.model == world.name]
    assert left.rows == 1200


async def test_what_is_kept_is_kept_once_and_paired_with_what_was_said_before(world: World) -> None:
    now = datetime.now(UTC)
    async with await world.connect() as connection:

        async def keep(batch: UUID, key: str, value: float, at: datetime) -> bool:
            row = store.Kept(place=0, key=key, value=value)
            return await store.keep_batch(
                connection, batch=batch, part=0, model=world.name, version=world.version, at=at,
                sketch=Sketch(rows=1), rows=[row],
            )  # fmt: skip

        batch = uuid5(UUID(int=0), world.name)
        assert await keep(batch, "a", 10.0, now - timedelta(days=3))
        assert not await keep(batch, "a", 99.0, now - timedelta(days=3))
        assert await keep(uuid4(), "a", 12.0, now - timedelta(days=2))
        assert await keep(uuid4(), "b", 5.0, now + timedelta(seconds=5))
        assert await store.keep_truths(connection, world.name, ["a", "b", "c"], [15.0, 5.0, None], now=now) == 2
        assert await store.keep_truths(connection, world.name, ["a"], [15.0], now=now + timedelta(days=9)) == 0
        found = await store.pairs(
            connection, world.name, world.version, now - timedelta(days=1), now + timedelta(days=1)
        )
    assert found.losses == (3.0,), "the last that was said before the truth was known"
    assert found.before == 0


@pytest.mark.usefixtures("configured")
async def test_the_command_shows_what_is_kept(world: World) -> None:
    await world.predicted(houses(40, 24))

    def shown() -> tuple[str, str]:
        plain = CliRunner().invoke(cli, ["drift", "status"], standalone_mode=False)
        told = CliRunner().invoke(cli, ["drift", "status", "--json"], standalone_mode=False)
        assert plain.exception is None
        return plain.output, told.output

    plain, told = await asyncio.to_thread(shown)
    assert world.name in told
    assert world.name[:10] in plain.replace("\n", "")


@pytest.mark.usefixtures("configured")
async def test_from_the_training_over_predictions_to_drift(migrated: Settings, tmp_path: Path) -> None:
    from flows.predict import predict
    from flows.train import train

    name = f"whole-{uuid4().hex[:8]}"
    houses(900, 31).to_csv(tmp_path / "sold.csv", index=False)
    trained = await train(
        str(tmp_path / "sold.csv"), target="price", name=name, ignore=["id"], families=["linear"], folds=3, trials=1
    )
    assert (trained.model, trained.promoted) == (f"{name}@1", True), trained.summary
    for seed, shift in ((32, 0.0), (33, 2.0)):
        source = tmp_path / f"{seed}.parquet"
        houses(700, seed, shift=shift).drop(columns=["price"]).to_parquet(source)
        await predict(name, str(source), str(tmp_path / f"{seed}.csv"), key="id")
        report = await drift(models=[name], train=False)
        (model,) = report.models
        assert model.rows == (700 if not shift else 1400)
        assert {"area", "age", "town", PREDICTION} <= {column.column for column in model.columns}
        assert [one.known for one in model.performance] == [False]
        far = {column.column for column in model.columns if column.verdict == "major"}
        assert far == ({"area", PREDICTION} if shift else set())

"""Performance that was not judged is said not to be, and a truth counts whenever it comes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flows.drift import drift
from models.drift import TruthSource
from models.report import Status
from tests.drift.test_drift_flow import World, world  # noqa: F401 - a fixture
from tests.predict.training import houses


@pytest.mark.usefixtures("configured")
async def test_truths_that_find_no_prediction_are_counted_and_not_green(world: World, tmp_path: Path) -> None:  # noqa: F811
    frame = houses(600, 41)
    await world.predicted(frame)
    truth = tmp_path / "sold.csv"
    frame.assign(id="other-" + frame["id"])[["id", "price"]].to_csv(truth, index=False)
    told = TruthSource(model=world.name, source=str(truth), key="id", value="price")
    report = await drift(models=[world.name], truths=[told])
    assert report.status is Status.incomplete
    (skip,) = report.skipped
    assert "600 of 600 truths of the window found no prediction" in skip.reason
    assert skip.may_hide(f"drift.performance:{world.name}@1")
    again = await drift(models=[world.name])
    assert again.status is Status.incomplete, "also when the table of truths is no longer named"


@pytest.mark.usefixtures("configured")
async def test_an_estimate_does_only_where_nobody_tells_the_truth(world: World, tmp_path: Path) -> None:  # noqa: F811
    await world.predicted(houses(600, 42))
    assert (await drift(models=[world.name])).status is Status.ok
    (tmp_path / "sold.csv").write_text("id,price\n")
    told = TruthSource(model=world.name, source=str(tmp_path / "sold.csv"), key="id", value="price")
    report = await drift(models=[world.name], truths=[told])
    assert report.status is Status.incomplete
    assert "no truth of what it predicted" in report.skipped[0].reason


@pytest.mark.usefixtures("configured")
async def test_without_held_out_rows_performance_is_not_judged(world: World) -> None:  # noqa: F811
    world.profile = world.profile.model_copy(update={"performance": None, "expected_loss": None})
    await world.profiled()
    await world.predicted(houses(600, 43))
    report = await drift(models=[world.name])
    assert report.status is Status.incomplete
    assert "how it did on rows" in report.skipped[0].reason


@pytest.mark.usefixtures("configured")
async def test_what_was_predicted_long_before_the_window_is_judged_by_its_late_truth(
    world: World,  # noqa: F811
    tmp_path: Path,
) -> None:
    frame = houses(600, 44, noise=25.0)
    await world.predicted(frame, days_ago=30)
    await asyncio.to_thread(frame[["id", "price"]].to_csv, tmp_path / "sold.csv", index=False)
    told = TruthSource(model=world.name, source=str(tmp_path / "sold.csv"), key="id", value="price")
    report = await drift(models=[world.name], truths=[told])
    assert [one.known for one in report.models[0].performance] == [True]
    assert report.models[0].performance[0].rows == 600
    assert report.status is Status.failing
    every = await drift()
    assert f"{world.name}@{world.version}" in {one.model for one in every.models}, "also when no model is named"

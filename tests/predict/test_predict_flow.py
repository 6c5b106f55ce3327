"""A whole table through a real Prefect: predicted, kept, resumed after a kill, refused when it cannot be used."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest

from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT, Settings
from flows.predict import predict
from models.report import Severity, Status
from tasks.drift import store
from tasks.train.predict import RowError
from tests.flow_runs import artifacts_of
from tests.predict.training import houses, registered_champion


@pytest.fixture
async def model(migrated: Settings) -> str:
    """The name of a model with a champion, whose profile is kept."""
    name = f"houses-{uuid4().hex[:8]}"
    version, profile = await asyncio.to_thread(registered_champion, ModelRegistry.of(migrated), name)
    from datetime import UTC, datetime

    async with await Postgres.of(migrated).get_async_client(autocommit=True) as connection:
        await store.keep_profile(connection, name, version, profile, now=datetime.now(UTC))
    return name


async def _kept(config: Settings, model: str) -> store.KeptOf:
    async with await Postgres.of(config).get_async_client(autocommit=True) as connection:
        (found,) = [one for one in await store.kept(connection) if one.model == model]
    return found


@pytest.mark.usefixtures("configured")
async def test_a_table_is_predicted_and_kept(model: str, migrated: Settings, tmp_path: Path) -> None:
    frame = houses(450, 3)
    frame.loc[:44, "town"] = "Elsewhere"
    frame.drop(columns=["price"]).to_csv(tmp_path / "in.csv", index=False)
    report = await predict(
        model, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), key="id", keep=["area"], chunk_rows=200
    )
    assert report.status is Status.degraded, report.summary
    finding = report.findings[0]
    assert (finding.key, finding.severity) == (f"predict.unknown:{model}", Severity.medium)
    assert finding.evidence["columns"] == {"town": 45}
    assert report.metrics["rows_total"] == 450
    made = pd.read_csv(tmp_path / "out.csv")
    assert list(made.columns) == ["id", "area", "prediction", "low", "high", "model"]
    assert set(made["model"]) == {f"{model}@1"}
    assert abs(made["prediction"] - frame["price"])[45:].mean() < 20
    assert (made["low"] <= made["high"]).all()
    assert "predict-progress" in await artifacts_of(report.run_id)
    kept = await _kept(migrated, model)
    assert (kept.rows, kept.keyed, kept.profile) == (450, 450, True)
    with pytest.raises(ConfigurationError, match="such a file already"):
        await predict(model, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    again = await predict(model, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), replace=True, record=False)
    assert again.metrics["rows_total"] == 450
    assert (await _kept(migrated, model)).rows == 450


@pytest.mark.usefixtures("configured")
async def test_what_cannot_be_used_leaves_nothing_behind(model: str, tmp_path: Path) -> None:
    frame = houses(300).drop(columns=["price"])
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.drop(columns=["area"]).to_csv(tmp_path / "less.csv", index=False)
    words = frame.astype({"area": object})
    words.loc[250, "area"] = "large"
    words.to_csv(tmp_path / "words.csv", index=False)
    (tmp_path / "empty.csv").write_text("id,area,age,town\n")
    output = str(tmp_path / "out.csv")
    for source, asked, error, problem in (
        ("in.csv", "nobody", ConfigurationError, "there is no model"),
        ("less.csv", model, RowError, "lacks 'area'"),
        ("words.csv", model, RowError, "'large'"),
        ("empty.csv", model, ConfigurationError, "no rows"),
        ("none.csv", model, ConfigurationError, "no such file"),
    ):
        with pytest.raises(error, match=problem):
            await predict(asked, str(tmp_path / source), output, chunk_rows=100)
        assert not [name for name in os.listdir(tmp_path) if "out.csv" in name]  # noqa: PTH208
    with pytest.raises(ConfigurationError, match="no column 'key'"):
        await predict(model, str(tmp_path / "in.csv"), output, key="key")
    with pytest.raises(ConfigurationError, match="no block 'elsewhere'"):
        await predict(model, "sql:SELECT 1", output, database="elsewhere")


@pytest.mark.usefixtures("configured")
async def test_a_killed_run_goes_on_where_it_was_and_keeps_nothing_twice(
    model: str, migrated: Settings, tmp_path: Path
) -> None:
    houses(3000, 4).drop(columns=["price"]).to_csv(tmp_path / "in.csv", index=False)
    source, output = str(tmp_path / "in.csv"), tmp_path / "out.parquet"
    script = textwrap.dedent(
        f"""
        import asyncio
        from flows.predict import predict
        asyncio.run(predict({model!r}, {source!r}, {str(output)!r}, key="id", chunk_rows=100))
        """
    )
    folder = output.parent / f".{output.name}.parts"
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-c", script], cwd=CHECKOUT, env=dict(os.environ), start_new_session=True
    )
    deadline = time.monotonic() + 90
    while len(list(folder.glob("*.parquet"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len([path for path in folder.glob("*.json") if path.stem.isdigit()])
    assert not output.exists()
    assert 2 <= done < 30
    report = await predict(model, source, str(output), key="id", chunk_rows=100)
    assert report.metrics["resumed_parts_total"] >= done
    assert report.metrics["rows_total"] == 3000
    assert pd.read_parquet(output)["id"].tolist() == [f"h{n}" for n in range(3000)]
    kept = await _kept(migrated, model)
    assert (kept.rows, kept.keyed) == (3000, 3000)
    assert not folder.exists()


@pytest.mark.usefixtures("configured")
async def test_what_cannot_be_kept_makes_the_report_incomplete_and_the_output_is_there(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    houses(100).drop(columns=["price"]).to_csv(tmp_path / "in.csv", index=False)

    async def away(*_: object, **__: object) -> bool:
        raise OSError("the disk of the database is full")

    monkeypatch.setattr(store, "keep_batch", away)
    report = await predict(model, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert report.status is Status.incomplete
    assert "drift cannot be seen" in report.skipped[0].reason
    assert len(pd.read_csv(tmp_path / "out.csv")) == 100

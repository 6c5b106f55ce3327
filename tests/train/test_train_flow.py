"""The training as a whole: on a real Prefect server and database, killed half-way, and by the command."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from flows.train import train
from lama.cli import cli
from models.report import Status
from models.training import Columns, ModelVersion, TrainingTable, TrainParameters, TrainReport
from tasks.reports import store
from tasks.reports.export import export
from tasks.train import registry as models
from tasks.train.contest import contest
from tasks.train.extra import check_installed
from tasks.train.model import TrainedModel
from tasks.train.run import Parts
from tasks.train.run import train as learn
from tests.flow_runs import artifacts_of
from tests.train.data import LINEAR, QUICK, as_csv, asked, houses, leads

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def own_registry(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """The flow's and the command's registry is this test's."""
    monkeypatch.setattr(ModelRegistry, "of", classmethod(lambda _cls, *_a, **_k: registry))
    return registry


async def test_a_table_becomes_the_champion_and_a_better_one_takes_its_place(
    own_registry: ModelRegistry, configured: Path, tmp_path: Path
) -> None:
    path = as_csv(houses(500, noise=0.08), tmp_path / "houses.csv")
    quick = {"families": ["linear"], "folds": 3, "trials": 1}
    poor = await train(path, target="price", ignore=["property", "sold", "district"], **quick)  # type: ignore[arg-type]
    assert (poor.model, poor.promoted) == ("houses-price@1", True)
    better = await train(path, target="price", ignore=["property", "sold"], name="houses-price", **quick)  # type: ignore[arg-type]
    assert better.status is Status.ok
    assert better.comparison is not None
    assert "Better beyond noise" in better.comparison.verdict
    assert (better.model, better.promoted) == ("houses-price@2", True)
    worse = await train(path, target="price", ignore=["property", "sold", "built"], **quick)  # type: ignore[arg-type]
    assert not worse.promoted
    assert models.find(own_registry, "houses-price").version == 2
    shown = await artifacts_of(better.run_id)
    assert {"train", "model-card", "train-progress"} <= set(shown)
    card = str(shown["model-card"])
    assert "data:image/png;base64," in card
    assert "data:image" not in better.card
    for words in ("mdape", "linear", better.lineage.data_hash if better.lineage else "", "area"):
        assert words in card
    kept = store.load(Postgres.of(), better.run_id, TrainReport)
    assert kept == better
    assert json.loads(export(better, "json"))["model"] == "houses-price@2"
    assert "Figures" in export(better, "markdown")

    listed = CliRunner().invoke(cli, ["train", "list", "--json"])
    assert len(json.loads(listed.output)["houses-price"]) == 3
    assert "houses-price@2 (champion)" in CliRunner().invoke(cli, ["train", "show", "houses-price"]).output
    assert "## How good it is" in CliRunner().invoke(cli, ["train", "show", "houses-price", "3", "--card"]).output
    compared = CliRunner().invoke(cli, ["train", "compare", "houses-price", "2", "3", "--table", path, "--json"])
    assert json.loads(compared.output)["better"] is False
    refused = CliRunner().invoke(cli, ["train", "promote", "houses-price", "3"])
    assert isinstance(refused.exception, ConfigurationError)
    forced = ["train", "promote", "houses-price", "3", "--force", "--reason", "a drill"]
    assert "houses-price@3 is the champion." in CliRunner().invoke(cli, forced).output
    back = CliRunner().invoke(cli, ["train", "rollback", "houses-price", "--reason", "it was worse"])
    assert "houses-price@2 is the champion again; houses-price@3 was rolled back." in back.output


async def test_a_dry_run_looks_and_leaves_nothing(
    own_registry: ModelRegistry, configured: Path, tmp_path: Path
) -> None:
    frame = houses(300)
    frame["tax"] = frame["price"] * 0.01
    report = await train(as_csv(frame, tmp_path / "houses.csv"), target="price", time="sold", dry_run=True)
    assert "Would learn from 300 rows and 5 columns, split by time (sold)" in report.summary
    assert [one.key for one in report.findings if one.key.startswith("train.leak")] == ["train.leak:tax"]
    assert report.model == ""
    assert own_registry.names() == []


async def test_a_class_that_only_held_out_rows_have_ends_no_training(
    own_registry: ModelRegistry, configured: Path, tmp_path: Path
) -> None:
    """It is a mistake in every figure; plots and profile are of what was judged, and the refit learns it."""
    frame = leads(600)
    frame["asked"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(600), unit="D")
    frame["size"] = np.random.default_rng(0).normal(size=600)
    frame.loc[frame.index[-30:], "won"] = "later"
    path = as_csv(frame, tmp_path / "leads.csv")
    first = await train(
        path, target="won", task="classification", time="asked", name="leads", families=["logistic"], folds=3, trials=1
    )
    (told,) = [one for one in first.findings if one.key == "train.classes:holdout"]
    assert "'later': the figures count their 30 rows as mistakes" in told.title
    assert not [one.key for one in first.findings if one.key.startswith("train.profile")]
    assert first.measures["accuracy"].value < 0.7, "30 of 90 rows cannot be right"
    assert models.load(own_registry, "leads", 1).model.classes == ["later", "no", "yes"], "what answers knows it"


def test_models_of_other_classes_are_compared_by_what_each_has_said() -> None:
    """The refit knows a class more than what was measured: its columns are not those of the probabilities."""
    frame = leads(600)
    frame["asked"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(600), unit="D")
    frame.loc[frame.index[-30:], "won"] = "later"
    kept = []

    async def register(_: object, model: TrainedModel, version: ModelVersion, card: str) -> ModelVersion:
        kept.append(models.Loaded(model, version.model_copy(update={"version": len(kept) + 1})))
        raise RuntimeError("that is enough")

    for left_out in ((), ("visits",)):
        columns = Columns(target="won", time="asked", ignore=left_out)
        table = TrainingTable(source="leads.csv", columns=columns, task="classification")
        wanted = asked(name="leads", table=table, parameters=LINEAR.model_copy(update={"families": ("logistic",)}))
        with pytest.raises(RuntimeError, match="enough"):
            asyncio.run(learn(wanted, frame, registry=object(), parts=Parts(register=register)))  # type: ignore[arg-type]
    good, poor = kept
    found = contest("leads", poor, good, frame)
    assert found.rows == 90
    assert found.champion_loss == pytest.approx(poor.version.metrics["log_loss"])
    assert found.challenger_loss == pytest.approx(good.version.metrics["log_loss"])


async def test_what_cannot_be_done_is_refused_before_anything_is_done(
    own_registry: ModelRegistry, configured: Path, tmp_path: Path
) -> None:
    path = as_csv(houses(100), tmp_path / "houses.csv")
    for words, said in (
        ({"table": str(tmp_path / "none.csv"), "target": "price"}, "no such file"),
        ({"table": path}, "needs a target"),
        ({"table": path, "target": "cost"}, "no column 'cost'"),
        ({"table": path, "target": "price", "time": "price"}, "two roles"),
        ({"table": path, "target": "price", "latitude": "area"}, "go together"),
        ({"table": path, "target": "price", "families": ["magic"]}, "no family 'magic'"),
        ({"table": path, "target": "price", "families": ["linear", "linear"]}, "named twice"),
        ({"table": "sql:SELECT 1", "target": "a", "database": "nobody"}, "no block 'nobody'"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            await train(**words)  # type: ignore[arg-type]
    assert own_registry.names() == []


def test_of_the_same_table_and_seed_comes_the_same_artifact_in_parallel_or_not(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    frame = houses(250)
    for workers, run in ((1, "first"), (4, "second")):
        parameters = QUICK.model_copy(update={"workers": workers, "trials": 2})
        asyncio.run(learn(asked(parameters=parameters, run_id=run), frame, registry=registry))
    first, second = models.versions(registry, "houses")
    assert first.artifact_hash == second.artifact_hash
    assert first.metrics == second.metrics


_KILLED = """
import asyncio, sys
from pathlib import Path
from tasks.train import workbench
from tasks.train.run import train
from tests.train.data import QUICK, asked, houses
if sys.argv[2] == "slow":
    import time
    fit = workbench.fit_fold
    workbench.fit_fold = lambda *a, **k: (time.sleep(0.7), fit(*a, **k))[1]
from tasks.train import fitted, artifact
judge = fitted.fit_and_judge
import tasks.train.run as run
def judged(*a, **k):
    found = judge(*a, **k)
    print("HASH", artifact.hash_of(artifact.dump(found.model)))
    return found
run.fit_and_judge = judged
wanted = asked(parameters=QUICK.model_copy(update={"workers": 1, "trials": 2}))
report = asyncio.run(train(wanted, houses(250), registry=None, checkpoints=Path(sys.argv[1])))
print("RESUMED", report.resumed_folds)
"""


def _learned(folder: Path, how: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(folder), how], stdout=subprocess.PIPE, text=True, cwd=root
    )


def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    killed = _learned(folder, "slow")
    deadline = time.monotonic() + 90
    while len(list(folder.glob("*/*.npz"))) < 3:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = len(list(folder.glob("*/*.npz")))
    for broken in list(folder.glob("*/*.npz"))[:1]:
        broken.write_bytes(broken.read_bytes()[:40])  # what a full disk leaves
    resumed = _learned(folder, "now").communicate(timeout=120)[0]
    fresh = _learned(tmp_path / "other", "now").communicate(timeout=120)[0]
    assert f"RESUMED {done - 1}" in resumed
    assert "RESUMED 0" in fresh
    assert resumed.splitlines()[0] == fresh.splitlines()[0]
    assert "HASH" in fresh


def test_folds_of_older_code_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    def resumed(code_version: str) -> int:
        report = asyncio.run(
            learn(asked(), houses(200), registry=None, code_version=code_version, checkpoints=tmp_path / "kept")
        )
        return report.resumed_folds

    assert [resumed("old"), resumed("old"), resumed("new")] == [0, 3, 0]


def test_classes_and_groups_by_the_same_door(registry: ModelRegistry) -> None:
    frame = leads(1_500)
    frame["age"] = np.random.default_rng(0).normal(size=1_500)  # otherwise most rows repeat, and are few groups
    table = TrainingTable(source="leads.csv", columns=Columns(target="won"), task="classification")
    families = ("logistic", "lightgbm")
    parameters = LINEAR.model_copy(update={"families": families})
    report = asyncio.run(learn(asked(name="leads", table=table, parameters=parameters), frame, registry=registry))
    assert report.promoted
    assert report.measures["roc_auc"].value > 0.6
    assert {one.family for one in report.candidates} >= set(families)
    both = pd.concat([houses(100)[["area", "built"]], houses(100)[["area", "built"]] * 5 + 1_000])
    table = TrainingTable(source="x.csv", columns=Columns(), task="clustering")
    parameters = TrainParameters(families=("kmeans",))
    report = asyncio.run(learn(asked(name="kinds", table=table, parameters=parameters), both, registry=registry))
    assert report.measures["clusters"].value == 2
    assert models.find(registry, "kinds").parameters["family"] == "kmeans"


def test_noise_is_said_to_be_useless_and_is_not_promoted(registry: ModelRegistry) -> None:
    frame = houses(300).assign(price=lambda one: one["price"].sample(frac=1, random_state=1).to_numpy())
    report = asyncio.run(learn(asked(), frame, registry=registry))
    assert report.status is Status.failing
    assert [one.key for one in report.findings if one.key.startswith("train.useless")]
    assert not report.promoted


def test_time_that_is_over_ends_the_search_and_is_told() -> None:
    parameters = QUICK.model_copy(update={"budget_s": 0.001, "trials": 3})
    report = asyncio.run(learn(asked(parameters=parameters), houses(200), registry=None))
    assert [one.key for one in report.findings if one.key == "train.budget:search"]
    assert all(one.parameters == {} for one in report.candidates if one.family != "blend")


def test_a_suspect_is_left_out_unless_it_is_kept() -> None:
    frame = houses(300).assign(tax=lambda one: one["price"] * 0.01)
    left = asyncio.run(learn(asked(), frame, registry=None))
    kept = asyncio.run(learn(asked(keep_suspects=True), frame, registry=None))
    assert kept.measures["log_rmse"].value < 0.5 * left.measures["log_rmse"].value
    assert kept.status is Status.failing, "too good to be true is no good news"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.train.extra._NEEDED", ("pandas", "nothing_of_that_name"))
    with pytest.raises(ConfigurationError, match=r"nothing_of_that_name is not installed.*\[training\]"):
        check_installed()


def test_the_command_refuses_and_completes() -> None:
    for words, said in (
        (["train", "/nowhere.csv", "--target", "a"], "does not exist"),
        (["train", "x.csv"], "--target names the column"),
        (["train", "promote", "m", "1", "--force"], "say why with --reason"),
        (["train", "promote", "m", "none"], "not a valid integer"),
    ):
        assert said in CliRunner().invoke(cli, words).output
    helped = CliRunner().invoke(cli, ["train", "--help"]).output
    for name in ("run", "list", "show", "promote", "rollback", "compare"):
        assert name in helped

"""The registry: versions, aliases, promotion only with proof, rollback, many at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from pydantic import SecretStr

from blocks.database import dsn
from blocks.errors import ConfigurationError, UnavailableError
from blocks.model_registry import ModelRegistry
from blocks.settings import Settings
from models.training import CHALLENGER, CHAMPION, Comparison, Measure, ModelVersion
from tasks.train import registry as models
from tasks.train.artifact import ArtifactError
from tasks.train.estimators import LinearModel
from tasks.train.predict import Predictor
from tasks.train.run import train
from tests.train.data import asked, houses


def version(name: str = "m", **more: object) -> ModelVersion:
    given: dict[str, object] = {
        "name": name, "task": "regression", "created_at": datetime(2026, 1, 1, tzinfo=UTC), "data_hash": "d",
        "code_version": "c", "environment": {"python": "3.11"}, "parameters": {"family": "linear"},
        "metrics": {"rmse": 1.5},
    }  # fmt: skip
    return ModelVersion.model_validate(given | more)


def fitted(alpha: float = 1.0) -> LinearModel:
    frame = houses(60)
    return LinearModel(alpha=alpha).fit(frame[["area", "district"]], frame["price"].to_numpy())


def comparison(champion: int, challenger: int, *, better: bool = True) -> Comparison:
    return Comparison(
        name="m", champion=champion, challenger=challenger, metric="rmse", rows=100, champion_loss=2, challenger_loss=1,
        difference=Measure(value=-1, low=-1.5, high=-0.5), probability=1.0, better=better, verdict="as it is.",
    )  # fmt: skip


def register(registry: ModelRegistry, *alphas: float) -> list[ModelVersion]:
    return [models.register(registry, fitted(alpha), version()) for alpha in alphas]


def test_a_version_comes_back_with_all_that_is_known_of_it(registry: ModelRegistry) -> None:
    (made,) = register(registry, 1.0)
    found = models.find(registry, "m", CHALLENGER)
    assert found == made
    assert (found.version, found.parameters, found.metrics) == (1, {"family": "linear"}, {"rmse": 1.5})
    loaded = models.load(registry, "m", 1)
    frame = houses(20)
    assert (loaded.model.predict(frame) == fitted().predict(frame)).all()
    client = registry.get_client()
    run = client.get_run(client.get_model_version("m", "1").run_id)
    assert run.data.metrics == {"rmse": 1.5}
    assert run.data.tags["lama.artifact"] == made.artifact_hash
    assert registry.names() == ["m"]


def test_what_is_not_there_is_said_with_what_is(registry: ModelRegistry) -> None:
    with pytest.raises(ConfigurationError, match="no model 'm'"):
        models.find(registry, "m")
    with pytest.raises(ConfigurationError, match="no model"):
        models.find(registry, "m' OR name LIKE '%")
    register(registry, 1.0)
    with pytest.raises(ConfigurationError, match=r"has no 'champion'.*versions 1.*Promote"):
        models.find(registry, "m")


def test_only_what_was_shown_to_be_better_is_promoted(registry: ModelRegistry) -> None:
    register(registry, 1.0, 2.0, 3.0)
    assert models.promote(registry, "m", 1).aliases == (CHAMPION,)
    with pytest.raises(ConfigurationError, match="has not been compared"):
        models.promote(registry, "m", 2)
    with pytest.raises(ConfigurationError, match="as it is"):
        models.promote(registry, "m", 2, comparison=comparison(1, 2, better=False))
    with pytest.raises(ConfigurationError, match="not about m@2"):
        models.promote(registry, "m", 2, comparison=comparison(1, 3))
    with pytest.raises(ConfigurationError, match="no version 9"):
        models.promote(registry, "m", 9)
    assert models.find(registry, "m").version == 1
    models.promote(registry, "m", 2, comparison=comparison(1, 2))
    with pytest.raises(models.ConflictError, match="now 2; the comparison was with 1"):
        models.promote(registry, "m", 3, comparison=comparison(1, 3))
    assert models.find(registry, "m").version == 2


def test_a_rollback_drill(registry: ModelRegistry) -> None:
    """Three champions; the last is bad, and so is the one before: twice back, and the first answers again."""
    register(registry, 1.0, 20.0, 300.0)
    frame = houses(10)
    for number in (1, 2, 3):
        models.promote(registry, "m", number, force=True, reason="drill")
    was = models.load(registry, "m", 1).model.predict(frame)
    gone, back = models.rollback(registry, "m", reason="bad answers", expected=3)
    assert (gone.version, back.version, gone.stage) == (3, 2, "rolled back: bad answers")
    with pytest.raises(models.ConflictError, match="is 2, not 3"):
        models.rollback(registry, "m", expected=3)
    models.rollback(registry, "m")
    assert (models.load(registry, "m").model.predict(frame) == was).all()
    with pytest.raises(ConfigurationError, match="no champion before 1"):
        models.rollback(registry, "m")
    with pytest.raises(ConfigurationError, match="was rolled back"):
        models.promote(registry, "m", 3, comparison=comparison(1, 3))
    assert models.promote(registry, "m", 3, force=True, reason="mended").version == 3
    assert models.rollback(registry, "m")[1].version == 1, "not to what was rolled back before"


def test_nobody_goes_back_to_a_damaged_version(registry: ModelRegistry) -> None:
    first, _ = register(registry, 1.0, 2.0)
    for number in (1, 2):
        models.promote(registry, "m", number, force=True, reason="x")
    path = models.path_of(registry, first.artifact_hash)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="changed or damaged"):
        models.rollback(registry, "m")
    assert models.find(registry, "m").version == 2


def test_a_promotion_that_was_killed_half_way_leaves_the_champion_and_no_trace(registry: ModelRegistry) -> None:
    register(registry, 1.0, 2.0)
    models.promote(registry, "m", 1)
    client = registry.get_client()
    history = '[{"version": 1, "at": "", "reason": ""}, {"version": 2, "at": "", "reason": ""}]'
    client.set_registered_model_tag("m", "lama.history", history)  # and then the process was gone
    assert models.find(registry, "m").version == 1
    models.promote(registry, "m", 2, comparison=comparison(1, 2))
    assert models.rollback(registry, "m")[1].version == 1


def test_of_many_who_promote_at_once_each_sees_what_the_one_before_did(registry: ModelRegistry) -> None:
    register(registry, *(float(n + 1) for n in range(9)))
    models.promote(registry, "m", 1)
    together = threading.Barrier(8)

    def promote(number: int) -> str:
        together.wait()
        try:
            models.promote(registry, "m", number, comparison=comparison(1, number))
        except models.ConflictError:
            return "conflict"
        return "promoted"

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(promote, range(2, 10)))
    assert sorted(ends) == ["conflict"] * 7 + ["promoted"]
    champion = models.find(registry, "m")
    assert champion.version == 2 + ends.index("promoted")
    assert models.rollback(registry, "m")[1].version == 1, "the history has the one promotion that was"


def test_of_many_who_register_at_once_each_has_a_version(registry: ModelRegistry) -> None:
    model = fitted()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: models.register(registry, model, version(parameters={"n": n})), range(12)))
    assert sorted(one.version for one in made) == list(range(1, 13))


def test_many_who_make_the_registry_at_once_make_one(postgres: Settings, registry: ModelRegistry) -> None:
    name = "mlflow_new"
    block = ModelRegistry.of(postgres, name).model_copy(update={"folder": registry.folder})
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: block.get_client(), range(4)))
        assert block.names() == []
    finally:
        with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_who_waits_too_long_for_the_lock_is_told(registry: ModelRegistry) -> None:
    register(registry, 1.0)
    hasty = registry.model_copy(update={"lock_timeout_s": 0.2})
    with registry.locked("m"), pytest.raises(UnavailableError, match="somebody else has been changing m"):
        models.promote(hasty, "m", 1)


def test_a_run_that_is_repeated_is_given_what_it_has_made(registry: ModelRegistry) -> None:
    frame = houses(250)
    first = asyncio.run(train(asked(), frame, registry=registry))
    again = asyncio.run(train(asked(), frame, registry=registry))
    assert first.model == again.model == "houses@1"
    other = asyncio.run(train(asked(run_id="another"), frame, registry=registry))
    assert other.model == "houses@2"
    assert not other.promoted, "the same model is no better"
    hashes = {one.artifact_hash for one in models.versions(registry, "houses")}
    assert len(hashes) == 1, "two trainings of one table, one seed: one artifact"
    assert Predictor(models.load(registry, "houses")).version.address == "houses@1"


def test_a_registry_that_does_not_answer_is_said_in_words(registry: ModelRegistry) -> None:
    away = registry.model_copy(update={"url": SecretStr("postgresql://lama:hunter2@127.0.0.1:1/mlflow")})
    with pytest.raises(UnavailableError, match="cannot be reached") as said:
        models.versions(away, "m")
    assert "hunter2" not in str(said.value)

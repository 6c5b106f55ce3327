"""Models answer at once, by the version that their name means now."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from pydantic import SecretStr

from blocks.errors import ConfigurationError, UnavailableError
from blocks.model_registry import ModelRegistry
from tasks.predict.resolve import parsed, resolved
from tasks.predict.serving import Served
from tasks.train import registry as registered
from tasks.train.artifact import ArtifactError
from tasks.train.predict import Predictor
from tests.predict.training import houses, registered_champion
from tests.valuation.making import MARKET, QUICK, sales

ROW = houses(1).drop(columns=["price"]).iloc[0].to_dict()


class Clock:
    """Time that a test decides."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("family", ["linear", "hist_gradient_boosting", "lightgbm"])
def test_a_single_row_is_answered_within_ten_milliseconds(registry: ModelRegistry, family: str) -> None:
    version, _ = registered_champion(registry, f"fast-{family}", family=family)
    served = Served(registry)
    took = []
    for _ in range(60):
        started = time.perf_counter()
        said = served.predictor(f"fast-{family}").predict(ROW)
        took.append(time.perf_counter() - started)
    served.close()
    assert said.model == f"fast-{family}@{version}"
    assert statistics.median(took) < 0.010, took


def test_an_alias_is_asked_for_again_and_a_promotion_and_a_rollback_are_seen(registry: ModelRegistry) -> None:
    clock = Clock()
    served = Served(registry, clock=clock)
    first, _ = registered_champion(registry, "moves", seed=1)
    assert served.predictor("moves").version.version == first
    loaded = served.predictor("moves")
    second, _ = registered_champion(registry, "moves", seed=2)
    assert served.predictor("moves@champion") is not loaded, "another address is another question"
    assert served.predictor("moves") is loaded, "it holds for a second"
    clock.now += 1.1
    assert served.predictor("moves").version.version == second
    registered.rollback(registry, "moves")
    clock.now += 1.1
    assert served.predictor("moves") is loaded, "what is loaded stays ready"
    assert served.predictor(f"moves@{second}").version.version == second
    served.close()


def test_what_the_registry_says_is_what_is_resolved(registry: ModelRegistry) -> None:
    version, _ = registered_champion(registry, "same")
    known = registered.find(registry, "same")
    with registry.connection() as connection:
        for which in ("champion", str(version)):
            found = resolved(connection, "same", which)
            assert (found.address, found.artifact_hash, found.columns) == (
                known.address,
                known.artifact_hash,
                known.columns,
            )


@pytest.mark.parametrize(
    "address",
    ["", "@", "a@", "@1", "a b", "a/b", "../x", "a@b@c", "a@b c", "é", "a" * 200, "a\x00", "none@99999999999999"],
)
def test_what_is_no_model_is_said_to_be_none(registry: ModelRegistry, address: str) -> None:
    served = Served(registry)
    with pytest.raises(ConfigurationError, match=r"is no model|there is no model"):
        served.predictor(address)
    served.close()


def test_the_model_of_a_market_is_not_asked_for_predictions(registry: ModelRegistry) -> None:
    """Its areas are in square feet, it refuses homes, and it gives ranges: nothing of that is a prediction's."""
    from tasks.valuation.run import keep
    from tasks.valuation.training import train_market

    table = sales(300)
    kept = keep(train_market(table, MARKET, candidates=(QUICK,)), table, MARKET, registry, seed=0, run_id="a test")
    served = Served(registry)
    with pytest.raises(ConfigurationError, match="ask `lama value of testville`"):
        served.predictor("testville")
    served.close()
    with pytest.raises(ConfigurationError, match="ask `lama value of testville`"):
        Predictor(registered.load(registry, "testville", kept.version.version))


def test_a_name_without_more_is_its_champion() -> None:
    assert parsed("houses") == ("houses", "champion")
    assert parsed("houses@challenger") == ("houses", "challenger")


def test_a_registry_that_nobody_has_used_has_no_model(postgres: object, database: str, tmp_path: object) -> None:
    from blocks.database import dsn

    empty = ModelRegistry(url=SecretStr(dsn(postgres, database)), folder=tmp_path)  # type: ignore[arg-type]
    served = Served(empty)
    with pytest.raises(ConfigurationError, match="there is no model"):
        served.predictor("houses")
    served.close()


def test_a_changed_file_is_never_loaded(registry: ModelRegistry) -> None:
    registered_champion(registry, "changed", seed=3)
    path = registered.path_of(registry, registered.find(registry, "changed").artifact_hash)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    served = Served(registry)
    with pytest.raises(ArtifactError, match="changed or damaged"):
        served.predictor("changed")
    served.close()


def test_while_the_database_is_away_the_last_answer_holds(registry: ModelRegistry) -> None:
    clock = Clock()
    version, _ = registered_champion(registry, "stays")
    served = Served(registry, clock=clock)
    assert served.predictor("stays").version.version == version
    with psycopg.connect(registry.url.get_secret_value(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'lama predictions' AND datname = current_database()"
        )
    clock.now += 2
    assert served.predictor("stays").version.version == version, "a new connection tells"
    served._registry = registry.model_copy(update={"url": SecretStr("postgresql://lama@127.0.0.1:9/none")})
    served.close()
    clock.now += 2
    assert served.predictor("stays").version.version == version
    with pytest.raises(UnavailableError):
        served.predictor("never-asked")


def test_of_many_who_ask_at_once_one_loads(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.predict import serving

    registered_champion(registry, "crowd")
    served, loads, real = Served(registry), [], serving.loaded

    def counted(*given: object) -> object:
        loads.append(threading.get_ident())
        time.sleep(0.1)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(serving, "loaded", counted)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.predictor("crowd").predict(ROW), range(16)))
    assert len(loads) == 1
    assert len({answer.value for answer in answers}) == 1
    served.close()


def test_without_the_libraries_it_is_said_what_to_install(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.train import extra

    registered_champion(registry, "bare")
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == "lightgbm" else object())
    served = Served(registry)
    with pytest.raises(UnavailableError, match=r"lightgbm is not installed.*\[training\]"):
        served.predictor("bare")
    served.close()

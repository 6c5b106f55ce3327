"""A trained model answers at the gateway: with its version, in its time, and in words when it cannot."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from blocks.model_registry import ModelRegistry
from blocks.settings import Settings
from tasks.train import registry as registered
from tests.conftest import free_port
from tests.gateway.conftest import NOBODY
from tests.gateway.running import RunningGateway
from tests.predict.training import houses, registered_champion

ROW: dict[str, Any] = houses(1).drop(columns=["price", "id"]).iloc[0].to_dict()


@pytest.fixture(scope="module")
def predicting(
    postgres: Settings, shared_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningGateway, ModelRegistry]]:
    """A gateway whose registry has the models `houses` and `dear`."""
    from pydantic import SecretStr

    home = tmp_path_factory.mktemp("gateway")
    running = RunningGateway(home, free_port(), shared_url, postgres)
    config = Settings(home=home, database_url=SecretStr(shared_url))
    registry = ModelRegistry.of(config)  # the database `mlflow` of the server, as the gateway itself asks for
    running.names = {name: f"{name}-{uuid4().hex[:8]}" for name in ("houses", "dear")}  # type: ignore[attr-defined]
    _, profile = registered_champion(registry, running.names["houses"], family="lightgbm")  # type: ignore[attr-defined]
    registered_champion(registry, running.names["dear"], "classification")  # type: ignore[attr-defined]
    with psycopg.connect(shared_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO model_profile VALUES (%s, 1, %s, now())",
            (running.names["houses"], profile.model_dump_json()),  # type: ignore[attr-defined]
        )
    running.start(LAMA_PREFECT_API_URL=NOBODY, PREFECT_API_URL=NOBODY)
    yield running, registry
    assert running.stop() in {0, -15}, running.logged()


def _ask(gateway: RunningGateway, model: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    name, at, which = model.partition("@")
    name = gateway.names.get(name, name)  # type: ignore[attr-defined]
    with gateway.client() as client:
        return client.post(f"/predict/{name}{at}{which}", content=content, headers={"X-API-Key": gateway.key} | headers)


def test_a_row_and_rows_are_answered_by_the_champion(predicting: tuple[RunningGateway, ModelRegistry]) -> None:
    gateway, _ = predicting
    one = _ask(gateway, "houses", {"row": ROW}).json()
    name = f"{gateway.names['houses']}@1"  # type: ignore[attr-defined]
    assert one["model"] == name
    (said,) = one["predictions"]
    assert said["model"] == name
    assert said["interval"]["low"] < said["value"] < said["interval"]["high"]
    odd = ROW | {"town": "Elsewhere", "age": None, "area": 5000, "extra": 1}
    several = _ask(gateway, "houses@champion", {"rows": [ROW, odd], "coverage": 0.5}).json()["predictions"]
    assert several[0]["value"] == said["value"]
    assert several[0]["interval"]["low"] > said["interval"]["low"]
    assert len(several[1]["warnings"]) == 4
    (dear,) = _ask(gateway, "dear@1", {"row": ROW}).json()["predictions"]
    assert sum(dear["probabilities"].values()) == pytest.approx(1)
    assert dear["value"] == max(dear["probabilities"], key=dear["probabilities"].get)


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_it_needs_the_key(predicting: tuple[RunningGateway, ModelRegistry], headers: dict[str, str]) -> None:
    gateway, _ = predicting
    with gateway.client() as client:
        name = gateway.names["houses"]  # type: ignore[attr-defined]
        answer = client.post(f"/predict/{name}", json={"row": ROW}, headers=headers)
        assert answer.status_code == 401
        bearer = client.post(f"/predict/{name}", json={"row": ROW}, headers={"Authorization": f"Bearer {gateway.key}"})
    assert bearer.status_code == 200


@pytest.mark.parametrize(
    ("model", "body", "status", "words"),
    [
        ("houses", b"", 400, "not JSON"),
        ("houses", b"{", 400, "not JSON"),
        ("houses", b"\xff", 400, "not JSON"),
        ("houses", b'{"row": {"area": NaN}}', 400, "not JSON"),
        ("houses", b"[" * 200 + b"]" * 200, 400, "nested"),
        ("houses", [1], 422, "valid dictionary"),
        ("houses", {}, 422, "either `row` or `rows`"),
        ("houses", {"rows": []}, 422, "rows"),
        ("houses", {"rows": [{}] * 1001}, 422, "rows"),
        ("houses", {"row": {}, "other": 1}, 422, "other"),
        ("houses", {"row": ROW, "coverage": 2}, 422, "coverage"),
        ("houses", {"row": ROW, "keys": ["a", "b"]}, 422, "2 keys for 1 rows"),
        ("houses", {"row": {"area": 1}}, 422, "lacks 'age', 'town'"),
        ("houses", {"rows": [ROW, ROW | {"area": "large"}]}, 422, "row 1: 'area' is no number"),
        ("houses", {"row": ROW | {"area": {"$gt": 0}}}, 422, "'area' is no number"),
        ("houses@7", {"row": ROW}, 404, "no model"),
        ("houses@nobody", {"row": ROW}, 404, "no model"),
        ("nobody", {"row": ROW}, 404, "no model"),
        ("..%2F..%2Fetc", {"row": ROW}, 404, ""),
        ("a%00b", {"row": ROW}, 404, ""),
        ("houses", b"x" * 4_000_001, 413, "larger than"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_told_in_words(
    predicting: tuple[RunningGateway, ModelRegistry], model: str, body: Any, status: int, words: str
) -> None:
    answer = _ask(predicting[0], model, body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert set(answer.json()) == {"error"}


def test_what_was_said_is_kept_by_key_and_counted(
    predicting: tuple[RunningGateway, ModelRegistry], shared_url: str
) -> None:
    gateway, _ = predicting
    keys = [f"k{n}" for n in range(50)]
    rows = houses(50, 2).drop(columns=["price", "id"]).to_dict("records")
    said = _ask(gateway, "houses", {"rows": rows, "keys": keys}).json()["predictions"]
    deadline = time.monotonic() + 20
    kept: list[Any] = []
    while len(kept) < 50 and time.monotonic() < deadline:
        time.sleep(0.2)
        with psycopg.connect(shared_url) as connection:
            kept = connection.execute(
                "SELECT key, value, low, version FROM prediction WHERE key = ANY(%s) ORDER BY key", (keys,)
            ).fetchall()
            sketches = connection.execute("SELECT sketch FROM prediction_batch ORDER BY predicted_at").fetchall()
    values = dict(zip(keys, said, strict=True))
    assert {key: value for key, value, *_ in kept} == {key: one["value"] for key, one in values.items()}
    assert {version for *_, version in kept} == {1}
    body = next(sketch for (sketch,) in sketches if sketch["rows"] >= 50 and sketch["columns"])
    assert sum(body["columns"]["area"]["counts"]) == body["rows"]
    assert body["outlook"]["rows"] == body["rows"]


def test_a_promotion_and_a_rollback_are_seen_within_seconds(
    predicting: tuple[RunningGateway, ModelRegistry],
) -> None:
    gateway, registry = predicting
    name = gateway.names["houses"]  # type: ignore[attr-defined]
    assert _ask(gateway, "houses", {"row": ROW}).json()["model"] == f"{name}@1"
    version, _ = registered_champion(registry, name, seed=5)
    time.sleep(1.2)
    assert _ask(gateway, "houses", {"row": ROW}).json()["model"] == f"{name}@{version}"
    registered.rollback(registry, name)
    time.sleep(1.2)
    assert _ask(gateway, "houses", {"row": ROW}).json()["model"] == f"{name}@1"


def test_while_a_model_is_loaded_others_are_answered(predicting: tuple[RunningGateway, ModelRegistry]) -> None:
    """Asked over real sockets: the process that answers a probe is the one that loads."""
    from concurrent.futures import ThreadPoolExecutor

    gateway, registry = predicting
    name = f"fresh-{uuid4().hex[:8]}"
    registered_champion(registry, name, family="lightgbm", seed=8)
    with ThreadPoolExecutor(1) as pool, gateway.client() as client:
        loading = pool.submit(_ask, gateway, name, {"row": ROW})
        slowest = 0.0
        while not loading.done():
            started = time.perf_counter()
            assert client.get("/health").status_code == 200
            slowest = max(slowest, time.perf_counter() - started)
    assert loading.result().status_code == 200
    assert slowest < 1.0


def test_a_tampered_file_is_refused_and_its_reason_is_only_in_the_log(
    predicting: tuple[RunningGateway, ModelRegistry],
) -> None:
    gateway, registry = predicting
    name = f"tampered-{uuid4().hex[:8]}"
    registered_champion(registry, name, seed=9)
    path: Path = registered.path_of(registry, registered.find(registry, name).artifact_hash)
    path.write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    answer = _ask(gateway, name, {"row": ROW})
    assert (answer.status_code, set(answer.json())) == (503, {"error"})
    assert "changed or damaged" in gateway.logged()
    assert "damaged" not in answer.text


def test_its_page_tells_of_the_endpoint(predicting: tuple[RunningGateway, ModelRegistry]) -> None:
    with predicting[0].client() as client:
        assert "/predict/{model}" in client.get("/docs").text
        operation = client.get("/openapi.json").json()["paths"]["/predict/{model}"]["post"]
    assert operation["security"]
    assert "requestBody" in operation


async def test_a_row_takes_less_than_ten_milliseconds_inside_the_process(
    predicting: tuple[RunningGateway, ModelRegistry], shared_url: str
) -> None:
    from pydantic import SecretStr

    from services.gateway.predictions import Predictions

    gateway, _ = predicting
    name = gateway.names["houses"]  # type: ignore[attr-defined]
    answering = Predictions(Settings(home=gateway.home.path, database_url=SecretStr(shared_url)))
    body, took = json.dumps({"row": ROW}).encode(), []
    for _ in range(101):
        started = time.perf_counter()
        said = json.loads(await answering.answer(f"{name}@1", body))
        took.append(time.perf_counter() - started)
    await answering.close()
    assert said["model"] == f"{name}@1"
    median = sorted(took)[50]
    print(f"a row inside the process: {median * 1000:.2f} ms")
    assert median < 0.010

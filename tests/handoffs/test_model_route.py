"""A route with a model, as its users meet it: what is refused, what is missing, a try, a run and its report."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from blocks.database import LAMA_DATABASE, dsn
from blocks.errors import ConfigurationError
from blocks.settings import Settings
from flows.handoffs import handoffs
from lama.cli import cli
from models.report import Report, Status
from tasks.handoffs.inbox import rows, store
from tasks.handoffs.readiness import Need, needs_of
from tests.handoffs.making import make_message, make_route
from tests.handoffs.model_server import MODEL, RunningModel, refused, running
from tests.handoffs.test_whatsapp import delivery, text, value

WORDS = "Hi there, looking for something with a garden near the river, sometime around Easter"


@pytest.fixture
def model() -> Iterator[RunningModel]:
    with running() as one:
        one.think = lambda _: {
            "interest": "something with a garden near the river",
            "timeline": "by Easter",
            "name": "Jo",
        }
        yield one


def _write(configured: Path, name: str) -> None:
    with configured.open("a") as file:
        file.write(
            f'[[handoffs.routes]]\nname = "{name}"\nsource = "whatsapp:whatsapp"\nextract = "lead"\nmodel = "{name}"\n'
            'when = "kind == \'message\'"\ntarget = { kind = "crm" }\n'
        )


def _lama(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["handoffs", *arguments], standalone_mode=False)


def _test(name: str, path: Path, words: str) -> Result:
    path.write_text(json.dumps(delivery(value(text("w1", words)))))
    return CliRunner().invoke(
        cli, ["handoffs", "test", name, "--message", str(path), "--json"], standalone_mode=False, catch_exceptions=False
    )


async def _try(name: str, path: Path, words: str) -> dict[str, Any]:
    (step,) = json.loads((await asyncio.to_thread(_test, name, path, words)).output)
    return dict(step)


def test_a_model_is_for_leads_that_people_write() -> None:
    with pytest.raises(ValidationError, match="model is for routes"):
        make_route(model="tiny")
    with pytest.raises(ValidationError, match="model is for routes"):
        make_route(model="tiny", extract="task", target={"kind": "board"})
    api = {"kind": "api", "document": "a.json", "operations": ["a"]}
    with pytest.raises(ValidationError, match="MCP"):
        make_route(model="tiny", extract="lead", source="mcp:shop", target=api)
    assert needs_of(make_route(model="tiny", extract="lead", target={"kind": "crm"})) == (
        Need("block", "tiny", "lama-model"),
    )


async def test_a_route_is_tried_with_its_model_and_without_effects(
    configured: Path, prefect_server: Settings, model: RunningModel, tmp_path: Path
) -> None:
    name = f"m-{uuid.uuid4().hex[:12]}"
    _write(configured, name)
    path = tmp_path / "message.json"
    with pytest.raises(ConfigurationError, match=f"needs the block '{name}' of the type Lama Model"):
        await _try(name, path, WORDS)
    listed = await asyncio.to_thread(_lama, "routes", "--json")
    (ours,) = (one for one in json.loads(listed.output) if one["route"] == name)
    assert ours["needs"] == [{"kind": "block", "name": name, "state": "missing"}]
    await model.block().asave(name)
    step = await _try(name, path, WORDS)
    assert step["model"] == {
        "name": MODEL,
        "asked_for": ["interest", "timeline"],
        "proposed": {"interest": "something with a garden near the river", "timeline": "by Easter"},
        "taken": {"interest": "something with a garden near the river"},
        "dropped": {"timeline": "not literally in the text, or a piece of a word or number"},
    }
    assert step["payload"]["interest"] == "something with a garden near the river"
    assert step["payload"]["evidence"]["interest"]["by"] == f"model {MODEL}"
    assert "timeline" not in step["payload"]
    assert "not asked" in (await _try(name, path, "a flat in Bonn by next summer"))["model"]["note"]
    model.fault = lambda _: refused(500)
    step = await _try(name, path, WORDS)
    assert "Rules alone: Model (tiny-for-tests): it failed (500)" in step["model"]["note"]
    assert step["becomes"] == "handed on"


async def test_a_run_says_which_leads_are_by_rules_alone_and_waits_where_there_is_no_block(
    configured: Path, migrated: Settings, prefect_server: Settings, model: RunningModel
) -> None:
    name = f"m-{uuid.uuid4().hex[:12]}"
    _write(configured, name)
    route = make_route(name=name, source="whatsapp:whatsapp")
    url = dsn(migrated, LAMA_DATABASE)

    async def run(number: int, **more: Any) -> Report:
        document = {"from": f"+4917200{number:05d}", "kind": "message", "text": f"{WORDS} {number} {name}"}
        message = dataclasses.replace(
            make_message(number, f"{name}{number}", **document),
            source="whatsapp:whatsapp", message_id=f"{name}{number}",
        )  # fmt: skip
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await store(connection, rows([route], [message]), datetime.now(UTC))
        return await handoffs(routes=[name], linger_s=0.0, **more)

    report = await run(1)
    assert report.status is Status.incomplete
    assert "Lama Model" in report.skipped[0].reason
    await model.block().asave(name)
    report = await run(2, dry_run=True)
    assert "2 messages would be handed on" in report.summary
    report = await run(3)
    assert (report.status, report.metrics[f"{name}.run_delivered_total"]) == (Status.ok, 3)
    assert report.metrics[f"{name}.run_from_model_total"] == 3
    assert report.metrics[f"{name}.run_model_dropped_total"] == 6
    model.fault = lambda _: refused(503)
    report = await run(4)
    assert report.status is Status.incomplete
    (skip,) = report.skipped
    assert skip.reason == (
        f"1 lead by rules alone: the model '{name}' did not answer: Model ({MODEL}): it failed (503)."
    )
    assert report.metrics[f"{name}.run_delivered_total"] == 1

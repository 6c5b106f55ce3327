"""A route that is a block: the same rules as in `lama.toml`, one loader for both, and nothing is silent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.database import LAMA_DATABASE, dsn
from blocks.errors import ConfigurationError, UnavailableError
from blocks.handoff_route import HandoffRoute
from blocks.settings import Settings, settings
from flows.handoffs import handoffs
from lama.cli import cli
from models.configuration import Configuration
from models.handoff_form import route_of_form
from models.handoff_route import Route
from models.report import Status
from tasks.handoffs.inbox import rows, store
from tasks.handoffs.kept_routes import keep_blocks, kept_blocks
from tasks.handoffs.route_set import merge
from tests.conftest import free_port
from tests.handoffs.making import make_message, make_route
from tests.handoffs.route_blocks import CRM, delete, delete_all, save


@pytest.fixture
async def name(configured: Path, migrated: Settings) -> AsyncIterator[str]:
    """A name of this test's own; whatever blocks there are go away with it."""
    yield f"b-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    await delete_all()


async def put(name: str, migrated: Settings, *numbers: int) -> None:
    messages = [make_message(number, **{"from": "+491711234567", "text": "a flat in Berlin"}) for number in numbers]
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await store(connection, rows([make_route(name=name)], messages), datetime.now(UTC))


def lama(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["handoffs", *arguments], standalone_mode=False)


def test_the_form_has_every_key_of_a_route_and_no_secret() -> None:
    form = HandoffRoute.model_json_schema()
    keys = {field.alias or key for key, field in Route.model_fields.items()}
    assert set(form["properties"]) == keys - {"name"}
    assert form["required"] == ["source", "target"]
    assert form["secret_fields"] == []
    assert all(one["description"].endswith(".") for one in form["properties"].values())


_SAID = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["webhook:github", "mcp:x", "fax:x", "", None, 3]),
        "when": st.sampled_from(["a == 'b'", "", None, 7, "x" * 3000]),
        "required": st.sampled_from([["phone"], [], None, "phone"]),
        "fields": st.sampled_from([{"phone": "a"}, {}, {"other": "b"}, {"x": ""}, []]),
        "region": st.sampled_from(["DE", "de", None]),
        "retry": st.sampled_from([{}, {"tries": 3}, {"tries": 0}, {"unknown": 1}]),
        "target": st.sampled_from([{"kind": "crm"}, {"kind": "no"}, {}, {"kind": "http", "url": "ftp://x"}]),
        "schema": st.sampled_from([{}, {"type": "object"}, [1]]),
        "unknown": st.just(1),
    },
)


@given(_SAID)
def test_a_block_is_refused_exactly_when_the_same_table_of_the_file_is(said: dict[str, Any]) -> None:
    written = {key: value for key, value in said.items() if value not in (None, "")} | {"name": "route"}
    try:
        route = Route.model_validate(written)
    except ValidationError:
        with pytest.raises(ValueError, match=":"):
            route_of_form("route", said)
        with pytest.raises(ValidationError):
            HandoffRoute(**said)
        return
    assert route_of_form("route", said) == route
    block = HandoffRoute(**{key: value for key, value in said.items() if value is not None})
    saved = {key: getattr(block, field) for field, key in ((f, v.alias or f) for f, v in _fields())}
    assert route_of_form("route", saved) == route


def _fields() -> list[tuple[str, Any]]:
    return [(name, field) for name, field in Route.model_fields.items() if name != "name"]


def test_what_cannot_be_used_is_set_aside_and_the_others_go_on() -> None:
    configuration = Configuration.model_validate({"handoffs": {"routes": [CRM | {"name": "one"}]}})
    blocks = {
        "one": CRM,
        "two": CRM,
        "three": CRM | {"source": "webhook:nobody"},
        "four": CRM | {"required": ["nothing"], "extract": None, "fields": {"a": "b"}},
        "-five": CRM,
        "six": CRM | {"name": "seven"},
    }
    found = merge(configuration, blocks, lambda number: f"lama.toml:{number + 7}")
    assert [route.name for route in found.routes] == ["one", "two"]
    assert found.blocks == {"two"}
    told = {fault.name: fault.reason for fault in found.faults}
    assert told["one"] == "lama.toml:7 has a route 'one', and so has the block 'one'; the file's holds"
    assert "there are" in told["three"]
    assert "required names 'nothing'" in told["four"]
    assert told["-five"].startswith("name: ")
    assert told["six"] == "name: the route is called like its block"
    assert [skip.component for skip in found.skips()] == ["one", "three", "four", "-five", "six"]
    assert not found.is_gone("four"), "its messages wait for it to be mended"
    with pytest.raises(ConfigurationError, match="there is no route 'nobody'"):
        found.chosen(["nobody"])
    with pytest.raises(ConfigurationError, match=r"'three' cannot be used: source: "):
        found.one("three")


def test_what_was_kept_is_of_that_prefect_and_garbage_is_nothing(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, prefect_port=1)
    assert kept_blocks(config) == {}
    keep_blocks(config, {"a": CRM})
    assert kept_blocks(config) == {"a": CRM}
    assert kept_blocks(Settings(home=tmp_path, prefect_port=2)) == {}
    (tmp_path / "run" / "handoff-routes.json").write_text('{"api": "http://127.0.0.1:1/api", "blocks": 3}')
    assert kept_blocks(config) == {}


async def test_a_block_that_a_person_saved_hands_messages_on_and_an_edit_holds_for_the_next(
    name: str, migrated: Settings
) -> None:
    await HandoffRoute.aregister_type_and_schema()
    await HandoffRoute(**CRM).asave(name)
    await put(name, migrated, 1)
    report = await handoffs(routes=[name], linger_s=0.0)
    assert (report.status, report.metrics[f"{name}.run_delivered_total"]) == (Status.ok, 1)
    await save(name, **CRM | {"when": "`false`", "conversation": "", "media": None})
    await put(name, migrated, 2)
    report = await handoffs(routes=[name], linger_s=0.0)
    assert report.metrics[f"{name}.run_delivered_total"] == 0
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE)) as connection:
        cursor = await connection.execute("SELECT message_id, state FROM handoff_message WHERE route = %s", (name,))
        assert dict(await cursor.fetchall()) == {"m1": "accepted", "m2": "ignored"}


async def test_an_edit_holds_within_a_run_that_goes_on(configured: Path, name: str, migrated: Settings) -> None:
    with configured.open("a") as file:
        file.write("[handoffs]\nrefresh_s = 0.5\n")
    await save(name, **CRM)
    began = time.monotonic()
    running = asyncio.create_task(handoffs(routes=[name], linger_s=4.0))
    await asyncio.sleep(1.5)
    await put(name, migrated, 1)
    await asyncio.sleep(1.0)
    await save(name, **CRM | {"when": "`false`"})
    await asyncio.sleep(1.5)
    await put(name, migrated, 2, 3)
    report = await running
    told = {key.rpartition(".")[2]: value for key, value in report.metrics.items() if "run_" in key}
    assert told == {"run_delivered_total": 1, "run_accepted_total": 1, "run_dead_total": 0}
    assert time.monotonic() - began < 60, "it ends when nothing came for as long as it lingers, however often it looked"


async def test_a_broken_block_makes_the_report_incomplete_and_its_messages_wait(name: str, migrated: Settings) -> None:
    await save(name, **CRM)
    await save(f"{name}-broken", **CRM | {"region": "Germany"})
    for one in (name, f"{name}-broken"):
        await put(one, migrated, 1)
    report = await handoffs(linger_s=0.0)
    assert report.status is Status.incomplete
    (skip,) = [skip for skip in report.skipped if skip.component == f"{name}-broken"]
    assert skip.reason.startswith("The block cannot be used: region: ")
    assert report.metrics[f"{name}.run_delivered_total"] == 1
    assert f"handoffs.orphaned:{name}-broken" not in {finding.key for finding in report.findings}
    alone = await handoffs(routes=[f"{name}-broken"], linger_s=0.0)
    assert alone.status is Status.incomplete
    told = await asyncio.to_thread(lama, "routes", "--json")
    assert told.return_value == 1
    listed = {one["route"]: one for one in json.loads(told.stdout)}
    assert listed[name]["place"] == f"block {name}"
    assert listed[f"{name}-broken"]["faults"][0].startswith("region: ")
    await delete(f"{name}-broken")
    report = await handoffs(linger_s=0.0)
    assert f"handoffs.orphaned:{name}-broken" in {finding.key for finding in report.findings}
    assert "1 message" in (await asyncio.to_thread(lama, "discard", f"{name}-broken", "--all")).output


async def test_a_name_in_both_is_said_with_both_places_and_the_files_route_goes_on(
    configured: Path, name: str, migrated: Settings
) -> None:
    with configured.open("a") as file:
        file.write(
            f'[[handoffs.routes]]\nname = "{name}"\nsource = "webhook:github"\nextract = "lead"\n'
            'target = { kind = "crm" }\n'
        )
    await save(name, **CRM | {"when": "`false`"})
    await put(name, migrated, 1)
    report = await handoffs(routes=[name], linger_s=0.0)
    assert report.status is Status.incomplete
    assert f"{configured}:" in report.skipped[0].reason
    assert f"the block '{name}'" in report.skipped[0].reason
    assert report.metrics[f"{name}.run_delivered_total"] == 1
    told = await asyncio.to_thread(lama, "routes")
    assert told.return_value == 1
    assert f"The block {name} cannot be used: {configured}:4 has a route" in told.stderr


def test_while_prefect_is_away_routes_of_the_file_are_shown_and_nothing_is_given_up(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with configured.open("a") as file:
        file.write('[[handoffs.routes]]\nname = "r"\nsource = "webhook:github"\ntarget = { kind = "crm" }\n')
    monkeypatch.setenv("LAMA_PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    settings.cache_clear()
    told = lama("routes")
    assert (told.return_value, "lama.toml:4" in told.stdout) == (0, True)
    assert "Routes that are blocks could not be looked at: " in told.stderr
    assert "Routes that are blocks could not be looked at: " in lama("status").stderr
    with pytest.raises(UnavailableError, match="whether there is a route 'a-block' is not known"):
        raise lama("discard", "a-block", "--all").exception or AssertionError
    with pytest.raises(UnavailableError, match="whether there is a route 'a-block' is not known"):
        raise lama("dead", "a-block").exception or AssertionError

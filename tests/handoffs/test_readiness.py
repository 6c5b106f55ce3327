"""Whether a route can be used is said before the first message comes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blocks.http_api import HttpApi
from blocks.settings import Settings
from lama.cli import cli
from tasks.handoffs.readiness import faults
from tests.handoffs.making import make_route


def test_every_expression_that_cannot_be_read_is_named() -> None:
    route = make_route(
        when="kind = 'x'",
        conversation="nobody(id)",
        fields={"good": "phone(tel)", "bad": "a["},
        rules=[{"holds": "good != null", "message": "no"}, {"holds": "(", "message": "no"}],
    )
    assert [one.partition(": ")[0] for one in faults(route)] == ["when", "conversation", "fields.bad", "rules[1]"]
    assert faults(make_route(fields={"good": "phone(tel)"})) == []
    (told,) = faults(make_route(schema={"type": "nothing"}))
    assert told.startswith("schema: ")


def _routes(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["handoffs", "routes", *arguments], standalone_mode=False)


def _write(configured: Path, name: str, block: str, when: str) -> None:
    with configured.open("a") as file:
        file.write(
            f'''[[handoffs.routes]]\nname = "{name}"\nsource = "webhook:github"\nwhen = "{when}"\n'''
            f'target = {{ kind = "http", url = "https://user:pw@api.example/items?key=1", block = "{block}" }}\n'
            f'[[handoffs.routes]]\nname = "{name}-2"\nsource = "webhook:github"\n'
            'target = { kind = "flow", deployment = "no/such" }\n'
        )


async def test_the_command_says_what_is_there_and_what_is_missing(configured: Path, prefect_server: Settings) -> None:
    import asyncio

    name = f"r-{uuid.uuid4().hex[:12]}"
    await HttpApi.aregister_type_and_schema()
    await HttpApi(token="t").asave(name)
    _write(configured, name, name, "event == 'issues'")
    result = await asyncio.to_thread(_routes, "--json")
    assert result.return_value == 1
    first, second = (one for one in json.loads(result.output) if one["route"].startswith(name))
    assert first == {
        "route": name, "place": f"{configured}:4", "source": "webhook:github",
        "target": "http https://api.example/items", "faults": [],
        "needs": [{"kind": "block", "name": name, "state": "there"}],
    }  # fmt: skip
    assert second["needs"] == [{"kind": "deployment", "name": "no/such", "state": "missing"}]


def test_without_prefect_it_is_not_known_and_expressions_are_checked_all_the_same(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocks.prefect_api import PrefectApi, UnavailableError

    def away(*_: object) -> object:
        raise UnavailableError("does not answer.", component="prefect")

    monkeypatch.setattr(PrefectApi, "_call", away)
    _write(configured, "r", "tracker", "event = 'issues'")
    result = _routes()
    assert result.return_value == 1
    assert "unknown" in result.output
    assert "when" in result.output

"""From a signed delivery to the inbox, by a real gateway; and from the inbox on, by the flow."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import CliRunner

from blocks.database import LAMA_DATABASE, dsn
from blocks.settings import Settings
from flows.handoffs import handoffs
from lama.cli import cli
from models.report import Status
from tasks.handoffs.inbox import rows, store
from tests.conftest import free_port
from tests.flow_runs import artifacts_of
from tests.gateway.running import RunningGateway, push
from tests.handoffs.making import make_message, make_route
from tests.handoffs.test_whatsapp import delivery, text, value

SECRET = "the app's secret"
TOML = """
[[handoffs.routes]]
name = "leads"
source = "whatsapp:whatsapp"
extract = "lead"
required = ["phone"]
target = { kind = "crm" }
[[handoffs.routes]]
name = "pushes"
source = "webhook:github"
conversation = "body.repository.full_name"
target = { kind = "flow", deployment = "a/b" }
"""


@pytest.fixture
def gateway(migrated: Settings, database: str, tmp_path: Path) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path / "home", free_port(), dsn(migrated, database), migrated, TOML)
    running.set_secrets("whatsapp", SECRET)
    running.home.write_secret("webhooks/whatsapp.verify", "a token")
    running.start()
    yield running
    running.stop()


def deliver(gateway: RunningGateway, payload: Any, *, secret: str = SECRET, cut: int = 0) -> httpx.Response:
    body = json.dumps(payload).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    with gateway.client() as client:
        headers = {"X-Hub-Signature-256": signature}
        return client.post("/webhooks/whatsapp", content=body[: len(body) - cut], headers=headers)


def test_messages_of_a_delivery_are_in_the_inbox_when_it_is_answered_and_once(
    gateway: RunningGateway, migrated: Settings, database: str
) -> None:
    with psycopg.connect(dsn(migrated, database), autocommit=True) as connection:

        def stored() -> list[tuple[Any, ...]]:
            return connection.execute(
                "SELECT route, message_id, conversation FROM handoff_message ORDER BY seq"
            ).fetchall()

        batch = delivery(value(text("w1"), text("w2")))
        assert deliver(gateway, batch).status_code == 202
        assert stored() == [("leads", "w1", "99:491711234567"), ("leads", "w2", "99:491711234567")]
        assert deliver(gateway, batch).status_code == 200, "the same delivery"
        assert deliver(gateway, delivery(value(text("w2"), text("w3")))).status_code == 202
        assert [row[1] for row in stored()] == ["w1", "w2", "w3"], "a message that came with others before"
        assert gateway.deliver(push(), X_GitHub_Delivery="d1").status_code == 202
        assert stored()[-1] == ("pushes", "d1", "d1")
        states = connection.execute("SELECT DISTINCT status FROM delivery WHERE source = 'whatsapp'").fetchall()
        assert states == [("handed_on",)]
    metrics = gateway.api("/metrics").text
    assert 'lama_handoff_backlog{route="leads"} 3.0' in metrics
    assert 'lama_handoff_backlog{route="pushes"} 1.0' in metrics


@pytest.mark.parametrize(
    ("secret", "cut", "status"), [("another", 0, 401), (SECRET, 1, 401)], ids=["forged", "truncated"]
)
def test_what_is_not_proven_is_not_stored(
    gateway: RunningGateway, migrated: Settings, database: str, secret: str, cut: int, status: int
) -> None:
    assert deliver(gateway, delivery(value(text("w1"))), secret=secret, cut=cut).status_code == status
    with psycopg.connect(dsn(migrated, database)) as connection:
        assert connection.execute("SELECT count(*) FROM handoff_message").fetchone() == (0,)


def test_the_challenge_is_given_back_to_whoever_knows_the_token(gateway: RunningGateway) -> None:
    def ask(source: str = "whatsapp", **query: str) -> httpx.Response:
        asked = {f"hub.{name}": told for name, told in query.items()}
        with gateway.client() as client:
            return client.get(f"/webhooks/{source}", params=asked)

    good = ask(mode="subscribe", verify_token="a token", challenge="1158201444")
    assert (good.status_code, good.text) == (200, "1158201444")
    assert good.headers["content-type"].startswith("text/plain")
    assert ask(mode="subscribe", verify_token="wrong", challenge="1").status_code == 403
    assert ask(mode="subscribe", challenge="1").status_code == 403
    assert ask(mode="unsubscribe", verify_token="a token", challenge="1").status_code == 403
    assert ask("github", mode="subscribe", verify_token="a token", challenge="1").status_code == 405
    assert ask("nobody", mode="subscribe", verify_token="a token", challenge="1").status_code == 404


@pytest.fixture
async def waiting(configured: Path, migrated: Settings) -> str:
    """A route of this test's own with three messages in its inbox; returns its name."""
    name = f"r-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    with configured.open("a") as file:
        file.write(
            f'[[handoffs.routes]]\nname = "{name}"\nsource = "webhook:github"\nextract = "lead"\n'
            'required = ["phone"]\nregion = "DE"\ntarget = { kind = "crm" }\n'
        )
    route = make_route(name=name)
    messages = [
        make_message(1, **{"from": "0171 1234567", "text": "a flat in Berlin"}),
        make_message(2, **{"from": "0171 1234567", "text": "budget 300k EUR"}),
        make_message(3, text="who is this?"),
    ]
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await store(connection, rows([route], messages), datetime.now(UTC))
    return name


async def test_the_flow_hands_on_what_waits_and_reports(waiting: str, migrated: Settings) -> None:
    planned = await handoffs(routes=[waiting], dry_run=True)
    assert "2 messages would be handed on, dead letters: 1" in planned.summary
    report = await handoffs(routes=[waiting], linger_s=0.0)
    assert report.summary == "1 route: 2 messages delivered, new dead letters: 1."
    assert report.status is Status.degraded
    assert [finding.key for finding in report.findings] == [f"handoffs.dead:{waiting}"]
    assert report.metrics[f"{waiting}.success_ratio"] == pytest.approx(2 / 3)
    assert report.metrics[f"{waiting}.backlog_total"] == 0
    artifacts = await artifacts_of(report.run_id)
    assert {"handoffs", "handoffs-progress"} <= set(artifacts)
    assert "1234567" not in str(artifacts), "no personal data in artifacts"
    assert "1234567" not in report.model_dump_json()
    with psycopg.connect(dsn(migrated, LAMA_DATABASE)) as connection:
        found = connection.execute(
            "SELECT phone, interest, budget FROM crm_contact JOIN crm_interaction ON contact_id = id "
            "WHERE route = %s AND message_id = 'm2'",
            (waiting,),
        ).fetchone()
    assert found == ("+491711234567", "flat in Berlin", {"amount": 300000.0, "currency": "EUR"})


async def test_a_target_that_is_away_makes_the_report_incomplete_and_loses_nothing(
    configured: Path, migrated: Settings
) -> None:
    name = f"r-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    with configured.open("a") as file:
        file.write(
            f'[[handoffs.routes]]\nname = "{name}"\nsource = "webhook:github"\n'
            f'target = {{ kind = "http", url = "http://127.0.0.1:{free_port()}/", allow_private = ["127.0.0.1"] }}\n'
        )
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await store(connection, rows([make_route(name=name)], [make_message(1)]), datetime.now(UTC))
    report = await handoffs(routes=[name], linger_s=0.0)
    assert report.status is Status.incomplete
    assert "Its target is away, so its messages wait" in report.skipped[0].reason
    assert report.metrics[f"{name}.backlog_total"] == 1
    assert report.metrics[f"{name}.dead_letters_total"] == 0


async def test_an_address_inside_is_refused_as_a_dead_letter(configured: Path, migrated: Settings) -> None:
    name = f"r-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    with configured.open("a") as file:
        file.write(
            f'[[handoffs.routes]]\nname = "{name}"\nsource = "webhook:github"\n'
            'target = { kind = "http", url = "http://169.254.169.254/latest/" }\n'
        )
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await store(connection, rows([make_route(name=name)], [make_message(1)]), datetime.now(UTC))
        report = await handoffs(routes=[name], linger_s=0.0)
        cursor = await connection.execute("SELECT state, last_error FROM handoff_effect WHERE route = %s", (name,))
        state, error = await cursor.fetchone() or ("", "")
    assert state == "dead"
    assert "not public" in error
    assert report.metrics[f"{name}.dead_letters_total"] == 1


async def test_messages_of_a_route_that_is_gone_are_a_finding_of_the_report_and_of_the_command(
    configured: Path, migrated: Settings
) -> None:
    name = f"r-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await store(connection, rows([make_route(name=name)], [make_message(1)]), datetime.now(UTC))
    report = await handoffs(linger_s=0.0)
    (mine,) = [finding for finding in report.findings if finding.key == f"handoffs.orphaned:{name}"]
    assert "1 wait and 0 are dead letters" in mine.title

    def lama(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["handoffs", *arguments]).output

    assert {"route": name, "waiting": 1, "dead": 0} in json.loads(await asyncio.to_thread(lama, "status", "--json"))[
        "orphaned"
    ]
    assert "1 message is discarded." in await asyncio.to_thread(lama, "discard", name, "--all")
    assert name not in await asyncio.to_thread(lama, "status")


async def test_a_route_that_is_not_there_is_refused(configured: Path, migrated: Settings) -> None:
    from blocks.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="there is no route 'nobody'"):
        await handoffs(routes=["nobody"])
    with pytest.raises(ConfigurationError, match="empty list"):
        await handoffs(routes=[])


def test_the_commands_show_mend_and_forget(waiting: str, tmp_path: Path) -> None:
    def lama(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["handoffs", *arguments], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.return_value, result.output

    asyncio.run(_drain(waiting))
    code, out = lama("status", "--json")
    (mine,) = [route for route in json.loads(out)["routes"] if route["route"] == waiting]
    assert (code, mine["delivered"], mine["dead_letters"]) == (1, 2, 1)
    assert waiting in lama("status")[1]
    code, out = lama("dead", waiting)
    assert code == 1
    assert "m3" in out
    assert "phone is required and not there" in out
    code, out = lama("show", waiting, "m1")
    assert "1234567" not in out, "masked unless it is asked for"
    assert "Berlin" not in out
    assert "1234567" in lama("show", waiting, "m1", "--reveal", "--json")[1]
    payload = tmp_path / "payload.json"
    payload.write_text('{"name": "Jane"}')
    with pytest.raises(Exception, match="phone is required and not there"):
        lama("edit", waiting, "m3", "--payload", str(payload))
    payload.write_text('{"phone": "+491717654321"}')
    assert "is tried again" in lama("edit", waiting, "m3", "--payload", str(payload))[1]
    assert lama("dead", waiting) == (0, "There are no dead letters.\n")
    code, out = lama("replay", waiting, "m1", "--json")
    assert (code, json.loads(out)["others"], json.loads(out)["put"]) == (1, ["m1"], [])
    assert lama("replay", waiting, "--since", "2020-01-01", "--dry-run") == (0, "0 messages would be looked at anew.\n")
    with pytest.raises(Exception, match="name messages, or a time"):
        lama("replay", waiting)
    assert "m1 is no dead letter" in CliRunner().invoke(cli, ["handoffs", "discard", waiting, "m1"]).output
    assert "m1 is no dead letter" in CliRunner().invoke(cli, ["handoffs", "resend", waiting, "m1"]).output
    asyncio.run(_drain(waiting))
    code, out = lama("forget", "0171 7654321", "--region", "DE", "--dry-run")
    assert "Would be taken out of +491717654321: 1 messages, 1 effects, 1 contacts." in out
    assert "Was taken out" in lama("forget", "0171 7654321", "--region", "DE")[1]
    assert "Nothing is known" in lama("forget", "0171 7654321", "--region", "DE")[1]


def test_a_route_is_tried_without_effects(configured: Path, tmp_path: Path) -> None:
    with configured.open("a") as file:
        file.write(TOML)
    message = tmp_path / "message.json"
    message.write_text(json.dumps(delivery(value(text("w1", "I'm Jane Roe, I want a villa")))))
    result = CliRunner().invoke(cli, ["handoffs", "test", "leads", "--message", str(message), "--json"])
    (step,) = json.loads(result.output)
    assert step["becomes"] == "handed on"
    assert step["payload"]["name"] == "Jane Roe"
    assert step["payload"]["evidence"]["interest"] == {"start": 23, "end": 28}
    message.write_text("no json")
    assert "that is no JSON" in CliRunner().invoke(cli, ["handoffs", "test", "leads", "--message", str(message)]).output


async def _drain(name: str) -> None:
    await handoffs(routes=[name], linger_s=0.0)

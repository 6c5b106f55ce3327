"""Leads in the database, graded by the flow: written back once, handed on when they change, gone with the person."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.flow_engine import run_flow_async
from psycopg.types.json import Jsonb

from blocks.database import LAMA_DATABASE, dsn
from blocks.errors import ConfigurationError
from blocks.settings import Settings
from flows.handoffs import handoffs
from flows.qualify import qualify
from lama.cli import cli
from models.handoff import Message
from models.report import Status
from tasks.handoffs.forget import forget
from tasks.handoffs.inbox import rows, store
from tests.flow_runs import artifacts_of
from tests.handoffs.making import make_route

NOW = datetime.now(UTC)


def more(configured: Path, text: str) -> None:
    with configured.open("a") as file:
        file.write(text)


async def connect(config: Settings) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(dsn(config, LAMA_DATABASE), autocommit=True)


async def contact(config: Settings, *texts: str, days_ago: float = 0.0, **fields: Any) -> int:
    """A contact that said `texts`, as a route to the CRM writes it; its id."""
    async with await connect(config) as connection:
        at = NOW - timedelta(days=days_ago)
        cursor = await connection.execute(
            "INSERT INTO crm_contact (phone, name, timeline, created_at, updated_at) VALUES (%s, %s, %s, %s, %s) "
            "RETURNING id",
            (f"+49171{uuid.uuid4().int % 10**7:07d}", fields.get("name"), fields.get("timeline"), at, at),
        )
        (found,) = await cursor.fetchone() or (0,)
        for number, text in enumerate(texts):
            await connection.execute(
                "INSERT INTO crm_interaction (reference, contact_id, seq, message_id, route, text, found, occurred_at, "
                "recorded_at) VALUES (%s, %s, %s, %s, 'leads', %s, '{}', %s, %s)",
                (uuid.uuid4().hex, found, number, uuid.uuid4().hex, text, at + timedelta(days=3650), at),
            )
        return int(found)


async def kept(config: Settings, *contacts: int) -> list[tuple[Any, ...]]:
    async with await connect(config) as connection:
        cursor = await connection.execute(
            "SELECT contact_id, grade, engagement, graded_since FROM crm_qualification WHERE contact_id = ANY(%s) "
            "ORDER BY contact_id",
            (list(contacts),),
        )
        return await cursor.fetchall()


async def test_grades_are_written_once_and_fade_and_a_dry_run_writes_nothing(
    configured: Path, migrated: Settings
) -> None:
    then = NOW - timedelta(days=28)
    words = ("a viewing please", "and soon", "today?")
    keen = await contact(migrated, *words, name="Jane", timeline="asap", days_ago=28)
    cold = await contact(migrated, name="Joe", days_ago=28)
    dry = await qualify(contacts=[keen, cold], as_of=then, dry_run=True)
    assert dry.status is Status.ok
    assert await kept(migrated, keen, cold) == []
    first = await qualify(contacts=[keen, cold], as_of=then)
    assert [(one.contact, one.grade) for one in first.leads] == [(keen, "C1"), (cold, "D4")]
    assert first.metrics == {"graded_total": 2, "changed_total": 2}
    written = await kept(migrated, keen, cold)
    again = await qualify(contacts=[keen, cold], as_of=then)
    assert again.metrics["changed_total"] == 0
    assert await kept(migrated, keen, cold) == written
    later = await qualify(contacts=[keen, cold], as_of=NOW)
    assert [(one.grade, one.before) for one in later.leads] == [("C3", "C1"), ("D4", "D4")]
    # a run that was asked about an earlier time does not take back what is known by now
    earlier = await qualify(contacts=[keen, cold], as_of=then)
    assert (await kept(migrated, keen))[0][1] == "C3"
    (stays,) = [finding for finding in earlier.findings if finding.key == "qualify.later"]
    assert stays.detail == f"Contacts: {keen}, {cold}."
    assert "C3 (was C1)" in str((await artifacts_of(later.run_id))["qualify"])


async def test_a_time_in_the_future_is_refused_before_anything_is_written(configured: Path, migrated: Settings) -> None:
    keen = await contact(migrated, "a viewing please")
    with pytest.raises(ConfigurationError, match="in the future"):
        await qualify(contacts=[keen], as_of=datetime.now(UTC) + timedelta(hours=1))
    assert await kept(migrated, keen) == []


async def test_a_clock_in_the_future_does_not_keep_a_lead_warm(configured: Path, migrated: Settings) -> None:
    """The sender says 2036 (see `contact`); it counts from when it came."""
    old = await contact(migrated, "viewing", "viewing", days_ago=100)
    report = await qualify(contacts=[old], as_of=NOW)
    assert report.leads[0].engagement < 1


async def test_a_webhook_that_becomes_a_contact_is_graded_by_the_run_that_its_route_starts(
    configured: Path, migrated: Settings
) -> None:
    name = f"q-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    more(
        configured,
        f'[[handoffs.routes]]\nname = "{name}-crm"\nsource = "webhook:github"\nextract = "lead"\n'
        'fields = { phone = "phone(body.tel)", name = "body.name", text = "body.text", timeline = "body.when" }\n'
        'target = { kind = "crm" }\n'
        f'[[handoffs.routes]]\nname = "{name}-run"\nsource = "webhook:github"\nfields = {{ messages = "[id]" }}\n'
        'target = { kind = "flow", deployment = "qualify/qualify" }\n'
        f'[[handoffs.routes]]\nname = "{name}-told"\nsource = "lama:qualify"\nwhen = "grade == \'C2\'"\n'
        'fields = { phone = "phone", interest = "join(\' \', [\'graded\', grade])" }\ntarget = { kind = "crm" }\n',
    )
    routes = [make_route(name=f"{name}-{end}", source="webhook:github") for end in ("crm", "run")]
    body = {"tel": "+49 171 5554433", "name": "Ada", "text": "When can I have a viewing?", "when": "asap"}
    identifier = uuid.uuid4().hex
    message = Message(
        source="webhook:github", message_id=identifier, conversation=identifier, content_type="application/json",
        raw=b"{}", attributes={"event": "lead", "id": identifier, "body": body},
    )  # fmt: skip
    async with get_client() as client:
        flow_id = await client.create_flow(qualify)
        deployment = await client.create_deployment(flow_id, "qualify")
    async with await connect(migrated) as connection:
        await store(connection, rows(routes, [message]), datetime.now(UTC))
    report = await handoffs(routes=[f"{name}-crm", f"{name}-run"], linger_s=0.0)
    assert report.status is Status.ok, report.skipped
    async with get_client() as client:
        mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        (started,) = [
            run
            for run in await client.read_flow_runs(flow_run_filter=mine)
            if run.parameters.get("messages") == [identifier]
        ]
    # what a worker does with it
    graded = await run_flow_async(qualify, flow_run=started, parameters=started.parameters)
    assert [(one.grade, one.before) for one in graded.leads] == [("C2", None)]
    assert graded.run_id == str(started.id)
    person = graded.leads[0].contact
    assert [(one[0], one[1]) for one in await kept(migrated, person)] == [(person, "C2")]
    told = await handoffs(routes=[f"{name}-told"], linger_s=0.0)
    assert told.metrics[f"{name}-told.run_delivered_total"] == 1
    async with await connect(migrated) as connection:
        cursor = await connection.execute("SELECT interest FROM crm_contact WHERE id = %s", (person,))
        assert await cursor.fetchone() == ("graded C2",)
        await qualify(contacts=[person])
        assert (await handoffs(routes=[f"{name}-told"], linger_s=0.0)).metrics[f"{name}-told.run_delivered_total"] == 0
        await forget(connection, "+491715554433")
    assert await kept(migrated, person) == [], "a grade goes with the person"


async def test_a_message_that_nobody_has_makes_it_incomplete(configured: Path, migrated: Settings) -> None:
    report = await qualify(messages=["nobody's"], contacts=[2**40], wait_s=0.0)
    assert report.status is Status.incomplete
    assert [skip.component for skip in report.skipped] == ["message nobody's", f"contact {2**40}"]
    assert report.leads == ()
    with pytest.raises(ConfigurationError, match="needs a zone"):
        await qualify(as_of=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ConfigurationError, match="between 0 and 600"):
        await qualify(wait_s=1e9)


async def test_weights_are_refused_learned_and_used(configured: Path, migrated: Settings, tmp_path: Path) -> None:
    import asyncio

    async with await connect(migrated) as connection:
        await connection.execute("TRUNCATE crm_outcome, crm_weights")
    few = await qualify(contacts=[], learn=True)
    assert few.status is Status.incomplete
    assert "need 50 won and 50 lost" in few.skipped[0].reason
    lines = ["contact,result,decided_at"]
    async with await connect(migrated) as connection:
        for number in range(360):  # who tells a budget is won, nearly always; the rules think more of visits
            keen, visit = number % 2, number // 2 % 2
            cursor = await connection.execute(
                "INSERT INTO crm_contact (phone, created_at, updated_at) VALUES (%s, now(), now()) RETURNING id",
                (f"+4930{uuid.uuid4().int % 10**9:09d}",),
            )
            (one,) = await cursor.fetchone() or (0,)
            texts = ["a visit" if visit else "hello"]
            texts.append("unsubscribe")  # after it was decided: no part of what is learned
            for place, text in enumerate(texts):
                at = NOW - timedelta(days=10 if text != "unsubscribe" else 1)
                await connection.execute(
                    "INSERT INTO crm_interaction (reference, contact_id, seq, message_id, route, text, found, "
                    "recorded_at) VALUES (%s, %s, %s, %s, 'leads', %s, %s, %s)",
                    (uuid.uuid4().hex, one, place, uuid.uuid4().hex, text, Jsonb({"budget": 1} if keen else {}), at),
                )
            won = keen if number % 12 > 1 else 1 - keen
            at = NOW - timedelta(days=9) + timedelta(minutes=number)
            lines.append(f"{one},{'won' if won else 'lost'},{at.isoformat()}")
    file = tmp_path / "outcomes.csv"
    file.write_text("\n".join([*lines, f"{2**40},won,2026-01-01"]))
    told = await asyncio.to_thread(CliRunner().invoke, cli, ["qualify", "outcomes", str(file)], standalone_mode=False)
    assert told.return_value == 1, told.output
    assert "360 outcomes written down." in told.output
    report = await qualify(contacts=[int(one.partition(",")[0]) for one in lines[1:3]], learn=True)
    assert report.status is Status.ok, report.skipped
    assert report.comparison is not None
    assert report.comparison.better
    assert {one.contact: (one.probability or 0) > 0.5 for one in report.leads} == {
        int(lines[1].partition(",")[0]): False, int(lines[2].partition(",")[0]): True,
    }  # fmt: skip
    more(configured, '[[qualify.fit]]\nname = "only"\nfield = "phone"\npoints = 10\n')
    from blocks.settings import settings

    settings.cache_clear()
    other = await qualify(contacts=[int(lines[1].partition(",")[0])])
    assert [finding.key for finding in other.findings] == ["qualify.weights:outdated"]
    assert other.leads[0].probability is None
    file.write_text("contact,result,decided_at\nx,won,2026-01-01\n")
    told = await asyncio.to_thread(CliRunner().invoke, cli, ["qualify", "outcomes", str(file)], standalone_mode=False)
    assert "outcomes.csv:2" in str(told.exception)

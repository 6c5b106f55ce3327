"""A draft from the record: checked, approved by somebody who has read it, sent once, and never otherwise."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async
from prefect.flow_runs import resume_flow_run

from blocks.database import LAMA_DATABASE, dsn
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import Settings, settings
from flows.draft import Approval, draft
from flows.handoffs import handoffs
from lama.cli import cli
from models.draft import DraftTemplate, Fact
from models.market import MarketReport, Point, Series
from models.report import Status, compose
from models.training import Interval
from models.valuation import Property, Valuation, ValuationReport
from tasks.draft import kept
from tasks.draft.record import of_contact, of_market, of_valuation
from tasks.draft.writing import render
from tasks.handoffs.forget import forget
from tasks.reports import store
from tests.handoffs import cloud_api, model_server

NOW = datetime.now(UTC)
ROUTE = """
[[handoffs.routes]]
name = "{name}"
source = "lama:draft"
when = "channel == 'whatsapp'"
fields = {{ to = "to", text = "text" }}
target = {{ kind = "whatsapp", block = "{name}" }}
[[draft.templates]]
name = "told"
channel = "whatsapp"
text = "Hello {{{{ contact.name }}}}, {{{{ valuation.address }}}} is worth {{{{ valuation.value | money }}}}, \
{{{{ valuation.low | money }}}} to {{{{ valuation.high | money }}}}, as of {{{{ valuation.as_of | day }}}}."
[[draft.templates]]
name = "answer"
channel = "whatsapp"
text = "Hello {{{{ contact.name }}}}, thank you."
[[draft.templates]]
name = "invented"
channel = "whatsapp"
text = "Hello {{{{ contact.name }}}}, it is worth 500,000 EUR, says Grace Hopper."
"""


def more(configured: Path, text: str) -> None:
    with configured.open("a") as file:
        file.write(text)
    settings.cache_clear()


async def connect(config: Settings) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(dsn(config, LAMA_DATABASE), autocommit=True)


async def contact(config: Settings, name: str = "Ada Byron", *, phone: bool = True) -> tuple[int, str]:
    number = f"+49171{uuid.uuid4().int % 10**7:07d}"
    async with await connect(config) as connection:
        cursor = await connection.execute(
            "INSERT INTO crm_contact (phone, email, name, created_at, updated_at) VALUES (%s, %s, %s, now(), now()) "
            "RETURNING id",
            (number if phone else None, f"{uuid.uuid4().hex}@example.org", name),
        )
        (found,) = await cursor.fetchone() or (0,)
    return int(found), number


def valuation() -> ValuationReport:
    found = Valuation(
        value=352_437.6, interval=Interval(low=318_000, high=391_200, coverage=0.8), fsd=0.12, confidence=70,
        grade="high", typical=300_000, currency="EUR", area_unit="m2", as_of=date(2026, 11, 28),
    )  # fmt: skip
    return compose(
        ValuationReport, capability="value", summary="x", started_at=NOW, finished_at=NOW, run_id=str(uuid.uuid4()),
        market="town", subject=Property(address="12 Harbour Street", area=116.0, bedrooms=3), valuation=found,
    )  # fmt: skip


def lama(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["draft", *words], standalone_mode=False, input=answer)


async def test_a_draft_is_sent_once_when_somebody_who_has_read_it_approves(
    configured: Path, migrated: Settings
) -> None:
    name = f"d-{uuid.uuid4().hex[:12]}"
    more(configured, ROUTE.format(name=name))
    person, number = await contact(migrated)
    report = valuation()
    await asyncio.to_thread(store.save, Postgres.of(migrated), report)
    told = await draft(contact=person, template="told", valuation=report.run_id)
    assert (told.status, told.state, told.problems) == (Status.ok, "waiting", 0)
    assert "Ada" not in told.model_dump_json(), "the report names nobody"
    with cloud_api.running() as api:
        await api.block.save(name)
        await handoffs(routes=[name], linger_s=0.0)
        assert api.sent == [], "what nobody approved is not sent"
        identifier = str(told.draft)
        shown = await asyncio.to_thread(lama, "show", identifier)
        assert "worth 352,438 EUR, 318,000 EUR to 391,200 EUR, as of 28 November 2026." in shown.output
        wrong = await asyncio.to_thread(lama, "approve", identifier, "--digest", "0" * 16)
        assert "not what was read" in str(wrong.exception)
        said_no = await asyncio.to_thread(lama, "approve", identifier, answer="n\n")
        assert said_no.exception is not None
        good = await asyncio.to_thread(lama, "approve", identifier, "--by", "Grace", answer="y\n")
        assert "approved and handed on" in good.output, good.exception
        again = await asyncio.to_thread(lama, "approve", identifier, answer="y\n")
        assert "is approved: it is decided once" in str(again.exception)
        for _ in range(2):
            await handoffs(routes=[name], linger_s=0.0)
        assert [(one["to"], one["text"]["body"][:15]) for one in api.sent] == [(number, "Hello Ada Byron")]
    listed = await asyncio.to_thread(lama, "list", "--state", "approved", "--json")
    assert f'"id": {identifier}' in listed.output
    assert '"decided_by": "Grace"' in listed.output
    assert "Route" in (await asyncio.to_thread(lama, "show", identifier)).output
    async with await connect(migrated) as connection:
        await forget(connection, number)
        with pytest.raises(ConfigurationError, match="there is no draft"):
            await kept.of_id(connection, int(identifier))


async def test_a_draft_that_says_what_the_record_does_not_is_refused_and_cannot_be_approved(
    configured: Path, migrated: Settings
) -> None:
    name = f"d-{uuid.uuid4().hex[:12]}"
    more(configured, ROUTE.format(name=name))
    person, _ = await contact(migrated)
    told = await draft(contact=person, template="invented")
    assert (told.status, told.state) == (Status.degraded, "refused")
    shown = await asyncio.to_thread(lama, "show", str(told.draft))
    assert shown.return_value == 1
    assert "'500,000 EUR': no record has this amount in EUR" in shown.output
    assert (await asyncio.to_thread(lama, "approve", str(told.draft), answer="y\n")).exception is not None
    async with await connect(migrated) as connection:
        cursor = await connection.execute("SELECT count(*) FROM handoff_message WHERE route = %s", (name,))
        assert await cursor.fetchone() == (0,)


async def test_two_who_approve_at_once_send_it_once_and_what_cannot_be_sent_stays_undecided(
    configured: Path, migrated: Settings
) -> None:
    name = f"d-{uuid.uuid4().hex[:12]}"
    person, _ = await contact(migrated)
    told = await draft(contact=person, template="answer")
    alone = await asyncio.to_thread(lama, "approve", str(told.draft), answer="y\n")
    assert "no route takes what is approved" in str(alone.exception)
    more(configured, ROUTE.format(name=name))
    from tasks.handoffs.route_set import load_routes

    routes = (await asyncio.to_thread(load_routes, settings())).settings.of_source("lama:draft")
    connections = [await connect(migrated) for _ in range(6)]
    found = await kept.of_id(connections[0], told.draft or 0)

    async def approve(connection: psycopg.AsyncConnection[Any]) -> bool:
        try:
            await kept.decide(connection, found.id, approve=True, by="x", digest=found.digest, routes=routes)
        except ConfigurationError:
            return False
        return True

    assert sum(await asyncio.gather(*map(approve, connections))) == 1
    cursor = await connections[0].execute("SELECT count(*) FROM handoff_message WHERE route = %s", (name,))
    assert await cursor.fetchone() == (1,)
    nobody, _ = await contact(migrated, phone=False)
    other = await kept.of_id(connections[0], (await draft(contact=nobody, template="answer")).draft or 0)
    with pytest.raises(ConfigurationError, match="has no phone"):
        await kept.decide(connections[0], other.id, approve=True, by="x", digest=other.digest, routes=routes)
    assert (await kept.of_id(connections[0], other.id)).state == "waiting"
    assert "rejected" in (await asyncio.to_thread(lama, "reject", str(other.id))).output
    for connection in connections:
        await connection.close()


async def test_a_draft_that_no_filter_lets_through_stays_undecided(configured: Path, migrated: Settings) -> None:
    """The only route of drafts takes what goes by WhatsApp; this one is an e-mail."""
    name = f"d-{uuid.uuid4().hex[:12]}"
    mail = '[[draft.templates]]\nname = "mail"\nsubject = "Hello"\ntext = "Dear {{ contact.name }}, thank you."\n'
    more(configured, ROUTE.format(name=name) + mail)
    person, _ = await contact(migrated)
    told = await draft(contact=person, template="mail")
    refused = await asyncio.to_thread(lama, "approve", str(told.draft), answer="y\n")
    assert "no route takes what is approved" in str(refused.exception)
    more(
        configured,
        f'[[handoffs.routes]]\nname = "{name}-mail"\nsource = "lama:draft"\nwhen = "channel == \'email\'"\n'
        'fields = { email = "to" }\ntarget = { kind = "crm" }\n',
    )
    good = await asyncio.to_thread(lama, "approve", str(told.draft), answer="y\n")
    assert "approved and handed on" in good.output, good.exception
    async with await connect(migrated) as connection:
        assert (await kept.of_id(connection, told.draft or 0)).state == "approved"
        assert [one["route"] for one in await kept.ways(connection, told.draft or 0)] == [f"{name}-mail"]


async def test_a_suspended_run_goes_on_when_somebody_has_decided_and_does_not_write_again(
    configured: Path, migrated: Settings
) -> None:
    name = f"d-{uuid.uuid4().hex[:12]}"
    more(configured, ROUTE.format(name=name))
    person, _ = await contact(migrated)
    report = valuation()
    await asyncio.to_thread(store.save, Postgres.of(migrated), report)
    parameters = {"contact": person, "template": "told", "valuation": report.run_id, "suspend": True}
    async with get_client() as client:
        flow_id = await client.create_flow(draft)
        deployment = await client.create_deployment(flow_id, "draft")
        run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
        with pytest.raises(Pause):  # which the engine of a worker takes for the end of the process
            await run_flow_async(draft, flow_run=run, parameters=parameters)
        suspended = await client.read_flow_run(run.id)
        assert suspended.state is not None
        assert suspended.state.name == "Suspended"
        async with await connect(migrated) as connection:
            made = await kept.of_run(connection, str(run.id))
            assert made is not None
            assert made.state == "waiting"
            said = Approval(approve=True, by="Grace", digest=made.digest[:16])
            await resume_flow_run(run.id, run_input=said.model_dump())  # type: ignore[misc]
            resumed = await client.read_flow_run(run.id)
            finished = await run_flow_async(draft, flow_run=resumed, parameters=parameters)
            assert (finished.draft, finished.state) == (made.id, "approved")
            cursor = await connection.execute("SELECT message_id FROM handoff_message WHERE route = %s", (name,))
            assert await cursor.fetchall() == [(f"draft {made.id}",)]


async def test_a_model_writes_again_what_was_refused_and_in_the_end_is_refused_itself(
    configured: Path, migrated: Settings
) -> None:
    name = f"m{uuid.uuid4().hex[:12]}"
    more(
        configured,
        f'[draft]\nmodel = "{name}"\n[[draft.templates]]\nname = "prose"\nprose = true\n'
        'text = "Tell {{ contact.name }} what the home is worth."\n',
    )
    person, _ = await contact(migrated)
    report = valuation()
    await asyncio.to_thread(store.save, Postgres.of(migrated), report)
    answers = iter(
        [
            "Dear Ada Byron, it is worth 400,000 EUR.",
            "Dear Ada Byron, it is worth 352,000 EUR.",
            "Dear Eve.",
            "Dear Eve.",
        ]
    )
    with model_server.running() as server:
        server.think = lambda _: {"text": next(answers)}
        await server.block().asave(name)
        told = await draft(contact=person, template="prose", valuation=report.run_id)
        assert told.state == "waiting"
        asked = str(server.asked[1]["messages"][-1]["content"])
        assert "Do not write '400,000 EUR'" in asked
        assert "valuation.value: 352,438 EUR" in asked
        refused = await draft(contact=person, template="prose", valuation=report.run_id)
        assert refused.state == "refused"


async def test_what_is_not_there_is_said_before_anything_is_kept(configured: Path, migrated: Settings) -> None:
    person, _ = await contact(migrated)
    with pytest.raises(ConfigurationError, match="there is no contact"):
        await draft(contact=2**40, template="answer")
    with pytest.raises(ConfigurationError, match="there is no template 'nothing'"):
        await draft(contact=person, template="nothing")
    with pytest.raises(ConfigurationError, match="cannot be filled: 'valuation' is undefined"):
        await draft(contact=person, template="valuation")
    with pytest.raises(ConfigurationError, match="no report of 'value'"):
        await draft(contact=person, template="valuation", valuation=str(uuid.uuid4()))


def test_a_template_reaches_the_facts_and_nothing_else() -> None:
    facts = [Fact(name="contact.name", kind="text", value="{{ 7 * 7 }}")]
    for text in (
        "{{ contact.__class__.__mro__ }}", "{{ ''.__class__ }}", "{{ range(9) }}", "{{ contact.name.format }}{{ x }}",
        "{{ cycler.__init__.__globals__ }}", "{{ contact.name | money }}", "{{ 'a' * 100000 }}",
        "{% for i in range(10**9) %}x{% endfor %}", "{% include '/etc/passwd' %}", "{{",
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            render(DraftTemplate(name="x", channel="whatsapp", text=text), facts)
    assert render(DraftTemplate(name="x", text="{{ contact.name }}"), facts)[1] == "{{ 7 * 7 }}"


def test_the_records_of_a_contact_a_valuation_and_a_market_are_facts() -> None:
    person = {"name": "Ada\n\u202e Byron", "budget": {"amount": 3, "currency": "EUR"}, "interest": "x" * 500}
    told = {fact.name: fact for fact in of_contact(person)}
    assert told["contact.name"].value == "Ada Byron"
    assert len(str(told["contact.interest"].value)) == 120
    assert told["contact.budget"].unit == "EUR"
    values = {fact.name: fact.value for fact in of_valuation(valuation())}
    assert values["valuation.value"] == 352_437.6
    assert values["valuation.coverage"] == 0.8
    refused = valuation().model_copy(update={"valuation": None})
    assert {fact.kind for fact in of_valuation(refused)} == {"text"}
    points = (Point(period="2025Q1", value=100.0), Point(period="2025Q2"), Point(period="2025Q3", value=96.77))
    market = compose(
        MarketReport, capability="market", summary="x", started_at=NOW, finished_at=NOW, run_id="r", market="town",
        currency="EUR", sales=90, series=(Series(name="hedonic", method="m", points=points),
                                          Series(name="median", unit="EUR", method="m", points=points)),
    )  # fmt: skip
    facts = {fact.name: fact for fact in of_market(market)}
    assert facts["market.change"].value == pytest.approx(-0.0323)
    assert (facts["market.first_period"].value, facts["market.last_period"].value) == ("2025Q1", "2025Q3")
    assert (facts["market.median"].kind, facts["market.median"].unit) == ("money", "EUR")
    template = DraftTemplate(name="x", text="{{ market.change | percent }} on {{ market.sales | number }} sales")
    assert render(template, list(facts.values()))[1] == "-3.2 % on 90 sales"

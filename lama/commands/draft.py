"""`lama draft`: write to clients, and decide what is sent."""

from __future__ import annotations

import getpass
from typing import Any

import click

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.database import with_database
from lama.commands.terminal import console, echo_json, printable, starting
from models.draft import Draft
from models.health_check import ReportLevel
from models.report import Severity

_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_by = click.option("--by", help="Who decides; otherwise the user of this machine.")


@click.group()
def draft() -> None:
    """Write to clients from the record, and decide what is sent."""


@draft.command()
@click.argument("contact", type=int)
@click.argument("template")
@click.option("--valuation", metavar="RUN", help="Run of `value` whose report is told of.")
@click.option("--market", metavar="RUN", help="Run of `market` whose report is told of.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@_json
def new(
    *, contact: int, template: str, valuation: str | None, market: str | None, timeout_s: float, as_json: bool
) -> int:
    """Draft a message to CONTACT by TEMPLATE. Exit code 1: it says what the record does not."""
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.draft import DraftReport

    given = {"contact": contact, "template": template, "valuation": valuation, "market": market}
    parameters: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe, "draft"):
        report = run_for_report("draft", parameters, DraftReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


@draft.command("list")
@click.option("--state", type=click.Choice(["refused", "waiting", "approved", "rejected"]), help="Only this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_json
def list_(*, state: str | None, limit: int, as_json: bool) -> int:
    """List drafts, the latest first."""
    from rich.table import Table

    from tasks.draft.kept import listed

    found = with_database(lambda connection: listed(connection, state=state, limit=limit))
    if as_json:
        echo_json(found)
        return OK
    table = Table("draft", "contact", "template", "channel", "state", "problems", "made", "decided by")
    for one in found:
        who = printable(one["decided_by"] or "")
        table.add_row(
            str(one["id"]), str(one["contact"]), one["template"], one["channel"], one["state"], str(one["problems"]),
            one["created_at"][:16], who,
        )  # fmt: skip
    console().print(table)
    return OK


@draft.command()
@click.argument("identifier", type=int, metavar="DRAFT")
@_json
def show(*, identifier: int, as_json: bool) -> int:
    """Show a DRAFT: its text, what is wrong with it, its digest, and how far it has come."""
    from tasks.draft.kept import of_id, ways

    found = with_database(lambda connection: of_id(connection, identifier))
    gone = with_database(lambda connection: ways(connection, identifier))
    if as_json:
        echo_json({**found.model_dump(mode="json"), "routes": gone})
        return OK
    _print(found)
    for one in gone:
        click.echo(f"Route {one['route']}: {one['state']} {one['delivered_at'] or ''}".rstrip())
    return FINDINGS if found.problems else OK


@draft.command()
@click.argument("identifier", type=int, metavar="DRAFT")
@_by
@click.option("--digest", help="Of what you have read; otherwise it is shown now, and you are asked.")
def approve(*, identifier: int, by: str | None, digest: str | None) -> int:
    """Approve a DRAFT: it is handed to the routes that take lama:draft, and sent once."""
    from lama.commands.handoff_routes import known_routes
    from models.draft import SOURCE
    from tasks.draft.kept import decide, of_id

    if digest is None:
        found = with_database(lambda connection: of_id(connection, identifier))
        _print(found)
        click.confirm("Send this?", abort=True)
        digest = found.digest
    read = digest
    who = by or getpass.getuser()
    routes = known_routes().settings.of_source(SOURCE)
    with_database(lambda connection: decide(connection, identifier, approve=True, by=who, digest=read, routes=routes))
    click.echo(f"Draft {identifier} was approved and handed on.")
    return OK


@draft.command()
@click.argument("identifier", type=int, metavar="DRAFT")
@_by
def reject(*, identifier: int, by: str | None) -> int:
    """Reject a DRAFT: it is never sent."""
    from tasks.draft.kept import decide, of_id

    found = with_database(lambda connection: of_id(connection, identifier))
    who = by or getpass.getuser()
    with_database(
        lambda connection: decide(connection, identifier, approve=False, by=who, digest=found.digest, routes=())
    )
    click.echo(f"Draft {identifier} was rejected.")
    return OK


def _print(found: Draft) -> None:
    click.echo(f"Draft {found.id} for contact {found.contact}, by {found.channel}: {found.state}")
    click.echo(f"Digest: {found.digest[:16]}")
    if found.subject:
        click.echo(f"Subject: {printable(found.subject)}")
    click.echo()
    for line in found.text.splitlines():
        click.echo(f"  {printable(line)}")
    click.echo()
    for problem in found.problems:
        click.echo(f"{printable(problem.quote)!r}: {problem.why}")

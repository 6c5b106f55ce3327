"""`lama mail`: fetch mailboxes, and see how far each is."""

from __future__ import annotations

from typing import Any

import click

from blocks.settings import settings
from lama.cli import OK
from lama.commands.terminal import console, echo_json, starting
from models.health_check import ReportLevel
from models.report import Severity


@click.group()
def mail() -> None:
    """Fetch mail for the handoffs, and see where it comes in."""


@mail.command()
@click.argument("mailboxes", nargs=-1, metavar="[MAILBOX]...")
@click.option("--dry-run", is_flag=True, help="Only count what would be fetched.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def fetch(*, mailboxes: tuple[str, ...], dry_run: bool, timeout_s: float, as_json: bool) -> int:
    """Fetch now what is new in MAILBOXes; without a name, in all. The schedule does it every five minutes.

    Exit code 1: a mail is too large to be taken; 2: a mailbox could not be looked into.
    """
    from blocks.configuration import load_configuration
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.report import Report
    from tasks.mail.run import chosen

    chosen(load_configuration(settings()).mail, list(mailboxes) or None)
    parameters: dict[str, Any] = {"dry_run": dry_run}
    if mailboxes:
        parameters["mailboxes"] = list(mailboxes)
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("mail", parameters, Report, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


@mail.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(*, as_json: bool) -> int:
    """Show where mail comes in, who takes it, and how far each mailbox has been fetched."""
    from rich.table import Table

    from blocks.configuration import load_configuration
    from lama.commands.database import with_database
    from lama.commands.handoff_routes import known_routes
    from tasks.mail.fetching import Marks, marks_of

    configuration = load_configuration(settings())
    handoffs = known_routes().settings
    known = with_database(marks_of)
    rows: list[tuple[str, str, Marks | None]] = [
        (one.name, f"{one.protocol} on {one.host}:{one.port}", None) for one in configuration.mail.receivers
    ]
    rows += [(one.name, f"{one.folder} of {one.block}", known.get(one.name)) for one in configuration.mail.mailboxes]
    told = [
        {
            "name": name,
            "where": where,
            "routes": [route.name for route in handoffs.of_source(f"email:{name}")],
            "fetched_at": marks.fetched_at.isoformat() if marks and marks.fetched_at else None,
            "uid": None if marks is None else marks.stored,
            "too_large": 0 if marks is None else len(marks.left),
        }
        for name, where, marks in rows
    ]
    if as_json:
        echo_json(told)
    elif not told:
        click.echo("There is neither receiver nor mailbox in lama.toml; docs/mail.md shows both.")
    else:
        table = Table("source", "where", "routes", "fetched", "up to UID", "too large")
        for one in told:
            table.add_row(*(_cell(value) for value in one.values()))
        console().print(table)
    return OK


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")

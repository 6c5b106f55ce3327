"""`lama qualify`: grade leads, and say what became of them."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from blocks.errors import ConfigurationError
from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.database import with_database
from lama.commands.terminal import console, echo_json, starting
from models.health_check import ReportLevel
from models.report import Severity

_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_MOST_OUTCOMES = 1_000_000
_WON = {"won": True, "lost": False}


@click.group()
def qualify() -> None:
    """Grade leads by fit and engagement, see grades, and say what became of leads."""


@qualify.command()
@click.argument("contacts", nargs=-1, type=int, metavar="[CONTACT]...")
@click.option("--learn", is_flag=True, help="Learn weights first, from the leads whose outcome is known.")
@click.option("--as-of", type=click.DateTime(), help="The time (UTC) that engagement is decayed to; otherwise now.")
@click.option("--dry-run", is_flag=True, help="Only say what the grades would be.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@_json
def run(
    *, contacts: tuple[int, ...], learn: bool, as_of: datetime | None, dry_run: bool, timeout_s: float, as_json: bool
) -> int:
    """Grade CONTACTs, by their ids; without one, all. Exit code 2: something could not be graded or learned."""
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.qualify import QualifyReport

    parameters: dict[str, Any] = {"learn": learn, "dry_run": dry_run}
    if contacts:
        parameters["contacts"] = list(contacts)
    if as_of is not None:
        parameters["as_of"] = as_of.replace(tzinfo=UTC).isoformat()
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("qualify", parameters, QualifyReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


@qualify.command("list")
@click.option("--grade", "grades", multiple=True, help="Only this grade, such as A1, or letter, such as A.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_json
def list_(*, grades: tuple[str, ...], limit: int, as_json: bool) -> int:
    """List the grades that contacts have, the best first, with who they are."""
    from rich.table import Table

    from lama.commands.terminal import printable
    from tasks.qualify.contacts import listed

    found = with_database(lambda connection: listed(connection, grades=grades, limit=limit))
    if as_json:
        echo_json(found)
        return OK
    table = Table("contact", "grade", "since", "fit", "engagement", "won", "name", "phone", "e-mail")
    for one in found:
        chance = "" if one["probability"] is None else f"{one['probability']:.0%}"
        who = [printable(str(one[key] or "")) for key in ("name", "phone", "email")]
        figures = [f"{one['fit']:.0f}", f"{one['engagement']:.0f}", chance]
        table.add_row(str(one["contact"]), one["grade"], str(one["since"])[:10], *figures, *who)
    console().print(table)
    return OK


@qualify.command()
@click.argument("contact", type=int)
@click.argument("result", type=click.Choice(list(_WON)))
@click.option("--at", type=click.DateTime(), help="When it was decided (UTC); otherwise now.")
def outcome(*, contact: int, result: str, at: datetime | None) -> int:
    """Say that the lead CONTACT was won or lost. The last word about a lead counts."""
    return _decide([(contact, _WON[result], at.replace(tzinfo=UTC) if at else datetime.now(UTC))])


@qualify.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def outcomes(*, file: Path) -> int:
    """Take what became of leads from FILE, a CSV with the columns contact, result (won or lost) and decided_at.

    Nothing is taken when a line cannot be read. Exit code 1: some contacts are not there.
    """
    return _decide(_read(file))


def _decide(found: list[tuple[int, bool, datetime]]) -> int:
    from tasks.qualify.contacts import decide

    missing = with_database(lambda connection: decide(connection, found))
    click.echo(f"{len(found) - sum(one[0] in missing for one in found)} outcomes written down.")
    if missing:
        click.echo(f"No such contacts: {', '.join(map(str, missing[:20]))}.", err=True)
    return FINDINGS if missing else OK


def _read(file: Path) -> list[tuple[int, bool, datetime]]:
    found = []
    with file.open(newline="", encoding="utf-8-sig") as text:
        reading = csv.DictReader(text)
        if not {"contact", "result", "decided_at"} <= set(reading.fieldnames or ()):
            raise ConfigurationError("it needs the columns contact, result and decided_at.", component=str(file))
        for number, row in enumerate(reading, start=2):
            try:
                at = datetime.fromisoformat(row["decided_at"])
                at = at if at.tzinfo else at.replace(tzinfo=UTC)
                found.append((int(row["contact"]), _WON[row["result"]], at))
            except (KeyError, ValueError, TypeError):
                told = "a line is a contact's id, won or lost, and a date such as 2026-11-30."
                raise ConfigurationError(told, component=f"{file}:{number}") from None
            if len(found) > _MOST_OUTCOMES:
                raise ConfigurationError(f"more than {_MOST_OUTCOMES} lines.", component=str(file))
    return found

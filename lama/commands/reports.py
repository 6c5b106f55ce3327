"""`lama reports`."""

from __future__ import annotations

from pathlib import Path

import click

from blocks.errors import LamaError
from blocks.settings import settings
from lama.cli import OK
from lama.commands.reporting import FORMS
from lama.commands.reporting import show as print_report
from lama.commands.terminal import console, echo_json, starting
from models.health_check import HealthReport, ReportLevel
from models.report import Report


@click.group(invoke_without_command=True)
@click.option("--capability", help="Only reports of this capability.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.pass_context
def reports(context: click.Context, *, capability: str | None, limit: int, as_json: bool) -> None:
    """List reports, newest first; `show` one, or `diff` two."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from blocks.postgres import Postgres
    from lama.commands.session import database_for
    from tasks.reports import store

    with starting(quiet=as_json) as observe, database_for(settings(), observe):
        rows = store.recent(Postgres.of(settings()), capability=capability, limit=limit)
    if as_json:
        echo_json([row.model_dump(mode="json", exclude={"body"}) for row in rows])
        return
    table = Table("finished", "capability", "status", "findings", "skipped", "run", "summary")
    for row in rows:
        table.add_row(
            f"{row.finished_at.astimezone():%Y-%m-%d %H:%M}", row.capability, row.status,
            str(len(row.body["findings"])), str(len(row.body["skipped"])), row.run_id[:8], row.summary,
        )  # fmt: skip
    console().print(table if rows else "No reports yet: `lama health-check` makes one.")


@reports.command()
@click.argument("run_id")
@click.option("--report-level", type=click.Choice([level.value for level in ReportLevel]), help="How much is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--format", "form", type=click.Choice(FORMS), help="Print it in this form.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
def show(*, run_id: str, report_level: str | None, as_json: bool, form: str | None, output: Path | None) -> int:
    """Show the report of RUN_ID, whole or its first eight characters or more."""
    form = "json" if as_json else form
    (report,) = _load(run_id, quiet=form is not None)
    own = report.report_level if isinstance(report, HealthReport) else ReportLevel.standard
    print_report(report, form, level=ReportLevel(report_level) if report_level else own, output=output)
    return OK


@reports.command()
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def diff(*, before: str, after: str, as_json: bool) -> int:
    """Show what changed from the report BEFORE to the report AFTER."""
    from tasks.reports import render
    from tasks.reports.diff import diff as difference

    earlier, later = _load(before, after, quiet=as_json)
    if earlier.capability != later.capability or earlier.scope != later.scope:
        click.echo("These two did not look at the same things; what differs may only have been out of sight.", err=True)
    change = difference(earlier, later)
    if as_json:
        click.echo(change.model_dump_json(indent=2))
    else:
        render.diff_to_terminal(change, console())
    return OK


def _load(*run_ids: str, quiet: bool) -> list[Report]:
    """The reports of these runs; a database that is down is started once for all of them."""
    from blocks.postgres import Postgres
    from lama.commands.session import database_for
    from tasks.reports import store

    found = []
    with starting(quiet=quiet) as observe, database_for(settings(), observe):
        for run_id in run_ids:
            report = store.load(Postgres.of(settings()), run_id, Report)
            if report is None:
                raise LamaError(f"there is no report of a run {run_id!r}. `lama reports` lists them.")
            found.append(report)
    return found

"""`lama health-check` and `lama accept`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from blocks.errors import LamaError, UnavailableError
from blocks.settings import settings
from lama.cli import COULD_NOT, FINDINGS, OK
from lama.commands.terminal import console, starting
from models.health_check import Module, ReportLevel
from models.report import Severity, Status

if TYPE_CHECKING:
    from models.health_check import HealthReport

DEPLOYMENT = "health-check"


@click.command("health-check")
@click.option("--report-level", type=click.Choice([level.value for level in ReportLevel]), help="How much is shown.")
@click.option("--module", "modules", multiple=True, type=click.Choice([m.value for m in Module]), help="Only this one.")
@click.option("--checkout", "checkouts", multiple=True, help="Only this checkout: a name of lama.toml, or a path.")
@click.option(
    "--fail-level", type=click.Choice([s.value for s in Severity]), help="Findings that make the exit code 1."
)
@click.option("--no-narrative", is_flag=True, help="Leave the prose to the deterministic ranking.")
@click.option("--timeout", "timeout_s", default=1800.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def health_check(
    *,
    report_level: str | None,
    modules: tuple[str, ...],
    checkouts: tuple[str, ...],
    fail_level: str | None,
    no_narrative: bool,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Check this machine, its services and its checkouts, and print what needs attention.

    Works with the platform up or down. Exit code 1: findings at or above the fail level; 2: something could not be
    looked at, or the check could not be done.
    """
    from blocks.configuration import load_configuration
    from lama.commands.session import platform_for_a_run

    config = settings()
    configuration = load_configuration(config)
    parameters: dict[str, Any] = {"narrative": not no_narrative}
    if report_level:
        parameters["report_level"] = report_level
    if modules:
        parameters["modules"] = list(modules)
    if checkouts:
        parameters["checkouts"] = [_named_or_absolute(text) for text in checkouts]
    with starting(quiet=as_json) as observe, platform_for_a_run(config, observe):
        report = check(parameters, timeout_s=timeout_s, quiet=as_json)
    show(report, as_json=as_json)
    return exit_code(report, Severity(fail_level) if fail_level else configuration.health_check.fail_level)


def check(parameters: dict[str, Any], *, timeout_s: float, quiet: bool) -> HealthReport:
    """Run the check through the worker and fetch its report.

    Raises:
        LamaError: the run did not complete, or its report was not stored.
        UnavailableError: the database does not answer.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from blocks.postgres import Postgres
    from lama.commands.flows import trigger_and_follow
    from models.health_check import HealthReport
    from tasks.reports import store

    run = trigger_and_follow(DEPLOYMENT, parameters, timeout_s=timeout_s, quiet=quiet)
    if run.state_type != "COMPLETED":
        raise LamaError(f"the run ended as {run.state_name}: {run.message}", component=f"health-check {run.name}")
    try:
        report = store.load(Postgres.of(settings()), run.id, HealthReport)
    except SQLAlchemyError as error:
        raise UnavailableError(f"the report cannot be read: {error}", component="postgres") from error
    if report is None:
        raise LamaError(
            f"its report is not in the database; the artifact of run {run.id} in the Prefect UI has it.",
            component=f"health-check {run.name}",
        )
    return report


def show(report: HealthReport, *, as_json: bool) -> None:
    """Print `report` for a person or a machine."""
    from tasks.reports import render

    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    render.to_terminal(report, report.report_level, console())


def exit_code(report: HealthReport, fail_level: Severity) -> int:
    """2 when something was not seen, else 1 with findings at or above `fail_level`, else 0."""
    if report.status is Status.incomplete:
        return COULD_NOT
    return FINDINGS if report.at_or_above(fail_level) else OK


def _named_or_absolute(text: str) -> str:
    """Paths are the caller's; the worker that runs the flow stands in another folder."""
    from pathlib import Path

    path = Path(text).expanduser()
    return str(path.absolute()) if "/" in text or path.exists() else text


@click.command()
@click.argument("what", type=click.Choice(["architecture"]))
def accept(what: str) -> int:
    """Take the newest snapshot of WHAT for right: drift is reported against it from now on."""
    from datetime import UTC, datetime

    from blocks.postgres import Postgres
    from lama.commands.session import database_for
    from tasks.health_check.architecture.snapshot import accept as accept_snapshots

    config = settings()
    with starting() as observe, database_for(config, observe):
        subjects = accept_snapshots(Postgres.of(config), now=datetime.now(UTC))
    if not subjects:
        click.echo(f"There is no snapshot of the {what} yet: `lama health-check` makes one.", err=True)
        return COULD_NOT
    click.echo(f"Accepted: {', '.join(subjects)}.")
    return OK

"""`lama health-check` and `lama accept`."""

from __future__ import annotations

from typing import Any

import click

from blocks.settings import settings
from lama.cli import COULD_NOT, OK
from lama.commands.reporting import exit_code, named_or_absolute, run_for_report, show
from lama.commands.terminal import echo_json, starting
from models.health_check import Module, ReportLevel
from models.report import Severity

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
    from models.health_check import HealthReport

    config = settings()
    configuration = load_configuration(config)
    parameters: dict[str, Any] = {"narrative": not no_narrative}
    if report_level:
        parameters["report_level"] = report_level
    if modules:
        parameters["modules"] = list(modules)
    if checkouts:
        parameters["checkouts"] = [named_or_absolute(text) for text in checkouts]
    with starting(quiet=as_json) as observe, platform_for_a_run(config, observe):
        report = run_for_report(DEPLOYMENT, parameters, HealthReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=report.report_level)
    return exit_code(report, Severity(fail_level) if fail_level else configuration.health_check.fail_level)


@click.command()
@click.argument("what", type=click.Choice(["architecture"]))
@click.option("--json", "as_json", is_flag=True, help="Print what was accepted as JSON.")
def accept(what: str, *, as_json: bool) -> int:
    """Take the newest snapshot of WHAT for right: drift is reported against it from now on."""
    from datetime import UTC, datetime

    from blocks.postgres import Postgres
    from lama.commands.session import database_for
    from tasks.health_check.architecture.snapshot import accept as accept_snapshots

    config = settings()
    with starting(quiet=as_json) as observe, database_for(config, observe):
        subjects = accept_snapshots(Postgres.of(config), now=datetime.now(UTC))
    if as_json:
        echo_json({"accepted": list(subjects)})
        return OK if subjects else COULD_NOT
    if not subjects:
        click.echo(f"There is no snapshot of the {what} yet: `lama health-check` makes one.", err=True)
        return COULD_NOT
    click.echo(f"Accepted: {', '.join(subjects)}.")
    return OK

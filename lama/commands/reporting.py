"""What the commands share that run a flow and print its report."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from blocks.errors import LamaError, UnavailableError
from blocks.settings import settings
from lama.cli import COULD_NOT, FINDINGS, OK
from lama.commands.terminal import console
from models.health_check import ReportLevel
from models.report import Report, Severity, Status

R = TypeVar("R", bound=Report)

FORMS = ("json", "markdown", "sarif", "cyclonedx", "openvex")
"""Those of `tasks.reports.export`, known here without its imports."""


def run_for_report(deployment: str, parameters: dict[str, Any], cls: type[R], *, timeout_s: float, quiet: bool) -> R:
    """Run `deployment` through the worker and fetch the report of its run.

    Raises:
        LamaError: the run did not complete, or its report was not stored.
        UnavailableError: the database does not answer.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from blocks.postgres import Postgres
    from lama.commands.flows import trigger_and_follow
    from tasks.reports import store

    run = trigger_and_follow(deployment, parameters, timeout_s=timeout_s, quiet=quiet)
    if run.state_type != "COMPLETED":
        raise LamaError(f"the run ended as {run.state_name}: {run.message}", component=f"{deployment} {run.name}")
    try:
        report = store.load(Postgres.of(settings()), run.id, cls)
    except SQLAlchemyError as error:
        raise UnavailableError(f"the report cannot be read: {error}", component="postgres") from error
    if report is None:
        raise LamaError(
            f"its report is not in the database; the artifact of run {run.id} in the Prefect UI has it.",
            component=f"{deployment} {run.name}",
        )
    return report


def show(report: Report, form: str | None, *, level: ReportLevel, output: Path | None = None) -> None:
    """Print `report` for a person, or in one of `FORMS`; into the file `output` when one is given.

    Raises:
        LamaError: the form cannot hold this report, or the file cannot be written.
    """
    from tasks.reports import render

    if form is None and output is None:
        render.to_terminal(report, level, console())
        return
    from tasks.reports.export import export

    text = export(report, form or "markdown")
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise LamaError(f"{output} cannot be written: {error.strerror}.") from error
    render.to_terminal(report, ReportLevel.summary, console())
    click.echo(f"Written to {output}.", err=True)


def exit_code(report: Report, fail_level: Severity, *, only: Collection[str] | None = None) -> int:
    """2 when something was not seen, else 1 with findings at or above `fail_level`, else 0.

    With `only`, just the findings of these keys count.
    """
    if report.status is Status.incomplete:
        return COULD_NOT
    counted = [finding for finding in report.at_or_above(fail_level) if only is None or finding.key in only]
    return FINDINGS if counted else OK


def named_or_absolute(text: str) -> str:
    """Paths are the caller's; the worker that runs the flow stands in another folder."""
    path = Path(text).expanduser()
    return str(path.absolute()) if "/" in text or path.exists() else text

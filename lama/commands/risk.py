"""What `lama audit` and `lama scan` share: their options, and the two ways to run them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blocks.settings import settings
from lama.commands.reporting import FORMS, exit_code, run_for_report, show
from lama.commands.terminal import starting
from models.health_check import ReportLevel
from models.report import Severity

if TYPE_CHECKING:
    from models.risk import RiskReport

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("paths", nargs=-1, metavar="[PATH]..."),
    click.option("--report-level", type=click.Choice([level.value for level in ReportLevel]), default="standard",
                 show_default=True, help="How much is shown."),
    click.option("--format", "form", type=click.Choice(FORMS), help="Print it in this form."),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file."),
    click.option("--fail-level", type=click.Choice([s.value for s in Severity]),
                 help="Findings that make the exit code 1."),
    click.option("--only-new", is_flag=True, help="Only what the last run did not find makes the exit code 1."),
    click.option("--no-cache", is_flag=True, help="Look at everything again, also at what has not changed."),
    click.option("--standalone", is_flag=True,
                 help="Do it in this process, without the platform: nothing is stored or compared."),
    click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end."),
)  # fmt: skip


def options(command: F) -> F:
    """The options that both have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Display:
    """How the result is shown and judged."""

    form: str | None
    level: ReportLevel
    output: Path | None
    fail_level: Severity
    only_new: bool

    @property
    def quiet(self) -> bool:
        """Whether stdout is for a machine, and so nothing else is said."""
        return self.form is not None and self.output is None


def run_and_show(
    deployment: str,
    parameters: dict[str, Any],
    cls: type[RiskReport],
    display: Display,
    *,
    standalone: Callable[[], RiskReport] | None,
    timeout_s: float,
) -> int:
    """Run it by the worker, or by `standalone` in this process; print the report and return the exit code.

    Raises:
        click.UsageError: what was asked for cannot be done; nothing was run.
    """
    if display.only_new and standalone is not None:
        raise click.UsageError("--standalone knows no earlier run to compare with; leave out --only-new.")
    if display.output is not None and not os.access(display.output.absolute().parent, os.W_OK):
        raise click.UsageError(f"--output: {display.output.absolute().parent} is no folder that can be written.")
    if settings().embeds_prefect or standalone is not None:
        _refuse_what_is_not_there(deployment, parameters.get("checkouts"))
    if standalone is not None:
        report = standalone()
    else:
        from lama.commands.session import platform_for_a_run

        with starting(quiet=display.quiet) as observe, platform_for_a_run(settings(), observe):
            report = run_for_report(deployment, parameters, cls, timeout_s=timeout_s, quiet=display.quiet)
    show(report, display.form, level=display.level, output=display.output)
    new = frozenset(report.changes.opened) if display.only_new and report.changes.since else None
    return exit_code(report, display.fail_level, only=new)


def _refuse_what_is_not_there(component: str, asked: list[str] | None) -> None:
    """Where the run is on this machine, a path that does not exist is a slip of the pen: said now, and not by a run."""
    from blocks.configuration import load_configuration
    from tasks.checkouts import choose_checkouts

    for checkout in choose_checkouts(asked, load_configuration(settings()), component=component) if asked else ():
        if not checkout.path.exists():
            raise click.UsageError(f"{checkout.path} does not exist.")

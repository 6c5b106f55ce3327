"""What `lama audit` and `lama scan` share: their options, and the two ways to run them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blocks.settings import settings
from lama.commands.reporting import FORMS, exit_code, named_or_absolute, run_for_report, show
from lama.commands.terminal import starting
from models.health_check import ReportLevel
from models.report import Severity

if TYPE_CHECKING:
    from models.configuration import Configuration
    from models.risk import RiskReport
    from tasks.target import Target

R = TypeVar("R", bound="RiskReport")

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


@dataclass(frozen=True)
class Asked:
    """What the shared options say, by their names above."""

    paths: tuple[str, ...]
    report_level: str
    form: str | None
    as_json: bool
    output: Path | None
    fail_level: str | None
    only_new: bool
    no_cache: bool
    standalone: bool
    timeout_s: float

    def check(self) -> None:
        """Refuse options that contradict each other or cannot be done.

        Raises:
            click.UsageError: says which.
        """
        if self.as_json and self.form not in {None, "json"}:
            raise click.UsageError("--json and --format say different things; give one of them.")
        if "" in self.paths:
            raise click.UsageError("a PATH is empty.")
        if self.only_new and self.standalone:
            raise click.UsageError("--standalone knows no earlier run to compare with; leave out --only-new.")
        if self.output is not None and not os.access(self.output.absolute().parent, os.W_OK):
            raise click.UsageError(f"--output: {self.output.absolute().parent} is no folder that can be written.")


def options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that both have; `command` is given them as one `Asked`, and its own by name."""

    @functools.wraps(command)
    def with_asked(**given: Any) -> int:
        return command(Asked(**{field.name: given.pop(field.name) for field in fields(Asked)}), **given)

    decorated: Callable[..., int] = with_asked
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def run_and_show(
    deployment: str,
    cls: type[R],
    asked: Asked,
    parameters: dict[str, Any],
    *,
    fail_level: Callable[[Configuration], Severity],
    here: Callable[[Target], Coroutine[Any, Any, R]],
) -> int:
    """Run it by the worker, or in this process; print the report and return the exit code.

    Args:
        deployment: what the worker runs.
        cls: the class of its report.
        asked: the shared options.
        parameters: those of the flow that the shared options do not give.
        fail_level: the one that is configured.
        here: runs it in this process.

    Raises:
        click.UsageError: what was asked for cannot be done; nothing was run.
    """
    from blocks.configuration import load_configuration

    asked.check()
    config = settings()
    configuration = load_configuration(config)
    parameters = {**parameters, "cache": not asked.no_cache}
    if asked.paths:
        parameters["checkouts"] = [named_or_absolute(text) for text in asked.paths]
    if config.embeds_prefect or asked.standalone:
        _refuse_what_is_not_there(deployment, parameters.get("checkouts"))
    form = "json" if asked.as_json else asked.form
    quiet = form is not None and asked.output is None  # stdout is for a machine, and so nothing else is said
    if asked.standalone:
        from tasks.event_loop import run
        from tasks.target import target_of

        report = run(here(target_of(config, configuration, parameters.get("checkouts"), component=deployment)))
    else:
        from lama.commands.session import platform_for_a_run

        with starting(quiet=quiet) as observe, platform_for_a_run(config, observe):
            report = run_for_report(deployment, parameters, cls, timeout_s=asked.timeout_s, quiet=quiet)
    show(report, form, level=ReportLevel(asked.report_level), output=asked.output)
    new = frozenset(report.changes.opened) if asked.only_new and report.changes.since else None
    level = Severity(asked.fail_level) if asked.fail_level else fail_level(configuration)
    return exit_code(report, level, only=new)


def _refuse_what_is_not_there(component: str, asked: list[str] | None) -> None:
    """Where the run is on this machine, a path that does not exist is a slip of the pen: said now, and not by a run."""
    from blocks.configuration import load_configuration
    from tasks.checkouts import choose_checkouts

    for checkout in choose_checkouts(asked, load_configuration(settings()), component=component) if asked else ():
        if not checkout.path.exists():
            raise click.UsageError(f"{checkout.path} does not exist.")

"""`lama scan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from blocks.settings import settings
from lama.commands.reporting import named_or_absolute
from lama.commands.risk import Display, options, run_and_show
from models.health_check import ReportLevel
from models.report import Severity
from models.scan import Engine


@click.command()
@options
@click.option("--engine", "engines", multiple=True, type=click.Choice([e.value for e in Engine]), help="Only this one.")
def scan(
    *,
    paths: tuple[str, ...],
    report_level: str,
    form: str | None,
    as_json: bool,
    output: Path | None,
    fail_level: str | None,
    only_new: bool,
    no_cache: bool,
    standalone: bool,
    timeout_s: float,
    engines: tuple[str, ...],
) -> int:
    """Scan PATHs for secrets (also in the git history), and for risky code and configuration.

    PATH may be a name of lama.toml; without one, everything that is configured, and the services of this node. Exit
    code 1: findings at or above the fail level; 2: something could not be looked at.
    """
    from blocks.configuration import load_configuration
    from models.risk import ScanReport

    if as_json and form not in {None, "json"}:
        raise click.UsageError("--json and --format say different things; give one of them.")
    if "" in paths:
        raise click.UsageError("a PATH is empty.")
    config = settings()
    configuration = load_configuration(config)
    parameters: dict[str, Any] = {"cache": not no_cache}
    if paths:
        parameters["checkouts"] = [named_or_absolute(text) for text in paths]
    if engines:
        parameters["engines"] = list(engines)
    display = Display(
        form="json" if as_json else form,
        level=ReportLevel(report_level),
        output=output,
        fail_level=Severity(fail_level) if fail_level else configuration.scan.fail_level,
        only_new=only_new,
    )

    def here() -> ScanReport:
        from tasks.event_loop import run
        from tasks.scan.run import scan as scan_here
        from tasks.target import target_of

        target = target_of(config, configuration, parameters.get("checkouts"), component="scan")
        chosen = [Engine(name) for name in engines] or None
        return run(scan_here(target, engines=chosen, cache=not no_cache))

    return run_and_show(
        "scan", parameters, ScanReport, display, standalone=here if standalone else None, timeout_s=timeout_s
    )

"""`lama audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from blocks.settings import settings
from lama.commands.reporting import named_or_absolute
from lama.commands.risk import Display, options, run_and_show
from models.audit import Remedy
from models.health_check import ReportLevel
from models.report import Severity


@click.command()
@options
@click.option("--fix", is_flag=True, help="Change the requirement files so that known vulnerabilities go.")
@click.option("--dry-run", is_flag=True, help="With --fix: only show the change.")
@click.option("--propose", is_flag=True, help="Make a pull request of the change.")
def audit(
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
    fix: bool,
    dry_run: bool,
    propose: bool,
) -> int:
    """Audit what PATHs depend on: checkouts, environments, image folders, lock files, bills of materials.

    PATH may be a name of lama.toml; without one, everything that is configured. Exit code 1: findings at or above the
    fail level; 2: something could not be looked at.
    """
    from blocks.configuration import load_configuration
    from models.risk import AuditReport

    if dry_run and not (fix or propose):
        raise click.UsageError("--dry-run says what --fix would do; give --fix as well.")
    if fix and propose:
        raise click.UsageError("--fix changes files here, --propose makes a pull request: choose one.")
    if as_json and form not in {None, "json"}:
        raise click.UsageError("--json and --format say different things; give one of them.")
    if "" in paths:
        raise click.UsageError("a PATH is empty.")
    config = settings()
    configuration = load_configuration(config)
    wanted = Remedy.advise
    if fix or propose:
        wanted = Remedy.patch if dry_run else Remedy.apply if fix else Remedy.propose
    parameters: dict[str, Any] = {"remedy": wanted.value, "cache": not no_cache}
    if paths:
        parameters["checkouts"] = [named_or_absolute(text) for text in paths]
    display = Display(
        form="json" if as_json else form,
        level=ReportLevel(report_level),
        output=output,
        fail_level=Severity(fail_level) if fail_level else configuration.audit.fail_level,
        only_new=only_new,
    )

    def here() -> AuditReport:
        from tasks.audit.run import audit as audit_here
        from tasks.event_loop import run
        from tasks.target import target_of

        target = target_of(config, configuration, parameters.get("checkouts"), component="audit")
        return run(audit_here(target, remedy=wanted, cache=not no_cache))

    return run_and_show(
        "audit", parameters, AuditReport, display, standalone=here if standalone else None, timeout_s=timeout_s
    )

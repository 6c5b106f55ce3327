"""`lama audit`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click

from lama.commands.risk import Asked, options, run_and_show
from models.audit import Remedy

if TYPE_CHECKING:
    from models.risk import AuditReport
    from tasks.target import Target


@click.command()
@options
@click.option("--fix", is_flag=True, help="Change the requirement files so that known vulnerabilities go.")
@click.option("--dry-run", is_flag=True, help="With --fix: only show the change.")
@click.option("--propose", is_flag=True, help="Make a pull request of the change.")
def audit(asked: Asked, *, fix: bool, dry_run: bool, propose: bool) -> int:
    """Audit what PATHs depend on: checkouts, environments, image folders, lock files, bills of materials.

    PATH may be a name of lama.toml; without one, everything that is configured. Exit code 1: findings at or above the
    fail level; 2: something could not be looked at.
    """
    from models.risk import AuditReport

    if dry_run and not (fix or propose):
        raise click.UsageError("--dry-run says what --fix would do; give --fix as well.")
    if fix and propose:
        raise click.UsageError("--fix changes files here, --propose makes a pull request: choose one.")
    wanted = Remedy.advise
    if fix or propose:
        wanted = Remedy.patch if dry_run else Remedy.apply if fix else Remedy.propose

    def here(target: Target) -> Coroutine[Any, Any, AuditReport]:
        from tasks.audit.run import audit as audit_here

        return audit_here(target, remedy=wanted, cache=not asked.no_cache)

    return run_and_show(
        "audit",
        AuditReport,
        asked,
        {"remedy": wanted.value},
        fail_level=lambda configuration: configuration.audit.fail_level,
        here=here,
    )

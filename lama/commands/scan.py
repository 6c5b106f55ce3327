"""`lama scan`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click

from lama.commands.risk import Asked, options, run_and_show
from models.scan import Engine

if TYPE_CHECKING:
    from models.risk import ScanReport
    from tasks.target import Target


@click.command()
@options
@click.option("--engine", "engines", multiple=True, type=click.Choice([e.value for e in Engine]), help="Only this one.")
def scan(asked: Asked, *, engines: tuple[str, ...]) -> int:
    """Scan PATHs for secrets (also in the git history), and for risky code and configuration.

    PATH may be a name of lama.toml; without one, everything that is configured, and the services of this node. Exit
    code 1: findings at or above the fail level; 2: something could not be looked at.
    """
    from models.risk import ScanReport

    def here(target: Target) -> Coroutine[Any, Any, ScanReport]:
        from tasks.scan.run import scan as scan_here

        return scan_here(target, engines=[Engine(name) for name in engines] or None, cache=not asked.no_cache)

    return run_and_show(
        "scan",
        ScanReport,
        asked,
        {"engines": list(engines)} if engines else {},
        fail_level=lambda configuration: configuration.scan.fail_level,
        here=here,
    )

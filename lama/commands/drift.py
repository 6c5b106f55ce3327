"""`lama drift`: whether trained models still fit what they see, and what came true."""

from __future__ import annotations

from typing import Any

import click

from blocks.settings import settings
from lama.cli import OK
from lama.commands.terminal import console, echo_json, starting
from models.health_check import ReportLevel
from models.report import Severity

_TIMEOUT = click.option(
    "--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group()
def drift() -> None:
    """See whether trained models still see what they were trained on, and still do as well."""


@drift.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--days", type=float, help="Days of predictions to look at; otherwise as lama.toml says.")
@click.option("--source", help="A table to compare instead: CSV, Parquet, or `sql:SELECT ...`; needs one MODEL.")
@click.option("--no-train", is_flag=True, help="Start no challenger's training, whatever is found.")
@click.option("--dry-run", is_flag=True, help="Only say what is found; nothing is taken, forgotten or started.")
@_TIMEOUT
@_JSON
def check(
    *,
    models: tuple[str, ...],
    days: float | None,
    source: str | None,
    no_train: bool,
    dry_run: bool,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Compare what MODELs have predicted lately with what they were trained on. The schedule does it every day.

    Exit code 1: something has drifted far, or a model has become worse; 2: something could not be judged.
    """
    from lama.commands.predict import absolute

    parameters: dict[str, Any] = {"train": not no_train, "dry_run": dry_run}
    if models:
        parameters["models"] = list(models)
    if days is not None:
        parameters["window_days"] = days
    if source is not None:
        parameters["source"] = absolute(source)
    return _run(parameters, timeout_s=timeout_s, as_json=as_json)


@drift.command()
@click.argument("model")
@click.argument("source")
@click.option("--key", required=True, help="The column of SOURCE that names the row, as when it was predicted.")
@click.option("--value", required=True, help="The column with what came true.")
@click.option("--database", help="Name of the Lama PostgreSQL block that a query is asked of.")
@_TIMEOUT
@_JSON
def truth(
    *, model: str, source: str, key: str, value: str, database: str | None, timeout_s: float, as_json: bool
) -> int:
    """Take from SOURCE (CSV, Parquet, `sql:SELECT ...`) what came true of MODEL's predictions, and look at it."""
    from lama.commands.predict import absolute

    told = {"model": model, "source": absolute(source), "key": key, "value": value, "database": database}
    parameters: dict[str, Any] = {"models": [model], "truths": [told]}
    return _run(parameters, timeout_s=timeout_s, as_json=as_json)


@drift.command()
@_JSON
def status(*, as_json: bool) -> int:
    """Show which versions have predicted, how much, since when, and how many truths are known."""
    from rich.table import Table

    from lama.commands.database import with_database
    from tasks.drift.store import kept

    rows = with_database(kept)
    if as_json:
        echo_json([row._asdict() | {"last_at": row.last_at.isoformat()} for row in rows])
    elif not rows:
        click.echo("No model has predicted anything that is kept; docs/drift.md says how that comes.")
    else:
        table = Table("model", "rows", "with key", "truths", "profile", "last")
        for row in rows:
            profile = "yes" if row.profile else "no"
            last = f"{row.last_at:%Y-%m-%d %H:%M}"
            table.add_row(f"{row.model}@{row.version}", str(row.rows), str(row.keyed), str(row.truths), profile, last)
        console().print(table)
    return OK


def _run(parameters: dict[str, Any], *, timeout_s: float, as_json: bool) -> int:
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.drift import DriftReport

    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("drift", parameters, DriftReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)

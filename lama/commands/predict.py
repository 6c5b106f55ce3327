"""`lama predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from blocks.settings import settings
from lama.commands.terminal import starting
from models.health_check import ReportLevel
from models.report import Severity


@click.command()
@click.argument("model")
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--key", help="The column that names a row, so that the truth finds its prediction later.")
@click.option(
    "--keep", multiple=True, metavar="COLUMN", help="A further column that goes into OUTPUT; may be repeated."
)
@click.option("--coverage", type=float, help="Share of truths that intervals should hold; otherwise as trained.")
@click.option("--chunk-rows", default=50_000, show_default=True, help="Rows that are in memory at a time.")
@click.option("--no-record", is_flag=True, help="Do not keep what was predicted; drift cannot be seen in it then.")
@click.option("--replace", is_flag=True, help="Replace OUTPUT, if there is such a file.")
@click.option("--database", help="Name of the Lama PostgreSQL block that a query is asked of.")
@click.option("--timeout", "timeout_s", default=86_400.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def predict(
    *,
    model: str,
    source: str,
    output: Path,
    key: str | None,
    keep: tuple[str, ...],
    coverage: float | None,
    chunk_rows: int,
    no_record: bool,
    replace: bool,
    database: str | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Ask MODEL about every row of SOURCE, and write what it says to OUTPUT (.csv or .parquet).

    MODEL is NAME (its champion), NAME@ALIAS or NAME@NUMBER; SOURCE a CSV or Parquet file, or `sql:SELECT ...`. What was
    stopped half-way goes on where it was. Exit code 1: many rows are not like those of the training; 2: something
    could not be done.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.report import Report

    parameters: dict[str, Any] = {
        "model": model,
        "source": absolute(source),
        "output": str(output.expanduser().absolute()),
        "key": key,
        "keep": list(keep),
        "coverage": coverage,
        "chunk_rows": chunk_rows,
        "record": not no_record,
        "replace": replace,
        "database": database,
    }
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("predict", parameters, Report, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


def absolute(source: str) -> str:
    """Paths are the caller's; the worker that runs the flow stands in another folder."""
    return source if source.startswith("sql:") else str(Path(source).expanduser().absolute())

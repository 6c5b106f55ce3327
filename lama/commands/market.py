"""`lama market`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from blocks.settings import settings
from lama.commands.terminal import starting
from models.health_check import ReportLevel
from models.report import Severity


@click.command()
@click.argument("name", required=False)
@click.option("--period", type=click.Choice(["month", "quarter", "year"]), help="What the figures count in.")
@click.option("--horizon", type=click.IntRange(1, 24), help="Periods that are forecast.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it as Markdown to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
def market(
    *,
    name: str | None,
    period: str | None,
    horizon: int | None,
    output: Path | None,
    as_json: bool,
    timeout_s: float,
) -> int:
    """Analyse the market NAME of lama.toml: price indices, medians, inventory, season and forecast.

    Exit code 1: much of the table was left out; 2: a period was too thin, or a figure cannot be given.
    """
    from blocks.configuration import load_configuration
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.market import MarketReport

    load_configuration(settings())
    given = {"name": name, "period": period, "horizon": horizon}
    parameters: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    quiet = as_json and output is None
    with starting(quiet=quiet) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("market", parameters, MarketReport, timeout_s=timeout_s, quiet=quiet)
    show(report, "json" if as_json else None, level=ReportLevel.standard, output=output)
    return exit_code(report, Severity.medium)

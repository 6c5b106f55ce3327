"""`lama value`: train a market's model, value a property, show how good values are."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blocks.errors import LamaError
from blocks.settings import settings
from lama.commands.terminal import console, starting
from models.health_check import ReportLevel
from models.report import Severity

if TYPE_CHECKING:
    from models.valuation import RatioStudy, ValuationReport


@click.group()
def value() -> None:
    """Value properties by a market's sales, and see how good the values are."""


@value.command()
@click.argument("market")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--dry-run", is_flag=True, help="Only judge the model; nothing is registered.")
@click.option("--timeout", "timeout_s", default=7200.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def train(*, market: str, seed: int, dry_run: bool, timeout_s: float, as_json: bool) -> int:
    """Train the model of MARKET, judge it out of time, and let it answer if it is better than the one before.

    Exit code 1: a statistic is outside of the IAAO's limits; 2: it could not be done.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.valuation import TrainMarketReport

    parameters = {"market": market, "seed": seed, "dry_run": dry_run}
    _market(market)
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("value-train", parameters, TrainMarketReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    if not as_json and report.study is not None:
        _show_study(report.study)
    return exit_code(report, Severity.medium)


@value.command("of")
@click.argument("market")
@click.argument("address")
@click.option("--area", type=float, required=True, help="Living area, in the market's unit.")
@click.option("--type", "kind", help="Kind of property.")
@click.option("--bedrooms", type=float, help="How many.")
@click.option("--bathrooms", type=float, help="How many.")
@click.option("--year-built", type=int, help="When it was built.")
@click.option("--renovated", type=int, help="Year of the last renovation.")
@click.option("--lot", type=float, help="Area of the land, in the market's unit.")
@click.option("--condition", help="As in the market's table.")
@click.option("--neighbourhood", help="As in the market's table.")
@click.option("--at", "place", type=(float, float), metavar="LAT LON", help="Coordinates in degrees.")
@click.option("--id", "identity", help="The property's identity in the market's table.")
@click.option("--set", "features", multiple=True, metavar="NAME=VALUE", help="A further feature; may be given again.")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The day for which it is valued.")
@click.option("--coverage", type=float, help="Share of cases in which the range shall hold the price.")
@click.option("--model", default="champion", show_default=True, help="Alias or number of the version that is asked.")
@click.option("--pdf", type=click.Path(dir_okay=False, path_type=Path), help="Write the page as a PDF file.")
@click.option("--timeout", "timeout_s", default=600.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def value_of(
    *,
    market: str,
    address: str,
    area: float,
    kind: str | None,
    bedrooms: float | None,
    bathrooms: float | None,
    year_built: int | None,
    renovated: int | None,
    lot: float | None,
    condition: str | None,
    neighbourhood: str | None,
    place: tuple[float, float] | None,
    identity: str | None,
    features: tuple[str, ...],
    as_of: datetime | None,
    coverage: float | None,
    model: str,
    pdf: Path | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Value the property at ADDRESS by the model of MARKET.

    Exit code 1: it was refused; the report says which input is outside of what the model knows.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.valuation import ValuationReport

    _market(market)
    subject: dict[str, Any] = {
        "address": address, "area": area, "type": kind, "bedrooms": bedrooms, "bathrooms": bathrooms,
        "year_built": year_built, "renovated": renovated, "lot": lot, "condition": _number_or_word(condition),
        "neighbourhood": neighbourhood, "property": identity, "features": _features(features),
    }  # fmt: skip
    if place is not None:
        subject |= {"latitude": place[0], "longitude": place[1]}
    parameters: dict[str, Any] = {
        "market": market, "subject": {name: one for name, one in subject.items() if one is not None},
        "coverage": coverage, "model": model, "pdf": pdf is not None,
        "as_of": None if as_of is None else as_of.date().isoformat(),
    }  # fmt: skip
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("value", parameters, ValuationReport, timeout_s=timeout_s, quiet=as_json)
    if as_json or report.valuation is None:
        show(report, "json" if as_json else None, level=ReportLevel.standard)
    else:
        _show_page(report)
    if pdf is not None and report.pdf:
        _copy(Path(report.pdf), pdf)
    return exit_code(report, Severity.medium)


@value.command()
@click.argument("market")
@click.option("--model", default="champion", show_default=True, help="Alias or number of the version.")
@click.option("--new", is_flag=True, help="On what was sold after the sales that it has learned from.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def study(*, market: str, model: str, new: bool, as_json: bool) -> int:
    """Show the ratio study of MARKET's model: out of time, against the IAAO's limits.

    Exit code 1: a statistic is outside of them.
    """
    from datetime import UTC
    from uuid import uuid4

    from blocks.model_registry import ModelRegistry
    from blocks.postgres import Postgres
    from lama.commands.reporting import exit_code, show
    from lama.commands.train import models_database
    from tasks.valuation.asked import Asked

    chosen = _market(market)
    asked = Asked(datetime.now(UTC), str(uuid4()))
    told, excluded = None, dict[str, int]()
    with models_database():
        from tasks.valuation import run, steps  # needs what was found to be installed

        known, version = steps.load(ModelRegistry.of(settings()), market, model)
        if new:
            told, excluded = run.new_study(known, run.read_sales(chosen, Postgres.of(settings())))
    if new and told is None:
        left = ", ".join(f"{count} with {reason}" for reason, count in excluded.items())
        raise LamaError(
            "fewer than 30 sales that it can value are newer than those that the model has learned from"
            f"{f' (left out: {left})' if left else ''}.", component=market,
        )  # fmt: skip
    report = run.report_of_study(known, version.address, asked, told, excluded)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    if not as_json and report.study is not None:
        _show_study(report.study)
    return exit_code(report, Severity.medium)


def _market(name: str) -> Any:
    from blocks.configuration import load_configuration
    from tasks.valuation.asked import market_of

    return market_of(load_configuration(settings()), name)


def _features(given: tuple[str, ...]) -> dict[str, float | str | None]:
    told: dict[str, float | str | None] = {}
    for one in given:
        name, equals, word = one.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--set {one!r}: give NAME=VALUE.")
        told[name] = _number_or_word(word)
    return told


def _number_or_word(word: str | None) -> float | str | None:
    try:
        return None if word is None else float(word)
    except ValueError:
        return word


def _copy(source: Path, target: Path) -> None:
    try:
        target.write_bytes(source.read_bytes())
    except OSError as error:
        raise LamaError(f"cannot be written: {error.strerror}.", component=str(target)) from error
    click.echo(f"Written to {target}.", err=True)


def _show_page(report: ValuationReport) -> None:
    from rich.markdown import Markdown

    console().print(Markdown(report.page))


def _show_study(study_: RatioStudy) -> None:
    from rich.table import Table

    from tasks.valuation.ratio_study import largest, left_out

    table = Table("sales of", "sales", "median", "COD", "PRD", "PRB", "MKI", title=study_.split, title_justify="left")
    for one in (study_.overall, *largest(study_.strata)[0]):
        figures = [
            f"{measure.value:.{digits}f} ({measure.low:.{digits}f} to {measure.high:.{digits}f})"
            if one.stratum == "all" else f"{measure.value:.{digits}f}"
            for measure, digits in ((one.median, 3), (one.cod, 1), (one.prd, 3), (one.prb, 3), (one.mki, 3))
        ]  # fmt: skip
        table.add_row(one.stratum, str(one.rows), *figures)
    console().print(table)
    if left := left_out(study_):
        console().print(left, markup=False)
    if study_.coverage:
        intervals = Table("nominal", "held", "kept up to date", "median width", title="Intervals", title_justify="left")
        for cover in study_.coverage:
            intervals.add_row(
                f"{cover.nominal:.0%}", f"{cover.found:.1%}", f"{cover.rolling:.1%}", f"{cover.median_width:.0%}"
            )
        console().print(intervals)

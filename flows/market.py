"""Market analysis: what prices do, what is offered, and what comes."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError, LamaError
from blocks.postgres import Postgres
from blocks.settings import settings
from models.market import Length, MarketReport, MarketSettings, Series
from models.report import Finding, Severity, Skip, compose
from models.valuation import Market, ValuationSettings
from tasks.choose import choose
from tasks.market import steps
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of

CAPABILITY = "market"


@flow(name="market", persist_result=False)
async def market(
    name: str | None = None,
    period: Length | None = None,
    horizon: int | None = None,
) -> MarketReport:
    """Computes price indices, medians, inventory, season and forecast of a market, each with its interval.

    Args:
        name: The market, by its name in `[[valuation.markets]]`. Otherwise the one that there is.
        period: What the figures count in: `month`, `quarter` or `year`. Otherwise as configured.
        horizon: Periods that are forecast. Otherwise as configured.

    Returns:
        The report. It is `incomplete` when a period is too thin for a figure, or a figure cannot be given at all; it
        says which and why.

    Raises:
        ConfigurationError: a parameter, `lama.toml` or the table cannot be used; nothing was computed.
        UnavailableError: the database that the sales are in does not answer.
    """
    started_at = datetime.now(UTC)
    config = settings()
    configuration = load_configuration(config)
    chosen = chosen_market(configuration.valuation, name)
    rules = _rules(configuration.market, period, horizon)
    database = Postgres.of(config)
    progress = await Progress.start("market-progress", total=3, what=f"Market {chosen.name}")
    sales = await steps.read_sales(chosen, rules, database)
    await progress.advance("sales read")
    skipped: list[Skip] = []
    listings = next((one for one in rules.listings if one.market == chosen.name), None)
    offers = None
    if listings is not None:
        try:
            offers = (listings, await steps.read_listings(listings, database))
        except LamaError as error:
            skipped.append(Skip(area=CAPABILITY, component="inventory", reason=f"The offers: {reason_of(error)}"))
    found = await steps.compute(sales, rules, chosen.units.currency, offers)
    await progress.advance("figures computed")
    await steps.draw(chosen.name, tuple(found.series), found.forecast)
    await progress.advance("drawn")
    left_out = dict(sales.left_out)
    report = compose(
        MarketReport,
        capability=CAPABILITY,
        summary=_summary(chosen.name, len(sales.frame), found.series),
        scope=f"{config.node}; market: {chosen.name}; {rules.period}",
        findings=[
            *_findings("left-out", chosen.name, left_out, len(sales.frame) + sum(left_out.values()), "sales"),
            *_findings("offers-left-out", chosen.name, found.offers_left_out, found.offers, "offers"),
        ],
        skipped=[*skipped, *found.skipped],
        metrics=_metrics(found.series, len(sales.frame)),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
        market=chosen.name,
        currency=chosen.units.currency,
        sales=len(sales.frame),
        left_out=left_out,
        series=tuple(found.series),
        seasonality=found.seasonality,
        forecast=found.forecast,
    )
    report = await conclude(report, database=database, key="market")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


def chosen_market(valuation: ValuationSettings, name: str | None) -> Market:
    """The market called `name`, or the only one.

    Raises:
        ConfigurationError: there is none, or not only one.
    """
    markets = valuation.markets
    if name is None and len(markets) != 1:
        names = ", ".join(one.name for one in markets) or "none"
        raise ConfigurationError(
            f"say which market; lama.toml has {names}.", component=CAPABILITY, remedy="See docs/market.md."
        )
    asked = None if name is None else [name]
    return choose(markets, asked, one="market", many="markets", component=CAPABILITY)[0]


def _rules(configured: MarketSettings, period: Length | None, horizon: int | None) -> MarketSettings:
    if horizon is not None and not 1 <= horizon <= 24:
        raise ConfigurationError("horizon is between 1 and 24 periods.", component=CAPABILITY)
    changed = {key: value for key, value in (("period", period), ("horizon", horizon)) if value is not None}
    return configured.model_copy(update=changed)


def _findings(key: str, name: str, left_out: dict[str, int], of: int, what: str) -> list[Finding]:
    total = sum(left_out.values())
    if not total:
        return []
    share = total / of
    return [
        Finding(
            key=f"market.{key}:{name}",
            severity=Severity.medium if share > 0.05 else Severity.low,
            component=name,
            title=f"{total} rows ({share:.1%}) are no {what} and were left out.",
            detail="; ".join(f"{reason}: {count}" for reason, count in left_out.items()),
            remedy="Correct the table, or its columns in lama.toml.",
            evidence=dict(left_out),
        )
    ]


def _metrics(series: list[Series], used: int) -> dict[str, float]:
    told = {"sales_total": float(used)}
    for one in series:
        last = next((point for point in reversed(one.points) if point.value is not None), None)
        if last is not None and last.value is not None:
            told[f"{one.name.replace(',', '').replace(' ', '_')}_last"] = last.value
    return told


def _summary(name: str, used: int, series: list[Series]) -> str:
    index = next((one for one in series if one.unit == "index"), None)
    known = [point for point in index.points if point.value is not None] if index else []
    if index is None or len(known) < 2:
        return f"{name}: {used} sales; there is no index."
    first, last = known[0], known[-1]
    change = (last.value or 0) / (first.value or 1) - 1
    between = "" if last.low is None or last.high is None else f" ({last.low:.1f} to {last.high:.1f})"
    return (
        f"{name}: {used} sales; the {index.name} index is {last.value:.1f}{between} in {last.period}, "
        f"{change:+.1%} since {first.period}."
    )

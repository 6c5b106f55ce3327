"""Valuation: a market's model is trained and judged out of time; a property is valued by it, with its reasons."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import settings
from models.training import CHAMPION
from models.valuation import TrainMarketReport, ValuationReport
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress
from tasks.reports.show import show_page
from tasks.train.extra import check_installed
from tasks.valuation.asked import TRAINING, VALUING, Asked, market_of, property_of


@flow(name="value", persist_result=False)
async def value(
    market: str,
    subject: dict[str, Any],
    as_of: date | None = None,
    coverage: float | None = None,
    model: str = CHAMPION,
    pdf: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
) -> ValuationReport:
    """Values a property: a value, an honest range, comparable sales with adjustments, and the reasons.

    Args:
        market: The market of `lama.toml` whose model is asked.
        subject: The property: `address`, `area`, and what is known of `type`, `bedrooms`, `bathrooms`, `year_built`,
            `renovated`, `lot`, `condition`, `neighbourhood`, `latitude`, `longitude`, `property`, `features`.
        as_of: The day for which it is valued; otherwise that after the last known sale.
        coverage: Share of cases in which the range shall hold the price, .5 to .99; otherwise the market's.
        model: Alias or number of the version that is asked.
        pdf: Whether the page is also written as a PDF file in the home.

    Returns:
        The report with the valuation. What cannot be valued is refused: a finding says which input is to blame.

    Raises:
        ConfigurationError: a parameter cannot be used, or the market has no model; nothing was valued.
    """
    config = settings()
    asked = Asked(datetime.now(UTC), str(flow_run.id or uuid4()))
    market_of(load_configuration(config), market)
    wanted = property_of(subject)
    check_installed()
    from tasks.valuation import steps  # noqa: PLC0415 - a node without the extra `training` has the other flows

    known, version = await steps.loaded(ModelRegistry.of(config), market, model)
    report = await steps.value(known, wanted, asked, version.address, as_of, coverage)
    if pdf and report.valuation is not None:
        path = await steps.write(report, known, config.home / "valuations")
        report = report.model_copy(update={"pdf": str(path)})
    if report.page:
        await show_page(await steps.page(report, known), "valuation", "A valuation.")
    report = cast("ValuationReport", await conclude(report, database=Postgres.of(config), key="value"))
    get_run_logger(component=VALUING).info("%s: %s", report.status.value, report.summary)
    return report


@flow(name="value-train", persist_result=False)
async def value_train(
    market: str,
    seed: int = 0,
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> TrainMarketReport:
    """Trains the model of a market, judges it out of time, and lets it answer if it is better than the one before.

    Args:
        market: The market of `lama.toml`.
        seed: Of everything that is drawn; the same seed gives the same model.
        dry_run: Only judge it; nothing is registered.

    Returns:
        The report with the ratio study.

    Raises:
        ConfigurationError: a parameter or the table cannot be used; nothing was registered.
    """
    config = settings()
    asked = Asked(datetime.now(UTC), str(flow_run.id or uuid4()))
    chosen = market_of(load_configuration(config), market)
    if not 0 <= seed < 2**31:
        raise ConfigurationError(f"{seed} is no seed; give a number from 0 to 2147483647.", component=TRAINING)
    check_installed()
    from tasks.valuation import run, steps  # noqa: PLC0415

    progress = await Progress.start("value-train-progress", total=3, what=f"Training of {market}")
    table = await steps.read(chosen, Postgres.of(config))
    await progress.advance(f"{len(table)} rows read")
    made = await steps.learn(table, chosen, seed)
    await progress.advance("learned and judged")
    await show_page(await steps.card(made, market), "ratio-study", f"How good values of {market} are.")
    kept = None
    if not dry_run:
        kept = await steps.keep(made, table, chosen, ModelRegistry.of(config), seed, asked.run_id)
    await progress.advance("nothing registered" if kept is None else f"{kept.version.address} registered")
    report = run.report_of_training(made, kept, chosen, asked)
    report = cast("TrainMarketReport", await conclude(report, database=Postgres.of(config), key="value-train"))
    get_run_logger(component=TRAINING).info("%s: %s", report.status.value, report.summary)
    return report

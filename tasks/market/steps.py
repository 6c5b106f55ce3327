"""The parts of a market analysis as steps of a flow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blocks.postgres import Postgres
from models.market import Forecast, Listings, MarketSettings, Series
from tasks.step import step

if TYPE_CHECKING:
    import pandas as pd

    from models.valuation import Market
    from tasks.market.analyse import Analysis
    from tasks.market.sales import Sales


@step("read the sales", retries=2)
async def read_sales(market: Market, settings: MarketSettings, database: Postgres) -> Sales:
    """The market's sales, made ready."""
    from models.training import Columns, TrainingTable  # noqa: PLC0415
    from tasks.market.sales import sales_of  # noqa: PLC0415
    from tasks.train.tables import read_table  # noqa: PLC0415

    named = market.columns
    needed = {role: name for role, name in named.model_dump().items() if name is not None}
    columns = Columns(target=named.price, time=named.sold)
    table = TrainingTable(source=market.source, columns=columns)

    def read() -> Sales:
        frame = read_table(table, database=database)
        _refuse_missing(frame, list(needed.values()), market.name)
        return sales_of(frame, market, settings.period)

    return await asyncio.to_thread(read)


@step("read the offers", retries=2)
async def read_listings(chosen: Listings, database: Postgres) -> pd.DataFrame:
    """What is offered in the market."""
    from models.training import Columns, TrainingTable  # noqa: PLC0415
    from tasks.train.tables import read_table  # noqa: PLC0415

    table = TrainingTable(source=chosen.source, columns=Columns(), task="clustering")

    def read() -> pd.DataFrame:
        frame = read_table(table, database=database, verbatim=(chosen.listed, chosen.ended))
        _refuse_missing(frame, [chosen.listed, chosen.ended], chosen.market)
        return frame

    return await asyncio.to_thread(read)


@step("compute the figures", retries=0)
async def compute(
    sales: Sales, settings: MarketSettings, currency: str, listings: tuple[Listings, pd.DataFrame] | None
) -> Analysis:
    """Everything that is said of the market."""
    from tasks.market.analyse import analyse  # noqa: PLC0415

    return await asyncio.to_thread(analyse, sales, settings, currency=currency, listings=listings)


@step("draw", retries=1)
async def draw(market: str, series: tuple[Series, ...], forecast: Forecast | None) -> None:
    """The picture, as an artifact of the run."""
    from prefect.artifacts import acreate_image_artifact  # noqa: PLC0415

    from tasks.market.plots import data_uri, png  # noqa: PLC0415

    content = await asyncio.to_thread(png, market, series, forecast)
    await acreate_image_artifact(data_uri(content), key="market-prices", description=f"Prices in {market}")


def _refuse_missing(frame: pd.DataFrame, names: list[str], what: str) -> None:
    from blocks.errors import ConfigurationError  # noqa: PLC0415

    for name in names:
        if name not in frame.columns:
            shown = ", ".join(map(str, frame.columns[:30]))
            raise ConfigurationError(f"the table has no column {name!r}; it has {shown}.", component=what)

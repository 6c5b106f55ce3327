"""The parts of a valuation as steps of a flow."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from models.training import CHAMPION, ModelVersion
from models.valuation import Market, Property, ValuationReport
from tasks.step import step
from tasks.train import artifact, lineage, registry
from tasks.valuation import run
from tasks.valuation.asked import Asked
from tasks.valuation.market_model import MarketModel
from tasks.valuation.run import Kept
from tasks.valuation.training import Trained

if TYPE_CHECKING:
    import pandas as pd

_kept: dict[str, MarketModel] = {}
_keeping = threading.Lock()
_MOST_KEPT = 2


def load(block: ModelRegistry, name: str, which: str = CHAMPION) -> tuple[MarketModel, ModelVersion]:
    """The model of a market and what the registry says of it; what was loaded before is kept by its content.

    Raises:
        ConfigurationError: there is none, or it is a model of something else.
        ArtifactError: its file is not the one that was registered.
    """
    version = registry.find(block, name, which)
    with _keeping:
        known = _kept.get(version.artifact_hash)
        if known is None:
            path = registry.path_of(block, version.artifact_hash)
            known = artifact.read(path, version.artifact_hash)
            if not isinstance(known, MarketModel):
                raise ConfigurationError(f"{version.address} is no model of a market.", component=name)
            while len(_kept) >= _MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[version.artifact_hash] = known
    return known, version


@step("read the sales")
async def read(market: Market, database: Postgres) -> pd.DataFrame:
    """The user's table."""
    return await asyncio.to_thread(run.read_sales, market, database)


@step("learn and judge", retries=0)
async def learn(table: pd.DataFrame, market: Market, seed: int) -> Trained:
    """The market's model."""
    return await asyncio.to_thread(run.trained, table, market, seed)


@step("register the model")
async def keep(  # noqa: D103 - said by what it calls
    made: Trained, table: pd.DataFrame, market: Market, block: ModelRegistry, seed: int, run_id: str
) -> Kept:
    code_version = await lineage.code_version()
    return await asyncio.to_thread(
        run.keep, made, table, market, block, seed=seed, run_id=run_id, code_version=code_version
    )


@step("draw the card")
async def card(made: Trained, market: str) -> str:
    """The ratio study with its plots, as Markdown."""
    return await asyncio.to_thread(run.card, made, market)


@step("draw the page")
async def page(report: ValuationReport, model: MarketModel) -> str:
    """The page with a map and a plot of the reasons, as Markdown."""
    from tasks.valuation.card import pictures  # noqa: PLC0415

    return report.page + pictures(await asyncio.to_thread(drawn, report, model))


@step("load the model")
async def loaded(block: ModelRegistry, name: str, which: str) -> tuple[MarketModel, ModelVersion]:
    """The model of a market."""
    return await asyncio.to_thread(load, block, name, which)


@step("value the property")
async def value(
    model: MarketModel, subject: Property, asked: Asked, name: str, as_of: date | None, coverage: float | None
) -> ValuationReport:
    """The valuation as a report."""
    return await asyncio.to_thread(
        run.report_of_valuation, model, subject, asked, name=name, as_of=as_of, coverage=coverage
    )


@step("write the page")
async def write(report: ValuationReport, model: MarketModel, folder: Path) -> Path:
    """The page as a PDF file of `folder` that only its owner can read."""
    return await asyncio.to_thread(write_pdf, report, model, folder / f"{report.run_id}.pdf")


def write_pdf(report: ValuationReport, model: MarketModel, path: Path) -> Path:
    """The page as the PDF file `path`.

    Raises:
        ConfigurationError: there is no valuation, or the file cannot be written.
    """
    from tasks.valuation.page import to_pdf  # noqa: PLC0415

    valuation, subject = report.valuation, report.subject
    if valuation is None:
        raise ConfigurationError("there is no valuation of which a page could be made.", component=subject.address)
    content = to_pdf(subject, valuation, model.study, **drawn(report, model))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}.", component=str(path)) from error
    return path


def drawn(report: ValuationReport, model: MarketModel) -> dict[str, bytes]:
    """The map and the plot of the reasons, as PNG; none without a valuation."""
    from tasks.valuation import plots  # noqa: PLC0415

    if report.valuation is None:
        return {}
    around = None
    if "latitude" in model.sales.columns:
        around = (model.sales["latitude"].to_numpy(np.float64), model.sales["longitude"].to_numpy(np.float64))
    return {
        "place": plots.map_of(report.subject, report.valuation, around),
        "reasons": plots.reasons_of(report.valuation),
    }

"""Training a market and valuing a property, through a real Prefect server and a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from blocks.settings import settings
from flows.valuation import value, value_train
from lama.cli import cli
from models.report import Status
from models.report_kinds import read_report
from models.valuation import ValuationReport
from tasks.train import lineage, registry
from tests.flow_runs import artifacts_of
from tests.valuation.making import HOME, sales

_TOML = """
[[valuation.markets]]
name = "{name}"
source = "{source}"
land_types = ["land"]
scales.grade = ["poor", "fair", "good", "fine"]
units = {{ area = "sqft", lot = "sqft", currency = "USD" }}

[valuation.markets.columns]
price = "paid"
area = "sqft"
sold = "when"
property = "parcel"
address = "where"
type = "kind"
bedrooms = "beds"
bathrooms = "baths"
year_built = "built"
renovated = "renewed"
lot = "lot"
condition = "grade"
latitude = "lat"
longitude = "lon"
"""


def _market(configured: Path, name: str, table: pd.DataFrame) -> None:
    source = configured.parent / "sales.csv"
    table.to_csv(source, index=False)
    configured.write_text(configured.read_text() + _TOML.format(name=name, source=source))
    settings.cache_clear()


def _is_private_pdf(path: Path) -> None:
    assert path.read_bytes().startswith(b"%PDF")
    assert path.stat().st_mode & 0o077 == 0


async def test_a_market_is_trained_and_then_values(configured: Path) -> None:
    table = sales(420)
    table.loc[0, "paid"] = -1
    _market(configured, "oakville", table)

    judged = await value_train("oakville", dry_run=True)
    assert judged.model == ""
    with pytest.raises(ConfigurationError, match="no model 'oakville'"):
        await value("oakville", HOME.model_dump())

    made = await value_train("oakville")
    assert made.model == "oakville@1"
    assert made.promoted
    assert made.excluded == {"a price that is not above 0": 1}
    assert made.study is not None
    assert "out of time" in made.study.split
    assert read_report(json.loads(made.model_dump_json())) == made

    version = registry.find(ModelRegistry.of(settings()), "oakville")
    assert (version.code_version, version.environment) == (await lineage.code_version(), lineage.environment())
    assert version.lineage is not None
    assert version.lineage.code_version == version.code_version

    card = str((await artifacts_of(made.run_id))["ratio-study"])
    assert "IAAO" in card
    assert card.count("data:image/png;base64,") == 2

    again = await value_train("oakville")
    assert again.model == "oakville@2"
    assert not again.promoted, "what is not better beyond noise is no champion"

    report = await value("oakville", HOME.model_dump(), pdf=True)
    assert report.status is Status.ok
    assert report.valuation is not None
    assert report.valuation.model == "oakville@1"
    assert 3 <= len(report.valuation.comparables) <= 6
    _is_private_pdf(Path(report.pdf))
    shown = await artifacts_of(report.run_id)
    assert "Comparable sales" in str(shown["valuation"])
    assert isinstance(read_report(json.loads(report.model_dump_json())), ValuationReport)

    refused = await value("oakville", HOME.model_copy(update={"bedrooms": 33}).model_dump())
    assert refused.valuation is None
    assert refused.status is Status.degraded
    assert "bedrooms 33 is outside of" in refused.findings[0].title

    told = CliRunner().invoke(cli, ["value", "study", "oakville", "--json"], standalone_mode=False)
    assert told.exception is None
    assert json.loads(told.output)["study"]["overall"]["rows"] == made.study.overall.rows

    told = CliRunner().invoke(cli, ["value", "study", "oakville", "--new"], standalone_mode=False)
    assert "fewer than 30 sales" in str(told.exception)
    newer = sales(120, seed=4)
    newer["when"] = "2015-01-15"
    pd.concat([table, newer], ignore_index=True).to_csv(configured.parent / "sales.csv", index=False)
    told = CliRunner().invoke(cli, ["value", "study", "oakville", "--new", "--json"], standalone_mode=False)
    assert told.exception is None
    study = json.loads(told.output)["study"]
    assert 60 <= study["overall"]["rows"] <= 120
    assert "learned from" in study["split"]


async def test_what_cannot_be_used_is_said_before_anything_happens(configured: Path) -> None:
    _market(configured, "elmville", sales(120).drop(columns="lat"))
    with pytest.raises(ConfigurationError, match="no market is called 'x'; there are elmville"):
        await value_train("x")
    with pytest.raises(ConfigurationError, match="no column 'lat'"):
        await value_train("elmville")
    with pytest.raises(ConfigurationError, match="area: Input should be greater than 0"):
        await value("elmville", {"address": "a", "area": -1})
    with pytest.raises(ConfigurationError, match="no seed"):
        await value_train("elmville", seed=-1)

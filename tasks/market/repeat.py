"""Repeat-sales indices: what the same properties sold for, again. Pure.

- `geometric`: Bailey, Muth, Nourse (1963, J. Amer. Stat. Assoc. 58, 933-942): least squares of `log(p2 / p1)` on a
  matrix with -1 in the period of the first sale and 1 in that of the second.
- `weighted`: Case, Shiller (1987, New England Economic Review): the same, weighted. The squared residuals are regressed
  on the time between the sales, because a property drifts away from the market as a random walk; the weights are one
  over what that gives.
- `arithmetic`: Shiller (1991, J. Housing Economics 1, 110-126): of sums of prices instead of their logarithms, so that
  a property counts by its value, as in S&P's indices. With `Z` as above and `X` the prices in it (the base period's
  moved to the other side as `Y`), `b = (Z'X)^-1 Z'Y` are the reciprocals of the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.market import Point, Series
from tasks.market.hedonic import TooThinError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.market.sales import Sales

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]

_SCREENED = 1.0
"""Largest yearly growth of log price that a pair may show: beyond it the property was changed, or the sale was none."""


@dataclass(frozen=True)
class Pairs:
    """Two sales of one property each, one after the other."""

    before: Whole
    """Period of the first sale, shape (n,)."""
    after: Whole
    price_before: Floats
    price_after: Floats
    left_out: int = 0
    """Pairs that are no repeat sale."""

    @property
    def counts(self) -> dict[int, int]:
        """How many pairs begin or end in each period."""
        import numpy as np  # noqa: PLC0415

        periods, counts = np.unique(np.concatenate([self.before, self.after]), return_counts=True)
        return {int(period): int(count) for period, count in zip(periods, counts, strict=True)}


def pairs_of(sales: Sales, *, least_days: int) -> Pairs:
    """The repeat sales among `sales`: consecutive ones of a property, `least_days` apart, in different periods.

    Raises:
        TooThinError: the market does not say which column tells properties apart.
    """
    import numpy as np  # noqa: PLC0415

    if "property" not in sales.frame:
        raise TooThinError("the market names no column that tells properties apart (columns.property)")
    known = sales.frame[sales.frame["property"].notna()].sort_values(["property", "sold"], kind="stable")
    property_ = known["property"].astype("str").to_numpy()
    again = property_[1:] == property_[:-1]
    t, price = known["t"].to_numpy(), known["price"].to_numpy(float)
    days = np.diff(known["sold"].to_numpy()).astype("timedelta64[D]").astype(float)
    years = np.maximum(days, 1) / 365.25
    growth = np.abs(np.log(price[1:] / price[:-1])) / np.maximum(years, 1)
    good = again & (t[1:] > t[:-1]) & (days >= least_days) & (growth <= _SCREENED)
    return Pairs(t[:-1][good], t[1:][good], price[:-1][good], price[1:][good], int(again.sum() - good.sum()))


def geometric(pairs: Pairs, periods: Sequence[int]) -> dict[int, float]:
    """The index of Bailey, Muth and Nourse by period, the first of `periods` at 1."""
    import numpy as np  # noqa: PLC0415

    told = np.linalg.lstsq(_z(pairs, periods), np.log(pairs.price_after / pairs.price_before), rcond=None)[0]
    return dict(zip(periods, [1.0, *map(float, np.exp(told))], strict=True))


def arithmetic(pairs: Pairs, periods: Sequence[int]) -> dict[int, float]:
    """Shiller's index of sums of prices by period, the first of `periods` at 1."""
    import numpy as np  # noqa: PLC0415

    z = _z(pairs, periods)
    place = {period: number for number, period in enumerate(periods)}
    before = np.array([place[int(one)] for one in pairs.before])
    x = np.where(z < 0, -pairs.price_before[:, None], np.where(z > 0, pairs.price_after[:, None], 0.0))
    y = np.where(before == 0, pairs.price_before, 0.0)
    told = 1 / np.linalg.solve(z.T @ x, z.T @ y)
    return dict(zip(periods, [1.0, *map(float, told)], strict=True))


def _z(pairs: Pairs, periods: Sequence[int]) -> Floats:
    import numpy as np  # noqa: PLC0415

    later = np.asarray(periods[1:])[None, :]
    z: Floats = (pairs.after[:, None] == later).astype(float) - (pairs.before[:, None] == later).astype(float)
    return z


def repeat_sales(sales: Sales, pairs: Pairs, *, least_pairs: int, coverage: float) -> tuple[Series, Series]:
    """The weighted index with intervals, and the arithmetic one.

    Raises:
        TooThinError: too few pairs, or periods that no chain of pairs connects.
    """
    import numpy as np  # noqa: PLC0415
    import statsmodels.api as sm  # noqa: PLC0415
    from scipy.stats import norm  # noqa: PLC0415

    pairs, periods = _connected(pairs, least_pairs)
    z, y = _z(pairs, periods), np.log(pairs.price_after / pairs.price_before)
    first = sm.OLS(y, z).fit()
    apart = (pairs.after - pairs.before).astype(float)
    spread = sm.OLS(first.resid**2, np.column_stack([np.ones(len(y)), apart])).fit()
    # A variance is positive: where the line falls below a tenth of its mean, it is that.
    variance = np.maximum(spread.fittedvalues, 0.1 * float((first.resid**2).mean()) + 1e-12)
    fit = sm.WLS(y, z, weights=1 / variance).fit(cov_type="HC1")
    quantile = float(norm.ppf(0.5 + coverage / 2))
    moved = dict(zip(periods, [0.0, *map(float, fit.params)], strict=True))
    errors = dict(zip(periods, [0.0, *map(float, fit.bse)], strict=True))
    sums = arithmetic(pairs, periods)
    counts = pairs.counts

    def points(values: dict[int, tuple[float, float | None, float | None]]) -> tuple[Point, ...]:
        return tuple(
            Point(period=name, value=values[t][0], low=values[t][1], high=values[t][2], count=counts.get(t, 0))
            if t in values
            else Point(period=name, count=counts.get(t, 0))
            for t, name in enumerate(sales.periods)
        )

    weighted = {
        t: tuple(100 * float(np.exp(moved[t] + quantile * errors[t] * side)) for side in (0, -1, 1)) for t in periods
    }
    months = f"{len(y)} pairs; {pairs.left_out} left out"
    return (
        Series(
            name="repeat sales",
            method=f"weighted (Case, Shiller 1987), {months}; residual variance {spread.params[0]:.4f} + "
            f"{spread.params[1]:.5f} a period between the sales; errors White's, HC1.",
            points=points(weighted),  # type: ignore[arg-type]
        ),
        Series(
            name="repeat sales, by value",
            method="arithmetic (Shiller 1991): a property counts by what it costs.",
            points=points({t: (100 * value, None, None) for t, value in sums.items()}),
        ),
    )


def _connected(pairs: Pairs, least: int) -> tuple[Pairs, list[int]]:
    """The pairs between periods that have `least` of them, again and again until nothing falls away."""
    import numpy as np  # noqa: PLC0415
    from scipy.sparse import coo_matrix  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    while True:
        if not len(pairs.before):
            raise TooThinError(f"no two periods have {least} repeat sales each")
        counts = pairs.counts
        thick = [period for period in sorted(counts) if counts[period] >= least]
        good = np.isin(pairs.before, thick) & np.isin(pairs.after, thick)
        if good.all():
            break
        pairs = Pairs(
            pairs.before[good], pairs.after[good], pairs.price_before[good], pairs.price_after[good],
            pairs.left_out + int((~good).sum()),
        )  # fmt: skip
    size = max(thick) + 1
    graph = coo_matrix((np.ones(len(pairs.before)), (pairs.before, pairs.after)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    if len({int(labels[period]) for period in thick}) > 1:
        raise TooThinError("no chain of repeat sales connects all periods that have enough of them")
    return pairs, thick

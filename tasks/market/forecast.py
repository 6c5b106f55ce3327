"""What a series does next: simple models, judged by what they would have said before. Pure.

- `naive`: as it is now; the interval widens with the root of the steps.
- `seasonal naive`: as a year ago.
- `drift`: on the line from the first value to the last.
- `damped trend`: exponential smoothing with an additive, damped trend, of the logarithm (Gardner, McKenzie, 1985).

The one with the least error in the backtest is taken, and only if it is better than `naive`. Where its own intervals
held too little there, they are widened to what would have held.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.market import PER_YEAR, Backtest, Forecast, Length, Point
from tasks.market.hedonic import TooThinError
from tasks.market.sales import FREQUENCY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_LEAST = 8
"""Periods that the first origin of a backtest knows."""


@dataclass(frozen=True)
class _Told:
    """Logarithms that a model expects, and their standard errors, one for each step."""

    mean: Floats
    error: Floats


def forecast(
    levels: Sequence[float], last: str, *, of: str, period: Length, horizon: int, origins: int, coverage: float
) -> Forecast:
    """What comes after `levels`, a series above 0 without gaps.

    Args:
        levels: the series.
        last: name of its last period.
        of: what it is called.
        period: what it counts in.
        horizon: periods that are forecast.
        origins: of the backtest, at most.
        coverage: of the intervals.

    Raises:
        TooThinError: the series is too short to be judged.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from scipy.stats import norm  # noqa: PLC0415

    logs = np.log(np.asarray(levels, dtype=float))
    season = PER_YEAR[period]
    needed = max(_LEAST, 2 * season) + horizon + 2
    if len(logs) < needed:
        raise TooThinError(f"a forecast needs {needed} periods without a gap; there are {len(logs)}")
    z = float(norm.ppf(0.5 + coverage / 2))
    tests, missed = _backtests(logs, season, horizon, origins, z)
    best = tests[0].model if tests[0].against_naive < 1 else "naive"
    z = max(z, float(np.quantile(missed[best], coverage)))
    told = _MODELS[best](logs, horizon, season)
    after = [str(pd.Period(last, FREQUENCY[period]) + step) for step in range(1, horizon + 1)]
    points = tuple(
        Point(period=name, value=math.exp(mean), low=math.exp(mean - z * error), high=math.exp(mean + z * error))
        for name, mean, error in zip(after, told.mean, told.error, strict=True)
    )
    return Forecast(of=of, model=best, points=points, backtests=tuple(tests))


def _backtests(
    logs: Floats, season: int, horizon: int, origins: int, z: float
) -> tuple[list[Backtest], dict[str, list[float]]]:
    """How each model did from each origin, best first, and how many of its standard errors it was off.

    An origin knows nothing that came after it.
    """
    import numpy as np  # noqa: PLC0415

    first = max(_LEAST, 2 * season, len(logs) - horizon - origins + 1)
    errors: dict[str, list[float]] = {name: [] for name in _MODELS}
    scores: dict[str, list[float]] = {name: [] for name in _MODELS}
    for origin in range(first, len(logs)):
        came = logs[origin : origin + horizon]
        for name, model in _MODELS.items():
            told = model(logs[:origin], len(came), season)
            missed = np.abs(came - told.mean)
            errors[name] += list(map(float, 100 * np.expm1(missed)))
            scores[name] += list(map(float, missed / np.maximum(told.error, 1e-12)))
    naive = float(np.mean(errors["naive"]))
    tests = [
        Backtest(
            model=name,
            mae=float(np.mean(errors[name])),
            against_naive=float(np.mean(errors[name])) / naive if naive > 0 else 1.0,
            coverage=float(np.mean(np.array(scores[name]) <= z)),
            errors=len(errors[name]),
        )
        for name in _MODELS
    ]
    return sorted(tests, key=lambda one: (one.mae, one.model != "naive")), scores


def _naive(logs: Floats, steps: int, season: int) -> _Told:
    import numpy as np  # noqa: PLC0415

    moves = np.diff(logs)
    return _Told(np.full(steps, logs[-1]), np.sqrt((moves**2).mean() * np.arange(1, steps + 1)))


def _seasonal(logs: Floats, steps: int, season: int) -> _Told:
    import numpy as np  # noqa: PLC0415

    ahead = np.arange(steps)
    moves = logs[season:] - logs[:-season]
    return _Told(logs[len(logs) - season + ahead % season], np.sqrt((moves**2).mean() * (ahead // season + 1)))


def _drift(logs: Floats, steps: int, season: int) -> _Told:
    import numpy as np  # noqa: PLC0415

    ahead, known = np.arange(1, steps + 1), len(logs) - 1
    moves = np.diff(logs)
    # Hyndman, Athanasopoulos (2021), Forecasting: principles and practice, 5.5
    return _Told(logs[-1] + ahead * moves.mean(), moves.std(ddof=1) * np.sqrt(ahead * (1 + ahead / known)))


def _damped(logs: Floats, steps: int, season: int) -> _Told:
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel  # noqa: PLC0415

    if float(np.ptp(logs)) < 1e-9:
        return _naive(logs, steps, season)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is short, or flat, shows in the backtest
        fit = ETSModel(pd.Series(logs), error="add", trend="add", damped_trend=True).fit(disp=False, maxiter=200)
        told = fit.get_prediction(start=len(logs), end=len(logs) + steps - 1)
        mean, error = np.asarray(told.predicted_mean, float), np.sqrt(np.asarray(told.forecast_variance, float))
    if not (np.isfinite(mean).all() and np.isfinite(error).all()):
        return _naive(logs, steps, season)
    return _Told(mean, error)


_MODELS: Mapping[str, Callable[[Floats, int, int], _Told]] = {
    "naive": _naive,
    "seasonal naive": _seasonal,
    "drift": _drift,
    "damped trend": _damped,
}

"""Forecasts: judged by what they would have said before, and never better than they are."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.market import forecast as module
from tasks.market.forecast import forecast
from tasks.market.hedonic import TooThinError

ASKED = {"of": "hedonic", "period": "quarter", "horizon": 4, "origins": 8, "coverage": 0.9}


def walk(seed: int, *, drift: float = 0.0, count: int = 44, noise: float = 0.02) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return 100 * np.exp(np.cumsum(drift + draw.normal(0, noise, count)))


def test_a_trend_is_forecast_better_than_by_naive_and_named_periods_follow() -> None:
    levels = walk(1, drift=0.02, noise=0.004)
    told = forecast(list(levels), "2025Q3", **ASKED)  # type: ignore[arg-type]
    assert told.model in {"drift", "damped trend"}
    assert [point.period for point in told.points] == ["2025Q4", "2026Q1", "2026Q2", "2026Q3"]
    assert told.points[3].value == pytest.approx(levels[-1] * np.exp(0.08), rel=0.03)
    assert {one.model for one in told.backtests} == {"naive", "seasonal naive", "drift", "damped trend"}
    assert told.backtests[0].against_naive < 0.5


def test_intervals_hold_what_comes_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {name: model for name, model in module._MODELS.items() if name != "damped trend"}
    monkeypatch.setattr(module, "_MODELS", quick)
    inside = []
    for seed in range(60):
        levels = walk(seed)
        told = forecast(list(levels[:40]), "2025Q4", **{**ASKED, "origins": 3})  # type: ignore[arg-type]
        inside += [(p.low or 0) <= came <= (p.high or 0) for p, came in zip(told.points, levels[40:], strict=True)]
    assert 0.8 <= np.mean(inside) <= 0.98


def test_an_origin_knows_nothing_that_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = walk(3)
    seen: list[tuple[int, int]] = []

    def spy(logs: np.ndarray, steps: int, season: int) -> module._Told:
        assert logs == pytest.approx(np.log(levels[: len(logs)]))
        seen.append((len(logs), steps))
        return module._naive(logs, steps, season)

    monkeypatch.setattr(module, "_MODELS", {"naive": spy})
    told = forecast(list(levels), "2025Q4", **ASKED)  # type: ignore[arg-type]
    assert all(known + steps <= len(levels) for known, steps in seen[:-1])
    assert len({known for known, _ in seen[:-1]}) >= 8
    assert told.backtests[0].errors == sum(steps for _, steps in seen[:-1])


def test_naive_is_kept_unless_another_beats_it() -> None:
    """A walk without drift: nothing beats it by much, and what is flat is naive."""
    flat = forecast([100.0] * 30, "2025Q4", **ASKED)  # type: ignore[arg-type]
    assert flat.model == "naive"
    assert [(p.low, p.value, p.high) for p in flat.points] == [(pytest.approx(100),) * 3] * 4
    told = forecast(list(walk(4)), "2025Q4", **{**ASKED, "origins": 3})  # type: ignore[arg-type]
    best = min(told.backtests, key=lambda one: one.mae)
    assert told.model == (best.model if best.against_naive < 1 else "naive")


def test_what_is_too_short_says_how_long_it_must_be() -> None:
    with pytest.raises(TooThinError, match="needs 14 periods without a gap; there are 13"):
        forecast([100.0] * 13, "2025Q4", **ASKED)  # type: ignore[arg-type]

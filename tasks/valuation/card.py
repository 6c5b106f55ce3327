"""The card of a market's model: its ratio study as Markdown, with plots inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from models.training import Measure
from models.valuation import RatioStatistics, RatioStudy
from tasks.reports.render import escaped
from tasks.valuation.ratio_study import LIMITS, largest, left_out

_SHOWN = {"median": 3, "cod": 1, "prd": 3, "prb": 3, "mki": 3}


def card_of(market: str, study: RatioStudy, plots: Mapping[str, bytes]) -> str:
    """The card.

    Args:
        market: its name.
        study: how good it was.
        plots: PNG images by what they show.
    """
    shown, _ = largest(study.strata)
    lines = [
        f"# Values of {escaped(market)}",
        "",
        f"{study.overall.rows} sales, {escaped(study.split)}.",
        f"Half of the values are within {study.mdape:.1%} of the price; mean absolute error {study.mae:,.0f}; ",
        f"RMSE of logarithms {study.rmse_log:.4f}.",
        "",
        "| sales of | sales | median ratio | COD | PRD | PRB | MKI |",
        "| --- | --: | --: | --: | --: | --: | --: |",
        f"| IAAO's limits | | {' | '.join(f'{low:g} to {high:g}' for low, high in LIMITS.values())} |",
        *[_row(one) for one in (study.overall, *shown)],
    ]
    if left := left_out(study):
        lines += ["", left]
    if study.coverage:
        lines += ["", "| intervals | held | kept up to date | median width |", "| --- | --: | --: | --: |"]
        lines += [
            f"| {one.nominal:.0%} | {one.found:.1%} | {one.rolling:.1%} | {one.median_width:.0%} |"
            for one in study.coverage
        ]
    return "\n".join(lines) + "\n" + pictures(plots)


def pictures(plots: Mapping[str, bytes]) -> str:
    """PNG images, by what they show, as Markdown that needs no other file; those that are empty are left out."""
    told = [f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})" for name, png in plots.items() if png]
    return "".join(f"\n{one}\n" for one in told)


def _row(one: RatioStatistics) -> str:
    cells = [_cell(getattr(one, name), digits, ends=one.stratum == "all") for name, digits in _SHOWN.items()]
    return f"| {escaped(one.stratum)} | {one.rows} | {' | '.join(cells)} |"


def _cell(measure: Measure, digits: int, *, ends: bool) -> str:
    point = f"{measure.value:.{digits}f}"
    return f"{point} ({measure.low:.{digits}f} to {measure.high:.{digits}f})" if ends else point

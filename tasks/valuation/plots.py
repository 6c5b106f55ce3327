"""Plots of a valuation and of a ratio study, as PNG: drawn without a display and without tiles from the network."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.valuation import Property, RatioStudy, Valuation

Vector = NDArray[np.float64]
_BLUE, _RED, _GREY = "#1f5fa8", "#b8322a", "#8a8f98"


def map_of(subject: Property, valuation: Valuation, around: tuple[Vector, Vector] | None = None) -> bytes:
    """A map of the property, its comparables by number, and other sales around as dots; empty without coordinates.

    Args:
        subject: the property.
        valuation: has the comparables.
        around: latitudes and longitudes of other sales, shape (n,) each.
    """
    located = [(n + 1, one) for n, one in enumerate(valuation.comparables) if one.latitude is not None]
    if subject.latitude is None or subject.longitude is None:
        return b""
    figure, axes = _figure(4.2, 3.2)
    stretch = np.cos(np.deg2rad(subject.latitude))
    reach = max([0.004, *(abs((one.latitude or 0) - subject.latitude) * 1.25 for _, one in located),
                 *(abs((one.longitude or 0) - subject.longitude) * 1.25 * stretch for _, one in located)])  # fmt: skip
    if around is not None:
        axes.scatter(around[1], around[0], s=4, color=_GREY, alpha=0.35, linewidths=0)
    for number, one in located:
        axes.plot(one.longitude, one.latitude, "o", color=_BLUE, markersize=10)
        axes.annotate(str(number), (one.longitude, one.latitude), color="white", fontsize=7, ha="center", va="center")
    axes.plot(subject.longitude, subject.latitude, "*", color=_RED, markersize=15)
    axes.set_xlim(subject.longitude - reach / stretch * 1.3, subject.longitude + reach / stretch * 1.3)
    axes.set_ylim(subject.latitude - reach, subject.latitude + reach)
    axes.set_aspect(1 / stretch)
    axes.set_xticks([])
    axes.set_yticks([])
    bar = 10 ** np.floor(np.log10(reach * 111_195))
    axes.annotate(f"{bar:,.0f} m", (0.04, 0.065), xycoords="axes fraction", fontsize=7)
    left, right = axes.get_xlim()
    width = bar / (111_195 * stretch) / (right - left)
    axes.plot([0.04, 0.04 + width], [0.045, 0.045], color="black", linewidth=1.5, transform=axes.transAxes)
    return _png(figure)


def reasons_of(valuation: Valuation, most: int = 9) -> bytes:
    """The contributions as bars from the typical value to the value."""
    told = valuation.contributions[:most]
    figure, axes = _figure(4.2, 3.2)
    amounts = [one.amount / 1000 for one in told][::-1]
    names = [f"{one.feature} {one.given}".strip()[:28] for one in told][::-1]
    axes.barh(range(len(told)), amounts, color=[_BLUE if amount >= 0 else _RED for amount in amounts])
    axes.set_yticks(range(len(told)), names, fontsize=7)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel(f"thousand {valuation.currency} from the typical {valuation.typical:,.0f}", fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    return _png(figure)


def ratios_of(values: Vector, prices: Vector) -> bytes:
    """Ratios by price, with their median and the IAAO's limits."""
    figure, axes = _figure(5.5, 3.4)
    ratios = values / prices
    axes.scatter(prices, ratios, s=4, color=_BLUE, alpha=0.3, linewidths=0, rasterized=True)
    axes.set_xscale("log")
    axes.set_ylim(0.4, 1.8)
    for limit in (0.9, 1.1):
        axes.axhline(limit, color=_GREY, linewidth=0.8, linestyle="--")
    axes.axhline(float(np.median(ratios)), color=_RED, linewidth=1)
    axes.set_xlabel("price", fontsize=8)
    axes.set_ylabel("value / price", fontsize=8)
    axes.tick_params(labelsize=7)
    return _png(figure)


def strata_of(study: RatioStudy, kinds: Sequence[str] = ("time", "value", "area")) -> bytes:
    """Median ratios by strata, with their intervals."""
    told = [one for one in study.strata if one.stratum.partition(":")[0] in kinds][:20]
    figure, axes = _figure(5.5, 0.6 + 0.22 * max(4, len(told)))
    for place, one in enumerate(reversed(told)):
        axes.plot([one.median.low, one.median.high], [place, place], color=_GREY, linewidth=2)
        axes.plot(one.median.value, place, "o", color=_BLUE, markersize=4)
    axes.set_yticks(range(len(told)), [one.stratum[:40] for one in reversed(told)], fontsize=7)
    axes.axvline(1.0, color="black", linewidth=0.6)
    axes.set_xlabel("median of value / price", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # not pyplot: that keeps state of the whole process, and flows run in threads
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

    buffer = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()

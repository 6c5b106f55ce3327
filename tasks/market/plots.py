"""Pictures of a market's series."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.market import Forecast, Point, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS_PER_INCH = 110
_MOST_LABELS = 14


def png(market: str, series: Sequence[Series], forecast: Forecast | None) -> bytes:
    """A picture of the indices with their intervals and what is forecast, above the counts of sales, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - no window, and no global state
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    indices = [one for one in series if one.unit == "index"]
    longest = max((one.points for one in series), key=len)
    names = [point.period for point in longest]
    names += [] if forecast is None else [point.period for point in forecast.points if point.period not in names]
    place = {name: number for number, name in enumerate(names)}
    for one in indices:
        _draw(above, one.points, place, label=one.name)
    if forecast is not None:
        _draw(above, forecast.points, place, label=f"forecast of {forecast.of} ({forecast.model})", style="--")
    above.set_ylabel("index, first period = 100")
    above.set_title(f"{market}: prices")
    above.grid(alpha=0.3)
    if indices:
        above.legend(fontsize=8)
    below.bar([place[point.period] for point in longest], [point.count for point in longest], color="0.6")
    below.set_ylabel("sales")
    step = max(1, len(names) // _MOST_LABELS)
    below.set_xticks(range(0, len(names), step), names[::step], rotation=45, ha="right", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()


def data_uri(content: bytes) -> str:
    """`content` as an address that holds it, so that an artifact needs no server to show it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _draw(axes: Axes, points: Sequence[Point], place: dict[str, int], *, label: str, style: str = "-") -> None:
    known = [point for point in points if point.value is not None]
    x = [place[point.period] for point in known]
    (line,) = axes.plot(x, [point.value or 0.0 for point in known], style, label=label, linewidth=1.4)
    ends = [(place[p.period], p.low, p.high) for p in known if p.low is not None and p.high is not None]
    if ends:
        x, low, high = (list(column) for column in zip(*ends, strict=True))
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)

"""A picture of a window beside its reference."""

from __future__ import annotations

import io
from collections.abc import Sequence

from models.drift import ColumnDrift, ModelDrift

_MOST_COLUMNS = 25
_COLOURS = {"major": "#b3261e", "moderate": "#e8a33d", "small": "#7a9cc6", "stable": "#9aa5a0", "unknown": "#cccccc"}


def plot(model: ModelDrift) -> bytes:
    """A PNG: the stability index of each column, with what chance alone can make of it, and the loss ratios."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = [column for column in model.columns if column.stability is not None][:_MOST_COLUMNS][::-1]
    figure = Figure(figsize=(8, 1.6 + 0.28 * max(1, len(shown))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _bars(axes, shown)
    ratios = ", ".join(
        f"{'loss' if one.known else 'estimated loss'} {one.value / max(one.held_out, 1e-12):.2f}x"
        for one in model.performance
    )
    axes.set_title(f"{model.model}: {model.rows} rows{'; ' + ratios if ratios else ''}", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _bars(axes: object, shown: Sequence[ColumnDrift]) -> None:
    from typing import Any, cast  # noqa: PLC0415

    drawn = cast("Any", axes)
    places = range(len(shown))
    values = [column.stability.value if column.stability is not None else 0.0 for column in shown]
    chance = [column.stability.critical if column.stability is not None else 0.0 for column in shown]
    drawn.barh(places, values, color=[_COLOURS[column.verdict] for column in shown])
    drawn.scatter(chance, places, marker="|", s=120, color="black", label="what chance can make", zorder=3)
    # A dollar sign would be taken for a formula.
    drawn.set_yticks(places, [column.column[:40].replace("$", r"\$") for column in shown], fontsize=8)
    for limit in (0.1, 0.25):
        drawn.axvline(limit, color="#888888", linewidth=0.8, linestyle=":")
    drawn.set_xlabel("population stability index")
    drawn.set_xlim(0, max(0.3, min(2.0, max(values, default=0.0) * 1.1)))
    drawn.legend(fontsize=8, loc="lower right")

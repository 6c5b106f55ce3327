"""Plots of a model card, as PNG files in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.train.fitted import Judged

_MOST_POINTS = 4_000
_BINS = 10


def plots_of(judged: Judged, seed: int = 0) -> dict[str, bytes]:
    """PNG images by name: what was said against what was so, and how wrong it was, or how true probabilities are."""
    if judged.model.task == "classification":
        return {"calibration": _calibration(judged)}
    rows = np.random.default_rng(seed).permutation(len(judged.y))[:_MOST_POINTS]
    truth, said = judged.y.astype(np.float64)[rows], judged.said[rows]
    return {"predictions": _predictions(truth, said, judged.model.loss), "errors": _errors(truth, said, judged)}


def _figure(title: str, across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    # The figure's own canvas, not pyplot's: that keeps every figure, and a window system, in mind.
    figure = Figure(figsize=(6, 4), dpi=100, layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})  # without a version and a time: the same every run
    return out.getvalue()


def _predictions(truth: NDArray[np.float64], said: NDArray[np.float64], loss: str) -> bytes:
    figure, axes = _figure("Held-out rows", "true", "predicted")
    axes.scatter(truth, said, s=6, alpha=0.4)
    ends = [float(min(truth.min(), said.min())), float(max(truth.max(), said.max()))]
    axes.plot(ends, ends, color="black", linewidth=1)
    if loss == "log_rmse" and ends[0] > 0:
        axes.set_xscale("log")
        axes.set_yscale("log")
    return _png(figure)


def _errors(truth: NDArray[np.float64], said: NDArray[np.float64], judged: Judged) -> bytes:
    share = judged.model.loss == "log_rmse"
    wrong = said / truth - 1 if share else said - truth
    figure, axes = _figure("Errors of held-out rows", "predicted", "error as a share" if share else "error")
    axes.scatter(said, wrong, s=6, alpha=0.4)
    axes.axhline(0, color="black", linewidth=1)
    if share:
        axes.set_xscale("log")
    return _png(figure)


def _calibration(judged: Judged) -> bytes:
    figure, axes = _figure("Calibration on held-out rows", "probability that was said", "share that was so")
    for place, name in enumerate(judged.classes[:5]):
        said = judged.said[:, place]
        order = np.argsort(said, kind="stable")
        parts = [part for part in np.array_split(order, _BINS) if len(part)]
        across = [float(said[part].mean()) for part in parts]
        up = [float((judged.y[part] == name).mean()) for part in parts]
        axes.plot(across, up, marker="o", markersize=3, label=str(name)[:30])
    axes.plot([0, 1], [0, 1], color="black", linewidth=1)
    axes.legend()
    return _png(figure)

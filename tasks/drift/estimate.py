"""Performance before the truth is known, from confidences or from residuals of held-out rows. Pure.

Both see only what the data's own drift does: they take the relation of features and truth to be what it was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from models.drift import DriftLimits, LossCell, LossModel, LossReference, Outlook, Performance, Verdict

Floats = npt.NDArray[np.float64]

_MOST_BINS = 8
_ROWS_A_CELL = 50
_SHRINKAGE = 10.0
_FEWEST = 30


def loss_model(predicted: Floats, half_widths: Floats | None, losses: Floats) -> LossModel:
    """What absolute error to expect of a prediction, from held-out rows (all of the same length, 1 or more).

    Direct loss estimation: the error is itself predicted, here as the mean over cells of like predictions with like
    intervals, drawn towards the mean of all where a cell has few rows. A model whose intervals are wide where it is
    unsure tells much by them; one whose intervals are all the same is only told apart by the predicted value.
    """
    bins = int(np.clip(np.sqrt(len(losses) / _ROWS_A_CELL), 1, _MOST_BINS))
    widths = np.zeros(len(losses)) if half_widths is None else half_widths
    value_edges, width_edges = _quantile_edges(predicted, bins), _quantile_edges(widths, bins)
    rows, columns = np.searchsorted(value_edges, predicted), np.searchsorted(width_edges, widths)
    mean = float(losses.mean())
    cells = tuple(
        tuple(_cell(losses[(rows == row) & (columns == column)], losses) for column in range(len(width_edges) + 1))
        for row in range(len(value_edges) + 1)
    )
    return LossModel(
        value_edges=tuple(value_edges.tolist()),
        width_edges=tuple(width_edges.tolist()),
        cells=cells,
        rows=len(losses),
        mean=mean,
    )


def expected_losses(model: LossModel, predicted: Floats, half_widths: Floats | None) -> Floats:
    """The absolute error to expect of each prediction."""
    means = np.asarray([[cell.mean for cell in row] for row in model.cells])
    return np.asarray(means[_places(model, predicted, half_widths)], dtype=float)


def outlook(
    *,
    confidences: Floats | None = None,
    model: LossModel | None = None,
    predicted: Floats | None = None,
    half_widths: Floats | None = None,
) -> Outlook:
    """What is kept of predictions to estimate performance from: a classifier's confidences, or cells of losses."""
    if confidences is not None:
        return Outlook(
            rows=len(confidences),
            confidence=float(confidences.sum()),
            doubt=float((confidences * (1 - confidences)).sum()),
        )
    if model is None or predicted is None:
        return Outlook()
    usable = np.isfinite(predicted)
    rows, columns = _places(model, predicted[usable], None if half_widths is None else half_widths[usable])
    flat, counts = np.unique(rows * (len(model.width_edges) + 1) + columns, return_counts=True)
    width = len(model.width_edges) + 1
    cells = {f"{place // width}/{place % width}": int(count) for place, count in zip(flat, counts, strict=True)}
    return Outlook(rows=int(usable.sum()), cells=cells)


def estimated_performance(
    reference: LossReference, model: LossModel | None, seen: Outlook, limits: DriftLimits
) -> Performance | None:
    """What the mean loss of a window is probably; None where the version keeps nothing to tell it from."""
    if reference.loss == "error_rate":
        return _by_confidence(reference, seen, limits) if seen.rows else None
    return _by_residuals(reference, model, seen, limits) if model is not None and seen.rows else None


def _by_confidence(reference: LossReference, seen: Outlook, limits: DriftLimits) -> Performance:
    """Confidence-based: a calibrated classifier is right as often as it says; held-out rows tell by how much it is not.

    The mean confidence of a window varies by the rows that happen to be in it, which is what a rise has to exceed. The
    interval is that of the error rate that the window will turn out to have: right answers are drawn with their
    confidences, and the gap to the truth is known only as well as so many held-out rows tell.
    """
    m, n = seen.rows, reference.rows
    confidence = seen.confidence / m
    spread = max(0.0, (seen.confidence - seen.doubt) / m - confidence**2)
    error = float(np.clip(1 - confidence - reference.confidence_gap, 0, 1))
    change = np.sqrt(spread * (1 / m + 1 / n))
    doubt = seen.doubt / m
    return _performance(reference, error, error - reference.mean, change, np.sqrt(doubt / m + doubt / n), m, limits)


def _by_residuals(reference: LossReference, model: LossModel, seen: Outlook, limits: DriftLimits) -> Performance:
    shape = (len(model.cells), len(model.width_edges) + 1)
    held = np.array([[cell.rows for cell in row] for row in model.cells], dtype=float)
    means = np.array([[cell.mean for cell in row] for row in model.cells])
    spreads = np.array([[cell.deviation for cell in row] for row in model.cells])
    now = np.zeros(shape)
    for place, count in seen.cells.items():
        row, column = map(int, place.split("/"))
        now[row, column] = count
    m, n = now.sum(), held.sum()
    weights, before = now / m, held / n
    value = float((weights * means).sum())
    usual = float((before * means).sum())
    between = max(0.0, float((before * means**2).sum()) - usual**2)
    # How well a cell's mean is known matters by how much more, or less, of the cell there is now.
    cells = float(((weights - before) ** 2 * spreads**2 / np.maximum(held, 1.0)).sum())
    change = np.sqrt(between * (1 / m + 1 / n) + cells)
    # The interval is that of the mean error that the window will turn out to have, its rows being what they are.
    drawn = float((weights * spreads**2).sum()) / m
    spread = np.sqrt(drawn + float((weights**2 * spreads**2 / np.maximum(held, 1.0)).sum()))
    return _performance(reference, value, value - usual, change, spread, int(m), limits)


def _performance(
    reference: LossReference, value: float, rise: float, change: float, spread: float, rows: int, limits: DriftLimits
) -> Performance:
    wide = float(stats.norm.ppf(1 - limits.alpha / 2)) * spread
    floor = max(reference.mean, 1e-12)
    p_value = float(stats.norm.sf(rise / change)) if change > 0 else float(rise <= 0)
    verdict: Verdict = "unknown" if rows < _FEWEST else "stable"
    if verdict == "stable" and p_value <= limits.alpha:
        ratio = (reference.mean + rise) / floor
        verdict = "major" if ratio >= limits.major_loss else "moderate" if ratio >= limits.moderate_loss else "small"
    return Performance(
        loss=reference.loss,
        known=False,
        rows=rows,
        held_out=reference.mean,
        value=value,
        low=max(0.0, value - wide) / floor,
        high=(value + wide) / floor,
        p_value=p_value,
        verdict=verdict,
    )


def _places(
    model: LossModel, predicted: Floats, half_widths: Floats | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    widths = np.zeros(len(predicted)) if half_widths is None else half_widths
    return (
        np.searchsorted(np.asarray(model.value_edges), predicted),
        np.searchsorted(np.asarray(model.width_edges), widths),
    )


def _quantile_edges(values: Floats, bins: int) -> Floats:
    if bins < 2 or values.min() == values.max():
        return np.array([])
    edges: Floats = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
    below: Floats = edges[edges < values.max()]
    return below


def _cell(losses: Floats, everywhere: Floats) -> LossCell:
    weight = len(losses) / (len(losses) + _SHRINKAGE)
    own = float(losses.mean()) if len(losses) else 0.0
    spread = float(losses.std()) if len(losses) > 1 else float(everywhere.std())
    return LossCell(rows=len(losses), mean=weight * own + (1 - weight) * float(everywhere.mean()), deviation=spread)

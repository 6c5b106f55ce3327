"""What the flow `drift` reports of a window. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.drift import ColumnDrift, DriftReport, ModelDrift, Performance, Verdict
from models.report import Finding, Severity, Skip, compose

CAPABILITY = "drift"

_OF_DATA: dict[Verdict, Severity] = {
    "major": Severity.medium,
    "moderate": Severity.low,
    "small": Severity.info,
}
_OF_PERFORMANCE: dict[Verdict, Severity] = {"major": Severity.high, "moderate": Severity.medium, "small": Severity.low}
_OF_ESTIMATES: dict[Verdict, Severity] = {"major": Severity.medium, "moderate": Severity.low, "small": Severity.info}
_LOSSES = {"absolute_error": "mean absolute error", "error_rate": "error rate"}


def has_drifted_much(model: ModelDrift) -> bool:
    """Whether a challenger should be trained: performance has fallen, or data or the outlook have moved far."""
    worse = any(one.verdict == "major" or (one.known and one.verdict == "moderate") for one in model.performance)
    return worse or any(column.verdict == "major" for column in model.columns)


def findings_of(model: ModelDrift) -> list[Finding]:
    """One finding a column that has drifted, and one for performance, known and estimated; keys tell the version."""
    findings = [_of_column(model, column) for column in model.columns if column.verdict in _OF_DATA]
    return findings + [_of_performance(model, one) for one in model.performance if one.verdict in _OF_DATA]


def skips_of(model: ModelDrift) -> list[Skip]:
    """What there were too few rows, or no truths, for."""
    name = model.model
    unknown = [column for column in model.columns if column.verdict == "unknown"]
    skips = []
    if unknown:
        told = ", ".join(column.column for column in unknown[:10]) + (" and more" if len(unknown) > 10 else "")
        skips.append(
            Skip(
                area=CAPABILITY,
                component=model.model,
                reason=f"{told} cannot be judged from {model.rows} rows. {unknown[0].reason} Give a longer window.",
                hides=tuple(f"drift.column:{name}/{column.column}" for column in unknown),
            )
        )
    skips += [
        Skip(
            area=CAPABILITY,
            component=model.model,
            reason=f"Its performance cannot be judged: only {one.rows} rows of the window have their truth.",
            hides=(f"drift.performance:{name}",),
        )
        for one in model.performance
        if one.verdict == "unknown" and one.known
    ]
    if model.unjudged:
        skips.append(
            Skip(
                area=CAPABILITY,
                component=model.model,
                reason=f"Its performance cannot be judged: {model.unjudged}",
                hides=(f"drift.performance:{name}",),
            )
        )
    return skips


def report_of(
    models: Sequence[ModelDrift],
    skipped: Sequence[Skip],
    *,
    scope: str,
    since: datetime,
    until: datetime,
    truths: int,
    forgotten: int,
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
) -> DriftReport:
    """The report of a run."""
    findings = [finding for model in models for finding in findings_of(model)]
    skips = [*skipped, *(skip for model in models for skip in skips_of(model) if not _is_told(skip, skipped))]
    metrics = {"truths_total": float(truths), "forgotten_rows_total": float(forgotten)}
    for model in models:
        name = model.model
        metrics[f"{name}.rows_total"] = float(model.rows)
        indices = [column.stability.value for column in model.columns if column.stability is not None]
        if indices:
            metrics[f"{name}.largest_psi_ratio"] = max(indices)
        for one in model.performance:
            metrics[f"{name}.{'known' if one.known else 'estimated'}_loss_ratio"] = one.value / max(one.held_out, 1e-12)
    return compose(
        DriftReport,
        capability=CAPABILITY,
        summary=_summary(models, skips),
        scope=scope,
        findings=findings,
        skipped=skips,
        metrics=metrics,
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
        since=since,
        until=until,
        models=tuple(models),
    )


def _is_told(skip: Skip, already: Sequence[Skip]) -> bool:
    """Whether the run has said why, such as that the truths cannot be read."""
    return all(any(key.startswith(one.hides) for one in already if one.hides) for key in skip.hides)


def _of_column(model: ModelDrift, column: ColumnDrift) -> Finding:
    return Finding(
        key=f"drift.column:{model.model}/{column.column}",
        severity=_OF_DATA[column.verdict],
        component=model.model,
        title=f"{column.column}: {column.verdict} drift.",
        detail=column.reason,
        remedy="Look whether the data still means what it did; if it does, train a challenger."
        if column.verdict != "small"
        else "",
        evidence={
            "rows": column.rows,
            "psi": None if column.stability is None else round(column.stability.value, 6),
            "tests": {one.test: {"effect": one.effect, "p": one.p_value, "p_adjusted": one.adjusted}
                      for one in column.comparisons},
        },
    )  # fmt: skip


def _of_performance(model: ModelDrift, one: Performance) -> Finding:
    ratio = one.value / max(one.held_out, 1e-12)
    grades = _OF_PERFORMANCE if one.known else _OF_ESTIMATES
    sequential = "" if one.sequential is None else f"; over all looks at most {one.sequential:.2g}"
    caveat = "" if one.known else " The estimate takes the relation of features and truth to be what it was."
    return Finding(
        key=f"drift.{'performance' if one.known else 'outlook'}:{model.model}",
        severity=grades[one.verdict],
        component=model.model,
        title=f"The {_LOSSES[one.loss]} {'is' if one.known else 'is estimated to be'} {ratio:.2f} times "
        "that of the held-out rows.",
        detail=f"{one.value:.4g} instead of {one.held_out:.4g} over {one.rows} rows; "
        f"ratio {one.low:.2f} to {one.high:.2f}; chance of such a rise {one.p_value:.2g}{sequential}.{caveat}",
        remedy="Train a challenger, or roll back to an earlier version."
        if one.known
        else "Get the truth of some rows.",
        evidence={"value": one.value, "held_out": one.held_out, "rows": one.rows, "p": one.p_value},
    )


def _summary(models: Sequence[ModelDrift], skips: Sequence[Skip]) -> str:
    if not models:
        return "No model could be judged." if skips else "No model has predicted anything in the window."
    parts = []
    for model in models:
        drifted = [column.column for column in model.columns if column.verdict in {"major", "moderate"}]
        words = f"{len(drifted)} of {len(model.columns)} columns have drifted" if drifted else "no column has drifted"
        if not model.columns:
            words = "it has predicted nothing in the window"
        worse = [one for one in model.performance if one.known and one.verdict in {"major", "moderate"}]
        worse_words = "; it has become worse" if worse else ""
        trained = "; a challenger is being trained" if model.challenger else ""
        parts.append(f"{model.model} ({model.rows} rows): {words}{worse_words}{trained}.")
    return " ".join(parts[:10])

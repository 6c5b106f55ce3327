"""What a batch of predictions reports. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.report import Finding, Report, Severity, Skip, compose
from models.training import TableSchema

CAPABILITY = "predict"

Oddities = dict[str, dict[str, int]]
"""Rows by kind (`unknown` categories, `missing` values, `out_of_range`) and then by column."""

_MUCH = 0.05
_WORDS = {
    "unknown": "have a category that the model does not know",
    "missing": "have no value, more than at training",
    "out_of_range": "are outside of what the model has seen",
}


def findings_of(found: Oddities, rows: int, schema: TableSchema, model: str) -> list[Finding]:
    """One finding a kind: the columns that have it, the worst first. What was missing at training as often is none."""
    usual = {column.name: column.missing for column in schema.columns}
    findings = []
    for kind, words in _WORDS.items():
        shares = {name: count / max(1, rows) for name, count in found.get(kind, {}).items()}
        if kind == "missing":
            shares = {name: share for name, share in shares.items() if share > usual.get(name, 0.0) + 0.01}
        if not shares:
            continue
        ordered = sorted(shares, key=lambda name: (-shares[name], name))
        told = ", ".join(f"{name} {shares[name]:.1%}" for name in ordered[:5])
        findings.append(
            Finding(
                key=f"predict.{kind.replace('_', '-')}:{model.partition('@')[0]}",
                severity=Severity.medium if shares[ordered[0]] >= _MUCH else Severity.low,
                component=model,
                title=f"Rows {words}: {told}{', and more columns' if len(ordered) > 5 else ''}.",
                detail="They were predicted all the same; such predictions are less sure than the others.",
                remedy="Look whether the table is what the model was trained for; `lama drift check` compares the two.",
                evidence={"rows": rows, "columns": {name: found[kind][name] for name in ordered[:50]}},
            )
        )
    return findings


def report_of(
    *,
    model: str,
    schema: TableSchema,
    output: str,
    rows: int,
    found: Oddities,
    resumed: int,
    skipped: Sequence[Skip],
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
) -> Report:
    """The report of a finished run."""
    seconds = (finished_at - started_at).total_seconds()
    again = f" {resumed} parts were there from an earlier run." if resumed else ""
    return compose(
        Report,
        capability=CAPABILITY,
        summary=f"{model} predicted {rows} rows into {output}.{again}",
        scope=f"{model.partition('@')[0]}; {output}",
        findings=findings_of(found, rows, schema, model),
        skipped=skipped,
        metrics={
            "rows_total": float(rows),
            "resumed_parts_total": float(resumed),
            "rows_per_second": rows / max(seconds, 1e-6),
        }
        | {f"{kind}_total": float(sum(found.get(kind, {}).values())) for kind in _WORDS},
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
    )

"""The model card: what a model is for, how good it is and how that was found out, as Markdown.

After Mitchell et al. (2019), *Model Cards for Model Reporting*.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from models.report import Finding
from models.training import (
    Candidate,
    Comparison,
    Lineage,
    Measure,
    TableSchema,
    TrainingTable,
    shown_figure,
    shown_parameters,
    shown_source,
)
from tasks.reports.render import escaped

_MOST_COLUMNS = 60


def card_of(
    name: str,
    table: TrainingTable,
    lineage: Lineage,
    *,
    schema: TableSchema,
    splits: str,
    candidates: Sequence[Candidate],
    measures: Mapping[str, Measure],
    comparisons: Sequence[Comparison] = (),
    findings: Sequence[Finding] = (),
    plots: Mapping[str, bytes] | None = None,
) -> str:
    """The card.

    Args:
        name: of the model.
        table: what it was trained on, and for what.
        lineage: where it comes from.
        schema: its features.
        splits: how rows were split, in words.
        candidates: what was tried, best first.
        measures: on held-out rows.
        comparisons: with a constant, with the champion.
        findings: about the table.
        plots: PNG images by name.
    """
    target = f" `{escaped(table.columns.target)}`" if table.columns.target else ""
    lines = [
        f"# {escaped(name)}",
        "",
        f"Trained for {table.task} of{target} from {lineage.rows:,} rows of `{escaped(shown_source(table.source))}`.",
        f"Rows were split {escaped(splits)}.",
        "",
        "## How good it is",
        "",
        "On rows that were held out; intervals by a bootstrap of groups.",
        "",
        "| figure | value | 95 % interval |",
        "| --- | --- | --- |",
        *(f"| {escaped(label)} | {shown_figure(one.value)} | {_ends(one)} |" for label, one in measures.items()),
        "",
        *(f"- {escaped(one.verdict)}" for one in comparisons),
        "",
        "## What was tried",
        "",
        "| family | loss in cross-validation | tried | parameters |",
        "| --- | --- | --- | --- |",
        *(
            f"| {escaped(one.family)} | {shown_figure(one.loss)} | {one.tried} "
            f"| {escaped(shown_parameters(one.parameters))} |"
            for one in candidates
        ),
        "",
    ]
    for label, image in (plots or {}).items():
        lines += [f"![{label}](data:image/png;base64,{base64.b64encode(image).decode()})", ""]
    if findings:
        lines += ["## What to know about the table", ""]
        lines += [f"- {escaped(one.title)} {escaped(one.remedy)}".rstrip() for one in findings]
        lines.append("")
    lines += ["## What it looks at", "", "| column | kind | missing | range |", "| --- | --- | --- | --- |"]
    for column in schema.columns[:_MOST_COLUMNS]:
        spread = f"{len(column.levels)} categories" if column.levels else ""
        if column.low is not None and column.high is not None and column.kind == "number":
            spread = f"{shown_figure(column.low)} to {shown_figure(column.high)}"
        lines.append(f"| {escaped(column.name)} | {column.kind} | {column.missing:.1%} | {spread} |")
    if len(schema.columns) > _MOST_COLUMNS:
        lines.append(f"| ... {len(schema.columns) - _MOST_COLUMNS} more | | | |")
    lines += [
        "",
        "## Where it comes from",
        "",
        f"- Data: SHA-256 `{lineage.data_hash}`",
        f"- Code: `{escaped(lineage.code_version)}`, seed {lineage.seed}",
        f"- Environment: {', '.join(f'{escaped(k)} {escaped(v)}' for k, v in lineage.environment.items())}",
        *([f"- Run: `{lineage.flow_run}`"] if lineage.flow_run else []),
        "",
    ]
    return "\n".join(lines)


def _ends(one: Measure) -> str:
    return "" if one.low is None or one.high is None else f"{shown_figure(one.low)} to {shown_figure(one.high)}"


_IMAGE = re.compile(r"!\[[^\]]*\]\(data:image/png;base64,[^)]*\)\n*")


def without_plots(card: str) -> str:
    """The card's words alone."""
    return _IMAGE.sub("", card)

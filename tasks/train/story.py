"""What a training is asked for, and what it has come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from models.report import Finding, Skip, compose
from models.training import (
    Candidate,
    Comparison,
    Lineage,
    Measure,
    ModelVersion,
    TrainingTable,
    TrainParameters,
    TrainReport,
)
from tasks.train.card import without_plots

CAPABILITY = "train"


@dataclass(frozen=True)
class Asked:
    """What a training is asked for."""

    name: str
    table: TrainingTable
    parameters: TrainParameters = field(default_factory=TrainParameters)
    keep_suspects: bool = False
    """Whether columns that may know the target are learned from."""
    promote: bool = True
    """Whether it becomes the champion when it has been shown to be better."""
    refit: bool = True
    """Whether what answers learns from the held-out rows as well, once they have judged it."""
    dry_run: bool = False
    """Whether the table is only looked at."""
    most_rows: int = 200_000
    """Rows that are learned from; of more, a sample is."""
    run_id: str = ""


@dataclass
class Story:
    """What a training has come to."""

    findings: list[Finding]
    skipped: tuple[Skip, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    measures: dict[str, Measure] | None = None
    comparison: Comparison | None = None
    version: ModelVersion | None = None
    promoted: bool = False
    card: str = ""
    splits: str = ""
    resumed: int = 0
    summary: str = ""
    lineage: Lineage | None = None


def report_of(asked: Asked, story: Story, started_at: datetime) -> TrainReport:
    """The report of a training that has come to `story`."""
    measures = story.measures or {}
    return compose(
        TrainReport,
        capability=CAPABILITY,
        summary=story.summary,
        scope=f"{asked.name}{'; dry run' if asked.dry_run else ''}",
        findings=story.findings,
        skipped=story.skipped,
        metrics={name: one.value for name, one in measures.items()}
        | {"rows_total": float(lineage_of(story).rows), "resumed_folds_total": float(story.resumed)},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=asked.run_id,
        model=story.version.address if story.version is not None else "",
        candidates=story.candidates,
        measures=measures,
        comparison=story.comparison,
        promoted=story.promoted,
        card=without_plots(story.card),
        splits=story.splits,
        resumed_folds=story.resumed,
        lineage=story.lineage,
    )


def lineage_of(story: Story) -> Lineage:
    """Where its model comes from."""
    if story.lineage is None:
        raise ValueError("the lineage is made before anything else")
    return story.lineage

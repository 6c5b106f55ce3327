"""A training without a target: groups are found, judged by whether they are found again, and registered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from blocks.model_registry import ModelRegistry
from models.report import Finding, Severity
from models.training import CHAMPION, Candidate, Measure, ModelVersion
from tasks.train import registry as models
from tasks.train.card import card_of
from tasks.train.clusters import clusterings
from tasks.train.engine import features_of
from tasks.train.model import TrainedModel
from tasks.train.schema import schema_of
from tasks.train.story import Asked, Story, lineage_of
from tasks.train.subject import Subject

Register = Callable[..., Awaitable[ModelVersion]]


async def grouped(
    asked: Asked,
    subject: Subject,
    story: Story,
    registry: ModelRegistry | None,
    register: Register,
    promote: Register,
) -> None:
    """Find groups in `subject`, and put what was found into `story`."""
    features = features_of(subject.frame, subject.columns)
    cuts = await asyncio.to_thread(clusterings, features, asked.parameters.families, asked.parameters.seed)
    best = cuts[0]
    story.candidates = tuple(
        Candidate(family=one.family, parameters={**one.parameters, "found": one.count}, loss=1 - one.score)
        for one in cuts
    )
    story.measures = {
        "clusters": Measure(value=float(best.count)),
        "silhouette": Measure(value=best.silhouette),
        "stability": Measure(value=best.stability),
        "noise": Measure(value=best.noise),
    }
    if best.stability < 0.6 or best.silhouette < 0.1:
        story.findings.append(
            Finding(
                key="train.unstable:model",
                severity=Severity.medium,
                component=asked.name,
                title="The groups are not clear: other rows would have been cut otherwise.",
                detail=f"Silhouette {best.silhouette:.2f}, stability {best.stability:.2f}.",
            )
        )
    story.splits = "in halves, to see whether groups are found again"
    story.summary = (
        f"{best.count} groups by {best.family}: silhouette {best.silhouette:.2f}, stability {best.stability:.2f}."
    )
    model = TrainedModel(
        best.model, "clustering", subject.columns, schema_of(subject.frame, subject.columns), seed=asked.parameters.seed
    )
    story.card = card_of(
        asked.name, asked.table, lineage_of(story), schema=model.schema, splits=story.splits,
        candidates=story.candidates, measures=story.measures, findings=story.findings,
    )  # fmt: skip
    if registry is None:
        return
    version = ModelVersion(
        name=asked.name, task="clustering", created_at=datetime.now(UTC), data_hash=subject.data_hash,
        code_version=lineage_of(story).code_version, environment=lineage_of(story).environment,
        parameters={"family": best.family, **best.parameters},
        metrics={name: one.value for name, one in story.measures.items()},
        columns=subject.columns, lineage=story.lineage,
    )  # fmt: skip
    story.version = await register(registry, model, version, story.card)
    known = await asyncio.to_thread(models.versions, registry, asked.name)
    if asked.promote and not any(CHAMPION in one.aliases for one in known):
        await promote(registry, asked.name, story.version.version, None, "the first one")
        story.promoted = True

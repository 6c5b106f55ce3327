"""A training as a whole: looked at, searched, judged, registered, compared, and promoted where it has earned it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from blocks.errors import ConfigurationError
from blocks.model_registry import ModelRegistry
from models.report import Finding, Severity
from models.training import (
    CHAMPION,
    Columns,
    Comparison,
    Lineage,
    Measure,
    ModelVersion,
    TrainParameters,
    TrainReport,
    shown_source,
)
from tasks.train import registry as models
from tasks.train.card import card_of
from tasks.train.checkpoints import Checkpoints
from tasks.train.choice import choose
from tasks.train.contest import IncomparableError, contest
from tasks.train.families import families_for
from tasks.train.fitted import Judged, fit_and_judge
from tasks.train.grouped import grouped
from tasks.train.lineage import environment
from tasks.train.losses import loss_for
from tasks.train.plots import plots_of
from tasks.train.quality import Quality, quality_of
from tasks.train.splits import describe, groups_of, holdout_for, sampled, splits_for
from tasks.train.story import Asked, Story, lineage_of, report_of
from tasks.train.subject import Subject, subject_of
from tasks.train.workbench import Batch, Workbench, fit_batch, searched

Done = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Parts:
    """How the parts of a training are called: as they are, or as steps of a flow."""

    batch: Batch = fit_batch
    judge: Callable[..., Awaitable[Judged]] | None = None
    register: Callable[..., Awaitable[ModelVersion]] | None = None
    compare: Callable[..., Awaitable[Comparison]] | None = None
    promote: Callable[..., Awaitable[ModelVersion]] | None = None
    profile: Callable[[ModelVersion, Subject, Judged], Awaitable[str]] | None = None
    """Keeps what later data is compared with; says why not, where it cannot."""


PLAIN = Parts()


async def train(
    asked: Asked,
    frame: pd.DataFrame,
    *,
    registry: ModelRegistry | None,
    code_version: str = "",
    checkpoints: Path | None = None,
    parts: Parts = PLAIN,
    done: Done | None = None,
) -> TrainReport:
    """Train on `frame` what `asked` asks for.

    Args:
        asked: what for.
        frame: the table that `asked.table` names.
        registry: where the model is registered; None: it is only judged.
        code_version: for its lineage.
        checkpoints: folder of finished folds, for runs that were killed.
        parts: how the parts are called.
        done: is told after each part, in a few words.

    Raises:
        ConfigurationError: the table cannot be learned from; nothing was registered.
    """
    started_at = datetime.now(UTC)
    subject, quality = await asyncio.to_thread(_looked_at, asked, frame)
    story = Story(list(quality.findings), quality.skipped)
    story.lineage = Lineage(
        data_hash=subject.data_hash,
        rows=len(subject.frame),
        source=shown_source(asked.table.source),
        code_version=code_version,
        environment=environment(),
        seed=asked.parameters.seed,
        flow_run=asked.run_id,
    )
    await _tell(done, "table looked at")
    if asked.dry_run:
        _plan(asked, subject, quality, story)
    elif asked.table.task == "clustering":
        await grouped(asked, subject, story, registry, parts.register or _register, parts.promote or _promote)
    else:
        await _learn(asked, frame, subject, story, registry, parts, checkpoints, done)
    return report_of(asked, story, started_at)


def _looked_at(asked: Asked, frame: pd.DataFrame) -> tuple[Subject, Quality]:
    table, parameters = asked.table, asked.parameters
    subject = subject_of(frame, table.columns, table.task)
    quality = quality_of(subject, parameters.seed, keep_suspects=asked.keep_suspects)
    columns = table.columns
    if not asked.keep_suspects and quality.excluded:
        columns = columns.model_copy(update={"ignore": (*columns.ignore, *quality.excluded)})
    if not [name for name in columns.features_of(list(quality.kinds)) if quality.kinds[name] != "constant"]:
        raise ConfigurationError(
            "no column is left to learn from: all are constant, or suspected of knowing the target.", component="train"
        )
    rows = sampled(subject.frame, columns, asked.most_rows, parameters.seed)
    findings = list(quality.findings)
    if len(rows) < len(subject.frame):
        findings.append(
            Finding(
                key="train.sample:table",
                severity=Severity.info,
                component="table",
                title=f"{len(rows):,} of {len(subject.frame):,} rows were learned from: a sample of whole groups.",
                remedy="Raise most_rows to learn from more.",
            )
        )
    kept = replace(_part(subject, rows), columns=columns) if len(rows) < len(subject.frame) else subject
    return replace(kept, columns=columns), replace(quality, findings=tuple(findings))


def _part(subject: Subject, rows: Any) -> Subject:
    return replace(
        subject,
        frame=subject.frame.iloc[rows].reset_index(drop=True),
        y=None if subject.y is None else subject.y[rows],
        weight=None if subject.weight is None else subject.weight[rows],
    )


async def _learn(
    asked: Asked, frame: pd.DataFrame, subject: Subject, story: Story, registry: ModelRegistry | None, parts: Parts,
    checkpoints: Path | None, done: Done | None,
) -> None:  # fmt: skip
    parameters = asked.parameters
    families = families_for(asked.table.task, parameters.families)
    split = holdout_for(subject.frame, subject.columns, parameters.holdout, parameters.seed)
    learned = _part(subject, split.train)
    if learned.y is None:
        raise ConfigurationError("there is no target.", component="train")
    _refuse_lost_classes(subject, learned)
    story.findings += _unseen_classes(subject, learned, refit=asked.refit)
    splits = splits_for(learned.frame, subject.columns, parameters.folds, parameters.seed, learned.y)
    story.splits = describe(subject.columns, groups_of(subject.frame, subject.columns))
    loss = loss_for(asked.table.task, learned.y)
    plan = plan_of(asked, subject.columns, environment(), lineage_of(story).code_version)
    kept = Checkpoints(checkpoints, subject.data_hash, plan)
    bench = Workbench(learned, splits, families, parameters, loss, kept)
    found = await searched(bench, parts.batch, done)
    choice = await asyncio.to_thread(choose, bench, found)
    story.candidates, story.resumed = choice.candidates, kept.found
    if bench.given_up:
        story.findings.append(
            Finding(
                key="train.budget:search",
                severity=Severity.low,
                component="search",
                title=f"{bench.given_up} fits were left out: the time of {parameters.budget_s:g} s was over.",
                remedy="Raise budget_s, or lower trials.",
            )
        )
    judged = await (parts.judge or _judge)(asked.name, subject, split, choice, loss, parameters, asked.refit)
    await _tell(done, "judged")
    story.measures = judged.measures
    if not judged.baseline.better:
        story.findings.append(
            Finding(
                key="train.useless:model",
                severity=Severity.high,
                component=asked.name,
                title="The model is not better than a constant.",
                detail=judged.baseline.verdict,
                remedy="The columns say too little about the target; or there are too few rows to tell.",
            )
        )
    plots = await asyncio.to_thread(plots_of, judged, parameters.seed)
    story.card = card_of(
        asked.name, asked.table, lineage_of(story), schema=judged.model.schema, splits=story.splits,
        candidates=story.candidates, measures=judged.measures, comparisons=[judged.baseline],
        findings=story.findings, plots=plots,
    )  # fmt: skip
    best = story.candidates[0] if story.candidates[0].family == choice.candidate.family else choice.candidate
    story.summary = f"{best.family}: {_headline(loss, judged.measures)} on {len(split.test)} held-out rows."
    if registry is None:
        return
    version = ModelVersion(
        name=asked.name, task=asked.table.task, created_at=datetime.now(UTC), data_hash=subject.data_hash,
        code_version=lineage_of(story).code_version, environment=lineage_of(story).environment,
        parameters={"family": best.family, **best.parameters},
        metrics={name: one.value for name, one in judged.measures.items()},
        columns=subject.columns, lineage=story.lineage,
    )  # fmt: skip
    story.version = await (parts.register or _register)(registry, judged.model, version, story.card)
    await _tell(done, "registered")
    if parts.profile is not None and (problem := await parts.profile(story.version, subject, judged)):
        story.findings.append(
            Finding(
                key="train.profile:model",
                severity=Severity.medium,
                component=story.version.address,
                title="What it was trained on was not kept, so drift cannot be seen.",
                detail=problem,
                remedy="Train it again once the database answers.",
            )
        )
    await _contend(asked, frame, judged, story, registry, parts)
    await asyncio.to_thread(kept.clear)


async def _contend(
    asked: Asked, frame: pd.DataFrame, judged: Judged, story: Story, registry: ModelRegistry, parts: Parts
) -> None:
    """Compare the new version with the champion, and promote it where it is better."""
    version = story.version
    if version is None:
        return
    known = await asyncio.to_thread(models.versions, registry, asked.name)
    champion = next((one for one in known if CHAMPION in one.aliases), None)
    if champion is None:
        if asked.promote and judged.baseline.better:
            await (parts.promote or _promote)(registry, asked.name, version.version, None, "the first one")
            story.promoted = True
            story.summary += f" {version.address} is the champion, the first one."
        return
    if champion.version == version.version:
        story.promoted = True
        return
    try:
        story.comparison = await (parts.compare or compare_with)(
            registry, asked.name, champion.version, judged, version, frame, asked.parameters.seed
        )
    except IncomparableError as error:
        story.findings.append(
            Finding(
                key="train.incomparable:champion",
                severity=Severity.medium,
                component=asked.name,
                title=f"{version.address} cannot be compared with the champion {champion.version}: {error}.",
                remedy="Look at both cards, and promote it with --force if it is to answer.",
            )
        )
        return
    story.summary += f" {story.comparison.verdict}"
    if asked.promote and story.comparison.better:
        try:
            await (parts.promote or _promote)(registry, asked.name, version.version, story.comparison, "better")
            story.promoted = True
        except models.ConflictError as error:
            story.findings.append(
                Finding(
                    key="train.conflict:champion",
                    severity=Severity.medium,
                    component=asked.name,
                    title=f"{version.address} was not promoted: {error.what}",
                    remedy=f"lama train promote {asked.name} {version.version}",
                )
            )


async def _judge(
    name: str,
    subject: Subject,
    split: Any,
    choice: Any,
    loss: Any,
    parameters: TrainParameters,
    refit: bool,  # noqa: FBT001
) -> Judged:
    return await asyncio.to_thread(fit_and_judge, name, subject, split, choice, loss, parameters, refit=refit)


async def _register(registry: ModelRegistry, model: Any, version: ModelVersion, card: str) -> ModelVersion:
    return await asyncio.to_thread(models.register, registry, model, version, card=card)


async def compare_with(
    registry: ModelRegistry, name: str, champion: int, judged: Judged, version: ModelVersion, frame: pd.DataFrame,
    seed: int,
) -> Comparison:  # fmt: skip
    """Compare a new version with the champion, and keep what that showed.

    Raises:
        IncomparableError: they cannot be put side by side.
    """

    def work() -> Comparison:
        old = models.load(registry, name, champion)
        found = contest(name, old, models.Loaded(judged.model, version), frame, seed=seed)
        models.keep_comparison(registry, found)
        return found

    return await asyncio.to_thread(work)


async def _promote(
    registry: ModelRegistry, name: str, version: int, comparison: Comparison | None, reason: str
) -> ModelVersion:
    return await asyncio.to_thread(
        models.promote, registry, name, version, comparison=comparison, reason=reason
    )  # fmt: skip


def plan_of(asked: Asked, columns: Columns, versions: dict[str, str], code_version: str) -> str:
    """Everything but the data that a fold's result depends on, as a hash: folds of older code are made again."""
    bounds = asked.parameters.model_dump(include={"folds", "holdout", "seed"})
    told = [columns.model_dump(), asked.table.task, bounds, asked.most_rows, versions, code_version]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _plan(asked: Asked, subject: Subject, quality: Quality, story: Story) -> None:
    parameters = asked.parameters
    names = [one.name for one in families_for(asked.table.task, parameters.families)] if subject.y is not None else []
    story.splits = describe(subject.columns, groups_of(subject.frame, subject.columns))
    if subject.y is not None:
        holdout_for(subject.frame, subject.columns, parameters.holdout, parameters.seed)
    learned = sum(1 for name in subject.columns.features_of(list(quality.kinds)) if quality.kinds[name] != "constant")
    story.summary = f"Would learn from {len(subject.frame):,} rows and {learned} columns, split {story.splits}" + (
        f", {', '.join(names)} with {parameters.trials} settings each on {parameters.folds} folds." if names else "."
    )


def _refuse_lost_classes(subject: Subject, learned: Subject) -> None:
    if subject.task != "classification" or subject.y is None or learned.y is None:
        return
    if len(set(learned.y.tolist())) < 2:
        raise ConfigurationError(
            "the rows that are learned from have one class; the others are all held out.", component="train",
            remedy="Give more rows, or name no time or group.",
        )  # fmt: skip


def _unseen_classes(subject: Subject, learned: Subject, *, refit: bool) -> list[Finding]:
    if subject.task != "classification" or subject.y is None or learned.y is None:
        return []
    counts = Counter(subject.y.tolist())
    unseen = sorted(set(counts) - set(learned.y.tolist()))
    if not unseen:
        return []
    rows = sum(counts[one] for one in unseen)
    names = ", ".join(repr(str(one))[:60] for one in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
    known = "What answers has learned them, but nobody has judged it by them."
    return [
        Finding(
            key="train.classes:holdout",
            severity=Severity.low if refit else Severity.medium,
            component=str(subject.columns.target),
            title=f"Held-out rows alone have the classes {names}: the figures count their {rows} rows as mistakes.",
            detail=known if refit else "What answers does not know them.",
            remedy="Give more rows of these classes, or join them to others.",
            evidence={"classes": len(unseen), "rows": rows},
        )
    ]


def _headline(loss: str, measures: dict[str, Measure]) -> str:
    name = next((one for one in (loss, "rmse", "log_loss") if one in measures), loss)
    one = measures.get(name)
    if one is None:
        return name
    ends = "" if one.low is None or one.high is None else f" ({one.low:.4g} to {one.high:.4g})"
    return f"{name} {one.value:.4g}{ends}"


async def _tell(done: Done | None, words: str) -> None:
    if done is not None:
        await done(words)

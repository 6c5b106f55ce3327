"""Looks at one version of a model: fetches what is known of it, and judges it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from blocks.postgres import Postgres
from models.drift import DriftLimits, ModelDrift, Performance, Profile, Sketch, TruthSource
from models.report import Skip
from tasks.drift import store
from tasks.drift.estimate import estimated_performance
from tasks.drift.judge import judge
from tasks.drift.performance import known_performance
from tasks.drift.report import CAPABILITY
from tasks.drift.sketch import merged

if TYPE_CHECKING:
    from tasks.train.predict import Predictor

Connection = psycopg.AsyncConnection[Any]

_CHUNK = 50_000


async def look(
    connection: Connection,
    model: str,
    version: int,
    *,
    since: datetime,
    until: datetime,
    limits: DriftLimits,
    window: Sketch | None = None,
    awaits_truth: bool = False,
) -> ModelDrift | Skip:
    """What became of `model@version` between two moments, or why it cannot be said.

    Args:
        connection: to Lama's database.
        model: its name.
        version: which one.
        since: where the window begins.
        until: where it ends.
        limits: from when on drift counts.
        window: what came in, where it is not what was kept of predictions.
        awaits_truth: whether somebody says what comes true, so that an estimate alone does not do.
    """
    address = f"{model}@{version}"
    profile = await store.profile_of(connection, model, version)
    if profile is None:
        return Skip(
            area=CAPABILITY,
            component=address,
            reason="There is no profile of what it was trained on, so nothing can be compared. Train it again.",
        )
    known = await store.pairs(connection, model, version, since, until)
    judgeable = len(known.losses) > known.before
    if window is None:
        kept = await store.sketches(connection, model, version, since, until)
        window = await asyncio.to_thread(merged, [one for one in kept if one.columns])
        uncounted = sum(one.rows for one in kept if not one.columns)
        if uncounted and not window.rows and not judgeable:
            return Skip(
                area=CAPABILITY,
                component=address,
                reason=f"{uncounted} rows were predicted before there was a profile to count them by.",
            )
    if not window.rows and not judgeable:
        return Skip(area=CAPABILITY, component=address, reason="It has predicted nothing in the window.")
    truths = await store.truths_of(connection, model, since, until)
    judged = await asyncio.to_thread(_judged, address, profile, window, known, limits)
    return judged.model_copy(update={"unjudged": _unjudged(judged, profile, truths, awaits_truth=awaits_truth)})


def _unjudged(judged: ModelDrift, profile: Profile, truths: store.Truths, *, awaits_truth: bool) -> str:
    """Why it cannot be said how the version does; empty: it can. Where nobody ever tells a truth, an estimate does."""
    if any(one.known for one in judged.performance):
        return ""
    if profile.performance is None:
        return "nothing is kept of how it did on rows that it had not seen."
    if not (awaits_truth or truths.ever) and any(one.verdict != "unknown" for one in judged.performance):
        return ""
    if truths.unmatched:
        return f"{truths.unmatched} of {truths.in_window} truths of the window found no prediction from before by key."
    return "no truth of what it predicted became known in the window."


def _judged(address: str, profile: Profile, window: Sketch, known: store.Pairs, limits: DriftLimits) -> ModelDrift:
    performance: list[Performance] = []
    if profile.performance is not None:
        if len(known.losses):
            performance.append(
                known_performance(profile.performance, np.asarray(known.losses), before=known.before, limits=limits)
            )
        estimated = estimated_performance(profile.performance, profile.expected_loss, window.outlook, limits)
        if estimated is not None:
            performance.append(estimated)
    return ModelDrift(
        model=address,
        rows=window.rows,
        columns=judge(profile, window, limits) if window.rows else (),
        performance=tuple(performance),
    )


def sketch_of_table(source: str, predictor: Predictor, profile: Profile, database: Postgres) -> Sketch:
    """A table as a window: what is in it, and what the model would say of it. Read some rows at a time.

    Raises:
        ConfigurationError, UnavailableError: it cannot be read.
        RowError: it lacks a column of the model.
    """
    from tasks.drift.reference import window_sketch  # noqa: PLC0415
    from tasks.predict.chunks import chunks  # noqa: PLC0415

    total = Sketch()
    for frame in chunks(source, _CHUNK, database=database):
        said, _ = predictor.predict_frame(frame)
        total = (
            merged([total, window_sketch(frame, said, profile)]) if total.rows else window_sketch(frame, said, profile)
        )
    return total


async def take_truths(
    connection: Connection, truth: TruthSource, database: Postgres, *, now: datetime, labels: bool
) -> int:
    """Keep what `truth` says came true; how much of it is new. Read some rows at a time.

    Args:
        connection: to Lama's database.
        truth: where it is said.
        database: what a query is asked of.
        now: when it became known.
        labels: whether the model predicts classes, which are words even where they look like numbers.

    Raises:
        ConfigurationError: the table cannot be read, or lacks a column; what was read before is kept.
        UnavailableError: its database does not answer.
    """
    from blocks.errors import ConfigurationError  # noqa: PLC0415
    from tasks.predict.chunks import chunks  # noqa: PLC0415
    from tasks.predict.kept import class_text, key_text  # noqa: PLC0415
    from tasks.train.columns import as_number, as_word  # noqa: PLC0415

    kept = 0
    table = chunks(truth.source, _CHUNK, database=database)
    while (frame := await asyncio.to_thread(next, table, None)) is not None:
        for name in (truth.key, truth.value):
            if name not in frame.columns:
                raise ConfigurationError(
                    f"it has no column {name!r}; it has {', '.join(list(frame.columns)[:20])}.",
                    component=f"truths of {truth.model}",
                )
        frame = frame.dropna(subset=[truth.key])
        keys = [key_text(key) for key in frame[truth.key].to_list()]
        values: list[float | str | None]
        if labels:
            words = as_word(frame[truth.value])
            values = [class_text(word) if there else None for word, there in zip(words, words.notna(), strict=True)]
        else:
            values = [float(one) if np.isfinite(one) else None for one in as_number(frame[truth.value])]
        kept += await store.keep_truths(connection, truth.model, keys, values, now=now)
    return kept

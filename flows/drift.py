"""Drift: whether trained models still see what they were trained on, and still do as well."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import uuid4

import httpx
import psycopg
from prefect import flow
from prefect.artifacts import acreate_image_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError, LamaError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.prefect_starter import NotYetError, OutageError, PrefectStarter, RefusedError
from blocks.settings import Settings, settings
from models.drift import DriftLimits, DriftReport, DriftSettings, ModelDrift, Sketch, TruthSource
from models.report import Skip
from tasks.drift import store
from tasks.drift.report import CAPABILITY, has_drifted_much, report_of
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of
from tasks.step import step
from tasks.train.extra import check_installed

if TYPE_CHECKING:
    from models.training import ModelVersion

_AWAY = (LamaError, psycopg.Error, OSError, TimeoutError)


@flow(name="drift", persist_result=False)
async def drift(
    models: list[str] | None = None,
    window_days: Annotated[float | None, Field(gt=0, le=3650)] = None,
    source: str | None = None,
    truths: list[TruthSource] | None = None,
    train: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> DriftReport:
    """Compares what models have predicted lately with what they were trained on, and says what has changed.

    Args:
        models: `NAME` (every version that has predicted in the window), `NAME@ALIAS` or `NAME@NUMBER`; otherwise those
            of `lama.toml`, or all that have predicted in the window.
        window_days: Days of predictions to look at, up to now; otherwise as `lama.toml` says.
        source: A table to look at instead of kept predictions: the absolute path of a CSV or Parquet file, or
            `sql:SELECT ...`, which is only read. Needs exactly one model.
        truths: Where it is said what came true; otherwise those of `lama.toml`.
        train: Whether a challenger is trained when a model has drifted much and `lama.toml` says how.
        dry_run: Only say what was found: no truth is taken, nothing old is forgotten, no training is started.

    Returns:
        The report: findings by column, predictions and performance. `incomplete` when something could not be judged.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was done.
    """
    started_at = datetime.now(UTC)
    config = settings()
    wanted = load_configuration(config).drift
    asked = list(wanted.models) if models is None else models
    _refuse(asked, models, source)
    until = started_at
    since = until - timedelta(days=window_days or wanted.window_days)
    skipped: list[Skip] = []
    sources = tuple(wanted.truths if truths is None else truths)
    taken = 0 if dry_run else await _take_all(config, sources, skipped)
    # What has just been taken became known after the run began.
    targets = await _targets(config, asked, since, datetime.now(UTC), skipped, has_source=source is not None)
    telling = {one.model for one in sources}
    if targets:
        check_installed()
    progress = await Progress.start("drift-progress", total=max(1, len(targets)), what="Drift")
    found: list[ModelDrift] = []
    for name, version in targets:
        try:
            window = None if source is None else await _sketch(config, source, f"{name}@{version}")
            one = await _look(
                config, name, version, since, datetime.now(UTC), wanted.limits, window, awaits_truth=name in telling
            )
        except _AWAY as error:
            one = Skip(area=CAPABILITY, component=f"{name}@{version}", reason=f"It was not judged: {reason_of(error)}")
        if isinstance(one, Skip):
            skipped.append(one)
        else:
            if train and not dry_run and has_drifted_much(one):
                one = await _challenge(config, wanted, one, until, skipped)
            found.append(one)
            await _show(one)
        await progress.advance(f"{name}@{version}")
    forgotten = 0 if dry_run else await _forget(config, wanted.retention_days, skipped)
    report = report_of(
        found,
        skipped,
        scope=f"{', '.join(asked) or 'all models'}{f'; {Path(source).name}' if source else ''}"
        f"{'; dry run' if dry_run else ''}",
        since=since,
        until=until,
        truths=taken,
        forgotten=forgotten,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    report = cast("DriftReport", await conclude(report, database=Postgres.of(config), key="drift"))
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


def _refuse(asked: list[str], given: list[str] | None, source: str | None) -> None:
    from tasks.predict.resolve import parsed  # noqa: PLC0415

    if given is not None and not given:
        raise ConfigurationError("the list of models is empty; leave it out to look at all.", component=CAPABILITY)
    for one in asked:
        parsed(one)
    if source is not None and len(asked) != 1:
        raise ConfigurationError(f"a table is compared with one model; {len(asked)} are named.", component=CAPABILITY)


async def _targets(
    config: Settings, asked: list[str], since: datetime, until: datetime, skipped: list[Skip], *, has_source: bool
) -> list[tuple[str, int]]:
    """The versions that are looked at."""
    try:
        seen = await _seen(Postgres.of(config), since, until)
    except _AWAY as error:
        skipped.append(Skip(area=CAPABILITY, component="predictions", reason=f"Not looked at: {reason_of(error)}"))
        return []
    if not asked:
        return seen
    targets: list[tuple[str, int]] = []
    for one in asked:
        named = [(name, version) for name, version in seen if name == one]
        if named and not has_source:
            targets += named
            continue
        try:
            version = await _resolve(config, one)
        except _AWAY as error:
            if len(asked) == 1 and isinstance(error, ConfigurationError):
                raise
            skipped.append(Skip(area=CAPABILITY, component=one, reason=reason_of(error)))
        else:
            targets.append((version.name, version.version))
    return list(dict.fromkeys(targets))


async def _take_all(config: Settings, sources: tuple[TruthSource, ...], skipped: list[Skip]) -> int:
    taken = 0
    for one in sources:
        try:
            taken += await _take(config, one)
        except _AWAY as error:
            skipped.append(
                Skip(
                    area=CAPABILITY,
                    component=f"truths of {one.model}",
                    reason=f"What came true is not known: {reason_of(error)}",
                    hides=(f"drift.performance:{one.model}@",),
                )
            )
    return taken


async def _challenge(
    config: Settings, wanted: DriftSettings, model: ModelDrift, until: datetime, skipped: list[Skip]
) -> ModelDrift:
    """Start the training of a challenger, where it is said how; once a day and version, however often one looks.

    Only the champion is challenged: what another version sees says nothing of the one that answers now.
    """
    name = model.model.partition("@")[0]
    parameters = wanted.trainings.get(name)
    if parameters is None:
        return model
    try:
        if (await _resolve(config, name)).address != model.model:
            return model
    except _AWAY as error:
        skipped.append(
            Skip(
                area=CAPABILITY,
                component=model.model,
                reason=f"No challenger's training was started, its champion is not known: {reason_of(error)}",
                hides=(f"drift.challenger:{name}",),
            )
        )
        return model
    try:
        run = await _start(config, wanted.training, parameters, f"drift {model.model} {until:%Y-%m-%d}", name)
    except (NotYetError, OutageError, RefusedError) as error:
        skipped.append(
            Skip(area=CAPABILITY, component=model.model, reason=f"The challenger's training was not started: {error}.")
        )
        return model
    return model.model_copy(update={"challenger": run})


async def _forget(config: Settings, days: float, skipped: list[Skip]) -> int:
    try:
        return await _delete(Postgres.of(config), days)
    except _AWAY as error:
        skipped.append(Skip(area=CAPABILITY, component="retention", reason=f"Nothing was deleted: {reason_of(error)}"))
        return 0


async def _show(model: ModelDrift) -> None:
    from tasks.drift.plots import plot  # noqa: PLC0415

    try:
        image = base64.b64encode(await asyncio.to_thread(plot, model)).decode()
        key = "drift-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in model.model.lower())
        await acreate_image_artifact(image_url=f"data:image/png;base64,{image}", key=key, description=model.model)
    except (httpx.HTTPError, PrefectException, OSError, TimeoutError) as error:
        get_run_logger(component=CAPABILITY).warning("the plot cannot be shown: %s", reason_of(error))


@step("see which models have predicted")
async def _seen(database: Postgres, since: datetime, until: datetime) -> list[tuple[str, int]]:
    async with await database.get_async_client(autocommit=True) as connection:
        return await store.versions_seen(connection, since, until)


@step("find the version")
async def _resolve(config: Settings, address: str) -> ModelVersion:
    from tasks.predict.resolve import parsed, resolved  # noqa: PLC0415

    def ask() -> ModelVersion:
        with ModelRegistry.of(config).connection() as connection:
            return resolved(connection, *parsed(address))

    return await asyncio.to_thread(ask)


@step("take what came true")
async def _take(config: Settings, truth: TruthSource) -> int:
    from tasks.drift.run import take_truths  # noqa: PLC0415

    own = Postgres.of(config)
    asked_of = own if truth.database is None else await _block(truth.database)
    version = await _resolve.fn(config, truth.model)
    async with await own.get_async_client(autocommit=True) as connection:
        return await take_truths(
            connection, truth, asked_of, now=datetime.now(UTC), labels=version.task != "regression"
        )


@step("count a table")
async def _sketch(config: Settings, source: str, address: str) -> Sketch | None:
    from tasks.drift.run import sketch_of_table  # noqa: PLC0415
    from tasks.predict.serving import Served  # noqa: PLC0415

    own, served = Postgres.of(config), Served(ModelRegistry.of(config))
    try:
        predictor = await asyncio.to_thread(served.predictor, address)
    finally:
        served.close()
    async with await own.get_async_client(autocommit=True) as connection:
        profile = await store.profile_of(connection, predictor.version.name, predictor.version.version)
    return None if profile is None else await asyncio.to_thread(sketch_of_table, source, predictor, profile, own)


@step("judge a model")
async def _look(
    config: Settings,
    name: str,
    version: int,
    since: datetime,
    until: datetime,
    limits: DriftLimits,
    window: Sketch | None,
    *,
    awaits_truth: bool,
) -> ModelDrift | Skip:
    from tasks.drift.run import look  # noqa: PLC0415

    async with await Postgres.of(config).get_async_client(autocommit=True) as connection:
        return await look(
            connection, name, version, since=since, until=until, limits=limits, window=window, awaits_truth=awaits_truth
        )


@step("start a challenger's training")
async def _start(config: Settings, deployment: str, parameters: dict[str, Any], key: str, model: str) -> str:
    starter = PrefectStarter(config)
    try:
        return await starter.start(deployment, parameters, key, ["drift", model])
    finally:
        await starter.close()


@step("forget what is old")
async def _delete(database: Postgres, days: float) -> int:
    async with await database.get_async_client(autocommit=True) as connection:
        return await store.forget_old(connection, now=datetime.now(UTC), days=days)


async def _block(name: str) -> Postgres:
    try:
        return cast("Postgres", await cast("Any", Postgres).aload(name))
    except ValueError as error:
        raise ConfigurationError(
            f"there is no block {name!r} of the type Lama PostgreSQL.", component=CAPABILITY
        ) from error

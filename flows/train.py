"""Train: a table becomes a model that is measured, registered, compared with the one that answers, and promoted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field, ValidationError

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import settings
from models.drift import Profile
from models.training import NAME, Columns, TaskType, TrainingTable, TrainParameters, TrainReport, default_name
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of
from tasks.step import step
from tasks.train.extra import check_installed

if TYPE_CHECKING:
    import pandas as pd

    from models.training import Comparison, ModelVersion
    from tasks.train.engine import FoldResult
    from tasks.train.fitted import Judged
    from tasks.train.subject import Subject
    from tasks.train.workbench import Workbench

CAPABILITY = "train"


@flow(name="train", persist_result=False)
async def train(  # noqa: PLR0917 - a flat form is what the UI shows best
    table: Annotated[str, Field(min_length=1, max_length=20_000)],
    target: str | None = None,
    task: TaskType = "regression",
    name: Annotated[str, Field(pattern=NAME)] | None = None,
    time: str | None = None,
    group: str | None = None,
    latitude: str | None = None,
    longitude: str | None = None,
    weight: str | None = None,
    ignore: list[str] | None = None,
    families: list[str] | None = None,
    folds: Annotated[int, Field(ge=2, le=50)] = 5,
    trials: Annotated[int, Field(ge=1, le=500)] = 6,
    holdout: Annotated[float, Field(ge=0.05, le=0.5)] = 0.15,
    coverage: Annotated[float, Field(gt=0.5, lt=1)] = 0.9,
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0,
    budget_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 1800.0,
    most_rows: Annotated[int, Field(ge=1_000, le=5_000_000)] = 200_000,
    workers: Annotated[int, Field(ge=0, le=256)] = 0,
    keep_suspects: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    promote: bool = True,  # noqa: FBT001, FBT002
    refit: bool = True,  # noqa: FBT001, FBT002
    database: str | None = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> TrainReport:
    """Trains models on a table, keeps the best one, and makes it the champion when it is better beyond noise.

    Args:
        table: Absolute path of a CSV or Parquet file, or `sql:SELECT ...`.
        target: The column to predict; none when clustering.
        task: `regression`, `classification` or `clustering`.
        name: What the model is called in the registry; otherwise after the table and the target.
        time: A column that says when the row was true; then the past predicts the future.
        group: A column whose rows of one value belong together.
        latitude: A column with degrees north.
        longitude: A column with degrees east.
        weight: A column that says how much a row counts.
        ignore: Columns that are no features.
        families: What is tried: `linear` (`logistic` for classes), `hist_gradient_boosting`, `lightgbm`; `kmeans`,
            `hdbscan` when clustering. Otherwise all of them, and their blend.
        folds: Folds of cross-validation.
        trials: Settings of each family that are tried, its defaults among them.
        holdout: Share of the rows that only judge.
        coverage: Share of truths that intervals should hold.
        seed: Of everything that is drawn: with the same table, the same seed gives the same model.
        budget_s: Seconds after which no further settings are tried. Such a run is no longer told by its seed alone.
        most_rows: Rows that are learned from; of a larger table, a sample of whole groups is.
        workers: Folds at a time; 0: as many as there are cores.
        keep_suspects: Whether columns that may know the target are learned from all the same.
        promote: Whether it becomes the champion when it is better than the one there is.
        refit: Whether what answers also learns from the rows that judged it.
        database: Name of a Prefect block of the type `Lama PostgreSQL` that `sql:` is asked of; otherwise Lama's own.
        dry_run: Only look at the table and say what would be done.

    Returns:
        The report, with what was tried, the figures on held-out rows, the comparison and the model card.

    Raises:
        ConfigurationError: a parameter or the table cannot be used; nothing was registered.
    """
    check_installed()
    from tasks.train.lineage import code_version  # noqa: PLC0415 - what fits models takes seconds to import
    from tasks.train.run import Parts  # noqa: PLC0415
    from tasks.train.run import train as learn  # noqa: PLC0415
    from tasks.train.story import Asked  # noqa: PLC0415

    config = settings()
    subject, parameters = asked_for(
        table, task, target=target, time=time, group=group, latitude=latitude, longitude=longitude, weight=weight,
        ignore=ignore, families=families, folds=folds, trials=trials, holdout=holdout, coverage=coverage, seed=seed,
        budget_s=budget_s, workers=workers,
    )  # fmt: skip
    asked = Asked(
        name=name or default_name(table, subject.columns),
        table=subject,
        parameters=parameters,
        keep_suspects=keep_suspects,
        promote=promote,
        refit=refit,
        dry_run=dry_run,
        most_rows=most_rows,
        run_id=str(flow_run.id or uuid4()),
    )
    progress = await Progress.start("train-progress", total=2 if dry_run else 6, what=f"Train {asked.name}")
    frame = await _read(subject, await _database(database))
    await progress.advance("table read")
    registry = None if dry_run else ModelRegistry.of(config)
    report = await learn(
        asked,
        frame,
        registry=registry,
        code_version=await code_version(),
        checkpoints=Home(config).cache / "training",
        parts=Parts(batch=_fit, judge=_judge, register=_register, compare=_compare, promote=_promote, profile=_profile),
        done=progress.advance,
    )
    if report.model and registry is not None:
        await _show_card(registry, asked.name, report.model)
    report = await conclude(report, database=Postgres.of(config), key="train")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


def asked_for(
    source: str, task: TaskType, *, target: str | None, time: str | None = None, group: str | None = None,
    latitude: str | None = None, longitude: str | None = None, weight: str | None = None,
    ignore: Sequence[str] | None = None, families: Sequence[str] | None = None, **bounds: Any,
) -> tuple[TrainingTable, TrainParameters]:  # fmt: skip
    """The flow's parameters as values.

    Raises:
        ConfigurationError: they contradict each other, or one cannot be used.
    """
    if (latitude is None) != (longitude is None):
        raise ConfigurationError("latitude and longitude go together; give both or none.", component=CAPABILITY)
    from tasks.train.families import check_families  # noqa: PLC0415 - what fits models takes seconds to import

    check_families(task, tuple(families or ()))
    location = None if latitude is None or longitude is None else (latitude, longitude)
    try:
        columns = Columns(
            target=target, time=time, group=group, location=location, weight=weight, ignore=tuple(ignore or ())
        )
        return (
            TrainingTable(source=source, columns=columns, task=task),
            TrainParameters(families=tuple(families or ()), **bounds),
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigurationError(f"{place + ': ' if place else ''}{message}.", component=CAPABILITY) from error


async def _database(block: str | None) -> Postgres:
    if block is None:
        return Postgres.of(settings())
    try:
        found = await Postgres.aload(block)
    except ValueError as error:
        raise ConfigurationError(
            f"there is no block {block!r} of the type Lama PostgreSQL.", component="train"
        ) from error
    return found


@step("read the table")
async def _read(table: TrainingTable, database: Postgres) -> pd.DataFrame:
    from tasks.train.tables import read_table  # noqa: PLC0415

    return await asyncio.to_thread(read_table, table, database=database)


@step("fit a family on a fold")
async def _fit(bench: Workbench, family: str, fold: int, tried: Sequence[Mapping[str, Any]]) -> Sequence[FoldResult]:
    return await bench.fit_batch(family, fold, tried)


@step("fit and judge")
async def _judge(*given: Any) -> Judged:
    from tasks.train.fitted import fit_and_judge  # noqa: PLC0415

    *rest, refit = given
    return await asyncio.to_thread(fit_and_judge, *rest, refit=refit)


@step("register the model")
async def _register(registry: ModelRegistry, model: Any, version: ModelVersion, card: str) -> ModelVersion:
    from tasks.train.registry import register  # noqa: PLC0415

    return await asyncio.to_thread(register, registry, model, version, card=card)


async def _profile(version: ModelVersion, subject: Subject, judged: Judged) -> str:
    """Keep what later data is compared with; why not, where it cannot be."""
    import psycopg  # noqa: PLC0415

    try:
        await _keep_profile(Postgres.of(settings()), version, subject, judged)
    except (psycopg.Error, OSError, TimeoutError) as error:
        return reason_of(error)
    return ""


@step("keep the profile")
async def _keep_profile(database: Postgres, version: ModelVersion, subject: Subject, judged: Judged) -> None:
    from tasks.drift.reference import held_out_frame, reference  # noqa: PLC0415
    from tasks.drift.store import keep_profile  # noqa: PLC0415
    from tasks.train.schema import as_learned  # noqa: PLC0415

    def work() -> Profile:
        columns = subject.columns
        held = held_out_frame(judged.said, judged.ends, judged.classes)
        moving = () if columns.time is None else (columns.time,)
        return reference(as_learned(subject.frame, judged.model.schema), held, judged.y, leave_out=moving)

    profile = await asyncio.to_thread(work)
    async with await database.get_async_client(autocommit=True) as connection:
        await keep_profile(connection, version.name, version.version, profile, now=datetime.now(UTC))


@step("compare with the champion")
async def _compare(
    registry: ModelRegistry, name: str, champion: int, judged: Judged, version: ModelVersion, frame: pd.DataFrame,
    seed: int,
) -> Comparison:  # fmt: skip
    from tasks.train.run import compare_with  # noqa: PLC0415

    return await compare_with(registry, name, champion, judged, version, frame, seed)


@step("promote")
async def _promote(
    registry: ModelRegistry, name: str, version: int, comparison: Comparison | None, reason: str
) -> ModelVersion:
    from tasks.train.registry import promote  # noqa: PLC0415

    return await asyncio.to_thread(promote, registry, name, version, comparison=comparison, reason=reason)


@step("show the model card")
async def _show_card(registry: ModelRegistry, name: str, address: str) -> None:
    from tasks.train.registry import card_of, find  # noqa: PLC0415

    version = await asyncio.to_thread(find, registry, name, int(address.rpartition("@")[2]))
    card = await asyncio.to_thread(card_of, registry, version)
    await acreate_markdown_artifact(card, key="model-card", description=f"Model card of {address}")

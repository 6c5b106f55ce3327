"""Predict: a model says what it thinks of every row of a table."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import uuid4

import psycopg
from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError, LamaError
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import Settings, settings
from models.drift import Profile
from models.report import Report, Skip
from tasks.predict.report import CAPABILITY, report_of
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of
from tasks.step import step
from tasks.train.extra import check_installed

if TYPE_CHECKING:  # pandas and scikit-learn are imported when a run needs them, not with the worker's other flows
    import pandas as pd

    check_installed()
    from tasks.predict.batch import Asked, Work
    from tasks.train.predict import Predictor


@flow(name="predict", persist_result=False)
async def predict(  # noqa: PLR0917 - a flow's parameters are given by name
    model: str,
    source: str,
    output: str,
    key: str | None = None,
    keep: list[str] | None = None,
    coverage: Annotated[float | None, Field(gt=0, lt=1)] = None,
    chunk_rows: Annotated[int, Field(ge=100, le=1_000_000)] = 50_000,
    record: bool = True,  # noqa: FBT001, FBT002
    replace: bool = False,  # noqa: FBT001, FBT002
    database: str | None = None,
) -> Report:
    """Asks a trained model about every row of a table, and writes what it says as another table.

    A run that was stopped half-way goes on where it was when it is started again: what is done is kept beside the
    output until all is. The output appears whole or not at all.

    Args:
        model: `NAME` for its champion, `NAME@ALIAS` or `NAME@NUMBER`.
        source: Absolute path of a CSV or Parquet file, or `sql:SELECT ...`, which is only read.
        output: Absolute path of the CSV or Parquet file to write, by its ending.
        key: The column that names a row: it goes into the output, and the truth finds the prediction by it later.
        keep: Further columns of the table that go into the output.
        coverage: Share of truths that the intervals of numbers should hold; otherwise as the model was trained.
        chunk_rows: Rows that are in memory at a time.
        record: Whether what was predicted is kept, so that drift can be seen.
        replace: Whether an output that is there already may be replaced.
        database: Name of the `Lama PostgreSQL` block that a query is asked of; otherwise Lama's own database.

    Returns:
        The report: how many rows, and how many had unknown categories, missing values or values out of range.
        `incomplete` when what was predicted could not be kept.

    Raises:
        ConfigurationError: a parameter, the model or the table cannot be used; there is no output.
        RowError: the table lacks a column of the model, or holds something else in it; there is no output.
    """
    from tasks.predict.batch import Asked, checked_output, drop, open_work, parts_of  # noqa: PLC0415
    from tasks.predict.chunks import chunks  # noqa: PLC0415
    from tasks.predict.oddities import together  # noqa: PLC0415
    from tasks.train.predict import RowError  # noqa: PLC0415

    started_at = datetime.now(UTC)
    config = settings()
    load_configuration(config)
    asked_of = Postgres.of(config) if database is None else await _block(database)
    path = checked_output(output, source, replace=replace)
    predictor = await _load(config, model)
    asked = Asked(
        source=source,
        output=path,
        version=predictor.version,
        key=key,
        keep=tuple(keep or ()),
        coverage=coverage,
        chunk_rows=chunk_rows,
    )
    # The first rows are looked at before anything is written.
    table = chunks(source, chunk_rows, database=asked_of)
    frame = await asyncio.to_thread(next, table, None)
    if frame is None:
        raise ConfigurationError("it has no rows.", component=source[:100])
    asked.check(frame)
    work = await asyncio.to_thread(open_work, asked)
    run = _Run(predictor, asked, work, _Keeping(Postgres.of(config)) if record else None)
    await run.prepare()
    resumed, number = len(work.done), 0
    total = await asyncio.to_thread(parts_of, asked)
    progress = await Progress.start("predict-progress", total=max(1, total), what="Predict")
    try:
        while frame is not None:
            if number not in work.done:
                await _predict_part(run, frame, number)
            number += 1
            if number <= total:
                await progress.advance(f"{number}")
            frame = await asyncio.to_thread(next, table, None)
    except (ConfigurationError, RowError):
        drop(work)  # the table has to be another one before it can be used
        raise
    rows = await _join(run, number)
    report = report_of(
        model=predictor.version.address,
        schema=predictor.schema,
        output=str(path),
        rows=rows,
        found=together(note["oddities"] for note in work.done.values()),
        resumed=resumed,
        skipped=run.skipped,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    report = await conclude(report, database=Postgres.of(config), key="predict")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


@dataclass
class _Keeping:
    """Where predictions are kept, and what they are counted by."""

    database: Postgres
    profile: Profile | None = None


@dataclass
class _Run:
    """What the parts of a run share."""

    predictor: Predictor
    asked: Asked
    work: Work
    keeping: _Keeping | None
    skipped: list[Skip] = field(default_factory=list)

    def give_up_keeping(self, error: BaseException) -> None:
        """What cannot be kept is said once, and does not stop the predicting."""
        self.keeping = None
        self.skipped.append(
            Skip(
                area=CAPABILITY,
                component="record",
                reason=f"Not all of what was predicted was kept, so drift cannot be seen in it: {reason_of(error)}",
            )
        )

    async def prepare(self) -> None:
        """Fetch the profile that the rows are counted by."""
        if self.keeping is None:
            return
        version = self.predictor.version
        try:
            self.keeping.profile = await _profile(self.keeping.database, version.name, version.version)
        except (LamaError, psycopg.Error, OSError, TimeoutError) as error:
            self.give_up_keeping(error)

    async def keep(self, frame: pd.DataFrame, said: pd.DataFrame, number: int) -> None:
        """Keep what is to be kept of a part."""
        from tasks.drift.store import keep_batch  # noqa: PLC0415
        from tasks.predict.kept import rows_of, sketch_of  # noqa: PLC0415

        if self.keeping is None:
            return
        # The profile's cells of losses go by the widths of the model's own intervals, whatever was asked for.
        own = self.predictor.at_own_coverage(said)
        sketch = await asyncio.to_thread(sketch_of, frame, own, self.keeping.profile)
        key = self.asked.key
        rows = [] if key is None else rows_of(said, frame[key], start=int(frame.index[0]))
        try:
            async with await self.keeping.database.get_async_client(autocommit=True) as connection:
                await keep_batch(
                    connection,
                    batch=self.work.batch,
                    part=number,
                    model=self.predictor.version.name,
                    version=self.predictor.version.version,
                    at=datetime.now(UTC),
                    sketch=sketch,
                    rows=rows,
                )
        except (psycopg.Error, OSError, TimeoutError) as error:
            self.give_up_keeping(error)


async def _block(name: str) -> Postgres:
    try:
        return cast("Postgres", await cast("Any", Postgres).aload(name))
    except ValueError as error:
        raise ConfigurationError(
            f"there is no block {name!r} of the type Lama PostgreSQL.",
            component=CAPABILITY,
            remedy="Make it in the Prefect UI, under Blocks.",
        ) from error


@step("load the model")
async def _load(config: Settings, model: str) -> Predictor:
    from tasks.predict.serving import Served  # noqa: PLC0415

    served = Served(ModelRegistry.of(config))
    try:
        return await asyncio.to_thread(served.predictor, model)
    finally:
        served.close()


@step("fetch the model's profile")
async def _profile(database: Postgres, name: str, version: int) -> Profile | None:
    from tasks.drift.store import profile_of  # noqa: PLC0415

    async with await database.get_async_client(autocommit=True) as connection:
        return await profile_of(connection, name, version)


@step("predict a part")
async def _predict_part(run: _Run, frame: pd.DataFrame, number: int) -> None:
    from tasks.predict.batch import answer_columns, write_part  # noqa: PLC0415
    from tasks.predict.oddities import oddities  # noqa: PLC0415

    said, _ = await asyncio.to_thread(run.predictor.predict_frame, frame, coverage=run.asked.coverage)
    told = await asyncio.to_thread(oddities, frame, run.predictor.schema)
    # Kept before it counts as done: what is repeated is kept once, by its batch and part.
    await run.keep(frame, said, number)
    answer = answer_columns(frame, said, run.asked.columns)
    await asyncio.to_thread(write_part, run.work, number, answer, told)


@step("join the parts")
async def _join(run: _Run, parts: int) -> int:
    from tasks.predict.batch import join  # noqa: PLC0415

    return await asyncio.to_thread(join, run.work, run.asked.output, parts)

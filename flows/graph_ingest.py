"""The ingest: what code, audits, health checks and documents say is one graph, and what they say no longer ends."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from sqlalchemy.exc import SQLAlchemyError

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError, LamaError, UnavailableError
from blocks.graph_access import GraphAccess
from blocks.postgres import Postgres
from blocks.settings import settings
from models.graph_report import GraphReport, Source
from tasks.commits import commits_of, not_at
from tasks.graph.ingest.reading import AREA, RefusedError
from tasks.graph.ingest.run import (
    ALL,
    CAPABILITY,
    Outcome,
    ingest,
    needs_code,
    not_told,
    reach,
    read_sources,
    refuse_unknown,
    report_of,
)
from tasks.graph.ingest.sources import Run
from tasks.graph.sealing import Seal
from tasks.graph.store import Store
from tasks.graph.view import View
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of
from tasks.target import target_of


@flow(name="graph-ingest", persist_result=False)
async def graph_ingest(
    checkouts: list[str] | None = None,
    sources: list[Source] | None = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    commit: str | None = None,
    forget: list[str] | None = None,
) -> GraphReport:
    """Brings the knowledge graph to what its sources say: code, flows, documents, the last audit and health check.

    Args:
        checkouts: What to read: names from `lama.toml`, or absolute paths. Otherwise everything that is configured;
            what was configured at its last ingest and is not any more, goes from the graph then.
        sources: Where facts are taken from. Otherwise from all.
        dry_run: Only say what would be sent; nothing is written.
        commit: The commit that one of the checkouts should be at, such as that of a push. When none of them is, without
            changes of its own, the report is incomplete.
        forget: Names of checkouts of which everything goes from the graph, and stays in its history. Nothing is read.

    Returns:
        The report. It is `incomplete` when something could not be read; what the graph knew of that stands.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was written.
    """
    started_at = datetime.now(UTC)
    config = settings()
    configuration = load_configuration(config)
    if sources is not None and not sources:
        raise ConfigurationError("sources is an empty list.", component=CAPABILITY, remedy="Leave it out for all.")
    if forget is not None and (not forget or checkouts is not None):
        raise ConfigurationError("forget names checkouts, and stands without `checkouts`.", component=CAPABILITY)
    chosen = [source for source in ALL if sources is None or source in sources]
    run_id = str(flow_run.id) if flow_run.id else None
    target = target_of(config, configuration, checkouts, component=CAPABILITY, run_id=run_id, commit=commit)
    progress = await Progress.start("graph-ingest-progress", total=len(chosen) + 1, what="Ingest")
    outcomes: list[Outcome] = []
    read: list[str] = []
    database = Postgres.of(config)
    try:
        await reach(GraphAccess.of(config), dry_run=dry_run)
        async with Store.open(GraphAccess.of(config)) as store:
            run = Run(target, View(store, Seal.of(config)), database, dry_run=dry_run, forget=forget or ())
            await refuse_unknown(run)
            if needs_code(chosen) and not forget:
                await read_sources(run)
                read = sorted(run.readings)
                await progress.advance("code read")
            for source in chosen:
                outcomes.append(await _ingested(source, run))
                await progress.advance(source.value)
    except RefusedError:
        raise
    except (LamaError, OSError) as error:
        told = {outcome.figures.source for outcome in outcomes}
        outcomes += [not_told(source, reason_of(error)) for source in chosen if source not in told]
    unseen = not_at(target.commit, await commits_of(target.checkouts), area=AREA, component=target.host)
    report = report_of(outcomes, unseen, target, read=read, started_at=started_at, dry_run=dry_run)
    report = await conclude(report, database=database, key="graph-ingest")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


async def _ingested(source: Source, run: Run) -> Outcome:
    """What became of `source`. What is wrong with one keeps no other from being told; without a server, all are.

    Raises:
        UnavailableError: the graph is not there any more.
    """
    try:
        return await ingest.with_options(name=f"ingest {source.value}")(source, run)
    except UnavailableError:
        raise
    except (LamaError, SQLAlchemyError, OSError) as error:
        return not_told(source, reason_of(error))

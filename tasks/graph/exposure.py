"""What hangs on what a report has found, by which path: told beside a finding when the graph is there and fresh.

It takes a few seconds at most and breaks nothing: a report without it says as much as it said before there was a graph.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue

from blocks.errors import LamaError
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.graph import Label, Ref
from models.graph_report import GraphReport, Source
from models.record import ReportRecord
from models.report import Finding
from models.report_kinds import read_report

if TYPE_CHECKING:
    from tasks.graph.questions.impact import Hit

_OLDEST = timedelta(days=2)
_WITHIN_S = 3.0
_MOST_ASKED = 50
_MOST_RUNS = 100
_SHOWN = 10
_TOLD = frozenset({Label.flow, Label.component})
_log = logging.getLogger(__name__)


async def with_exposure(
    findings: Sequence[Finding],
    of: Callable[[Finding], Ref | None],
    settings: Settings,
    *,
    now: datetime | None = None,
) -> tuple[Finding, ...]:
    """`findings`, each with the services and flows that hang on its subject.

    Args:
        findings: what a report found, worst first: the first fifty subjects are asked about.
        of: the node that a finding is about; None: none.
        settings: the node's.
        now: what time it is.
    """
    subjects = {finding.key: ref for finding in findings if (ref := of(finding)) is not None}
    if not subjects:
        return tuple(findings)
    reached: dict[Ref, list[Hit]] = {}
    try:
        async with asyncio.timeout(_WITHIN_S):
            since = (now or datetime.now(UTC)) - _OLDEST
            fresh = await asyncio.to_thread(_fresh, Postgres.of(settings), settings.node, since)
            about = [subjects[one.key] for one in findings if one.key in subjects]
            wanted = [ref for ref in dict.fromkeys(about) if _is_told(ref, fresh)]
            if wanted:
                await _ask(settings, wanted[:_MOST_ASKED], reached)
    except _not_there() as error:
        _log.info("what hangs on findings is not told: %s", type(error).__name__)
    return tuple(
        finding if (ref := subjects.get(finding.key)) is None else _told(finding, ref, reached.get(ref, ()))
        for finding in findings
    )


async def _ask(settings: Settings, wanted: Iterable[Ref], reached: dict[Ref, list[Hit]]) -> None:
    from blocks.graph_access import GraphAccess  # noqa: PLC0415 - the driver only where there is something to ask
    from tasks.graph.questions.asking import level_of  # noqa: PLC0415
    from tasks.graph.questions.impact import impact  # noqa: PLC0415
    from tasks.graph.questions.walk import Bounds  # noqa: PLC0415
    from tasks.graph.store import Store  # noqa: PLC0415

    async with Store.open(GraphAccess.of(settings, reader=True)) as store:
        for ref in wanted:
            told = await impact(ref, level_of(store), bounds=Bounds(depth=12, nodes=1_000))
            reached[ref] = [hit for hit in told.hits if hit.ref.label in _TOLD]


def _fresh(database: Postgres, node: str, since: datetime) -> frozenset[tuple[Source, str]]:
    """What runs of this node have told the graph since then: of which checkout each source; of the node itself, ''."""
    from sqlmodel import Session, col, desc, select  # noqa: PLC0415

    engine = database.engine()
    try:
        with Session(engine) as session:
            statement = select(col(ReportRecord.body)).where(
                col(ReportRecord.capability) == "graph",
                col(ReportRecord.host) == node,
                col(ReportRecord.finished_at) > since,
            )
            bodies = session.exec(statement.order_by(desc(ReportRecord.finished_at)).limit(_MOST_RUNS)).all()
    finally:
        engine.dispose()
    reports = [report for body in bodies if isinstance(report := read_report(body), GraphReport)]
    return frozenset(
        (one.source, checkout)
        for report in reports
        if not report.dry_run
        for one in report.sources
        if one.told
        for checkout in (report.checkouts if one.source is not Source.architecture else ("",))
    )


def _is_told(ref: Ref, fresh: frozenset[tuple[Source, str]]) -> bool:
    """Whether what hangs on `ref` was told lately: the services of the node, or the code of the checkout."""
    if ref.label is Label.component:
        return (Source.architecture, "") in fresh
    return (Source.code, ref.key.rpartition(":")[0]) in fresh


def _told(finding: Finding, of: Ref, hits: Sequence[Hit]) -> Finding:
    if not hits:
        return finding
    from tasks.graph.questions.names import spelled  # noqa: PLC0415
    from tasks.graph.questions.words import chain  # noqa: PLC0415

    shown = hits[:_SHOWN]
    names = ", ".join(spelled(hit.ref) for hit in shown)
    more = f" and {len(hits) - _SHOWN} more" if len(hits) > _SHOWN else ""
    detail = f"{finding.detail} It reaches {names}{more}; the nearest by {chain(shown[0].path, of)}.".strip()
    exposed: list[JsonValue] = [
        {"what": spelled(hit.ref), "sure": hit.sure, "path": chain(hit.path, of)} for hit in shown
    ]
    return finding.model_copy(update={"detail": detail, "evidence": {**finding.evidence, "exposed": exposed}})


def _not_there() -> tuple[type[Exception], ...]:
    import psycopg  # noqa: PLC0415
    from neo4j.exceptions import DriverError, Neo4jError  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    return (LamaError, OSError, TimeoutError, SQLAlchemyError, psycopg.Error, ValidationError, DriverError, Neo4jError)

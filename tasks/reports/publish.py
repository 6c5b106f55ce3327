"""What a finished report sets off: it is stored, shown as artifacts, and announced by events.

None of it may lose the report: what cannot be stored becomes a `Skip` of it, what cannot be shown is logged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar
from uuid import UUID, uuid5

import httpx
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from blocks.errors import LamaError, UnavailableError
from blocks.logs import masked
from blocks.postgres import Postgres
from models.health_check import ReportLevel
from models.report import Finding, Report, Severity, Skip
from tasks.reports import store
from tasks.reports.diff import ReportDiff
from tasks.reports.render import plain, to_markdown
from tasks.step import step

R = TypeVar("R", bound=Report)

MOST_EVENTS = 100
"""Events about single findings in one run; the summary event says how many there were."""

_STORE_RETRIES = 5  # 31 s in all: a database that restarts is waited for
_LONGEST_REASON = 300
_UNSHOWN = (httpx.HTTPError, PrefectException, LamaError, OSError, TimeoutError)
_EVENT_IDS = UUID("4f0f4a86-2f2e-5c1e-9d59-6a1f0a5b7c11")


async def recall(
    database: Postgres, capability: str, cls: type[R], *, scope: str, run_id: str
) -> tuple[R | None, Skip | None]:
    """The latest report of this `scope` other than this run's own, and a skip when history cannot be read."""
    try:
        return await _latest(database, capability, cls, scope, run_id), None
    except _not_stored() as error:
        return None, _history_skip(f"not compared with the last run and not stored: {reason_of(error)}")


async def remember(database: Postgres, report: Report) -> Skip | None:
    """Store `report`; the skip that says why not, when it cannot be."""
    try:
        await _save(database, report)
    except _not_stored() as error:
        return _history_skip(f"not stored: {reason_of(error)}")
    return None


async def publish(report: Report, change: ReportDiff, *, key: str, level: ReportLevel) -> None:
    """Show `report` as a Markdown artifact `key` (lower case, dashes)."""
    try:
        await _show(to_markdown(report, level, change), key, plain(report.summary))
    except _UNSHOWN as error:
        _log().error("the artifact %s could not be written: %s", key, reason_of(error))


def announce(report: Report, change: ReportDiff, *, compared: bool = True) -> None:
    """Emit `lama.finding.opened` and `lama.finding.closed` (worst first, bounded) and `lama.report.finished`.

    Where history could not be read (not `compared`) nobody knows what is new, so no finding is announced.
    Ids follow from run and finding, so a run that is repeated announces nothing twice.
    """
    moves = [("opened", finding) for finding in change.opened] + [("closed", finding) for finding in change.closed]
    if not compared:
        moves = []
    moves.sort(key=lambda move: (-move[1].severity.rank, move[1].key))
    for what, finding in moves[:MOST_EVENTS]:
        _announce_finding(report, what, finding)
    counts = {level.value: sum(f.severity is level for f in report.findings) for level in Severity}
    emit_event(
        event="lama.report.finished",
        id=uuid5(_EVENT_IDS, f"{report.run_id} finished"),
        resource={
            "prefect.resource.id": f"lama.report.{report.run_id}",
            "prefect.resource.name": report.capability,
            "lama.status": report.status.value,
        },
        payload={
            "capability": report.capability,
            "scope": report.scope,
            "status": report.status.value,
            "summary": report.summary,
            "findings": counts,
            "opened": len(change.opened) if compared else 0,
            "closed": len(change.closed),
            "persisting": len(change.persisting),
            "unseen": len(change.unseen),
            "announced": min(len(moves), MOST_EVENTS),
        },
    )


def _announce_finding(report: Report, what: str, finding: Finding) -> None:
    emit_event(
        event=f"lama.finding.{what}",
        id=uuid5(_EVENT_IDS, f"{report.run_id} {what} {finding.key}"),
        resource={
            "prefect.resource.id": f"lama.finding.{finding.key[:200]}",
            "prefect.resource.name": plain(finding.title)[:200],
            "lama.severity": finding.severity.value,
            "lama.component": plain(finding.component)[:200],
        },
        related=[{"prefect.resource.id": f"lama.report.{report.run_id}", "prefect.resource.role": "report"}],
        payload={
            "capability": report.capability,
            "key": finding.key,
            "severity": finding.severity.value,
            "component": finding.component,
            "title": finding.title,
            "remedy": finding.remedy,
        },
    )


class Progress:
    """A progress artifact of the current run. Where it cannot be shown, the work goes on without."""

    def __init__(self, artifact: UUID | None, total: int, what: str) -> None:
        self._artifact = artifact
        self._total = total
        self._what = what
        self._done: list[str] = []
        self._updating = asyncio.Lock()

    @classmethod
    async def start(cls, key: str, *, total: int, what: str) -> Progress:
        """Show a new one at 0 of `total`."""
        try:
            return cls(await acreate_progress_artifact(0.0, key=key, description=what), total, what)
        except _UNSHOWN as error:
            _log().warning("the progress of %s cannot be shown: %s", what, reason_of(error))
            return cls(None, total, what)

    async def advance(self, done: str) -> None:
        """One more part is `done`, in a few words."""
        self._done.append(done)
        if self._artifact is None:
            return
        async with self._updating:  # of two updates at once the earlier one could arrive last
            share = 100.0 * len(self._done) / self._total
            words = f"{self._what}: {', '.join(self._done)}"
            try:
                await aupdate_progress_artifact(self._artifact, share, description=words)
            except _UNSHOWN as error:
                _log().warning("the progress of %s cannot be shown: %s", self._what, reason_of(error))


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    return get_run_logger(component="reports")


def reason_of(error: BaseException) -> str:
    """`error` in one short line for a report, without the passwords of URLs."""
    text = plain(masked(str(error).strip().partition("\n")[0])) or "no further word"
    text = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
    return text if isinstance(error, LamaError) else f"{type(error).__name__}: {text}"


@step("read the last report", retries=_STORE_RETRIES)
async def _latest(database: Postgres, capability: str, cls: type[R], scope: str, run_id: str) -> R | None:
    return await asyncio.to_thread(store.latest, database, capability, cls, scope=scope, before=run_id)


@step("store the report", retries=_STORE_RETRIES)
async def _save(database: Postgres, report: Report) -> None:
    await asyncio.to_thread(store.save, database, report)


@step("write the artifact")
async def _show(markdown: str, key: str, description: str) -> None:
    try:
        await acreate_markdown_artifact(markdown, key=key, description=description)
    except httpx.HTTPStatusError as error:
        if error.response.status_code < 500:
            raise
        raise UnavailableError(f"answered {error.response.status_code}.", component="Prefect") from error


def _history_skip(reason: str) -> Skip:
    return Skip(
        area="history",
        component="database",
        reason=f"{reason[:1].upper()}{reason[1:]}",
        hides=("history.",),
    )


def _not_stored() -> tuple[type[Exception], ...]:
    import psycopg  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    return (SQLAlchemyError, psycopg.Error, ValidationError, LamaError, OSError, TimeoutError)

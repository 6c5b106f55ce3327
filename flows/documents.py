"""Property documents: what contracts, leases and deeds say, each with the page and the words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import settings
from models.documents import DocumentRead, DocumentsReport, DocumentsSettings, shown
from models.report import Finding, Severity, Skip, compose
from tasks.documents import steps
from tasks.documents.fields import conflicts
from tasks.documents.reading import tesseract_of
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress

CAPABILITY = "documents"


@flow(name="documents", persist_result=False)
async def documents(
    paths: list[str] | None = None,
    again: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
) -> DocumentsReport:
    """Reads property documents, PDF or scanned, into typed fields with page and words as evidence.

    Args:
        paths: Files, or folders of them. Otherwise the folders that are configured.
        again: Whether what was read before is read again. Otherwise each content is read once.

    Returns:
        The report. It is `incomplete` when a page could not be read, such as a scanned one without Tesseract, and says
        which and why.

    Raises:
        ConfigurationError: a path or `lama.toml` cannot be used; nothing was read.
    """
    started_at = datetime.now(UTC)
    config = settings()
    rules = load_configuration(config).documents
    asked = paths if paths is not None else [str(folder) for folder in rules.folders]
    if not asked:
        raise ConfigurationError("say which documents, or name documents.folders.", component=CAPABILITY)
    files = await asyncio.to_thread(steps.files_of, asked, rules)
    model = await steps.model_of(rules)
    database = Postgres.of(config)
    found, refused = await steps.look(files, rules)
    reader = _reader(rules)
    kept = {} if again else dict(await steps.known(database, [one.sha256 for one in found], reader))
    progress = await Progress.start("documents-progress", total=max(1, len(found)), what="Documents")
    told: list[DocumentRead] = []
    skipped = [Skip(area=CAPABILITY, component=name, reason=f"It {why}.") for name, why in refused.items()]
    for one in found:
        before = kept.get(one.sha256)
        if before is None:
            outcome = await steps.read(one, rules, model)
            await steps.keep(database, outcome, reader)
            skipped += _unread(outcome)
            kept[one.sha256] = before = outcome.document
            told.append(before)
        else:
            told.append(before.model_copy(update={"name": one.path.name, "same_as": before.name}))
        await progress.advance(one.path.name)
    fresh = [one for one in told if one.same_as is None]
    report = compose(
        DocumentsReport,
        capability=CAPABILITY,
        summary=_summary(told),
        scope=f"{config.node}; {', '.join(asked[:20])}",
        findings=[finding for one in {one.sha256: one for one in told}.values() for finding in _findings(one)],
        skipped=skipped,
        metrics={
            "documents_total": len(told),
            "duplicates_total": len(told) - len(fresh),
            "pages_read_total": sum(len(one.read) for one in fresh),
            "fields_total": sum(len(one.fields) for one in fresh),
        },
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
        documents=tuple(told),
    )
    report = await conclude(report, database=database, key="documents")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


def _reader(rules: DocumentsSettings) -> str:
    """Stands for what decides what is found."""
    tesseract = rules.languages if tesseract_of(rules) else "none"
    parts = (steps.RULES, rules.region, rules.currency, rules.model, tesseract, rules.most_pages)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _unread(outcome: steps.Outcome) -> list[Skip]:
    name = outcome.document.name
    skips = [_skip(name, pages, why) for pages, why in outcome.unread.items()]
    if outcome.unasked:
        skips.append(_skip(name, "by the model", f"did not answer: {outcome.unasked}"))
    return skips


def _skip(name: str, what: str, why: str) -> Skip:
    return Skip(area=CAPABILITY, component=f"{name}: {what}", reason=f"{what[:1].upper()}{what[1:]}: {why}.")


def _findings(one: DocumentRead) -> list[Finding]:
    key = one.sha256[:16]
    found = [
        Finding(
            key=f"documents.odd:{key}:{number}",
            severity=Severity.medium,
            component=one.name,
            title=f"{one.name}: {warning}.",
            detail="It was not run or opened; only the text was read.",
            remedy="Ask whoever sent it.",
        )
        for number, warning in enumerate(one.warnings)
    ]
    for name, said in conflicts(one.fields).items():
        places = "; ".join(f"{shown(field.value)} on page {field.evidence.page}" for field in said[:6])
        found.append(
            Finding(
                key=f"documents.conflict:{key}:{name}",
                severity=Severity.low,
                component=one.name,
                title=f"{one.name} says several values for {name}.",
                detail=places,
                remedy="Look at both places.",
            )
        )
    return found


def _summary(told: Sequence[DocumentRead]) -> str:
    fields: Mapping[str, int] = {one.sha256: len(one.fields) for one in told}
    count = "1 document" if len(told) == 1 else f"{len(told)} documents"
    same = sum(one.same_as is not None for one in told)
    return f"{count}, {sum(fields.values())} fields{f', {same} read before' if same else ''}."

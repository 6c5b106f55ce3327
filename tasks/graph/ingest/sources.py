"""What each source says now, beside what the graph has of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select as sql_select
from sqlmodel import Session, col, desc, select

from blocks.postgres import Postgres
from blocks.settings import CHECKOUT
from models.code import Unread
from models.graph import Label, Part
from models.graph_report import Source
from models.health_check import Checkout
from models.record import ReportRecord, SnapshotRecord
from models.report import Skip
from models.report_kinds import read_report
from models.risk import AuditReport
from tasks.code.prefect_flows import flows_of
from tasks.code.tables import tables_of
from tasks.docs.truth.documents import ALL_DOCUMENTS, read_documents
from tasks.graph.ingest.architecture import architecture_facts, latest_view
from tasks.graph.ingest.audit import audit_facts, heard_of
from tasks.graph.ingest.code import Mark, checkout_facts, mark_of, module_facts, shape_of
from tasks.graph.ingest.documents import document_facts
from tasks.graph.ingest.facts import Facts, ref
from tasks.graph.ingest.flows import flow_facts, table_facts
from tasks.graph.ingest.plan import Plan, below, checkout_of, last_part, part, plan, scope
from tasks.graph.ingest.reading import AREA, Reading, RefusedError, read_checkout, skips_of
from tasks.graph.store import Store
from tasks.graph.view import View
from tasks.health_check.architecture import drift
from tasks.health_check.architecture.snapshot import KIND
from tasks.target import Target

_MOST_AUDITS = 50
_MOST_VIEWS = 20


class Run:
    """One ingest. No dataclass: Prefect looks into those that it is handed, name by name."""

    def __init__(
        self, target: Target, view: View, database: Postgres, *, dry_run: bool, forget: Sequence[str] = ()
    ) -> None:
        self.target = target
        self.view = view
        self.store = view.store
        self.database = database
        self.dry_run = dry_run
        self.forget = tuple(forget)
        """Checkouts of which everything goes; nothing is read then."""
        self.readings: dict[str, Reading] = {}
        """By checkout; those that could be read."""
        self.absent: list[Skip] = []
        """Checkouts that could not."""
        self.once: dict[str, bool] = {}
        """Of checkouts that this run does not look at, whether `lama.toml` had them when they were last read."""

    @property
    def node(self) -> str:
        """The node whose scopes these are."""
        return self.target.host

    def has_configured(self, checkout: Checkout) -> bool:
        """Whether `lama.toml` names it."""
        return any(one.path == checkout.path for one in self.target.configuration.checkouts)


@dataclass(slots=True)
class Gathered:
    """What one source says."""

    plan: Plan
    skipped: list[Skip] = field(default_factory=list)
    add: list[Part] = field(default_factory=list)
    """Scopes that were seen in part: what they say is added, and what they do not say is not taken for gone."""


async def read_code(run: Run) -> None:
    """Read the checkouts of `run`, for every source that needs to know what their names mean.

    Raises:
        RefusedError: one has the name of another that was ingested by its path; nothing was read.
    """
    from blocks.home import Home  # noqa: PLC0415

    home = Home(run.target.settings)
    run.readings.clear()
    run.absent.clear()
    await _refuse_others_names(run)
    for checkout in run.target.checkouts:
        known = await run.store.marks(below(run.node, Source.code.value, checkout.name))
        found = await read_checkout(checkout, home, run.store, [last_part(name) for name in known])
        if isinstance(found, Skip):
            run.absent.append(found)
        else:
            run.readings[checkout.name] = found


async def _refuse_others_names(run: Run) -> None:
    """Two folders of one name would take each other's place, time after time."""
    by_path = [one for one in run.target.checkouts if not run.has_configured(one)]
    there = await run.store.get([ref(Label.checkout, one.name) for one in by_path])
    for checkout in by_path:
        node = there.get(ref(Label.checkout, checkout.name))
        path = None if node is None else node.properties.get("path")
        ours = node is not None and scope(run.node, Source.code.value, checkout.name) in node.scopes
        moved = isinstance(path, str) and path != str(checkout.path) and not await asyncio.to_thread(Path(path).is_dir)
        if ours and path != str(checkout.path) and not moved:
            raise RefusedError(
                f"the graph knows {path} as the checkout {checkout.name}, whose place {checkout.path} would take.",
                component=AREA,
                remedy=f"Name one of them in lama.toml, or first run `lama graph forget {checkout.name}`.",
            )


async def _code(run: Run) -> Gathered:
    """Modules of every checkout; each is a scope."""
    found = await _marks(run, Source.code)
    said: list[Part] = []
    known: set[str] = set()
    kept = _of_absent(run, Source.code, found)
    skipped = [*run.absent]
    for reading in run.readings.values():
        configured = run.has_configured(reading.checkout)
        looked = await asyncio.to_thread(_of_checkout, reading, run.node, found, configured=configured)
        said += looked.parts
        known |= looked.same
        kept |= looked.lost.keys()
        skipped += [Skip(area=AREA, component=reading.checkout.name, reason=why) for why in looked.lost.values()]
        kept |= {scope(run.node, Source.code.value, reading.checkout.name, path) for path in reading.kept}
        skipped += skips_of(reading)
    return Gathered(plan(said, found, known=known, kept=kept), skipped)


@dataclass(slots=True)
class _Looked:
    """What the modules of one checkout came to."""

    parts: list[Part] = field(default_factory=list)
    same: set[str] = field(default_factory=set)
    """Scopes that say what they said."""
    lost: dict[str, str] = field(default_factory=dict)
    """Scopes whose file changed since it was read, and the words for that."""
    marks: dict[str, Mark] = field(default_factory=dict)


def _of_checkout(reading: Reading, node: str, found: Mapping[str, str], *, configured: bool) -> _Looked:
    """Look at the modules whose facts may differ from those that the graph has."""
    codebase, names, checkout = reading.codebase, reading.names, reading.checkout
    top = scope(node, Source.code.value, checkout.name)
    scopes = {path: scope(node, Source.code.value, checkout.name, path) for path in codebase.files}
    marks = {path: Mark.parse(found.get(name, "")) for path, name in scopes.items()}
    shape = shape_of(codebase, names, configured=configured)
    unchanged = {path for path, mark in marks.items() if mark is not None and mark.content == codebase.files[path]}
    if found.get(top) != shape:
        unchanged = set()
    facts = checkout_facts(checkout.name, str(checkout.path), names.brought, configured=configured)
    looked = _Looked([part(top, facts, shape)])
    _look(looked, reading, scopes, codebase.files.keys() - unchanged)
    joints = {path: None if mark is None else mark.joints for path, mark in marks.items()}
    if any(joints[path] != mark.joints for path, mark in looked.marks.items()):
        # What others say may follow from these modules: they are looked at without a change of their own.
        _look(looked, reading, scopes, unchanged)
        unchanged = set()
    looked.same = {scopes[path] for path in unchanged}
    return looked


def _look(looked: _Looked, reading: Reading, scopes: Mapping[str, str], modules: Iterable[str]) -> None:
    for path in sorted(modules):
        try:
            module = reading.codebase.module(path)
        except OSError as error:
            looked.lost[scopes[path]] = f"{path} was not looked at: {error}."
            continue
        facts = module_facts(module, reading.names)
        looked.marks[path] = mark_of(module, facts)
        looked.parts.append(part(scopes[path], facts, str(looked.marks[path])))


async def _flows(run: Run) -> Gathered:
    """Flows and deployments; a checkout is a scope."""
    return await _whole(run, Source.flows, _flows_of)


async def _tables(run: Run) -> Gathered:
    """Tables; a checkout is a scope."""
    return await _whole(
        run, Source.tables, lambda reading: (table_facts(tables_of(reading.codebase), reading.names), [])
    )


def _flows_of(reading: Reading) -> tuple[Facts, list[str]]:
    flows = flows_of(reading.codebase)
    if reading.kept or reading.blind:
        # The flow of such a deployment may be in what cannot be read, and the deployment is named after it.
        known = tuple(one for one in flows.deployments if one.flow is not None)
        flows = dataclasses.replace(flows, deployments=known)
    return flow_facts(flows, reading.names), [f"{one.place} was not read: {one.reason}." for one in flows.unread]


async def _whole(run: Run, source: Source, facts_of: Callable[[Reading], tuple[Facts, list[str]]]) -> Gathered:
    """A source that says all of a checkout at once. While a file that it may be about cannot be read, what is not said
    is not taken for gone.
    """
    found = await _marks(run, source)
    kept = _of_absent(run, source, found)
    said: list[Part] = []
    add: list[Part] = []
    skipped = [*run.absent]
    for reading in run.readings.values():
        name = scope(run.node, source.value, reading.checkout.name)
        try:
            facts, unread = await asyncio.to_thread(facts_of, reading)
        except OSError as error:  # a file changed while it was looked at
            facts, unread = Facts(), [f"not all of {reading.checkout.name} was looked at: {error}."]
        skipped += [*skips_of(reading), *(Skip(area=AREA, component=reading.checkout.name, reason=w) for w in unread)]
        if unread or reading.kept or reading.blind:
            kept.add(name)
            add += [part(name, facts)]
        else:
            said.append(part(name, facts))
    return Gathered(plan(said, found, kept=kept), skipped, add)


async def _documents(run: Run) -> Gathered:
    """Pages of every checkout; each is a scope."""
    found = await _marks(run, Source.documents)
    kept = _of_absent(run, Source.documents, found)
    said: list[Part] = []
    add: list[Part] = []
    skipped = [*run.absent]
    for reading in run.readings.values():
        parts, unread = await asyncio.to_thread(_pages, reading, run)
        changed = [one for one in parts if reading.blind and found.get(one.scope, one.mark) != one.mark]
        add += changed  # what such a page does not describe any more, may lie in what cannot be read
        said += [one for one in parts if one not in changed]
        kept |= {one.scope for one in changed}
        kept |= _unseen(scope(run.node, Source.documents.value, reading.checkout.name), unread, found)
        skipped += skips_of(reading)
        skipped += [
            Skip(area=AREA, component=reading.checkout.name, reason=f"{one.place} was not read: {one.reason}.")
            for one in unread
        ]
    return Gathered(plan(said, found, kept=kept), skipped, add)


def _unseen(top: str, unread: Sequence[Unread], found: Iterable[str]) -> set[str]:
    """The scopes of pages that lie in what could not be read: a page, a folder, or more of them than are read."""
    everything = any(one.place in {"", ".", ALL_DOCUMENTS} for one in unread)
    kept = set()
    for name in found:
        file = last_part(name)
        if name.startswith(f"{top}/") and (
            everything or any(file == one.place or file.startswith(f"{one.place}/") for one in unread)
        ):
            kept.add(name)
    return kept


def _pages(reading: Reading, run: Run) -> tuple[list[Part], list[Unread]]:
    checkout = reading.checkout
    documents = read_documents(checkout.path.resolve(), run.target.configuration.documentation.paths, checkout.exclude)
    parts = [
        part(scope(run.node, Source.documents.value, checkout.name, file), document_facts(file, text, reading.names))
        for file, text in documents.texts.items()
    ]
    return parts, documents.unread


async def _architecture(run: Run) -> Gathered:
    """What the last health check saw of this node."""
    found = await _marks(run, Source.architecture)
    name = scope(run.node, Source.architecture.value, "node")
    view = await asyncio.to_thread(_view, run.database, run.node)
    if view is None:
        reason = "no health check has looked at this node yet; run `lama health-check`."
        return Gathered(plan((), found, kept=found), [Skip(area=AREA, component="architecture", reason=reason)])
    ours = next((one.name for one in run.target.configuration.checkouts if _is_ours(one)), None)
    facts = architecture_facts(run.node, view, run.target.configuration.services, ours=ours)
    return Gathered(plan([part(name, facts)], found))


def _is_ours(checkout: Checkout) -> bool:
    return checkout.path.resolve() == CHECKOUT


def _view(database: Postgres, host: str) -> drift.View | None:
    engine = database.engine()
    try:
        with engine.connect() as connection:
            statement = (
                sql_select(col(SnapshotRecord.body))
                .where(col(SnapshotRecord.kind) == KIND, col(SnapshotRecord.subject) == f"node:{host}")
                .order_by(col(SnapshotRecord.recorded_at).desc())
                .limit(_MOST_VIEWS)
            )
            return latest_view(row[0] for row in connection.execute(statement))
    finally:
        engine.dispose()


async def _audit(run: Run) -> Gathered:
    """The last audit of every checkout; each is a scope."""
    found = await _marks(run, Source.audit)
    reports = await asyncio.to_thread(_audits, run.database, run.node)
    heard = heard_of(reports)
    said: list[Part] = []
    add: list[Part] = []
    skipped: list[Skip] = []
    kept = set()
    for checkout in run.target.checkouts:
        name = scope(run.node, Source.audit.value, checkout.name)
        known = heard.get(checkout.name)
        if known is None:
            kept.add(name)
            reason = f"no audit has looked at {checkout.name} yet; run `lama audit`."
            skipped.append(Skip(area=AREA, component=checkout.name, reason=reason))
            continue
        one = part(name, await asyncio.to_thread(audit_facts, checkout.name, known.report))
        if known.whole:
            said.append(one)
            continue
        kept.add(name)
        add.append(one)
        reason = f"the last audit could not see all of {checkout.name}: what was known of it before stands beside it."
        skipped.append(Skip(area=AREA, component=checkout.name, reason=reason))
    return Gathered(plan(said, found, kept=kept), skipped, add)


def _audits(database: Postgres, host: str) -> list[AuditReport]:
    engine = database.engine()
    try:
        with Session(engine) as session:
            statement = select(ReportRecord).where(
                col(ReportRecord.capability) == "audit", col(ReportRecord.host) == host
            )
            rows = session.exec(statement.order_by(desc(ReportRecord.finished_at)).limit(_MOST_AUDITS)).all()
            reports = [read_report(row.body) for row in rows]
            return [report for report in reports if isinstance(report, AuditReport)]
    finally:
        engine.dispose()


async def _marks(run: Run, source: Source) -> dict[str, str]:
    """The marks that this run speaks for: of the checkouts that it looks at, and, when nobody named these, of those
    that were configured once. What was ingested by its path stays.
    """
    if source is Source.architecture:
        return await run.store.marks(below(run.node, source.value))
    looked_at = {checkout.name for checkout in run.target.checkouts}
    if run.target.named:
        return await marks_of(run, source, looked_at)
    found = await run.store.marks(below(run.node, source.value))
    others = {checkout_of(name) for name in found} - looked_at
    for checkout in others - run.once.keys():
        run.once[checkout] = await _was_configured(run.store, checkout)
    return {
        name: mark
        for name, mark in found.items()
        if (one := checkout_of(name)) in looked_at or run.once.get(one, False)
    }


async def marks_of(run: Run, source: Source, checkouts: Iterable[str]) -> dict[str, str]:
    """The marks of what `source` says of these checkouts."""
    found: dict[str, str] = {}
    for checkout in checkouts:
        top = scope(run.node, source.value, checkout)
        inside = await run.store.marks(top)
        found |= {name: mark for name, mark in inside.items() if name == top or name.startswith(f"{top}/")}
    return found


async def _was_configured(store: Store, checkout: str) -> bool:
    """Whether `lama.toml` had it at its last ingest; what nobody knows is taken for given by its path."""
    records = await store.history(ref(Label.checkout, checkout))
    told = [one.properties["configured"] for one in records if "configured" in one.properties]
    return told[-1] is True if told else False


def _of_absent(run: Run, source: Source, found: Collection[str]) -> set[str]:
    """The scopes of checkouts that could not be read."""
    tops = [scope(run.node, source.value, skip.component) for skip in run.absent]
    return {name for name in found if any(name == top or name.startswith(f"{top}/") for top in tops)}


GATHER: Mapping[Source, Callable[[Run], Awaitable[Gathered]]] = {
    Source.code: _code,
    Source.flows: _flows,
    Source.tables: _tables,
    Source.documents: _documents,
    Source.architecture: _architecture,
    Source.audit: _audit,
}
NEEDS_CODE = frozenset({Source.code, Source.flows, Source.tables, Source.documents})
"""Sources that need to know what the names of a checkout mean."""

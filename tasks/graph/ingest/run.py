"""An ingest: every source told to the graph, and what became of it as a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.graph_access import GraphAccess
from models.graph import Written
from models.graph_report import GraphReport, Source, SourceFigures
from models.report import Skip, compose
from tasks.graph.ingest.plan import Plan
from tasks.graph.ingest.reading import AREA, RefusedError
from tasks.graph.ingest.sources import GATHER, NEEDS_CODE, Gathered, Run, marks_of, read_code
from tasks.graph.migrations import migrate, refuse_half_restored
from tasks.graph.transactions import Transactions
from tasks.step import step
from tasks.target import Target

CAPABILITY = "graph"
ALL = tuple(GATHER)
"""The sources, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source."""

    figures: SourceFigures
    skipped: tuple[Skip, ...] = ()


@step("reach the graph", retries=1)
async def reach(graph: GraphAccess, *, dry_run: bool) -> None:
    """Wait a little for a server that is starting, and bring its schema up to date; in a dry run, only look at it.

    Raises:
        ConfigurationError: a newer Lama has been here, or a backup is half restored.
        UnavailableError: nobody answers.
    """
    async with graph.get_client() as driver:
        transactions = Transactions(driver, graph.database)
        await migrate(transactions, dry_run=dry_run)
        await refuse_half_restored(transactions)


@step("read the source code", retries=1)
async def read_sources(run: Run) -> None:
    """Read the checkouts, once for all sources that need it."""
    await read_code(run)


@step("ingest a source")
async def ingest(source: Source, run: Run) -> Outcome:
    """Tell the graph what `source` says now. Doing it again, or after it was interrupted anywhere, is safe: what has
    arrived is the same then, and marks are written when all of a scope has arrived.
    """
    gathered = (
        Gathered(Plan(gone=tuple(await marks_of(run, source, run.forget)))) if run.forget else await GATHER[source](run)
    )
    written = Written()
    if not run.dry_run:
        if gathered.plan.send:
            written += await run.view.replace_all(gathered.plan.send)
        for part in map(run.view.seal.part, gathered.add):
            written += await run.store.write(part.nodes, part.relationships, scope=part.scope)
        if gathered.plan.gone:
            written += await run.store.forget(gathered.plan.gone)
    return Outcome(_figures(source, gathered, written), tuple(gathered.skipped))


async def refuse_unknown(run: Run) -> None:
    """Refuse to forget what is not there.

    Raises:
        RefusedError: the graph has nothing of one of the checkouts.
    """
    for name in run.forget:
        if not any([await marks_of(run, source, [name]) for source in ALL]):
            raise RefusedError(
                f"the graph has nothing of a checkout that is called {name[:200]!r}.", component=CAPABILITY
            )


def needs_code(sources: Sequence[Source]) -> bool:
    """Whether any of `sources` needs the checkouts to be read."""
    return not NEEDS_CODE.isdisjoint(sources)


def not_told(source: Source, reason: str) -> Outcome:
    """The outcome of a source that could not be told."""
    skip = Skip(area=AREA, component=source.value, reason=f"{source.value} is not in the graph as it is now: {reason}")
    return Outcome(SourceFigures(source=source, told=False), (skip,))


def report_of(
    outcomes: Sequence[Outcome],
    unseen: Iterable[Skip],
    target: Target,
    *,
    read: Iterable[str],
    started_at: datetime,
    dry_run: bool,
) -> GraphReport:
    """All outcomes as a report; `unseen` is what was skipped beside them, `read` the checkouts that were read."""
    skipped = list(dict.fromkeys([*(skip for outcome in outcomes for skip in outcome.skipped), *unseen]))
    figures = tuple(outcome.figures for outcome in outcomes)
    names = ("created", "changed", "closed", "sent", "same", "gone", "kept")
    totals = {name: sum(getattr(one, name) for one in figures) for name in names}
    metrics = {f"graph_{name}_total": float(value) for name, value in totals.items()}
    return compose(
        GraphReport,
        capability=CAPABILITY,
        summary=_summary(totals, figures, skipped, dry_run=dry_run),
        scope=f"{target.scope}; sources: {', '.join(one.source.value for one in figures)}",
        findings=(),
        skipped=skipped,
        metrics=metrics,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
        checkouts=tuple(sorted(read)),
        sources=figures,
        dry_run=dry_run,
    )


def _figures(source: Source, gathered: Gathered, written: Written) -> SourceFigures:
    return SourceFigures(
        source=source,
        sent=len(gathered.plan.send) + len(gathered.add),
        same=gathered.plan.same,
        gone=len(gathered.plan.gone),
        kept=gathered.plan.kept,
        created=written.created,
        changed=written.changed,
        confirmed=written.same,
        closed=written.closed,
    )


def _summary(
    totals: dict[str, int], figures: Sequence[SourceFigures], skipped: Sequence[Skip], *, dry_run: bool
) -> str:
    if dry_run:
        told = f"{totals['sent']:,} parts would be sent, {totals['same']:,} are known, {totals['gone']:,} have gone"
    elif totals["sent"] or totals["gone"]:
        told = f"{totals['created']:,} facts are new, {totals['changed']:,} changed, {totals['closed']:,} closed"
    else:
        told = f"nothing has changed in {totals['same']:,} parts"
    sources = f"{len(figures)} sources" if len(figures) != 1 else f"the source {figures[0].source.value}"
    unseen = f"; {len(skipped)} thing{'s' * (len(skipped) > 1)} could not be looked at" if skipped else ""
    return f"{told[:1].upper()}{told[1:]}, of {sources}{unseen}."

"""`lama graph`: what hangs on what, what it was once, and what breaks if something changes."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from click.shell_completion import CompletionItem

from lama.cli import COULD_NOT, OK
from lama.commands.lazy_group import LazyGroup
from lama.commands.terminal import console, echo_json, printable
from models.graph import AsOf, Label, Type

if TYPE_CHECKING:
    from models.graph import Node, Ref
    from tasks.graph.questions.walk import Hop
    from tasks.graph.view import View

T = TypeVar("T")

_ELSEWHERE = {
    "ingest": "lama.commands.graph_ingest:ingest",
    "forget": "lama.commands.graph_ingest:forget",
    "cypher": "lama.commands.graph_cypher:cypher",
    "migrate": "lama.commands.graph_admin:migrate",
    "backup": "lama.commands.graph_admin:backup",
    "restore": "lama.commands.graph_admin:restore",
    "rotate-key": "lama.commands.graph_admin:rotate_key",
}
"""Commands of this group that other modules have, `name` -> `module:attribute`; imported when one is called."""
_LABELS = [label.value for label in Label]


class _Name(click.ParamType[str]):
    """A node, by its key or the end of it."""

    name = "node"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Labels that begin like this; needs no server."""
        return [CompletionItem(f"{one}:") for one in _LABELS if one.lower().startswith(incomplete.lower())]


class _Moment(click.ParamType[datetime]):
    """A point in time, as `2026-11-28` or `2026-11-28T14:00+01:00`; without a zone, this machine's."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time that `value` is."""
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time such as 2026-11-28 or 2026-11-28T14:00.", param, ctx)


_node = click.argument("node", type=_Name(), metavar="NODE")
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_types = click.option(
    "--type", "types", multiple=True, type=click.Choice([one.value for one in Type], case_sensitive=False),
    help="Only by this sort of relationship; may be repeated.",
)  # fmt: skip


def _times(command: Callable[..., int]) -> Callable[..., int]:
    """The options that put a question to another point in time."""
    for option in (
        click.option("--recorded", type=_Moment(), help="By what the graph knew at this time."),
        click.option("--valid", type=_Moment(), help="As things were at this time."),
    ):
        command = option(command)
    return command


@click.group(cls=LazyGroup, elsewhere=_ELSEWHERE)
def graph() -> None:
    """What hangs on what: code, flows, services, dependencies, advisories, documents.

    NODE is a key such as Function:lama:tasks.audit.run.audit, or as much of its end as tells it apart: audit.run.audit.
    """


@graph.command()
@_node
@click.option("--depth", default=6, show_default=True, type=click.IntRange(1, 64), help="Steps at most.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@click.option("--sure", is_flag=True, help="Only what hangs on it for sure, and not through a module as a whole.")
@click.option("--paths", is_flag=True, help="Show the whole path of each.")
@_types
@_times
@_json
def impact(
    *, node: str, depth: int, limit: int, sure: bool, paths: bool, types: tuple[str, ...], valid: datetime | None,
    recorded: datetime | None, as_json: bool,
) -> int:  # fmt: skip
    """What may break if NODE changes, and by which path."""
    import dataclasses

    from tasks.graph.questions.asking import find_one, level_of
    from tasks.graph.questions.impact import Impact
    from tasks.graph.questions.impact import impact as impact_of
    from tasks.graph.questions.walk import Bounds
    from tasks.graph.questions.words import impact_json, impact_summary

    at = AsOf(valid, recorded)

    async def ask(view: View) -> Impact:
        of = await find_one(view, node, as_of=at)
        bounds = Bounds(depth=depth, nodes=limit)
        return await impact_of(of, level_of(view, at), bounds=bounds, types=_chosen(types))

    told = with_graph(ask)
    if sure:
        cut = tuple(why for why in told.cut if not why.endswith("through a module are told"))
        told = dataclasses.replace(told, hits=tuple(hit for hit in told.hits if hit.sure), cut=cut)
    if as_json:
        echo_json(impact_json(told))
        return OK
    click.echo(printable(impact_summary(told)))
    _show_hits(told.hits, paths=paths, begin=told.of)
    _say_cut(told.cut)
    return OK


def _show_hits(hits: Any, *, paths: bool, begin: Ref) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tasks.graph.questions.names import spelled
    from tasks.graph.questions.words import chain, how

    for words, sure in (("hangs on it", True), ("may, through a module", False)):
        chosen = [hit for hit in hits if hit.sure is sure]
        if not chosen:
            continue
        table = Table("steps", words, "by which path" if paths else "because it")
        for hit in chosen:
            why = chain(hit.path, begin) if paths else how(hit)
            table.add_row(str(hit.distance), escape(printable(spelled(hit.ref))), escape(printable(why)))
        console().print(table)


@graph.command()
@click.argument("first", type=_Name(), metavar="FROM")
@click.argument("second", type=_Name(), metavar="TO")
@click.option("--any", "any_way", is_flag=True, help="Whichever way relationships point.")
@_types
@_times
@_json
def path(
    *, first: str, second: str, any_way: bool, types: tuple[str, ...], valid: datetime | None,
    recorded: datetime | None, as_json: bool,
) -> int:  # fmt: skip
    """How FROM leads to TO: a shortest path, or one the other way where there is none."""
    from tasks.graph.questions.asking import find_one, level_of
    from tasks.graph.questions.names import spelled
    from tasks.graph.questions.path import Found, Way, shortest
    from tasks.graph.questions.words import chain, path_json

    at = AsOf(valid, recorded)

    async def ask(view: View) -> tuple[Ref, Ref, Found]:
        ends = await find_one(view, first, as_of=at), await find_one(view, second, as_of=at)
        level, chosen = level_of(view, at), _chosen(types)
        found = await shortest(*ends, level, way=Way.any if any_way else Way.along, types=chosen)
        if found.path is None and not found.cut and not any_way:
            back = await shortest(ends[1], ends[0], level, types=chosen)
            if back.path is not None:
                return ends[1], ends[0], back
        return *ends, found

    begin, end, found = with_graph(ask)
    if as_json:
        echo_json(path_json(begin, end, found))
    elif found.path is None:
        hint = "" if any_way else " --any looks whichever way relationships point."
        none = (
            f"{spelled(begin)} does not lead to {spelled(end)}, nor the other way"
            if not any_way
            else "There is no path"
        )
        click.echo(printable(f"{none}{f': {found.cut}' if found.cut else ''}.{hint}"))
    else:
        steps = f"{len(found.path)} step{'' if len(found.path) == 1 else 's'}"
        click.echo(printable(f"{steps}: {chain(found.path, begin)}"))
        if found.cut:
            _say_cut((found.cut,))
    return OK


@graph.command()
@_node
@click.option("--limit", default=150, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_times
@_json
def neighbours(*, node: str, limit: int, valid: datetime | None, recorded: datetime | None, as_json: bool) -> int:
    """What hangs on NODE, and what it hangs on: one step, either way."""
    from rich.markup import escape
    from rich.table import Table

    from tasks.graph.questions.asking import find_one, level_of
    from tasks.graph.questions.names import spelled
    from tasks.graph.questions.neighbourhood import Neighbourhood, neighbourhood
    from tasks.graph.questions.words import neighbourhood_json

    at = AsOf(valid, recorded)

    async def ask(view: View) -> tuple[Ref, Neighbourhood]:
        of = await find_one(view, node, as_of=at)
        return of, await neighbourhood([of], level_of(view, at), nodes=limit)

    of, told = with_graph(ask)
    if as_json:
        echo_json(neighbourhood_json(told))
        return OK
    table = Table("", "relationship", printable(spelled(of)))
    hops: list[Hop] = [hop for hop in told.hops if of in hop[1:]]
    for kind, start, end in hops:
        arrow, other = ("->", end) if start == of else ("<-", start)
        table.add_row(arrow, kind.value, escape(printable(spelled(other))))
    console().print(table)
    _say_cut((told.cut,) if told.cut else ())
    return OK


@graph.command()
@_node
@_json
def history(*, node: str, as_json: bool) -> int:
    """Everything that was ever said of NODE: what was true when, and since when that is known."""
    from tasks.graph.questions.asking import find_ever
    from tasks.graph.questions.words import node_json

    async def ask(view: View) -> list[Node]:
        return list(await view.history(await find_ever(view, node)))

    records = with_graph(ask)
    if as_json:
        echo_json([node_json(one) for one in records])
        return OK
    before: dict[str, Any] = {}
    for one in records:
        known = f"known from {_when(one.recorded_from)} {_until(one.recorded_to)}"
        click.echo(printable(f"{_when(one.valid_from)} {_until(one.valid_to)}, {known}, by {', '.join(one.scopes)}"))
        for name in sorted(one.properties.keys() | before.keys()):
            value, was = one.properties.get(name), before.get(name)
            if value != was:
                click.echo(printable(f"  {name}: {'gone' if value is None else value}"))
        before = dict(one.properties)
    return OK


@graph.command()
@_json
def stats(*, as_json: bool) -> int:
    """How much is in the graph, and from where."""
    from rich.table import Table

    async def ask(view: View) -> tuple[Any, int]:
        return await view.count(), len(await view.store.marks(""))

    counts, scopes = with_graph(ask)
    if as_json:
        echo_json(
            {
                "nodes": {label.value: count for label, count in counts.nodes.items()},
                "relationships": {type_.value: count for type_, count in counts.relationships.items()},
                "past": counts.past,
                "scopes": scopes,
            }
        )
        return OK
    table = Table("what", "how many")
    for what, kind in (("nodes", counts.nodes), ("relationships", counts.relationships)):
        for name, count in kind.items():
            if count:
                table.add_row(name.value, f"{count:,}")
        table.add_row(f"[bold]{what} in all[/bold]", f"[bold]{sum(kind.values()):,}[/bold]", end_section=True)
    table.add_row("records of the past", f"{counts.past:,}")
    table.add_row("parts of sources", f"{scopes:,}")
    console().print(table)
    return OK


@graph.command("find")
@click.argument("text", metavar="NAME", type=_Name())
@click.option("--label", type=click.Choice(_LABELS, case_sensitive=False), help="Only nodes of this label.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000), help="How many at most.")
@_json
def find_(*, text: str, label: str | None, limit: int, as_json: bool) -> int:
    """Find nodes by the end of their name."""
    from tasks.graph.questions.asking import find
    from tasks.graph.questions.names import spelled
    from tasks.graph.questions.words import ref_json

    found = with_graph(lambda view: find(view, text, label=Label(label) if label else None))
    if as_json:
        echo_json([ref_json(ref) for ref in found[:limit]])
        return OK if found else COULD_NOT
    for ref in found[:limit]:
        click.echo(printable(spelled(ref)))
    if len(found) > limit:
        click.echo(f"... and {len(found) - limit} more.", err=True)
    if not found:
        click.echo(printable(f"Nothing is called {text!r}."), err=True)
    return OK if found else COULD_NOT


@graph.command()
@click.option(
    "--format", "form", default="graphml", show_default=True, type=click.Choice(["graphml", "cypher"]),
    help="GraphML for networkx, Gephi and yEd; Cypher for another database.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; otherwise the terminal."
)
def export(*, form: str, output: Path | None) -> int:
    """Write out the whole graph as it is now, into a file that only you can read."""
    from blocks.errors import LamaError
    from tasks.graph.questions.cypher_script import to_cypher
    from tasks.graph.questions.graphml import to_graphml

    write = to_graphml if form == "graphml" else to_cypher
    try:
        with _whole(output) as file:
            nodes, edges = with_graph(lambda view: write(view.all_nodes(), view.all_edges(), file))
    except OSError as error:
        raise LamaError(f"{output} cannot be written: {error.strerror}.") from error
    click.echo(f"{nodes:,} nodes and {edges:,} relationships.", err=True)
    return OK


@contextlib.contextmanager
def _whole(output: Path | None) -> Iterator[TextIO]:
    """Where to write: `output`, which has all of it or stays as it was, or the terminal."""
    if output is None:
        yield sys.stdout
        return
    # Nobody else may read it, and nobody can have put something in its place.
    handle, name = tempfile.mkstemp(prefix=".lama-", suffix=".part", dir=output.absolute().parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def with_graph(ask: Callable[[View], Awaitable[T]]) -> T:
    """What `ask` says, given the graph as who may only read it.

    Raises:
        ConfigurationError: none is run here.
        UnavailableError: the graph does not answer.
    """
    from blocks.graph_access import GraphAccess
    from blocks.settings import settings
    from tasks.graph.sealing import Seal
    from tasks.graph.store import Store
    from tasks.graph.view import View

    async def asked() -> T:
        async with Store.open(GraphAccess.of(settings(), reader=True)) as store:
            return await ask(View(store, Seal.of(settings())))

    return on_graph(asked())


def on_graph(asked: Coroutine[Any, Any, T]) -> T:
    """What `asked` says of the graph.

    Raises:
        ConfigurationError: nobody answers, because none is run here.
        UnavailableError: the graph does not answer.
    """
    from blocks.errors import UnavailableError
    from tasks.event_loop import run

    try:
        return run(asked)
    except UnavailableError:
        from blocks.settings import settings
        from lama.commands.session import refuse_without_graph

        refuse_without_graph(settings())
        raise


def _chosen(types: tuple[str, ...]) -> list[Type] | None:
    return [Type(one.upper()) for one in types] or None


def _say_cut(cut: tuple[str, ...]) -> None:
    for why in cut:
        click.echo(f"There may be more: {why}.", err=True)


def _when(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _until(at: datetime | None) -> str:
    return "until now" if at is None else f"until {_when(at)}"

"""`lama graph migrate`, `backup`, `restore` and `rotate-key`: what keeps the graph itself in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from blocks.errors import ConfigurationError
from blocks.settings import settings
from lama.cli import OK
from lama.commands.terminal import echo_json, starting

if TYPE_CHECKING:
    from tasks.graph.transactions import Transactions

T = TypeVar("T")

_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.command()
@click.option("--to", type=click.IntRange(0), help="To this version, up or down; otherwise to the newest.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@_json
def migrate(*, to: int | None, dry_run: bool, as_json: bool) -> int:
    """Bring the graph's schema (constraints, indexes) to a version. No fact is lost by it, up or down."""
    from tasks.graph.migrations import migrate as go

    done = _with_graph(lambda transactions: go(transactions, to=to, dry_run=dry_run), quiet=as_json)
    if as_json:
        echo_json({"before": done.before, "after": done.after, "steps": done.steps, "dry_run": dry_run})
        return OK
    for step in done.steps:
        click.echo(f"{'would go ' if dry_run else ''}{step}")
    click.echo(f"The schema has version {done.before if dry_run else done.after}.")
    return OK


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace FILE when it is there, once the new backup is whole.")
@_json
def backup(*, file: Path, overwrite: bool, as_json: bool) -> int:
    """Write the whole graph with its history to FILE (compressed JSON lines), as of this moment.

    Others may go on writing. What is encrypted stays encrypted: keep secrets/graph-keys of the home as well.
    """
    from tasks.graph.backup import back_up

    place = file.expanduser().absolute()
    if place.exists() and not overwrite:
        raise ConfigurationError(f"{place} is there already.", component="graph", remedy="Replace it by --overwrite.")
    made = _with_graph(lambda transactions: back_up(transactions, place, now=datetime.now(UTC)), quiet=as_json)
    if as_json:
        echo_json({"file": str(place), "cut": made.cut.isoformat(), "schema": made.schema, "records": made.records,
                   "sources": made.scopes, "bytes": made.bytes, "sha256": made.sha256})  # fmt: skip
        return OK
    click.echo(
        f"{made.records:,} records of {made.scopes:,} sources, as of {made.cut.astimezone():%Y-%m-%d %H:%M:%S}: "
        f"{place} ({made.bytes:,} bytes)"
    )
    return OK


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--into-empty", is_flag=True, help="Take everything out of the graph first. Otherwise it has to be empty."
)
@_json
def restore(*, file: Path, into_empty: bool, as_json: bool) -> int:
    """Put a backup back. FILE is read and checked whole before anything is changed; interrupted, run it again."""
    from tasks.graph.restore import restore as put_back

    place = file.expanduser().absolute()
    done = _with_graph(lambda transactions: put_back(transactions, place, emptying=into_empty), quiet=as_json)
    if as_json:
        echo_json({"file": str(place), "records": done.records, "schema": done.schema, "sha256": done.sha256})
        return OK
    click.echo(f"{done.records:,} records are back.")
    return OK


@click.command("rotate-key")
@click.option("--no-new-key", is_flag=True, help="Make none: encrypt with the first one of those that there are.")
@click.option("--forget-old", is_flag=True, help="Then forget the older keys; backups that need them are lost.")
@_json
def rotate_key(*, no_new_key: bool, forget_old: bool, as_json: bool) -> int:
    """Encrypt the graph's sensitive properties with a new key.

    The older keys are kept, because backups made before need them. Killed half-way, `--no-new-key` completes it.
    """
    from blocks.graph_keys import add_graph_key, drop_graph_keys, graph_keys
    from blocks.home import Home
    from tasks.graph.rotation import renew
    from tasks.graph.sealing import Seal

    config = settings()
    Home(config).prepare()
    key = graph_keys(config)[0] if no_new_key else add_graph_key(config)
    renewed = _with_graph(lambda transactions: renew(transactions, Seal.of(config)), quiet=as_json)
    dropped = drop_graph_keys(config, key) if forget_old else 0
    kept = len(graph_keys(config)) - 1
    if as_json:
        echo_json({"key": key.id, "renewed": renewed, "dropped": dropped, "kept": kept})
        return OK
    click.echo(f"{renewed:,} nodes were encrypted with the key {key.id}.")
    if kept:
        click.echo(f"Older keys that are kept for backups: {kept}. `--forget-old` forgets them.", err=True)
    return OK


def _with_graph(work: Callable[[Transactions], Awaitable[T]], *, quiet: bool) -> T:
    """What `work` gives, given the graph as who may write; an embedded server that is down is started for it.

    Raises:
        ConfigurationError: there is no graph here.
        UnavailableError: it does not answer.
    """
    from blocks.graph_access import GraphAccess
    from lama.commands.session import graph_for
    from tasks.event_loop import run
    from tasks.graph.transactions import Transactions

    config = settings()

    async def asked() -> T:
        block = GraphAccess.of(config)
        async with block.get_client() as driver:
            return await work(Transactions(driver, block.database))

    with starting(quiet=quiet) as observe, graph_for(config, observe):
        return run(asked())

"""`lama sync`: keep folders the same on several devices."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.lazy_group import LazyGroup
from lama.commands.terminal import console, echo_json, printable, starting
from models.health_check import ReportLevel
from models.report import Severity

if TYPE_CHECKING:
    from models.sync import Category, SyncSettings

_KEEP = ("ours", "theirs", "copy", "original", "both")
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


class _CategoryName(click.ParamType[str]):
    """A category of `lama.toml`."""

    name = "category"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; whether there is such a category is said by the command."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The categories whose names begin like this."""
        from blocks.errors import LamaError

        try:
            names = [one.name for one in sync_settings().categories]
        except LamaError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_category = click.argument("category", type=_CategoryName())


class _Group(LazyGroup):
    """Says of every command what it is when the database is away."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for; a database that is away is told as such, whichever it is."""
        import psycopg

        from lama.commands.database import away

        try:
            return super().invoke(ctx)
        except psycopg.OperationalError as error:
            raise away(error) from error


@click.group(
    cls=_Group,
    elsewhere={
        "devices": "lama.commands.sync_devices:devices",
        "verify": "lama.commands.sync_devices:verify",
    },
)
def sync() -> None:
    """Keep folders the same on several devices, through a shared folder."""


@sync.command()
def init() -> int:
    """Make a new vault (or mirror) in the store, which is an empty folder, with this device as its first."""
    if sync_settings().kind == "mirror":
        return _mirror(create=True)
    with opened_store() as (identity, vault):
        vault.create()
        click.echo(f"The vault {vault.id} is made; this device is {identity.id}.")
    return OK


@sync.command()
@click.option(
    "--vault", "expected", help="Id of the vault that it has to be, as `lama sync devices` shows it elsewhere."
)
def join(*, expected: str | None) -> int:
    """Ask to take part in the vault of the store. Another device lets this one in: `lama sync devices approve`.

    A mirror is simply taken for the one of this device.
    """
    if sync_settings().kind == "mirror":
        return _mirror(create=False)
    with opened_store() as (identity, vault):
        known = vault.join(expected)
        click.echo(f"This device is {identity.id}, fingerprint {identity.keys.fingerprint}.")
        click.echo(
            f"It asks to take part in the vault {known}; let it in on another: lama sync devices approve {identity.id}"
        )
    return OK


@sync.command()
@click.argument("categories", nargs=-1, type=_CategoryName(), metavar="[CATEGORY]...")
@click.option("--direction", type=click.Choice(["both", "push", "pull"]), default="both", show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--confirm", is_flag=True, help="Go ahead with very many deletions or changes.")
@click.option("--timeout", "timeout_s", default=24 * 3600.0, show_default=True, help="Seconds to wait for its end.")
@_json
def run(
    *, categories: tuple[str, ...], direction: str, dry_run: bool, confirm: bool, timeout_s: float, as_json: bool
) -> int:
    """Sync CATEGORIES now; without a name, all.

    Exit code 1: there are conflicts, or a run was stopped; 2: something could not be looked at.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.report import Report
    from tasks.sync.run import chosen

    chosen(sync_settings(), list(categories) or None)
    parameters: dict[str, Any] = {"direction": direction, "dry_run": dry_run, "confirm": confirm}
    if categories:
        parameters["categories"] = list(categories)
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("sync", parameters, Report, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.comprehensive)
    return exit_code(report, Severity.medium)


@sync.command()
@click.option("--quiet-s", default=2.0, show_default=True, help="Seconds without a change before a run is started.")
def watch(*, quiet_s: float) -> int:
    """Start a run whenever files of a category have changed, until Ctrl-C. While the platform is away it is waited for.

    Of what others changed the scheduled runs hear, and the ones that are started here.
    """
    import watchfiles

    from lama.commands.flows import trigger_and_follow
    from tasks.sync.watch import AGAIN_S, follow, seen

    watched = [one for one in sync_settings().categories if one.folder.is_dir()]
    if not watched:
        raise click.UsageError("no category has a folder to watch.")
    click.echo(f"Watching {', '.join(str(one.folder) for one in watched)}", err=True)
    folders = [one.folder for one in watched]
    changes = watchfiles.watch(
        *folders, watch_filter=seen, debounce=60_000, step=int(quiet_s * 1000), rust_timeout=int(AGAIN_S * 1000),
        yield_on_timeout=True,
    )  # fmt: skip

    def start(names: list[str]) -> str:
        return trigger_and_follow("sync", {"categories": names}, timeout_s=3600.0, quiet=True).state_name

    follow(changes, watched, start, lambda line: click.echo(line, err=True))
    return OK


@sync.command()
@_category
@_json
def plan(*, category: str, as_json: bool) -> int:
    """Show what a run would do to each path of CATEGORY, without doing it."""
    from tasks.sync.run import Absent, Asked, Stopped, sync_one

    result = sync_one(settings(), sync_settings(), _one(category), Asked(dry_run=True), run="plan")
    if isinstance(result, Stopped | Absent):
        click.echo(result.reason)
        return FINDINGS if isinstance(result, Stopped) else OK
    from models.report import Skip

    if isinstance(result, Skip):
        raise click.ClickException(result.reason)
    planned = result.plan
    rows = [
        *(("tell", path) for path in sorted(result.changes)),
        *(("move", f"{one.path} -> {one.to}") for one in planned.moved),
        *(("make", path) for path, _ in planned.directories),
        *(("put", one.path) for one in (*planned.copies, *planned.put)),
        *(("remove", one.path) for one in (*planned.cleared, *planned.removed, *planned.emptied)),
        *(("permissions", path) for path, _, _ in planned.modes),
        *(("ignore", path) for path in result.found.ignored),
        *(("skip", f"{path}: {reason}") for path, reason in sorted(result.skipped.items())),
    ]
    if as_json:
        echo_json([{"what": what, "path": path} for what, path in rows])
    else:
        for what, path in rows:
            click.echo(f"{what:12} {printable(path)}")
        if not rows:
            click.echo("There is nothing to do.")
    return OK


@sync.command()
@_json
def status(*, as_json: bool) -> int:
    """Show the categories, when each was synced last, and what is in its trash."""
    from rich.table import Table

    from blocks.postgres import Postgres
    from tasks.sync.opened import identity_of
    from tasks.sync.states import summaries
    from tasks.sync.trash import discarded

    wanted = sync_settings()
    identity = identity_of(settings(), wanted)
    with Postgres.of(settings()).get_client(autocommit=True) as connection:
        known = summaries(connection, identity.id)
    told = [
        {
            "category": one.name,
            "folder": str(one.folder),
            "synced": known[one.name].isoformat() if one.name in known else None,
            "trash": len(discarded(one.folder)),
            "conflicts": len(_conflicts(one)),
        }
        for one in wanted.categories
    ]
    if as_json:
        echo_json({"device": identity.id, "store": str(wanted.store) if wanted.store else None, "categories": told})
        return OK
    click.echo(f"Device {identity.id}, store {wanted.store or 'none: name it in lama.toml'}")
    table = Table("category", "folder", "synced", "trash", "conflicts")
    for row in told:
        table.add_row(*(str(value) if value is not None else "never" for value in row.values()))
    console().print(table)
    return OK


@sync.command()
@_category
@_json
def ls(*, category: str, as_json: bool) -> int:
    """List what the store holds of CATEGORY, as all devices told it."""
    from models.sync import Policy
    from tasks.sync.reconcile import converge
    from tasks.sync.versions import rank_of

    with opened_store() as (_, vault):
        trees = [one.tree for one in vault.others(category)]
    tree = converge({}, trees, rank_of(Policy.keep_both, None)).tree
    living = [(path, one) for path, one in sorted(tree.items()) if one.content is not None]
    if as_json:
        echo_json(
            [
                {"path": path, "kind": one.content.kind, "size": one.content.size, "device": one.device}
                for path, one in living
                if one.content
            ]
        )
        return OK
    for path, one in living:
        if one.content is not None:
            when = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M")
            click.echo(f"{one.content.kind:10} {one.content.size:>12}  {when}  {one.device:24} {printable(path)}")
    return OK


@sync.command()
@click.argument("categories", nargs=-1, type=_CategoryName(), metavar="[CATEGORY]...")
@_json
def conflicts(*, categories: tuple[str, ...], as_json: bool) -> int:
    """List the conflict copies that are still there. Exit code 1: there are some."""
    found = [{"category": one.name, "path": path} for one in _chosen(categories) for path in _conflicts(one)]
    if as_json:
        echo_json(found)
    else:
        for row in found:
            click.echo(f"{row['category']:16} {printable(row['path'])}")
        if not found:
            click.echo("There are no conflict copies.")
    return FINDINGS if found else OK


@sync.command()
@_category
@click.argument("path")
@click.option(
    "--keep", type=click.Choice(_KEEP),
    help="`ours` is what this device wrote, `theirs` the other; `copy` takes the original's place; `original`: the "
    "copy goes; `both`: the copy gets a name of its own. Without it you are asked.",
)  # fmt: skip
@click.option("--name", help="With `both`: the copy's new path.")
def resolve(*, category: str, path: str, keep: str | None, name: str | None) -> int:
    """Settle one conflict, named by the PATH of its copy. What goes is in the trash."""
    from tasks.sync.resolve import chosen_side, settle

    if keep is None:
        keep = click.prompt("Which stays?", type=click.Choice(_KEEP), default="both" if name else None)
        if keep == "both" and name is None:
            name = click.prompt("The copy's new path")
    if (keep == "both") != (name is not None):
        raise click.UsageError("--name belongs to --keep both.")
    try:
        if keep in {"ours", "theirs"}:
            keep = chosen_side(path, keep, **_written(category, path))
        told = settle(_one(category).folder, path, keep, name, run=f"resolve-{int(time.time())}")
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(told)
    return OK


@sync.command()
@_category
@click.argument("path", required=False)
@_json
def trash(*, category: str, path: str | None, as_json: bool) -> int:
    """List what was replaced or deleted here, the newest first; of PATH and what lay below it."""
    from tasks.sync.trash import discarded

    found = discarded(_one(category).folder, path)
    if as_json:
        echo_json([{"run": one.run, "path": one.path, "size": one.size, "at": one.at} for one in found])
        return OK
    for one in found:
        when = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{one.run:28} {when} {one.size:>12}  {printable(one.path)}")
    if not found:
        click.echo("There is nothing in the trash.")
    return OK


@sync.command()
@_category
@click.argument("path")
@click.option("--run", "run_", help="Of which run; otherwise the newest.")
@click.option("--to", help="Another path within the folder.")
def restore(*, category: str, path: str, run_: str | None, to: str | None) -> int:
    """Put PATH back from the trash. The trash keeps it as well."""
    from tasks.sync import trash as bin_

    folder = _one(category).folder
    found = [one for one in bin_.discarded(folder, path) if one.path == path and run_ in {None, one.run}]
    if not found:
        raise click.UsageError(f"{path} is not in the trash of {category}.")
    try:
        place = bin_.restore(folder, found[0], to)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"It is at {place}.")
    return OK


def _written(category: str, copy: str) -> dict[str, Any]:
    """Whose the original of a conflict copy is, and which device this is."""
    from blocks.postgres import Postgres
    from tasks.sync.names import original_of
    from tasks.sync.opened import identity_of
    from tasks.sync.states import PostgresStates

    device = identity_of(settings(), sync_settings()).id
    with Postgres.of(settings()).get_client(autocommit=True) as connection:
        known = PostgresStates(connection, device, "resolve").load(category).tree.get(original_of(copy))
    return {"device": device, "writer": known.device if known else None}


def _mirror(*, create: bool) -> int:
    from blocks.postgres import Postgres
    from tasks.sync.opened import identity_of, mirror_of, remember_mirror
    from tasks.sync.states import PostgresStates

    config, wanted = settings(), sync_settings()
    identity = identity_of(config, wanted)
    with Postgres.of(config).get_client(autocommit=True) as connection:
        states = PostgresStates(connection, identity.id, "setup")
        mirror = mirror_of(config, wanted, wanted.categories[0], identity.id, states, "setup")
        known_as = mirror.create() if create else mirror.join()
    remember_mirror(config, known_as)
    click.echo(f"{wanted.store} is the mirror {known_as}; this device is {identity.id}.")
    return OK


def sync_settings() -> SyncSettings:
    """`[sync]` of `lama.toml`."""
    from blocks.configuration import load_configuration

    return load_configuration(settings()).sync


def _chosen(names: tuple[str, ...]) -> tuple[Category, ...]:
    return tuple(_one(name) for name in names) if names else sync_settings().categories


def _one(name: str) -> Category:
    from tasks.sync.run import chosen

    return chosen(sync_settings(), [name])[0]


def opened_store() -> Any:
    """Who this device is, and its store, as a context manager."""
    import contextlib

    from blocks.postgres import Postgres
    from tasks.sync.opened import opened_vault

    @contextlib.contextmanager
    def both() -> Any:
        with (
            Postgres.of(settings()).get_client(autocommit=True) as connection,
            opened_vault(settings(), sync_settings(), connection) as pair,
        ):
            yield pair

    return both()


def _conflicts(category: Category) -> list[str]:
    from tasks.sync.names import OWN, is_conflict

    if not category.folder.is_dir():
        return []
    return sorted(
        path.relative_to(category.folder).as_posix()
        for path in category.folder.rglob("*")
        if is_conflict(path.name) and not path.relative_to(category.folder).parts[0].startswith(OWN)
    )

"""`lama board`: the tasks that came out of messages."""

from __future__ import annotations

import getpass
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from lama.cli import OK
from lama.commands.database import with_database
from lama.commands.terminal import console, echo_json, printable
from models.board import Priority, TaskState

_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_task = click.argument("task", type=int, metavar="ID")


class _Day(click.ParamType[date]):
    """A date, as `2026-12-31`."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date that `value` is."""
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no date such as 2026-12-31.", param, ctx)


class _State(click.ParamType[str]):
    """A state, or `all`."""

    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The state that `value` names."""
        if value not in {*(one.value for one in TaskState), "all"}:
            self.fail(f"{value!r} is none of {', '.join(TaskState)} and all.", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The states that begin like this."""
        return [CompletionItem(one) for one in (*TaskState, "all") if one.startswith(incomplete)]


@click.group()
def board() -> None:
    """See and change the tasks that came out of messages."""


@board.command("list")
@click.option("--state", "states", multiple=True, type=_State(), help="Only these states; otherwise what is not ended.")
@click.option("--tag", help="Only tasks with this tag.")
@click.option("--route", help="Only tasks of this route.")
@click.option("--due", type=_Day(), help="Only what is due by this day.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_json
def list_(
    *, states: tuple[str, ...], tag: str | None, route: str | None, due: date | None, limit: int, as_json: bool
) -> int:
    """List tasks, the most urgent first."""
    from rich.markup import escape
    from rich.table import Table

    from tasks.board.tasks import tasks

    asked = None if "all" in states else list(states) or [one.value for one in TaskState if not one.ended]
    found = with_database(
        lambda connection: tasks(connection, states=asked, tag=tag, route=route, due=due, limit=limit)
    )
    if as_json:
        echo_json([_plain(one) for one in found])
    elif not found:
        click.echo("There are no such tasks.")
    else:
        table = Table("id", "state", "priority", "due", "title", "from", "tags", "messages")
        today = datetime.now().astimezone().date()
        for one in found:
            late = one["due"] is not None and one["due"] < today and not TaskState(one["state"]).ended
            due_told = f"[red]{one['due']}[/red]" if late else str(one["due"] or "")
            table.add_row(
                str(one["id"]), one["state"], one["priority"], due_told, escape(_printable(one["title"])),
                escape(_printable(one["requester_name"] or one["requester"] or "")), escape(" ".join(one["tags"])),
                str(one["entries"]),
            )  # fmt: skip
        console().print(table)
    return OK


@board.command()
@_task
@_json
def show(*, task: int, as_json: bool) -> int:
    """Show a task, and all that was said and done about it."""
    from tasks.board.tasks import task_of

    found = with_database(lambda connection: task_of(connection, task))
    if found is None:
        raise click.UsageError(f"there is no task {task}.")
    if as_json:
        echo_json(_plain(found))
        return OK
    click.echo(f"{found['id']}  {_printable(found['title'])}")
    for name in ("state", "priority", "due", "assignee", "requester", "requester_name", "tags", "route"):
        if found[name]:
            told = " ".join(found[name]) if isinstance(found[name], list) else found[name]
            click.echo(f"{name:15} {_printable(str(told))}")
    for entry in found["entries"]:
        when = entry["occurred_at"] or entry["recorded_at"]
        click.echo(
            f"\n{when:%Y-%m-%d %H:%M}  {_printable(entry['author'] or '')}  {_changes(entry['changes'])}".rstrip()
        )
        if entry["text"]:
            click.echo(_printable(entry["text"]))
        for file in entry["attachments"]:
            click.echo(f"  {file['sha256'][:12]}  {file['size']:>10} bytes  {_printable(file['name'])}")
    return OK


@board.command("set")
@_task
@click.option("--state", type=click.Choice([one.value for one in TaskState]), help="How far it is.")
@click.option("--priority", type=click.Choice([one.value for one in Priority]), help="How soon to look.")
@click.option("--due", type=_Day(), help="When it has to be done.")
@click.option("--assignee", help="Who does it.")
@click.option("--title", help="What it is about.")
@click.option("--tag", "tags", multiple=True, help="Its tags, instead of those it has.")
@click.option("--note", help="What there is to say about it.")
def set_(*, task: int, note: str | None, tags: tuple[str, ...], **given: Any) -> int:
    """Change a task; who did it and when is kept with it."""
    from tasks.board.tasks import change

    changes = {name: value for name, value in given.items() if value is not None}
    if tags:
        changes["tags"] = list(tags)
    if not changes and not note:
        raise click.UsageError("say what is to change.")
    done = with_database(lambda connection: change(connection, task, changes, author=getpass.getuser(), note=note))
    if not done:
        raise click.UsageError(f"there is no task {task}.")
    click.echo(f"Task {task} is changed.")
    return OK


@board.command()
@click.argument("title")
@click.option("--description", help="What is to be done.")
@click.option("--priority", default="normal", show_default=True, type=click.Choice([one.value for one in Priority]))
@click.option("--due", type=_Day(), help="When it has to be done.")
@click.option("--tag", "tags", multiple=True, help="What it belongs to.")
def add(*, title: str, description: str | None, priority: str, due: date | None, tags: tuple[str, ...]) -> int:
    """Make a task by hand."""
    from models.board import NewTask
    from tasks.board.tasks import add as add_task

    new = NewTask(title=title, description=description, priority=Priority(priority), due=due, tags=tags)
    click.echo(f"Task {with_database(lambda connection: add_task(connection, new, getpass.getuser()))}.")
    return OK


@board.command()
@_task
@click.argument("sha256")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; otherwise the terminal."
)
def file(*, task: int, sha256: str, output: Path | None) -> int:
    """Write out a file that came with a task; the beginning of its SHA-256 is enough."""
    from tasks.board.tasks import file_of

    if len(sha256) < 6 or any(letter not in "0123456789abcdef" for letter in sha256):
        raise click.UsageError("give at least six digits of the SHA-256, as `lama board show` prints them.")
    content = with_database(lambda connection: file_of(connection, task, sha256))
    if content is None:
        raise click.UsageError(f"task {task} has no file, or several, whose SHA-256 begins with {sha256}.")
    if output is not None:
        with output.open("xb") as out:  # nothing that is there is overwritten
            out.write(content)
    else:
        sys.stdout.buffer.write(content)
    return OK


def _changes(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {_printable(str(value))}" for name, value in changes.items())


def _printable(text: str) -> str:
    """What a stranger wrote, without what a terminal would obey."""
    return printable(text, keep="\n\t")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    def told(value: Any) -> Any:
        if isinstance(value, date | datetime):
            return value.isoformat()
        if isinstance(value, list):
            return [told(one) for one in value]
        return {name: told(one) for name, one in value.items()} if isinstance(value, dict) else value

    return {name: told(value) for name, value in row.items()}

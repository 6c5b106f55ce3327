"""`lama handoffs replay`, `discard` and `forget`: messages that are looked at anew, given up, or taken out."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import click

from lama.cli import FINDINGS, OK
from lama.commands.database import with_database
from lama.commands.handoff_routes import RouteName, known_routes, one_route
from lama.commands.terminal import echo_json

_route = click.argument("route", type=RouteName(), metavar="ROUTE")
_message_ids = click.argument("message_ids", nargs=-1, metavar="[MESSAGE_ID]...")
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


class _Moment(click.ParamType[datetime]):
    """A date or a time, as `2026-12-31` or `2026-12-31T17:00`; without a zone it is that of this machine."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment that `value` is."""
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time such as 2026-12-31T17:00.", param, ctx)


@click.command()
@_route
@_message_ids
@click.option("--since", type=_Moment(), help="What came then or later.")
@click.option("--until", type=_Moment(), help="What came before that.")
@click.option("--dry-run", is_flag=True, help="Only say which messages it would be.")
@_json
def replay(
    *,
    route: str,
    message_ids: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Have what was ignored, and dead letters, looked at anew by the route as it is now.

    What was delivered is never sent again. Exit code 1: of some messages nothing is left to look at, or an id is of no
    message that was ignored or is a dead letter.
    """
    from tasks.handoffs import letters

    one_route(route)
    if not message_ids and since is None and until is None:
        raise click.UsageError("name messages, or a time with --since and --until.")
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since is not before --until.")
    done = with_database(
        lambda connection: letters.replay(
            connection, route, message_ids=list(message_ids) or None, since=since, until=until, dry_run=dry_run
        )
    )
    others = sorted(set(message_ids) - set(done.put) - set(done.emptied))
    if as_json:
        echo_json(dataclasses.asdict(done) | {"others": others, "dry_run": dry_run})
        return FINDINGS if done.emptied or others else OK
    click.echo(f"{_messages(len(done.put))} {'would be' if dry_run else 'will be'} looked at anew.")
    if done.emptied:
        click.echo(f"{_messages(len(done.emptied))} cannot be: emptied, nothing is left to look at.")
    if done.discarded:
        click.echo(f"{_messages(len(done.discarded))} stay discarded; name them to have them looked at all the same.")
    for message_id in others:
        click.echo(f"{message_id} was not ignored and is no dead letter of {route}; it was left alone.", err=True)
    return FINDINGS if done.emptied or others else OK


@click.command()
@_route
@_message_ids
@click.option("--all", "everything", is_flag=True, help="Every dead letter of the route.")
def discard(*, route: str, message_ids: tuple[str, ...], everything: bool) -> int:
    """Give up dead letters: they are not sent, and what they hold back goes on.

    Of a route that is neither in lama.toml nor a block any more, what waits is given up as well. The messages
    themselves stay until their time is over, and `replay` brings them back.
    """
    from tasks.handoffs import letters

    gone = known_routes(say=False).is_gone(route)
    if everything == bool(message_ids):
        raise click.UsageError("name messages, or say --all.")
    ids = None if everything else list(message_ids)
    done = with_database(lambda connection: letters.discard(connection, route, ids, waiting=gone))
    for message_id in sorted(set(message_ids) - set(done)):
        click.echo(f"{message_id} is no dead letter of {route}; nothing was done with it.", err=True)
    click.echo(f"{_messages(len(done))} {'is' if len(done) == 1 else 'are'} discarded.")
    return OK if everything or len(done) == len(set(message_ids)) else FINDINGS


@click.command()
@click.argument("key")
@click.option("--dry-run", is_flag=True, help="Only count what would be taken out.")
@click.option("--region", default="US", show_default=True, help="Country of a number that is written without one.")
@_json
def forget(*, key: str, dry_run: bool, region: str, as_json: bool) -> int:
    """Take out what is known of KEY: a phone number, an e-mail address or a conversation.

    Messages from and to it and those that mention it, their payloads and files, the contact, its history and its tasks
    are emptied; natural ids stay, or their digests, so that nothing is handed on twice. A contact's number and address
    are one person. Outside systems keep what they were given.
    """
    from tasks.handoffs import forget as forgetting

    named = forgetting.key_of(key, region)
    done = with_database(lambda connection: forgetting.forget(connection, named, dry_run=dry_run))
    if as_json:
        echo_json(
            {
                "key": named, "keys": list(done.keys), "dry_run": dry_run, "counts": done.counts,
                "mentioning": done.mentioning,
            }
        )  # fmt: skip
    elif done.nothing:
        click.echo(f"Nothing is known of {', '.join(done.keys)}.")
    else:
        told = ", ".join(f"{count} {name}" for name, count in done.counts.items() if count)
        click.echo(f"{'Would be' if dry_run else 'Was'} taken out of {', '.join(done.keys)}: {told}.")
        if done.mentioning:
            click.echo(f"Of other people, and only mentioning them: {_messages(done.mentioning)}.")
    return OK


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"

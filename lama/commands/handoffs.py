"""`lama handoffs`: how routes do, what waits for a person, and what a route makes of a message."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.database import with_database
from lama.commands.handoff_letters import discard, forget, replay
from lama.commands.handoff_routes import RouteName, known_routes, one_route, routes
from lama.commands.terminal import console, echo_json, starting
from models.health_check import ReportLevel
from models.report import Severity

if TYPE_CHECKING:
    from models.handoff import Message
    from models.handoff_route import Route
    from tasks.handoffs.extract import ModelLead
    from tasks.handoffs.figures import Standing

_LARGEST = 10_000_000
_LARGEST_MAIL = 200 * 1024 * 1024
_HEADINGS = ("route", "delivered", "dead", "success", "accuracy", "complete", "in time", "p95", "waiting", "oldest")


_route = click.argument("route", type=RouteName(), metavar="ROUTE")
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_reveal = click.option("--reveal", is_flag=True, help="Show what people wrote; otherwise it is masked.")


@click.group()
def handoffs() -> None:
    """Hand messages on from one protocol to another system: see how routes do, mend and resend what is stuck."""


for _command in (routes, replay, discard, forget):
    handoffs.add_command(_command)


@handoffs.command()
@click.argument("routes", nargs=-1, type=RouteName(), metavar="[ROUTE]...")
@click.option("--dry-run", is_flag=True, help="Only say what would become of the messages that wait.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@_json
def run(*, routes: tuple[str, ...], dry_run: bool, timeout_s: float, as_json: bool) -> int:
    """Hand on now what waits. Arrivals start this by themselves.

    Exit code 1: a route misses what it has to achieve, or has dead letters; 2: something could not be handed on.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.report import Report

    known = known_routes(say=False)
    if known.unseen is None:  # otherwise the flow knows, when the platform is up
        known.chosen(list(routes) or None)
    parameters: dict[str, Any] = {"dry_run": dry_run, "linger_s": 0.0}
    if routes:
        parameters["routes"] = list(routes)
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("handoffs", parameters, Report, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


@handoffs.command()
@_json
def status(*, as_json: bool) -> int:
    """Show how each route does: share of success, accuracy, completeness, timeliness, what waits.

    Messages of routes that are not there any more are named too, unless Prefect, where routes may be blocks, is away.

    Exit code 1: a route misses what it has to achieve, or has dead letters, or is a block that cannot be used.
    """
    from tasks.handoffs import figures, orphans

    known = known_routes()
    configured = known.settings
    window = timedelta(hours=configured.window_hours)
    found = with_database(lambda connection: figures.standings(connection, configured.routes, window=window))
    left_over = (
        with_database(lambda connection: orphans.orphans(connection, known.names)) if known.unseen is None else []
    )
    problems = [
        finding for route, one in zip(configured.routes, found, strict=True) for finding in figures.findings(route, one)
    ] + [orphans.finding(one) for one in left_over]
    if as_json:
        echo_json(
            {
                "window_hours": configured.window_hours,
                "routes": [dataclasses.asdict(one) | _shares(one) for one in found],
                "orphaned": [dataclasses.asdict(one) for one in left_over],
                "findings": [finding.model_dump(mode="json") for finding in problems],
                "unusable": {fault.name: fault.reason for fault in known.faults},
                "unseen": known.unseen,
            }
        )
        return FINDINGS if problems or known.faults else OK
    if found:
        _table(found, configured.window_hours)
    else:
        click.echo("There is no route; docs/handoffs.md shows one.")
    for finding in problems:
        click.echo(f"{finding.component}: {finding.title} {finding.remedy}".rstrip())
    return FINDINGS if problems or known.faults else OK


@handoffs.command()
@click.argument("route", required=False, type=RouteName(), metavar="[ROUTE]")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_json
def dead(*, route: str | None, limit: int, as_json: bool) -> int:
    """List dead letters, oldest first: what no try could deliver, or nobody could understand."""
    from tasks.handoffs.letters import dead_letters

    names = [one_route(route).name] if route else known_routes().names
    found = with_database(lambda connection: dead_letters(connection, names, limit=limit))
    if as_json:
        echo_json([dataclasses.asdict(one) for one in found])
    elif not found:
        click.echo("There are no dead letters.")
    for letter in found if not as_json else ():
        click.echo(f"{letter.route}  {letter.message_id}  {letter.received_at:%Y-%m-%d %H:%M}  {letter.last_error}")
    return FINDINGS if found else OK


@handoffs.command()
@_route
@click.argument("message_id")
@_reveal
@_json
def show(*, route: str, message_id: str, reveal: bool, as_json: bool) -> int:
    """Show one message: when it came, what it was made into, what became of it."""
    from tasks.handoffs.letters import look_up
    from tasks.handoffs.masking import masked_value

    one_route(route)
    known = with_database(lambda connection: look_up(connection, route, message_id))
    if known is None:
        raise click.UsageError(f"the route {route!r} has no message {message_id!r}.")
    raw = known.pop("raw")
    known["raw"] = raw.decode("utf-8", "replace") if reveal else f"{len(raw)} bytes"
    if not reveal:
        for name in ("attributes", "payload", "answer", "conversation"):
            known[name] = masked_value(known[name])
    if as_json:
        echo_json(known)
    else:
        for name, value in known.items():
            if value is not None:
                told = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
                click.echo(f"{name:16} {told}")
    return OK


@handoffs.command()
@_route
@click.argument("message_ids", nargs=-1, metavar="[MESSAGE_ID]...")
@click.option("--all", "everything", is_flag=True, help="Every dead letter of the route.")
def resend(*, route: str, message_ids: tuple[str, ...], everything: bool) -> int:
    """Put dead letters back in their places, to be tried again. What was delivered is never sent twice."""
    from tasks.handoffs import letters

    one_route(route)
    if everything == bool(message_ids):
        raise click.UsageError("name messages, or say --all.")
    put = with_database(lambda connection: letters.resend(connection, route, None if everything else list(message_ids)))
    for message_id in set(message_ids) - set(put):
        click.echo(f"{message_id} is no dead letter of {route}; nothing was done with it.", err=True)
    click.echo(f"{len(put)} dead letters are tried again.")
    return OK if everything or len(put) == len(set(message_ids)) else FINDINGS


@handoffs.command()
@_route
@click.argument("message_id")
@click.option(
    "--payload", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the new payload as JSON; otherwise it is opened in $EDITOR.",
)  # fmt: skip
def edit(*, route: str, message_id: str, payload: Path | None) -> int:
    """Mend what a dead letter was made into, and send it. What it was before is kept."""
    from tasks.handoffs import letters
    from tasks.handoffs.routes import transformation_of

    configured = one_route(route)
    if payload is not None:
        text = _read(payload)
    else:
        known = with_database(lambda connection: letters.look_up(connection, route, message_id))
        if known is None:
            raise click.UsageError(f"the route {route!r} has no message {message_id!r}.")
        before = known["payload"] if known["payload"] is not None else known["attributes"]
        text = click.edit(json.dumps(before, indent=2, ensure_ascii=False), extension=".json") or ""
        if not text.strip():
            click.echo("Nothing was changed.")
            return OK
    document = _object(text)
    problems = transformation_of(configured).check(document)
    if problems:
        raise click.UsageError("the payload cannot be sent: " + "; ".join(problems))
    with_database(lambda connection: letters.edit(connection, configured, message_id, document))
    click.echo(f"{message_id} is tried again with the new payload.")
    return OK


@handoffs.command("test")
@_route
@click.option(
    "--message", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with what arrives: the body of a delivery, as JSON; of email: a mail, as it is; of mcp: "
    "operation and arguments, as JSON.",
)  # fmt: skip
@_json
def try_route(*, route: str, message: Path, as_json: bool) -> int:
    """Show every step that a route makes of a message, without any effect. A model that it names is really asked.

    Exit code 1: it would become a dead letter.
    """
    from tasks.handoffs.routes import transformation_of

    configured = one_route(route)
    found = _arriving(configured, message)
    model = _model(configured)
    transformation = transformation_of(configured, model)
    steps = []
    for one in found:
        said: dict[str, Any] = {}
        if model is not None and transformation.passes(one.attributes):
            said = {"model": asyncio.run(model.try_out(one.attributes))}
        result = transformation.apply(one.attributes)
        ending = "dead letter" if result.problems else "handed on" if result.passed else "ignored by `when`"
        steps.append(
            {
                "message_id": one.message_id,
                "conversation": result.conversation or one.conversation,
                "document": one.attributes,
                **said,
                "fields": dict(result.fields),
                "payload": result.payload,
                "problems": list(result.problems),
                "target": configured.target.model_dump(mode="json"),
                "becomes": ending,
            }
        )
    if as_json:
        echo_json(steps)
    else:
        for step in steps:
            for name_, value in step.items():
                told = json.dumps(value, ensure_ascii=False, indent=2) if isinstance(value, dict | list) else value
                click.echo(f"{name_}: {told}")
            click.echo()
    return FINDINGS if any(step["problems"] for step in steps) else OK


def _model(route: Route) -> ModelLead | None:
    """Who finds the leads of `route` by rules and a model; None: it has none.

    Raises:
        ConfigurationError: its block is not there.
        UnavailableError: Prefect, which knows the block, does not answer.
    """
    if route.model is None:
        return None
    import httpx

    from blocks.errors import UnavailableError
    from lama.commands.session import as_client

    as_client(settings())  # before Prefect is imported
    from tasks.handoffs.routes import model_of

    try:
        return asyncio.run(model_of(route))
    except httpx.TransportError as error:
        raise UnavailableError(
            f"does not answer, and knows the block {route.model!r}: {type(error).__name__}.",
            component="prefect", remedy="Start it with `lama up`.",
        ) from error  # fmt: skip


def _arriving(route: Route, path: Path) -> list[Message]:
    """What the file at `path` holds, as the source of `route` would give it."""
    kind, _, name = route.source.partition(":")
    if kind == "email":
        from tasks.mail.taking import take_mail

        raw = path.read_bytes()
        if len(raw) > _LARGEST_MAIL:
            raise click.UsageError(f"{path} is larger than {_LARGEST_MAIL} bytes.")
        now = datetime.now(UTC)
        return [take_mail(route.source, raw, sender=None, recipients=(), received_at=now).message]
    from tasks.handoffs.arrivals import call_of, messages_of

    text = _read(path)
    if kind == "mcp":
        return [call_of(name, text.encode(), _json_of(text))]
    return messages_of(
        kind, name, delivery_id="test", event="", content_type="application/json", body=text.encode(),
        payload=_json_of(text),
    )  # fmt: skip


def _read(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise click.UsageError(f"{path} is larger than {_LARGEST} bytes.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {type(error).__name__}.") from error


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"that is no JSON: {error}.") from error


def _object(text: str) -> dict[str, Any]:
    document = _json_of(text)
    if not isinstance(document, dict):
        raise click.UsageError("a payload is a JSON object, in braces.")
    return document


def _shares(one: Standing) -> dict[str, float | None]:
    return {
        "share": one.share,
        "accuracy": one.accuracy,
        "completeness": one.completeness,
        "timeliness": one.timeliness,
    }


def _table(found: list[Standing], hours: float) -> None:
    from rich.table import Table

    table = Table(title=f"Handoffs of the last {hours:g} hours")
    for heading in (
        "route",
        "delivered",
        "dead",
        "success",
        "accuracy",
        "complete",
        "in time",
        "p95",
        "waiting",
        "oldest",
    ):
        table.add_column(heading)
    for one in found:
        shares = [_percent(value) for value in _shares(one).values()]
        p95 = "" if one.p95_s is None else f"{one.p95_s:.2f} s"
        oldest = f"{one.oldest_s:.0f} s" if one.backlog else ""
        table.add_row(one.route, str(one.delivered), str(one.dead_letters), *shares, p95, str(one.backlog), oldest)
    console().print(table)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"

"""Routes as commands name them, and `lama handoffs routes`: whether each can be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.terminal import console, echo_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.handoff_route import Route
    from tasks.handoffs.readiness import Need
    from tasks.handoffs.route_set import RouteSet

_AWAY = "unknown: Prefect does not answer"


class RouteName(click.ParamType[str]):
    """The name of a route, of `lama.toml` or of a block."""

    name = "route"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin like this."""
        known = known_routes(timeout_s=1.0, say=False)
        return [CompletionItem(one.name) for one in known.routes if one.name.startswith(incomplete)]


def known_routes(*, timeout_s: float = 5.0, places: bool = False, say: bool = True) -> RouteSet:
    """The routes that there are; what could not be looked at, or not be used, is said on standard error."""
    from tasks.handoffs.route_set import load_routes

    known = load_routes(settings(), timeout_s=timeout_s, places=places)
    if say and known.unseen is not None:
        click.echo(f"Routes that are blocks could not be looked at: {known.unseen}", err=True)
    for fault in known.faults if say else ():
        click.echo(f"The block {fault.name} cannot be used: {fault.reason}.", err=True)
    return known


def one_route(name: str) -> Route:
    """The route called `name`.

    Raises:
        ConfigurationError: there is no such route, or it is a block that cannot be used.
        UnavailableError: it may be a block, and Prefect does not answer.
    """
    return known_routes(say=False).one(name)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def routes(*, as_json: bool) -> int:
    """List the routes: where each is written, from where to where, whether it can be read and what it needs is there.

    Exit code 1: one cannot be used.
    """
    from rich.markup import escape
    from rich.table import Table

    from tasks.handoffs.readiness import faults, needs_of

    known = known_routes(places=True, say=not as_json)
    configured = known.routes
    needs = [needs_of(route) for route in configured]
    there = _states([need for of_route in needs for need in of_route])
    states = [[there[need] for need in of_route] for of_route in needs]
    wrong = [faults(route) for route in configured]
    usable = not any(wrong) and not known.faults and "missing" not in there.values()
    if as_json:
        echo_json(
            [
                {
                    "route": route.name, "place": known.places[route.name], "source": route.source,
                    "target": _target(route), "faults": found,
                    "needs": [
                        {"kind": need.kind, "name": need.name, "state": state}
                        for need, state in zip(of_route, of_state, strict=True)
                    ],
                }
                for route, found, of_route, of_state in zip(configured, wrong, needs, states, strict=True)
            ]
            + [
                {
                    "route": fault.name, "place": f"block {fault.name}", "source": fault.source, "target": None,
                    "faults": [fault.reason], "needs": [],
                }
                for fault in known.faults
            ]
        )  # fmt: skip
        if known.unseen is not None:
            click.echo(f"Routes that are blocks could not be looked at: {known.unseen}", err=True)
    elif not configured:
        click.echo("There is no route; docs/handoffs.md shows one.")
    else:
        table = Table("route", "written in", "source", "target", "expressions", "needs")
        for route, found, of_route, of_state in zip(configured, wrong, needs, states, strict=True):
            told = "\n".join(
                f"{need.kind} {need.name}: {state}" for need, state in zip(of_route, of_state, strict=True)
            )
            place = Path(known.places[route.name]).name
            cells = (route.name, place, route.source, _target(route), "\n".join(found) or "ok", told)
            table.add_row(*(escape(cell) for cell in cells))
        console().print(table)
    return OK if usable else FINDINGS


def _states(needs: Sequence[Need]) -> dict[Need, str]:
    """For each of `needs`: there, missing, or that it is not known."""
    from blocks.errors import LamaError
    from blocks.prefect_api import PrefectApi

    found = dict.fromkeys(needs, _AWAY)
    with PrefectApi(settings(), timeout_s=5.0) as api:
        for need in found:
            try:
                there = api.has_block(need.slug, need.name) if need.slug else api.has_deployment(need.name)
            except LamaError:
                break
            found[need] = "there" if there else "missing"
    return found


def _target(route: Route) -> str:
    """Where `route` leads to, without what an address may hold beside its place."""
    from urllib.parse import urlsplit

    told = route.target.model_dump()
    if told["kind"] == "http":
        parts = urlsplit(told["url"])
        return f"http {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return " ".join([told["kind"], *(str(told[name]) for name in ("deployment", "system") if name in told)])

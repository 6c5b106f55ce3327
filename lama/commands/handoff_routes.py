"""Routes as commands name them, and `lama handoffs routes`: whether each can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.terminal import console, echo_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.handoff_route import HandoffsSettings, Route
    from tasks.handoffs.readiness import Need

_AWAY = "unknown: Prefect does not answer"


class RouteName(click.ParamType[str]):
    """The name of a route of `lama.toml`."""

    name = "route"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin like this."""
        return [CompletionItem(one.name) for one in configured_handoffs().routes if one.name.startswith(incomplete)]


def configured_handoffs() -> HandoffsSettings:
    """`[handoffs]` of `lama.toml`."""
    from blocks.configuration import load_configuration

    return load_configuration(settings()).handoffs


def one_route(name: str) -> Route:
    """The route called `name`.

    Raises:
        ConfigurationError: there is no such route.
    """
    from tasks.handoffs.routes import chosen

    return chosen(configured_handoffs(), [name])[0]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def routes(*, as_json: bool) -> int:
    """List the routes: from where to where, whether their expressions can be read, whether what they need is there.

    Exit code 1: one cannot be used.
    """
    from rich.markup import escape
    from rich.table import Table

    from tasks.handoffs.readiness import faults, needs_of

    configured = configured_handoffs().routes
    needs = [needs_of(route) for route in configured]
    known = _states([need for of_route in needs for need in of_route])
    states = [[known[need] for need in of_route] for of_route in needs]
    wrong = [faults(route) for route in configured]
    usable = not any(wrong) and "missing" not in known.values()
    if as_json:
        echo_json(
            [
                {
                    "route": route.name, "source": route.source, "target": _target(route), "faults": found,
                    "needs": [
                        {"kind": need.kind, "name": need.name, "state": state}
                        for need, state in zip(of_route, of_state, strict=True)
                    ],
                }
                for route, found, of_route, of_state in zip(configured, wrong, needs, states, strict=True)
            ]
        )  # fmt: skip
    elif not configured:
        click.echo("There is no route in lama.toml; docs/handoffs.md shows one.")
    else:
        table = Table("route", "source", "target", "expressions", "needs")
        for route, found, of_route, of_state in zip(configured, wrong, needs, states, strict=True):
            told = "\n".join(
                f"{need.kind} {need.name}: {state}" for need, state in zip(of_route, of_state, strict=True)
            )
            cells = (route.name, route.source, _target(route), "\n".join(found) or "ok", told)
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

"""Routes as commands name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from blocks.settings import settings

if TYPE_CHECKING:
    from models.handoff_route import HandoffsSettings, Route


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

"""Groups of commands that are imported when they are called, so that help and completion wait for none of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


def imported(place: str) -> click.Command:
    """The command at `package.module:attribute`."""
    module, _, attribute = place.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


class LazyGroup(click.Group):
    """Knows the commands of its own file, and by name those of others.

    Args:
        elsewhere: commands that other files have, `name` -> `module:attribute`.
        more: what click's own group takes.
    """

    def __init__(self, *, elsewhere: Mapping[str, str], **more: Any) -> None:
        super().__init__(**more)
        self._elsewhere = elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return [*super().list_commands(ctx), *self._elsewhere]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself; imports its file."""
        place = self._elsewhere.get(cmd_name)
        return super().get_command(ctx, cmd_name) if place is None else imported(place)

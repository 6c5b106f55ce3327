"""`lama secret`: secrets go into files of mode 0600, never into arguments, where every process list shows them."""

from __future__ import annotations

import re
import sys

import click

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$")


@click.command()
@click.argument("name")
@click.option("--add", is_flag=True, help="Keep the secrets that are there and add this one, for rotation.")
def secret(*, name: str, add: bool) -> None:
    """Keep the secret NAME, read from standard input or a hidden prompt.

    `webhooks/github` is the secret of the webhook source `github`.
    """
    from blocks.home import Home
    from blocks.settings import settings

    if not _NAME.match(name):
        raise click.UsageError(f"{name!r} is no name of a secret: lower-case letters, digits, '.', '_', '-', one '/'.")
    value = click.prompt("Secret", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    value = value.strip()
    if not value:
        raise click.UsageError("the secret is empty.")
    home = Home(settings())
    home.prepare()
    path = home.secrets / name
    if add and path.exists():
        value = f"{path.read_text(encoding='utf-8').rstrip()}\n{value}"
    click.echo(f"Kept in {home.write_secret(name, value)}.")

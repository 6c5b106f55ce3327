"""`lama completion` and `lama env`: what a shell evaluates."""

from __future__ import annotations

import shlex

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    For example: `eval "$(lama completion bash)"` in ~/.bashrc
    """
    from lama.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"no completion for {shell}.")
    click.echo(kind(cli, {}, "lama", "_LAMA_COMPLETE").source())


@click.command()
def env() -> None:
    """Print the variables with which Python and the prefect command speak to this platform.

    For example: `eval "$(lama env)"`
    """
    from blocks.prefect_server import client_environment
    from blocks.settings import settings

    config = settings()
    for name, value in client_environment(config).items():
        if name == "PREFECT_API_AUTH_STRING":
            click.echo(f'export {name}="$LAMA_PREFECT_AUTH"')  # by reference: it is not for the screen
        else:
            click.echo(f"export {name}={shlex.quote(value)}")

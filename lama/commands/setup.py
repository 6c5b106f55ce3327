"""`lama setup` and `lama serve`: the pieces of `lama up`, for where something else supervises (containers, systemd)."""

from __future__ import annotations

import os

import click

from blocks.errors import ConfigurationError
from blocks.settings import settings
from lama.cli import OK


@click.command()
@click.argument("what", type=click.Choice(["database", "deployments"]))
def setup(what: str) -> int:
    """Prepare the database and its schema, or bring Prefect to what prefect.yaml and lama.toml say.

    Both may be repeated at any time. `lama up` does them by itself.
    """
    from blocks.configuration import load_configuration
    from deployments.schema import create_databases, upgrade
    from lama.commands.session import apply_deployments, as_client

    config = settings()
    if what == "database":
        create_databases(config)
        upgrade(config)
        click.echo("The databases are there, and their schema is the newest.")
        return OK
    configuration = load_configuration(config)
    as_client(config)
    for name in apply_deployments(configuration.timetable):
        click.echo(f"Applied {name}.")
    return OK


@click.command()
@click.argument("name", type=click.Choice(["prefect", "worker", "gateway", "graph", "mail", "mcp"]))
def serve(name: str) -> None:
    """Run one process of the platform in the foreground, in the place of this command.

    For containers and systemd; on a machine of your own `lama up` supervises them all.
    """
    from blocks.home import Home
    from deployments.guard import refuse_unguarded
    from deployments.programs import programs

    config = settings()
    refuse_unguarded(config, name)
    Home(config).prepare()
    program = programs(config).get(name)
    if program is None:
        guide = {"mcp": "docs/handoffs.md", "graph": "docs/graph-server.md"}.get(name, f"docs/{name}.md")
        raise ConfigurationError(f"lama.toml asks for no {name}.", component=name, remedy=f"{guide} says how to.")
    environment = os.environ | dict(program.environment) | {"LAMA_COMPONENT": name}
    del environment["LAMA_INSTANCE"]  # it marks what `lama up` and `lama down` of this home may end
    os.execve(program.command[0], program.command, environment)  # noqa: S606 - a list of our own, no shell

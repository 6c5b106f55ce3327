"""`lama graph cypher`: a question in Cypher, which reads and can do nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from lama.cli import OK
from lama.commands.graph import on_graph
from lama.commands.terminal import console, echo_json, printable


@click.command()
@click.argument("query", metavar="QUERY")
@click.option("--read-only", is_flag=True, default=True, help="It is always: writing is what `lama graph ingest` does.")
@click.option(
    "--param", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="A value for $NAME; may be JSON."
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def cypher(*, query: str, read_only: bool, parameters: tuple[str, ...], as_json: bool) -> int:
    """Ask QUERY, in Cypher; `-` reads it from standard input. Nothing can be changed by it."""
    from rich.markup import escape
    from rich.table import Table

    from blocks.configuration import load_configuration
    from blocks.graph_access import GraphAccess
    from blocks.settings import settings
    from tasks.graph.reading import Limits
    from tasks.graph.reading import query as ask

    del read_only
    config = settings()
    limits = Limits.of(load_configuration(config).graph)
    text = sys.stdin.read() if query == "-" else query
    answer = on_graph(ask(GraphAccess.of(config, reader=True), text, dict(map(_parameter, parameters)), limits=limits))
    if as_json:
        echo_json({"columns": answer.columns, "rows": answer.rows, "cut": answer.cut, "seconds": answer.seconds})
        return OK
    table = Table(*(escape(printable(name)) for name in answer.columns))
    for row in answer.rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    console().print(table)
    if answer.cut:
        click.echo(f"There are more than {limits.rows:,} rows; query_rows of [graph] says how many are told.", err=True)
    return OK


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--param {text!r}: write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _cell(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))

"""`lama documents`: read property documents, and see what they say."""

from __future__ import annotations

from typing import Any

import click

from blocks.settings import settings
from lama.cli import COULD_NOT, OK
from lama.commands.database import with_database
from lama.commands.terminal import console, echo_json, printable, starting
from models.health_check import ReportLevel
from models.report import Severity

_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group()
def documents() -> None:
    """Read contracts, leases and deeds into fields, and see what was read."""


@documents.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--again", is_flag=True, help="Read also what was read before.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@_json
def read(*, paths: tuple[str, ...], again: bool, timeout_s: float, as_json: bool) -> int:
    """Read PATHs, files or folders; without one, the folders of lama.toml.

    Exit code 1: a document holds what it should not; 2: a page could not be read.
    """
    from blocks.configuration import load_configuration
    from lama.commands.reporting import exit_code, named_or_absolute, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.documents import DocumentsReport

    load_configuration(settings())
    parameters: dict[str, Any] = {"again": again}
    if paths:
        parameters["paths"] = [named_or_absolute(path) for path in paths]
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report("documents", parameters, DocumentsReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


@documents.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_json
def list_(*, limit: int, as_json: bool) -> int:
    """List what was read, the latest first."""
    from rich.table import Table

    from models.documents import DocumentRead, shown
    from tasks.documents.kept import listed

    found = with_database(lambda connection: listed(connection, limit=limit))
    if as_json:
        echo_json(found)
        return OK
    table = Table("digest", "name", "read", "pages", "says")
    for one in found:
        document = DocumentRead.model_validate(one["document"])
        says = "; ".join(f"{field.name} {shown(field.value)}" for field in document.fields[:6])
        pages = f"{len(document.read)} of {document.pages}"
        table.add_row(one["sha256"][:12], printable(one["name"]), one["read_at"][:16], pages, printable(says))
    console().print(table)
    return OK


@documents.command()
@click.argument("digest")
def forget(*, digest: str) -> int:
    """Take out what was read from the document whose digest begins with DIGEST. The file itself stays."""
    from tasks.documents.kept import forget as take_out

    if len(digest) < 6 or any(letter not in "0123456789abcdef" for letter in digest):
        raise click.UsageError("DIGEST is the first 6 or more digits of one, as `lama documents list` shows them.")
    if with_database(lambda connection: take_out(connection, digest)):
        click.echo("It was taken out.")
        return OK
    click.echo("There is no such document, or more than one.", err=True)
    return COULD_NOT

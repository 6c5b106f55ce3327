"""`lama graph ingest` and `lama graph forget`."""

from __future__ import annotations

import click

from lama.commands.reporting import exit_code, named_or_absolute, run_for_report, show
from lama.commands.terminal import starting
from models.graph_report import Source
from models.health_check import ReportLevel
from models.report import Severity


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--source", "sources", multiple=True, type=click.Choice([one.value for one in Source]),
    help="Only from this source; may be repeated.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def ingest(*, paths: tuple[str, ...], sources: tuple[str, ...], dry_run: bool, timeout_s: float, as_json: bool) -> int:
    """Bring the graph to what its sources say: the checkouts at PATHs, or all that are configured.

    PATH may be a name of lama.toml. Exit code 2: something could not be read; what the graph knew of that stands.
    """
    if "" in paths:
        raise click.UsageError("a PATH is empty.")
    parameters: dict[str, object] = {"dry_run": dry_run}
    if paths:
        parameters["checkouts"] = [named_or_absolute(text) for text in paths]
    if sources:
        parameters["sources"] = list(sources)
    return _run(parameters, timeout_s=timeout_s, as_json=as_json)


@click.command()
@click.argument("checkouts", nargs=-1, required=True, metavar="CHECKOUT...")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def forget(*, checkouts: tuple[str, ...], dry_run: bool, timeout_s: float, as_json: bool) -> int:
    """Take all that the graph has of CHECKOUTs, by their names in the graph, out of it; it stays in the history."""
    return _run({"forget": list(checkouts), "dry_run": dry_run}, timeout_s=timeout_s, as_json=as_json)


def _run(parameters: dict[str, object], *, timeout_s: float, as_json: bool) -> int:
    from blocks.settings import settings
    from lama.commands.session import platform_for_a_run, refuse_without_graph
    from models.graph_report import GraphReport

    refuse_without_graph(settings())
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe, "graph-ingest"):
        report = run_for_report("graph-ingest", parameters, GraphReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.critical)

"""`lama advisories`: the local copy of known vulnerabilities."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blocks.settings import settings
from lama.cli import COULD_NOT, FINDINGS, OK
from lama.commands.terminal import console, echo_json, starting
from models.health_check import ReportLevel
from models.report import Severity

if TYPE_CHECKING:
    from models.advisories import AdvisoriesSettings
    from tasks.advisories.standing import Standing

DEPLOYMENT = "advisories"


@click.group()
def advisories() -> None:
    """Keep a local copy of known vulnerabilities: `update` it, `import` files, ask for its `status`."""


@advisories.command()
@click.option("--ecosystem", "ecosystems", multiple=True, help="Only this one, by OSV's name: PyPI, npm, Debian:12.")
@click.option("--no-exploitation", is_flag=True, help="Leave out EPSS's scores and CISA's catalogue.")
@click.option("--dry-run", is_flag=True, help="Only ask which files have changed.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def update(
    *, ecosystems: tuple[str, ...], no_exploitation: bool, dry_run: bool, timeout_s: float, as_json: bool
) -> int:
    """Fetch what has changed, and build the index.

    Exit code 1: a copy is stale all the same; 2: a file could not be had.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from models.report import Report

    parameters: dict[str, object] = {"exploitation": not no_exploitation, "dry_run": dry_run}
    if ecosystems:
        parameters["ecosystems"] = list(ecosystems)
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe):
        report = run_for_report(DEPLOYMENT, parameters, Report, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.medium)


@advisories.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(*, as_json: bool) -> int:
    """Show what there is, how old it is, and what is wrong with it. Needs no platform.

    Exit code 1: something is stale; 2: something cannot be used, or there is nothing.
    """
    from tasks.advisories.standing import standings

    chosen, folder = _mirror()
    now = datetime.now(UTC)
    found = standings(chosen, folder, now=now)
    if as_json:
        echo_json({"folder": str(folder), "copies": [dataclasses.asdict(one) for one in found]})
    elif not found:
        click.echo(f"There is no local copy in {folder}: `lama advisories update` fetches one.")
    else:
        _table(found, folder, now)
    if not found or any(one.problem for one in found):
        return COULD_NOT
    return FINDINGS if any(one.stale for one in found) else OK


@advisories.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option("--ecosystem", help="What a zip is of, where neither its folder nor its name says so.")
@click.option(
    "--fetched",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="When they were fetched from where they come from (UTC).",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was taken as JSON.")
def import_(*, paths: tuple[Path, ...], ecosystem: str | None, fetched: datetime | None, as_json: bool) -> int:
    """Take files that were brought here, and build the index. Needs neither the platform nor a network.

    PATH is a folder laid out as `<ecosystem>/all.zip`, a zip, EPSS's CSV or CISA's JSON. Exit code 2: what was taken
    cannot be used, or not all of it.
    """
    from tasks.advisories.importing import import_files
    from tasks.advisories.standing import standings

    chosen, folder = _mirror()
    now = datetime.now(UTC)
    taken = import_files(
        paths,
        folder,
        now=now,
        ecosystem=ecosystem,
        fetched_at=fetched.replace(tzinfo=UTC) if fetched is not None else None,
        observe=None if as_json else _progress,
    )
    places = {folder / one.path for one in taken}
    problems = {
        one.name: one.problem for one in standings(chosen, folder, now=now) if one.place in places and one.problem
    }
    if as_json:
        echo_json({"folder": str(folder), "taken": [one.path for one in taken], "problems": problems})
        return COULD_NOT if problems else OK
    for one in taken:
        click.echo(f"Taken: {one.path} ({one.size / 1e6:.1f} MB).")
    for name, problem in problems.items():
        click.echo(f"{name}: {problem}.", err=True)
    return COULD_NOT if problems else OK


def _mirror() -> tuple[AdvisoriesSettings, Path]:
    from blocks.configuration import load_configuration
    from tasks.advisories.known import mirror_of

    config = settings()
    chosen = load_configuration(config).advisories
    return chosen, mirror_of(chosen, config.home)


def _progress(ecosystem: str, done: int, total: int) -> None:
    if done == total:
        click.echo(f"  {ecosystem}: {total} records", err=True)


def _table(found: tuple[Standing, ...], folder: Path, now: datetime) -> None:
    from rich.table import Table

    from tasks.reports.render import plain

    table = Table(
        "copy", "records", "as of", "age", "fetched", "size", "", title=plain(str(folder)), title_justify="left"
    )
    for one in found:
        age = f"{(now - one.as_of).total_seconds() / 86_400:.1f} days" if one.as_of else ""
        table.add_row(
            plain(one.name),
            "" if one.records is None else f"{one.records:,}",
            f"{one.as_of:%Y-%m-%d %H:%M}" if one.as_of else "",
            age,
            f"{one.fetched_at:%Y-%m-%d %H:%M}" if one.fetched_at else "",
            f"{one.size / 1e6:.1f} MB" if one.size else "",
            plain(one.problem) or ("stale" if one.stale else "ok"),
        )
    console().print(table)

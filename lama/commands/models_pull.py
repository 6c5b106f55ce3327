"""`lama models pull`: fetch a model of the hub into the Lama home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import settings
from lama.cli import OK
from lama.commands.models_host import ModelName
from lama.commands.terminal import console, echo_json, printable

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.model_host.hub import Fetch


@click.command("pull")
@click.argument("model", type=ModelName(), metavar="MODEL")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched, and what it would take.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def pull_model(*, model: str, dry_run: bool, as_json: bool) -> int:
    """Fetch the files of MODEL, whose source is `hub:...`, into the Lama home; the model host never does by itself.

    Nothing is fetched that the disk or the memory has no room for. Called again, it goes on where it was interrupted;
    called when all is there, it looks whether the hub has a newer commit of that revision.
    """
    from blocks.configuration import load_configuration
    from blocks.gpus import chosen_gpus
    from tasks.model_host.hub import look
    from tasks.model_host.opening import memory_of
    from tasks.model_host.plan import shown
    from tasks.model_host.sources import catalogue

    configured = load_configuration(settings()).model_host
    entry = next((one for one in catalogue(configured) if one.name == model), None)
    if entry is None:
        raise ConfigurationError(
            f"there is no model {model!r} in the catalogue.",
            component="model_host",
            remedy="Write it into lama.toml, with the source hub:OWNER/NAME.",
        )
    if entry.place[0] != "hub":
        raise ConfigurationError(
            f"its source is {entry.source}: there is nothing to fetch.",
            component=entry.name,
            remedy="It is used as it is.",
        )
    gpus = chosen_gpus(configured.device)
    cache = Home(settings()).models
    smallest = min(gpus, key=lambda gpu: gpu.memory_bytes, default=None)  # each of several has the whole catalogue
    together = max((len(group) for group in configured.groups), default=1) if gpus else 1
    memory = memory_of(configured, smallest) * together
    fetch = look(entry, cache, device="cuda" if gpus else "cpu", memory_bytes=memory)
    if not dry_run:
        folder = _fetched(entry.name, fetch, cache, quiet=as_json)
    if as_json:
        files = [{"name": one.name, "bytes": one.bytes, "fetched": one.fetched or not dry_run} for one in fetch.files]
        echo_json({
            "model": entry.name, "repository": fetch.place.repo, "revision": fetch.place.revision,
            "commit": fetch.commit, "total_bytes": fetch.total_bytes,
            "fetched_bytes": 0 if dry_run else fetch.left_bytes, "left_bytes": fetch.left_bytes if dry_run else 0,
            "memory_bytes": fetch.takes_bytes, "files": files,
        })  # fmt: skip
        return OK
    if dry_run:
        for one in fetch.files:
            click.echo(f"{shown(one.bytes):>12}  {printable(one.name)}{'  (is here)' if one.fetched else ''}")
    else:
        click.echo(f"{entry.name}: is in {folder}.")
    verb = "would be fetched" if dry_run else "were fetched"
    click.echo(
        f"{shown(fetch.left_bytes)} of {shown(fetch.total_bytes)} {verb}, commit {fetch.commit[:12]}; "
        f"it takes about {shown(fetch.takes_bytes)} of memory; {shown(fetch.free_bytes)} of the disk were free."
    )
    return OK


def _fetched(name: str, fetch: Fetch, cache: Path, *, quiet: bool) -> str:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from tasks.model_host.hub import pull

    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console(),
        disable=quiet or not console().is_terminal,
    ) as progress:  # fmt: skip
        tasks = {
            one.name: progress.add_task(printable(one.name), total=one.bytes) for one in fetch.files if not one.fetched
        }

        def heard(file: str, more: int) -> None:
            if file in tasks:
                progress.advance(tasks[file], more)

        return str(pull(fetch, cache, heard=heard, component=name).folder)

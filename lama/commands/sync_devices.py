"""`lama sync devices` and `lama sync verify`: who takes part, and whether all of it is sound."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.sync import opened_store, sync_settings
from lama.commands.terminal import console, echo_json


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def devices(ctx: click.Context, *, as_json: bool) -> int:
    """List the devices of the vault. Compare a fingerprint with what `lama sync join` prints before you approve."""
    if ctx.invoked_subcommand is not None:
        return OK
    from rich.table import Table

    with opened_store() as (identity, vault):
        found = vault.devices()
        problems = vault.problems()
        name = vault.id
    if as_json:
        echo_json({"vault": name, "self": identity.id, "devices": [asdict(one) for one in found]})
        return OK
    click.echo(f"Vault {name}")
    table = Table("device", "state", "platform", "registered", "last seen", "fingerprint")
    for one in found:
        here = " (this one)" if one.id == identity.id else ""
        table.add_row(
            f"{one.id}{here}",
            one.state.value,
            one.platform,
            _when(one.registered),
            _when(one.last_seen),
            one.fingerprint,
        )
    console().print(table)
    for problem in problems:
        click.echo(f"{problem.component}: {problem.what}", err=True)
    return FINDINGS if problems else OK


@devices.command()
@click.argument("device")
def approve(*, device: str) -> int:
    """Let DEVICE in, which asked for it by `lama sync join`."""
    with opened_store() as (_, vault):
        waiting = next((one for one in vault.devices() if one.id == device), None)
        if waiting is None:
            raise click.UsageError(f"no device {device} asks to be let in.")
        vault.approve(device)
    click.echo(f"{device} takes part. Its fingerprint is {waiting.fingerprint}.")
    return OK


@devices.command()
@click.argument("device")
@click.confirmation_option(prompt="It will get no further key, and nothing newer of it is believed. Go ahead?")
def revoke(*, device: str) -> int:
    """Shut DEVICE out. What it has read, it has."""
    with opened_store() as (_, vault):
        vault.revoke(device)
    click.echo(f"{device} is shut out.")
    return OK


@devices.command()
@click.option("--keep-keys", is_flag=True, help="The home moved here for good: stay the same device.")
def reset(*, keep_keys: bool) -> int:
    """Make this home, copied from other hardware, a device of its own."""
    from blocks.home import Home
    from tasks.sync.identity import Identity
    from tasks.sync.opened import device_name

    identity = Identity.reset(Home(settings()), device_name(sync_settings()), keep_keys=keep_keys)
    click.echo(f"This device is {identity.id}.")
    return OK


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def verify(*, as_json: bool) -> int:
    """Hash everything again, here and in the store. Exit code 1: something is not what it should be."""
    from models.sync_store import Progress, StoreProblem
    from tasks.sync.verify import verify_here, verify_mirror

    wanted = sync_settings()
    told: list[StoreProblem | Progress] = []
    if wanted.kind == "mirror":
        what = "files of the mirror"
        for category in wanted.categories:
            told += verify_mirror(settings(), wanted, category)
    else:
        what = "objects"
        with opened_store() as (identity, vault):
            for category in wanted.categories:
                told += verify_here(settings(), identity.id, category, vault)
            *problems, last = vault.verify()
            told += [*(one for one in problems if isinstance(one, StoreProblem)), last]
    found = [one for one in told if isinstance(one, StoreProblem)]
    count = sum(one.done for one in told if isinstance(one, Progress))
    if as_json:
        echo_json({"objects": count, "problems": [asdict(one) for one in found]})
    else:
        for one in found:
            click.echo(f"{one.component}: {one.what}")
        click.echo(f"{count} {what} were read, {len(found)} problems found.")
    return FINDINGS if found else OK


def _when(at: int | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")

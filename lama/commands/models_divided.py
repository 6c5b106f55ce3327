"""`lama models plan --devices N`: what each of several cards takes of models that are divided over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lama.cli import FINDINGS, OK
from lama.commands.terminal import console, echo_json, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.model_host.counting import Counted
    from tasks.model_host.divided_plan import DividedItem, DividedPlan
    from tasks.model_host.division import Part
    from tasks.model_host.plan import Device


def plan_divided(models: Sequence[Counted], device: Device, devices: int, *, as_json: bool) -> int:
    """Print what each card takes, or give it as JSON. Returns the exit code: 1, where something does not fit."""
    from tasks.model_host.divided_plan import make_divided_plan

    if device.kind != "cuda":
        raise click.UsageError("the CPU is one device; give --device or --memory with --devices.")
    made = make_divided_plan(models, device, devices)
    if as_json:
        echo_json(made.model_dump(mode="json") | {"lacks_bytes": made.lacks_bytes, "taken_bytes": list(made.taken)})
    else:
        _print(made)
    return OK if made.fits else FINDINGS


def _print(made: DividedPlan) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tasks.model_host.plan import shown

    table = Table("model", "held as", "card", "layers")
    for heading in ("weights", "KV a token", "context", "its KV", "workspace", "takes", "reserve"):
        table.add_column(heading, justify="right")
    for item in made.items:
        for part in item.parts:
            table.add_row(
                escape(printable(item.name)) if part.card == 0 else "",
                item.quantisation.value if part.card == 0 else "",
                str(part.card),
                "" if part.layers is None else "{}-{}".format(*part.layers),
                shown(part.footprint.weights),
                shown(part.footprint.kv_per_token),
                f"{item.context_window:,}",
                shown(_kv(item, part)),
                shown(part.footprint.workspace),
                shown(part.takes_bytes),
                "" if item.reserve_bytes is None else shown(item.reserve_bytes),
            )
    console().print(table)
    for item in made.items:
        for line in _told(item, made):
            click.echo(line)
    room = made.device.usable_bytes
    for card, taken in enumerate(made.taken):
        click.echo(f"Card {card}: {shown(taken)} of the {shown(room)} of {made.device.name} that models may use.")
    told = f"Charged on every card are {shown(made.takes_bytes)}"
    if made.reserved_bytes:
        told += f", and {shown(made.reserved_bytes)} are reserved"
    left = room - max(made.takes_bytes, made.reserved_bytes)
    verdict = f"{shown(made.lacks_bytes)} are lacking" if made.lacks_bytes else f"{shown(left)} are left"
    click.echo(f"{told}: of each, {verdict}.")


def _kv(item: DividedItem, part: Part) -> int:
    return part.footprint.kv_per_token * item.context_window


def _told(item: DividedItem, made: DividedPlan) -> list[str]:
    """Sentences about a model."""
    from tasks.model_host.plan import shown

    name = printable(item.name)
    if item.fits:
        return [f"{name}: one card would hold it, too."] if item.needs_no_division else [f"{name}: fits, divided."]
    room = made.device.usable_bytes if item.reserve_bytes is None else item.reserve_bytes
    where = "its reserve on a card" if item.reserve_bytes is not None else f"a {made.device.name}"
    lines = [f"{name}: {shown(item.takes_bytes - room)} more than {where} has."]
    if item.longest_context:
        lines.append(f"  As it is, it fits with a context of up to {item.longest_context:,} tokens.")
    elif item.charged.weights > room:
        lines.append(f"  Its weights alone are {shown(item.charged.weights - room)} too many on a card.")
    else:
        lines.append("  Its weights fit; with the workspace of a step there is no room for a token of context.")
    return lines

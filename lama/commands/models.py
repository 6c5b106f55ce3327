"""`lama models`: which models there are, and what memory they take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from lama.cli import FINDINGS, OK
from lama.commands.lazy_group import LazyGroup
from lama.commands.terminal import console, echo_json, printable
from models.model_host import Quantisation

if TYPE_CHECKING:
    from tasks.model_host.counting import Counted
    from tasks.model_host.plan import Device, Item, Plan

T = TypeVar("T")

_ELSEWHERE = {
    "list": "lama.commands.models_host:list_models",
    "status": "lama.commands.models_host:show_status",
    "load": "lama.commands.models_host:load_model",
    "unload": "lama.commands.models_host:unload_model",
    "reserve": "lama.commands.models_host:reserve_memory",
    "release": "lama.commands.models_host:release_memory",
    "pull": "lama.commands.models_pull:pull_model",
    "chat": "lama.commands.models_chat:chat",
}
"""Commands of this group that other modules have, `name` -> `module:attribute`; imported when one is called."""


@click.group(cls=LazyGroup, elsewhere=_ELSEWHERE)
def models() -> None:
    """Language models: what they take, which are loaded, who may have which memory."""


@models.command()
@click.option("--device", "device_name", help="A known card, such as h200; `list` prints all. By default this machine.")
@click.option(
    "--devices",
    type=click.IntRange(2, 64),
    help="So many of those cards, each model divided over all; --reserve and --memory are then those of each card.",
)
@click.option("--memory", help="Memory that models may use, such as 141GB or 80GiB, instead of a card's.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A config.json, model folder or GGUF file instead of the catalogue in lama.toml; may be repeated.",
)
@click.option("--reserve", "reserves", multiple=True, help="Reserve of each --config, in their order, or one for all.")
@click.option(
    "--quantisation",
    "quantisations",
    multiple=True,
    type=click.Choice([one.value for one in Quantisation]),
    help="How the weights of each --config are held, in their order, or one for all.",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    type=click.IntRange(min=16),
    help="Context window of each --config in tokens, in their order, or one for all; by default the model's own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def plan(
    *,
    device_name: str | None,
    devices: int | None,
    memory: str | None,
    configs: tuple[Path, ...],
    reserves: tuple[str, ...],
    quantisations: tuple[str, ...],
    contexts: tuple[int, ...],
    as_json: bool,
) -> int:
    """Say what models would take, from their headers alone: no weights are needed.

    Exit code 1: something does not fit.
    """
    from tasks.model_host.plan import DEVICES, make_plan, shown

    if device_name == "list":
        for device in DEVICES.values():
            click.echo(f"{device.name:<12}{shown(device.memory_bytes):>10}  {device.source}")
        return OK
    if not configs and (reserves or quantisations or contexts):
        raise click.UsageError("--reserve, --quantisation and --context say something about each --config.")
    device = _device(device_name, memory)
    counted = _given(configs, reserves, quantisations, contexts) if configs else _catalogue()
    if devices is None and device_name is None and memory is None and device.kind == "cuda":
        devices = _own_group()
    if devices is not None:
        from lama.commands.models_divided import plan_divided

        return plan_divided(counted, device, devices, as_json=as_json)
    made = make_plan(counted, device)
    if as_json:
        echo_json(made.model_dump(mode="json") | {"lacks_bytes": made.lacks_bytes})
    else:
        _print(made)
    return OK if made.fits else FINDINGS


def _device(name: str | None, memory: str | None) -> Device:
    from tasks.model_host.plan import DEVICES, Device

    if name is not None and memory is not None:
        raise click.UsageError("give --device or --memory, not both.")
    if memory is not None:
        size = _size(memory)
        return Device(name="the given memory", memory_bytes=size, usable_bytes=size)
    if name is not None:
        if name.lower() not in DEVICES:
            raise click.UsageError(f"{name!r} is not known; there are {', '.join(DEVICES)}. Or give --memory.")
        return DEVICES[name.lower()]
    return _own_device()


def _own_device() -> Device:
    """What the models of this machine are on: of several GPUs the smallest, because each has the whole catalogue."""
    import psutil

    from blocks.configuration import load_configuration
    from blocks.gpus import chosen_gpus
    from blocks.settings import settings
    from tasks.model_host.loading import packs_nf4
    from tasks.model_host.plan import USABLE, Device

    configured = load_configuration(settings()).model_host
    if gpus := chosen_gpus(configured.device):
        gpu = min(gpus, key=lambda one: one.memory_bytes)
        return Device(
            name=gpu.name if len(gpus) == 1 else f"{gpu.name}, the smallest of {len(gpus)} GPUs",
            memory_bytes=gpu.memory_bytes,
            usable_bytes=configured.memory_bytes or int(gpu.memory_bytes * USABLE),
        )
    total = int(psutil.virtual_memory().total)
    usable = configured.memory_bytes or total // 2
    return Device(
        name="the CPU of this machine", memory_bytes=total, usable_bytes=usable, kind="cpu", packs_nf4=packs_nf4()
    )


def _own_group() -> int | None:
    """How many GPUs a group of this machine has, of several the smallest; None: each GPU has a host of its own."""
    from blocks.configuration import load_configuration
    from blocks.settings import settings

    return min((len(group) for group in load_configuration(settings()).model_host.groups), default=None)


def _given(
    configs: tuple[Path, ...], reserves: tuple[str, ...], quantisations: tuple[str, ...], contexts: tuple[int, ...]
) -> list[Counted]:
    from tasks.model_host.counting import count_path

    count = len(configs)
    held = _each("--quantisation", quantisations, count)
    windows = _each("--context", contexts, count)
    promised = [None if text is None else _size(text) for text in _each("--reserve", reserves, count)]
    return [
        count_path(
            path.expanduser(),
            Quantisation(how) if how is not None else Quantisation.stored,
            context=window,
            reserve_bytes=reserve,
        )
        for path, how, window, reserve in zip(configs, held, windows, promised, strict=True)
    ]


def _each(option: str, values: tuple[T, ...], count: int) -> tuple[T | None, ...]:
    """A value for each of `count` models."""
    if len(values) not in {0, 1, count}:
        raise click.UsageError(f"{option} is there {len(values)} times for {count} times --config.")
    return values if len(values) == count else (values or (None,)) * count


def _catalogue() -> list[Counted]:
    from blocks.configuration import load_configuration
    from blocks.errors import ConfigurationError
    from blocks.settings import settings
    from tasks.model_host.counting import count
    from tasks.model_host.sources import catalogue

    entries = catalogue(load_configuration(settings()).model_host)
    if not entries:
        raise ConfigurationError(
            "there are no models.", component="model_host", remedy="Write [[model_host.models]], or give --config."
        )
    return [count(entry) for entry in entries]


def _size(text: str) -> int:
    from tasks.model_host.plan import size_of

    try:
        return size_of(text)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def _print(made: Plan) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tasks.model_host.plan import shown

    table = Table("model", "held as")
    for heading in ("weights", "KV a token", "context", "its KV", "workspace", "takes", "reserve"):
        table.add_column(heading, justify="right")
    table.add_column("fits")
    for item in made.items:
        table.add_row(
            escape(printable(item.name)),
            item.quantisation.value,
            shown(item.footprint.weights),
            shown(item.footprint.kv_per_token),
            f"{item.context_window:,}",
            shown(item.kv_bytes),
            shown(item.footprint.workspace),
            shown(item.takes_bytes),
            "" if item.reserve_bytes is None else shown(item.reserve_bytes),
            "yes" if item.fits else "no",
        )
    console().print(table)
    for item in made.items:
        for line in _told(item, made.device):
            click.echo(line)
    device = made.device
    whole = f"{shown(device.usable_bytes)} of {device.name} that models may use"
    if device.usable_bytes != device.memory_bytes:
        whole += f" (it has {shown(device.memory_bytes)})"
    left = device.usable_bytes - max(made.takes_bytes, made.reserved_bytes)
    told = f"All together they take {shown(made.takes_bytes)}"
    if made.reserved_bytes:
        told += f", and {shown(made.reserved_bytes)} are reserved"
    verdict = f"{shown(made.lacks_bytes)} are lacking" if made.lacks_bytes else f"{shown(left)} are left"
    click.echo(f"{told}; of the {whole}, {verdict}.")
    bare = sum(item.footprint.resident - item.footprint.kv_fixed for item in made.items)
    if made.lacks_bytes and len(made.items) > 1:
        rest = device.usable_bytes - bare
        words = f"which leaves {shown(rest)} for contexts" if rest >= 0 else f"{shown(-rest)} too many"
        click.echo(f"Weights and workspaces alone take {shown(bare)}, {words}.")


def _told(item: Item, device: Device) -> list[str]:
    """Sentences about a model that does not fit."""
    from tasks.model_host.plan import shown

    if item.fits:
        return []
    room = device.usable_bytes if item.reserve_bytes is None else item.reserve_bytes
    where = "its reserve" if item.reserve_bytes is not None else device.name
    name = printable(item.name)
    lines = [f"{name}: {shown(item.takes_bytes - room)} more than {where} has."]
    if item.longest_context:
        lines.append(f"  As it is, it fits with a context of up to {item.longest_context:,} tokens.")
    elif item.footprint.weights > room:
        lines.append(f"  Its weights alone are {shown(item.footprint.weights - room)} too many.")
    else:
        lines.append("  Its weights fit; with the workspace of a step there is no room for a token of context.")
    for other in item.alternatives:
        if other.takes_bytes <= room:
            lines.append(f"  As {other.quantisation.value} it fits with its whole context.")
        elif other.longest_context:
            lines.append(
                f"  As {other.quantisation.value} it fits with a context of up to {other.longest_context:,} tokens."
            )
    if not item.longest_context and not any(other.longest_context for other in item.alternatives):
        lines.append("  It fits in no form that is known here.")
    return lines

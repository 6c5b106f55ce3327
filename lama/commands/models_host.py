"""`lama models list|status|load|unload|reserve|release`: what the model host holds, and telling it what to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from blocks.errors import LamaError
from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.terminal import console, echo_json, printable
from models.model_host import ModelState, Priority
from tasks.model_host.plan import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from blocks.model_host_api import ModelHostApi
    from models.model_host import HostStatus, ModelDone, ModelStatus


class ModelName(click.ParamType[str]):
    """The name of a model of the catalogue.

    Args:
        also: another word that is taken in its place.
    """

    name = "model"

    def __init__(self, *also: str) -> None:
        self._also = also

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names of the catalogue that begin like this; asks no host."""
        from blocks.configuration import load_configuration
        from tasks.model_host.sources import catalogue

        try:
            entries = catalogue(load_configuration(settings()).model_host)
        except LamaError:
            return []  # a shell that is completing has no place for words
        names = [*self._also, *(entry.name for entry in entries)]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class Bytes(click.ParamType[int]):
    """An amount of memory: `40GB`, `38.5GiB`, `1000000`."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """How many bytes `value` is."""
        if isinstance(value, int):
            return value
        from tasks.model_host.plan import size_of

        try:
            return size_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_model = click.argument("model", type=ModelName(), metavar="MODEL")
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_priority = click.option(
    "--priority", type=click.Choice([one.name for one in Priority]), help="Whose turn it is first."
)


_device = click.option(
    "--device", metavar="DEVICE", help="The number or UUID of one device, where there are several, or `all`."
)


def _host() -> ModelHostApi:
    from blocks.model_host_api import ModelHostApi

    return ModelHostApi(settings())


@click.command("list")
@_json
def list_models(*, as_json: bool) -> int:
    """List the models of the catalogue: where each is, and what it takes, on all devices.

    Exit code 1: one failed to load, or a device does not answer.
    """
    with _host() as host:
        status = host.status()
    if as_json:
        echo_json([one.model_dump(mode="json") for one in status.models])
    else:
        console().print(_table(status))
    _say_unseen(status)
    return FINDINGS if status.incomplete or any(one.error for one in status.models) else OK


@click.command("status")
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@_json
def show_status(*, watch: bool, as_json: bool) -> int:
    """Show each device: how much memory it has, who holds it, and what was promised.

    Exit code 1: a device does not answer.
    """
    with _host() as host:
        if not watch:
            status = host.status()
            echo_json(status.model_dump(mode="json")) if as_json else console().print(_whole(status))
            return FINDINGS if status.incomplete else OK
        if as_json:
            for status in host.watch():
                click.echo(status.model_dump_json())
            return OK
        from rich.live import Live

        shown_on = console()
        if not shown_on.is_terminal:
            for status in host.watch():
                shown_on.print(_whole(status))
            return OK
        with Live(console=shown_on, auto_refresh=False) as live:
            for status in host.watch():
                live.update(_whole(status), refresh=True)
    return OK


@click.command("load")
@_model
@_priority
@_device
@_json
def load_model(*, model: str, priority: str | None, device: str | None, as_json: bool) -> int:
    """Load MODEL now, so that its first request need not wait; of several devices, where it fits best."""
    started = time.monotonic()
    with _host() as host:
        status = host.load(model, None if priority is None else Priority[priority], device)
    return _told(status, as_json=as_json, did=f"loaded in {time.monotonic() - started:.1f} s")


@click.command("unload")
@_model
@_device
@_json
def unload_model(*, model: str, device: str | None, as_json: bool) -> int:
    """Unload MODEL, once nobody is served by it; of several devices, from all.

    Exit code 1: a device that is meant does not answer.
    """
    with _host() as host:
        status = host.unload(model, device)
    return _told(status, as_json=as_json, did="unloaded")


@click.command("reserve")
@_model
@click.argument("memory", type=Bytes(), metavar="MEMORY")
@click.option("--context", "context_window", type=click.IntRange(min=16),
              help="Tokens of context that it holds beside the weights; by default the model's window.")  # fmt: skip
@click.option("--priority", type=click.Choice([one.name for one in Priority]), default="high", show_default=True,
              help="`high` is guaranteed: it is kept whether it is used or not.")  # fmt: skip
@click.option("--no-sharing", is_flag=True, help="Lend nothing of it to others while it is not used.")
@_device
@_json
def reserve_memory(
    *,
    model: str,
    memory: int,
    context_window: int | None,
    priority: str,
    no_sharing: bool,
    device: str | None,
    as_json: bool,
) -> int:
    """Promise MEMORY, such as 40GB, to MODEL; of several devices, so much of each.

    Until the host ends, or `maintain-models` (every hour) brings the reserves to what lama.toml says: what is to stay
    is written there, as `reserve_bytes`. Exit code 1: a device that is meant does not answer.
    """
    with _host() as host:
        windows = {one.name: one.context_window for one in host.status().models}
        window = context_window or windows.get(model)
        promised = {"bytes": memory, "priority": Priority[priority].value, "sharing": not no_sharing}
        status = host.reserve(model, promised | ({"context_window": window} if window else {}), device)
    if as_json:
        echo_json(status.model_dump(mode="json"))
    else:
        several = len(status.devices) > 1
        where = f" on {'each device' if device in {None, 'all'} else f'device {device}'}" if several else ""
        click.echo(f"{model}: {shown(memory)} reserved{where}; {shown(_left(status))} are promised to nobody.")
    _say_unseen(status)
    return _reached(status, device)


@click.command("release")
@_model
@_device
@_json
def release_memory(*, model: str, device: str | None, as_json: bool) -> int:
    """Take the reserve of MODEL back.

    Exit code 1: a device that is meant does not answer.
    """
    with _host() as host:
        status = host.release(model, device)
    if as_json:
        echo_json(status.model_dump(mode="json"))
    else:
        kept = next((one.reserve_bytes for one in status.models if one.name == model), 0)
        rest = f"{shown(kept)} are still reserved on other devices" if kept else "nothing is reserved"
        click.echo(f"{model}: {rest}; {shown(_left(status))} are promised to nobody.")
    _say_unseen(status)
    return _reached(status, device)


def _told(status: ModelDone, *, as_json: bool, did: str) -> int:
    if as_json:
        echo_json(status.model_dump(mode="json"))
    else:
        there = status.state is ModelState.ready and status.held_bytes is not None
        held = f"; it holds {shown(status.held_bytes or 0)}" if there else ""
        click.echo(f"{status.name}: {did}{held}.")
    _say_unseen(status)
    return FINDINGS if status.incomplete else OK


def _say_unseen(status: HostStatus | ModelDone) -> None:
    for one in status.incomplete:
        click.echo(f"lama: device {one.device}: {printable(one.reason)}", err=True)


def _reached(status: HostStatus, device: str | None) -> int:
    """The exit code of what was told to `device`."""
    return FINDINGS if status.incomplete and device in {None, "all"} else OK


def _whole(status: HostStatus) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    several = bool(status.devices or status.incomplete)
    parts: list[RenderableType] = []
    for one in status.each:
        head = (
            (f"{one.number}: " if several else "")
            + f"{one.device} {one.device_uuid}".rstrip()
            + f": {shown(one.used_bytes)} of {shown(one.capacity_bytes)} held, "
            f"{shown(one.leased_bytes)} of it by requests; {shown(one.reserved_bytes)} reserved; "
            f"{shown(one.parked_bytes)} parked; {one.jobs} runs; fragmentation {one.fragmentation:.0%}"
        )
        parts += [Text(head), _table(one, measured=True)]
    parts += [Text(f"{gone.device}: {printable(gone.reason)}") for gone in status.incomplete]
    return Group(*parts)


def _table(status: HostStatus, *, measured: bool = False) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    headings: tuple[str, ...] = (
        "model", "state", "on", "kind", "engine", "weights as", "priority", "context", "takes", "a token", "reserve",
        "requests", "shares with", "error",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [_row(one, _where(one, status)) for one in status.models]
    if measured:
        headings += ("predicted", "measured", "difference")
        rows = [(*row, *_measured(one)) for row, one in zip(rows, status.models, strict=True)]
    shown_ones = [n for n, heading in enumerate(headings) if n < 2 or any(row[n] for row in rows)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for n in shown_ones:
        table.add_column(headings[n], overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(row[n])) for n in shown_ones))
    return table


def _where(model: ModelStatus, status: HostStatus) -> str:
    """Numbers of the devices on which a model is."""
    return ", ".join(
        str(device.number)
        for device in status.devices
        for one in device.models
        if one.name == model.name and one.state is not ModelState.absent
    )


def _row(one: ModelStatus, where: str) -> tuple[str, ...]:
    size = ""
    if one.held_bytes is not None:
        size = shown(one.held_bytes)
    elif one.predicted is not None:
        size = f"~{shown(one.predicted.resident)}"
    return (
        one.name, one.state.value, where, one.kind.value, one.engine.value, one.quantisation.value, one.priority.name,
        f"{one.context_window:,}", size,
        shown(one.predicted.kv_per_token) if one.predicted is not None and one.predicted.kv_per_token else "",
        shown(one.reserve_bytes) if one.reserve_bytes else "",
        f"{one.running} and {one.waiting} waiting" if one.waiting else str(one.running or ""),
        ", ".join(one.shares_with), one.error,
    )  # fmt: skip


def _measured(one: ModelStatus) -> tuple[str, str, str]:
    """What was predicted of the parts that were measured, what these took, and by how much that is more."""
    if one.measured is None or one.predicted is None or one.difference_bytes is None:
        return "", "", ""
    predicted = one.measured.predicted(one.predicted)
    return shown(predicted), shown(one.measured.total), f"{one.difference_bytes / max(1, predicted):+.2%}"


def _left(status: HostStatus) -> int:
    return max(0, status.capacity_bytes - status.reserved_bytes)

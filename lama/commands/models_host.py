"""`lama models list|status|load|unload|reserve|release|chat`: what the model host holds, and telling it what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.terminal import console, echo_json, printable
from models.model_host import Priority
from tasks.model_host.plan import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from blocks.model_host_api import ModelHostApi
    from models.model_host import HostStatus, ModelStatus


class ModelName(click.ParamType[str]):
    """The name of a model of the catalogue."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names of `lama.toml` that begin like this."""
        from blocks.configuration import load_configuration

        names = [entry.name for entry in load_configuration(settings()).model_host.models]
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


def _host() -> ModelHostApi:
    from blocks.model_host_api import ModelHostApi

    return ModelHostApi(settings())


@click.command("list")
@_json
def list_models(*, as_json: bool) -> int:
    """List the models of the catalogue: where each is, and what it takes. Exit code 1: one failed to load."""
    with _host() as host:
        status = host.status()
    if as_json:
        echo_json([one.model_dump(mode="json") for one in status.models])
    else:
        console().print(_table(status))
    return FINDINGS if any(one.error for one in status.models) else OK


@click.command("status")
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@_json
def show_status(*, watch: bool, as_json: bool) -> int:
    """Show the device: how much memory it has, who holds it, and what was promised."""
    with _host() as host:
        if not watch:
            status = host.status()
            echo_json(status.model_dump(mode="json")) if as_json else console().print(_whole(status))
            return OK
        if as_json:
            for status in host.watch():
                click.echo(status.model_dump_json())
            return OK
        from rich.live import Live

        with Live(console=console(), auto_refresh=False) as live:
            for status in host.watch():
                live.update(_whole(status), refresh=True)
    return OK


@click.command("load")
@_model
@_priority
@_json
def load_model(*, model: str, priority: str | None, as_json: bool) -> int:
    """Load MODEL now, so that its first request need not wait."""
    started = time.monotonic()
    with _host() as host:
        status = host.load(model, None if priority is None else Priority[priority])
    return _told(status, as_json=as_json, did=f"loaded in {time.monotonic() - started:.1f} s")


@click.command("unload")
@_model
@_json
def unload_model(*, model: str, as_json: bool) -> int:
    """Unload MODEL, once nobody is served by it."""
    with _host() as host:
        status = host.unload(model)
    return _told(status, as_json=as_json, did="unloaded")


@click.command("reserve")
@_model
@click.argument("memory", type=Bytes(), metavar="MEMORY")
@click.option("--context", "context_window", type=click.IntRange(min=16), default=4096, show_default=True,
              help="Tokens of context that the reserve has to hold beside the weights.")  # fmt: skip
@click.option("--priority", type=click.Choice([one.name for one in Priority]), default="high", show_default=True,
              help="`high` is guaranteed: it is kept whether it is used or not.")  # fmt: skip
@click.option("--no-sharing", is_flag=True, help="Lend nothing of it to others while it is not used.")
@_json
def reserve_memory(
    *, model: str, memory: int, context_window: int, priority: str, no_sharing: bool, as_json: bool
) -> int:
    """Promise MEMORY, such as 40GB, to MODEL until the host ends; `reserve_bytes` in lama.toml is for ever."""
    promised = {
        "bytes": memory, "context_window": context_window, "priority": Priority[priority].value,
        "sharing": not no_sharing,
    }  # fmt: skip
    with _host() as host:
        status = host.reserve(model, promised)
    if as_json:
        echo_json(status.model_dump(mode="json"))
    else:
        click.echo(f"{model}: {shown(memory)} reserved; {shown(_left(status))} are promised to nobody.")
    return OK


@click.command("release")
@_model
@_json
def release_memory(*, model: str, as_json: bool) -> int:
    """Take the reserve of MODEL back."""
    with _host() as host:
        status = host.release(model)
    if as_json:
        echo_json(status.model_dump(mode="json"))
    else:
        click.echo(f"{model}: nothing is reserved; {shown(_left(status))} are promised to nobody.")
    return OK


@click.command("chat")
@click.argument("model", type=ModelName(), metavar="[MODEL]", default="auto")
@click.option("--message", "-m", help="Ask this one question, print the answer, and end.")
@click.option("--system", help="What the model is told first.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.7, show_default=True, help="0: always the same.")
def chat(*, model: str, message: str | None, system: str | None, max_tokens: int, temperature: float) -> int:
    """Talk to MODEL; without one, to the one that fits best. An empty line or Ctrl-D ends it."""
    messages = [{"role": "system", "content": system}] if system else []
    with _host() as host:
        for question in [message] if message is not None else _questions():
            messages.append({"role": "user", "content": question})
            answer = _answer(host, model, messages, max_tokens=max_tokens, temperature=temperature)
            messages.append({"role": "assistant", "content": answer})
    return OK


def _questions() -> Iterator[str]:
    while True:
        try:
            line = click.prompt(">", prompt_suffix=" ", default="", show_default=False)
        except click.Abort:
            return
        if not line.strip():
            return
        yield line


def _answer(host: ModelHostApi, model: str, messages: list[dict[str, str]], **sampling: Any) -> str:
    said: list[str] = []
    usage: dict[str, Any] = {}
    answering = model
    started, first_s = time.monotonic(), 0.0
    for event in host.chat(model, messages, **sampling):
        answering = event.get("model", answering)
        usage = event.get("usage") or usage
        for choice in event.get("choices", ()):
            text = choice.get("delta", {}).get("content") or ""
            if text and not said:
                first_s = time.monotonic() - started
            said.append(text)
            click.echo(printable(text, keep="\n\t"), nl=False)
    took = time.monotonic() - started
    tokens = int(usage.get("completion_tokens", 0))
    click.echo()
    speed = f", {tokens / (took - first_s):.0f} tokens/s" if took > first_s and tokens > 1 else ""
    click.echo(f"[{answering}: {tokens} tokens, first after {first_s:.2f} s{speed}]", err=True)
    return "".join(said)


def _told(status: ModelStatus, *, as_json: bool, did: str) -> int:
    if as_json:
        echo_json(status.model_dump(mode="json"))
    else:
        held = "" if status.measured_bytes is None else f"; it holds {shown(status.measured_bytes)}"
        click.echo(f"{status.name}: {did}{held}.")
    return OK


def _whole(status: HostStatus) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    head = (
        f"{status.device} {status.device_uuid}".rstrip()
        + f": {shown(status.used_bytes)} of {shown(status.capacity_bytes)} held, "
        f"{shown(status.leased_bytes)} of it by requests; {shown(status.reserved_bytes)} reserved; "
        f"{shown(status.parked_bytes)} parked; {status.jobs} runs; fragmentation {status.fragmentation:.0%}"
    )
    return Group(Text(head), _table(status))


def _table(status: HostStatus) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "state", "kind", "engine", "weights as", "priority", "context", "takes", "per token",
                  "reserve", "requests", "shares with")  # fmt: skip
    for one in status.models:
        takes = one.measured_bytes if one.measured_bytes is not None else None
        predicted = one.predicted.resident if one.predicted is not None else None
        size = shown(takes) if takes is not None else f"~{shown(predicted)}" if predicted is not None else ""
        row = (
            one.name,
            f"{one.state.value}: {one.error}" if one.error else one.state.value,
            one.kind.value, one.engine.value, one.quantisation.value, one.priority.name, f"{one.context_window:,}",
            size,
            shown(one.predicted.kv_per_token) if one.predicted is not None and one.predicted.kv_per_token else "",
            shown(one.reserve_bytes) if one.reserve_bytes else "",
            f"{one.running}+{one.waiting}" if one.waiting else str(one.running),
            ", ".join(one.shares_with),
        )  # fmt: skip
        table.add_row(*(escape(cell) for cell in row))
    return table


def _left(status: HostStatus) -> int:
    return max(0, status.capacity_bytes - status.reserved_bytes)

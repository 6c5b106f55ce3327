"""What commands show while they work: one line a step on a pipe, a spinner on a terminal."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import click


def echo_json(value: Any) -> None:
    """Print `value` as one JSON document, for machines."""
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


@contextlib.contextmanager
def starting(*, quiet: bool = False) -> Iterator[Callable[[str, str], None]]:
    """Shows the start of the platform; gives the observer that `Platform.start` calls."""
    began = time.monotonic()
    told: set[tuple[str, str]] = set()

    def line(name: str, event: str) -> None:
        if (name, event) in told or event == "starting":
            return
        told.add((name, event))
        mark = click.style("✓", fg="green") if event == "ready" else click.style("!", fg="yellow")
        click.echo(f"  {mark} {name:<10} {event} ({time.monotonic() - began:.1f} s)", err=True)

    if quiet:
        yield lambda _name, _event: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield line
        return
    with console.status("Starting the platform ...") as status:
        waiting: dict[str, None] = {}

        def observe(name: str, event: str) -> None:
            if event == "ready":
                waiting.pop(name, None)
            else:
                waiting[name] = None
            status.update(f"Starting {', '.join(waiting)} ..." if waiting else "Almost there ...")
            line(name, event)

        yield observe

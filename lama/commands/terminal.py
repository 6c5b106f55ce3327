"""What commands show while they work: one line a step on a pipe, a spinner on a terminal."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


_PIPE_COLUMNS = 120


def echo_json(value: Any) -> None:
    """Print `value` as one JSON document, for machines."""
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def printable(text: str, *, keep: str = "") -> str:
    """What a stranger wrote, without what a terminal would obey; control characters of `keep` stay."""
    return "".join(letter if letter in keep or letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def console() -> Console:
    """Standard output: as wide as the terminal, or 120 columns where there is none and COLUMNS does not say."""
    from rich.console import Console

    # shutil knows COLUMNS; rich does not tell a width that it was given from one that it made up
    return Console() if sys.stdout.isatty() else Console(width=shutil.get_terminal_size((_PIPE_COLUMNS, 0)).columns)


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

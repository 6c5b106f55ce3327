"""When the sources of a checkout, or the templates, change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.health_check import Checkout

_QUIET_MS = 200
_SUFFIXES = (".py", ".pyi", ".yaml", ".toml")


def changes(checkout: Checkout, templates: Path | None, output: Path) -> Iterator[None]:
    """One value for every burst of changes, until Ctrl-C.

    What is written into `output`, caches, and folders such as `.git` and `node_modules` count for nothing.
    """
    from watchfiles import Change, DefaultFilter, watch  # noqa: PLC0415 - only for those who watch

    by_default = DefaultFilter()
    places = [checkout.path, *([templates] if templates is not None else [])]
    # As the system spells them, since that is how changes are told.
    ours, theirs = output.resolve(), None if templates is None else templates.resolve()

    def matters(change: Change, name: str) -> bool:
        path = Path(name)
        if path.is_relative_to(ours) or not by_default(change, name):
            return False
        if theirs is not None and path.is_relative_to(theirs):
            return True
        return name.endswith(_SUFFIXES) or not path.suffix  # a folder that was renamed has no suffix

    for _ in watch(*places, watch_filter=matters, debounce=_QUIET_MS, raise_interrupt=True):
        yield

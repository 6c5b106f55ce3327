"""Pages rendered by several processes at once.

They are forked, so that what was read is there without being sent; only pages come back. Where a process cannot be
forked safely (threads run, or the system has no fork), this one renders alone.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from blocks.errors import UnavailableError

P = TypeVar("P")

_painter: _Painter[Any] | None = None
"""What the forked processes render with: they have it from their parent."""


class _Painter(Protocol[P]):
    def pages(self, paths: Sequence[str]) -> list[tuple[str, P]]:
        """The pages of several modules."""
        raise NotImplementedError


def rendered_in_processes(painter: _Painter[P], batches: Sequence[Sequence[str]], jobs: int) -> Iterator[tuple[str, P]]:
    """The pages of all `batches`, in their order, by `jobs` processes.

    Raises:
        UnavailableError: a process died; by whatever killed it.
    """
    global _painter  # noqa: PLW0603 - the one way to hand something to a forked process unsent
    if sys.platform != "linux" or threading.active_count() > 1:
        for batch in batches:
            yield from painter.pages(batch)
        return
    _painter = painter
    gc.freeze()  # what is there stays in the pages of memory that are shared
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(min(jobs, len(batches)), mp_context=context, initializer=gc.disable) as executor:
            futures = [executor.submit(_render, batch) for batch in batches]
            futures.reverse()
            while futures:
                yield from futures.pop().result()
    except BrokenProcessPool as error:
        raise UnavailableError(
            "a process that rendered pages was killed.", component="docs", remedy="Is there enough memory?"
        ) from error
    finally:
        gc.unfreeze()
        _painter = None


def _render(paths: Sequence[str]) -> list[tuple[str, Any]]:
    if _painter is None:
        raise RuntimeError("this process was not forked from one that renders")
    return _painter.pages(paths)

"""One core for each piece of work: the folds are what runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, trees and clusters use one core of this thread.

    Teams of OpenMP wait for their slowest by spinning: on a machine that others use as well, two threads take ten times
    as long as one.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(limits=1, user_api="openmp"):
        yield

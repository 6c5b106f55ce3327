"""Time limits within an engine's process. Of the standard library alone: the engines load it by path."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType


class TooSlowError(BaseException):
    """The time for one piece of work is over. No `Exception`: libraries that take those for a result must not."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends what runs in it after `seconds`, by a `TooSlowError`. In the main thread only."""
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Deadline:
    """The end of the time for all of the work."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._end

    def __str__(self) -> str:
        return f"the {self._seconds:.0f} s were over before its turn; what was seen is remembered, so scan again."


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlowError

"""How long somebody still waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Patience:
    """Seconds that somebody waits; while it stands still, none of them pass.

    Args:
        seconds: infinite: he waits for as long as it takes.
        clock: seconds that only go forward.
        over: called once they have passed.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], over: Callable[[], None]) -> None:
        self._left = seconds
        self._clock = clock
        self._over = over
        self._since: float | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Let time pass from now on."""
        if self._since is None:
            self._since = self._clock()
            self._set()

    def stand(self) -> None:
        """Let no time pass from now on."""
        if self._since is not None:
            self._left -= self._clock() - self._since
            self._since = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set(self) -> None:
        if math.isfinite(self._left):
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, self._left), self._ring)

    def _ring(self) -> None:
        self.stand()
        if self._left <= 0:
            self._over()
        else:  # the clock is another one than that of the event loop
            self.run()

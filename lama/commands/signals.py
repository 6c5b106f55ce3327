"""How what stays up until it is told to end is told so."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError

if TYPE_CHECKING:
    from types import FrameType


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (systemd, `kill`) ends us as Ctrl-C does; also where the shell made us ignore SIGINT.

    Raises:
        ConfigurationError: this is not the main thread.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored: `nohup` wants us to outlive the terminal
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, interrupt) for number in numbers}
    except ValueError as error:
        raise ConfigurationError("This has to run in the main thread.") from error
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()

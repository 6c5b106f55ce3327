"""Processes of tests that end with the process of the tests, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def to_us() -> Callable[[], None]:
    """For `preexec_fn`: the kernel kills the child once the thread that started it is gone (Linux only)."""
    parent = os.getpid()

    def bind() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before that
                os._exit(1)

    return bind

"""Runs a command as a process, and watches the memory that it and all that it starts take."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Watched:
    """How it went."""

    code: int
    output: str
    errors: str
    seconds: float
    peak_bytes: int
    """Most resident memory of all of them together; pages that forked processes share are counted once for each."""


def watched(
    command: Sequence[str], *, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Watched:
    """Run `command` to its end; fifty times a second its memory is looked at.

    Raises:
        subprocess.TimeoutExpired: it ran for longer than `timeout_s` seconds, and was killed.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not done.wait(0.02):
            total = 0
            try:
                for one in [root, *root.children(recursive=True)]:
                    total += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, errors = process.communicate(timeout=timeout_s)
        seconds = time.perf_counter() - begun
    finally:
        done.set()
        watcher.join()
        process.kill()
    return Watched(process.returncode, output, errors, seconds, peak)

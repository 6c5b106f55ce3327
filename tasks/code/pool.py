"""Reads many files with several processes. One that dies of a file costs that file, and a new one reads the rest."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from tasks.code.worker import HEAD, READY

Answer = tuple[int, list[bytes]]
"""(1, [reason, content, b"", b""]) or (0, [content, module, index, words])."""

_HOUSE = Path(__file__).parents[2]
_CHUNK_FILES = 16
_CHUNK_BYTES = 400_000
_AHEAD = 2
_FILE_S = 60.0
_START_S = 60.0


class PoolError(Exception):
    """No process could be started."""


class _Died(Exception):  # noqa: N818 - no error of ours
    pass


class _Process:
    """One reading process, and what it has been asked and not answered."""

    def __init__(self, root: str) -> None:
        self.asked: deque[deque[int]] = deque()
        self._buffer = bytearray()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tasks.code.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=_HOUSE,
                start_new_session=True,
            )
        except OSError as error:
            raise PoolError(str(error)) from error
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        try:
            self._send(orjson.dumps(root))
            if bytes(self._read(len(READY), time.monotonic() + _START_S)) != READY:
                raise PoolError("a reading process does not speak as it should")
        except _Died as error:
            self.close()
            raise PoolError("a reading process does not start") from error

    def ask(self, requests: list[list[object]]) -> None:
        """Have these files read."""
        self.asked.append(deque(int(str(request[0])) for request in requests))
        with contextlib.suppress(_Died):  # found when its answer is read
            self._send(orjson.dumps(requests))

    def next(self) -> tuple[int, Answer]:
        """The next answer."""
        deadline = time.monotonic() + _FILE_S
        number, failed, *lengths = HEAD.unpack(self._read(HEAD.size, deadline))
        parts = [bytes(self._read(length, deadline)) for length in lengths]
        self.asked[0].popleft()
        if not self.asked[0]:
            self.asked.popleft()
        return number, (failed, parts)

    def fate(self) -> str:
        """How it ended, in words; it is ended where it has not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        code = self._process.poll()
        self.close()
        if code is None:
            return f"reading it took longer than {_FILE_S:g} s"
        name = signal.Signals(-code).name if code < 0 else f"code {code}"
        return f"the process that read it died of it ({name})"

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _send(self, frame: bytes) -> None:
        data = len(frame).to_bytes(4) + frame
        try:
            while data:
                data = data[os.write(self._input, data) :]
        except OSError as error:
            raise _Died from error

    def _read(self, length: int, deadline: float) -> bytearray:
        while len(self._buffer) < length:
            ready, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._output, 1 << 20) if ready else b""
            if not part:
                raise _Died
            self._buffer += part
        piece = self._buffer[:length]
        del self._buffer[:length]
        return piece


def read_many(
    root: str,
    requests: Sequence[list[object]],
    sizes: Sequence[int],
    jobs: int,
    take: Callable[[int, Answer], None],
) -> None:
    """Have `requests` (number, module, package, place, stub) read by `jobs` processes; `take` is given each answer.

    `take` is called by one thread at a time. Every request is answered, that of a file which kills its process too.

    Raises:
        PoolError: no process could be started; some may have been answered.
    """
    # The largest first: at the end no process is left alone with a large one.
    order = sorted(range(len(requests)), key=lambda place: -sizes[place])
    todo: deque[list[list[object]]] = deque()
    chunk: list[list[object]] = []
    volume = 0
    for place in order:
        chunk.append(requests[place])
        volume += sizes[place]
        if len(chunk) >= _CHUNK_FILES or volume >= _CHUNK_BYTES:
            todo.append(chunk)
            chunk, volume = [], 0
    if chunk:
        todo.append(chunk)
    by_number = {int(str(request[0])): request for request in requests}
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            _work(root, todo, by_number, lock, take)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, min(jobs, len(todo))))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _work(
    root: str,
    todo: deque[list[list[object]]],
    by_number: dict[int, list[object]],
    lock: threading.Lock,
    take: Callable[[int, Answer], None],
) -> None:
    process: _Process | None = None
    try:
        while True:
            if process is None:
                if not todo:
                    return
                process = _Process(root)
            while len(process.asked) < _AHEAD:
                try:
                    process.ask(todo.popleft())
                except IndexError:
                    break
            if not process.asked:
                return
            try:
                number, answer = process.next()
            except _Died:
                left = [number for chunk in process.asked for number in chunk]
                number, answer = left[0], (1, [process.fate().encode(), b"", b"", b""])
                process = None
                if left[1:]:
                    todo.append([by_number[one] for one in left[1:]])
            with lock:
                take(number, answer)
    finally:
        if process is not None:
            process.close()

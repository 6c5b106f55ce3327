"""The worker's side of one fork server: starting it, asking for children, hearing how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from blocks.errors import StartError
from deployments.fork_protocol import GROUP, PACKET_BYTES, RunRequest, packet

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

_FORK_LIMIT_S = 30.0

_PROGRAM = Path(__file__).with_name("fork_server.py")


class ForkRefusedError(StartError):
    """The fork server could not make a child; nothing of the run has happened."""


class ModuleUnfitError(StartError):
    """Importing a module ended the fork server, or left threads that no child would have."""

    def __init__(self, module: str, why: str) -> None:
        super().__init__(why, component=f"module {module}" if module else "fork server")
        self.module = module


class ForkedProcess:
    """One run's process. Looks to Prefect as `anyio.abc.Process` does: `pid`, `returncode`, `wait()`."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Wait for the end; the exit status, or minus the number of the signal that ended it."""
        await self._ended.wait()
        assert self.returncode is not None  # noqa: S101 - set before the event
        return self.returncode

    def end(self, status: int) -> None:
        """Record how it ended."""
        if self.returncode is None:
            self.returncode = status
            self._ended.set()


class ForkServerClient:
    """One fork server, from its start to the end of its last run."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._runs: dict[str, ForkedProcess] = {}
        self._numbers = 0
        self._retired = False
        self._importing = ""
        self._ready: asyncio.Future[None] | None = None
        self._refused: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the fork server."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it can be asked for children."""
        return self._control is not None and self._ready is not None and self._ready.done()

    async def start(
        self, checkout: Path, modules: Iterable[str], environment: Mapping[str, str], time_limit_s: float
    ) -> None:
        """Start it and wait until it has imported everything.

        Raises:
            ModuleUnfitError: it did not survive the import of a module.
            StartError: it could not be started, or was not ready in time.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        try:
            # A session of its own: what is sent to the worker's group must not reach it before the worker has
            # dealt with its runs.
            self._process = subprocess.Popen(  # noqa: ASYNC220 - two milliseconds; asyncio's own reaps it unasked
                [sys.executable, str(_PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL, cwd=checkout, env=dict(environment),
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise StartError(f"cannot be started: {error}", component="fork server") from error
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        self._control, self._ready = ours, loop.create_future()
        loop.add_reader(ours, self._hear)
        try:
            ours.send(packet(checkout=str(checkout), modules=list(modules)))
            async with asyncio.timeout(time_limit_s):
                await self._ready
        except TimeoutError as error:
            self.close()
            raise ModuleUnfitError(self._importing, f"not imported within {time_limit_s:.0f} s") from error
        except BaseException:
            self.close()
            raise

    async def fork(self, request: RunRequest, stdout: int, stderr: int) -> ForkedProcess:
        """Have it make a child that becomes the process of a run.

        Raises:
            ForkRefusedError: it is gone, or the system has no room for another process.
        """
        if self._control is None:
            raise ForkRefusedError("is gone", component="fork server")
        self._numbers += 1
        run, process = str(self._numbers), ForkedProcess()
        self._runs[run] = process
        try:
            async with asyncio.timeout(_FORK_LIMIT_S):
                await self._begin(run, process, request, stdout, stderr)
        except OSError as error:  # also of a server that does not answer: the child ends when its socket closes
            self._runs.pop(run, None)
            raise ForkRefusedError(f"lost a run at its start: {error!r}", component="fork server") from error
        if not process.pid:
            self._hear()  # why not
            self._runs.pop(run, None)
            raise ForkRefusedError(self._refused.pop(run, "has made no child"), component="fork server")
        return process

    async def _begin(self, run: str, process: ForkedProcess, request: RunRequest, stdout: int, stderr: int) -> None:
        assert self._control is not None  # noqa: S101 - `fork` has looked
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(0)
            with theirs:
                socket.send_fds(self._control, [packet(fork=run)], [theirs.fileno(), stdout, stderr])
            # It leads its group before we hear of it, so a signal to the group can never miss it.
            first = await loop.sock_recv(ours, GROUP.size)
            if len(first) == GROUP.size:
                (process.pid,) = GROUP.unpack(first)
                await loop.sock_sendall(ours, request.encode())

    def retire(self) -> None:
        """Let it end when its last run has ended; it gets no more."""
        self._retired = True
        self._end_if_unused()

    def close(self) -> None:
        """End it now, with every run that it still has."""
        if self._control is None:
            return
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()  # it kills its runs when it sees this
        self._control = None
        for process in list(self._runs.values()):
            _kill_group(process.pid)
            process.end(-signal.SIGKILL)
        self._runs.clear()
        if self._ready and not self._ready.done():
            self._ready.set_exception(ModuleUnfitError(self._importing, "its import ended the fork server"))
        asyncio.get_running_loop().run_in_executor(None, self._bury)

    def _bury(self) -> None:
        if self._process:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _hear(self) -> None:
        while self._control is not None:
            try:
                message = self._control.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                message = b""
            if not message:
                if self._runs:
                    self._logger.error(
                        "The fork server (PID %s) died; %s run(s) of it are killed.", self.pid, len(self._runs)
                    )
                self.close()
                return
            self._understand(json.loads(message))

    def _understand(self, said: dict[str, str | int]) -> None:
        match said:
            case {"ended": str(run), "pid": int(), "status": int(status)}:
                process = self._runs.pop(run, None)
                if process:
                    process.end(status)
                self._end_if_unused()
            case {"refused": str(run), "error": str(why)}:
                self._refused[run] = why
                self._runs.pop(run, None)
            case {"importing": str(module)}:
                self._importing = module
            case {"unimportable": str(module), "error": str(why)}:
                self._logger.warning("Flow module %s cannot be imported; its runs will fail: %s", module, why)
            case {"unprepared": str(why)}:
                self._logger.warning("Prefect is imported, but not prepared ahead of runs: %s", why)
            case {"threaded": str(module)}:
                if self._ready and not self._ready.done():
                    self._ready.set_exception(ModuleUnfitError(module, "its import leaves threads running"))
            case {"ready": True}:
                if self._ready and not self._ready.done():
                    self._ready.set_result(None)

    def _end_if_unused(self) -> None:
        if self._retired and not self._runs:
            self.close()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.killpg(pid, signal.SIGKILL)

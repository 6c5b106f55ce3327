"""Runs an engine (a scanner, an analyser) as a process of its own: bounded in time and output, and killed whole.

Heavy third-party code runs beside the flow and not inside it: it cannot stall the event loop, leak its memory into
the worker, or outlive its time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from blocks.errors import UnavailableError

_CHUNK = 1 << 16
_REAP_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """How an engine ended."""

    code: int
    stdout: bytes
    stderr: str
    """Its last 4,000 characters."""


async def run_engine(
    command: Sequence[str],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    max_output: int = 256 * 1024 * 1024,
) -> Outcome:
    """Run `command` (a list, never a shell) and return how it ended, whatever its exit code.

    Raises:
        UnavailableError: it cannot be started, ran past `timeout_s` seconds, or wrote more than `max_output` bytes.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=None if environment is None else dict(environment),
        )
    except OSError as error:
        raise UnavailableError(f"cannot be started: {error}", component=Path(command[0]).name) from error
    readers = [
        asyncio.create_task(_read(process.stdout, max_output)),
        asyncio.create_task(_read(process.stderr, max_output)),
    ]
    feeder = asyncio.create_task(_feed(process.stdin, stdin))
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await asyncio.gather(*readers)
            code = await process.wait()
    except TimeoutError as error:
        raise UnavailableError(f"took longer than {timeout_s:g} s.", component=_name(command)) from error
    except _TooMuchError as error:
        raise UnavailableError(f"wrote more than {max_output} bytes.", component=_name(command)) from error
    finally:
        for task in (*readers, feeder):
            task.cancel()
        await asyncio.gather(*readers, feeder, return_exceptions=True)
        if process.returncode is None:
            _kill_with_children(process.pid)
        await _reaped(process)
    return Outcome(code, stdout, stderr.decode(errors="replace")[-4000:])


async def _reaped(process: asyncio.subprocess.Process) -> None:
    # `wait` returns only when the pipes are closed as well: what is still in them is read and thrown away. Somebody
    # who left the engine's family may hold them open for ever, so this is bounded, too.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REAP_S):
            for stream in (process.stdout, process.stderr):
                while stream is not None and await stream.read(_CHUNK):
                    pass
            await process.wait()


def _kill_with_children(pid: int) -> None:
    # Not by a process group of its own: the engine stays in the run's group, so that it dies with a run that is killed.
    with contextlib.suppress(psutil.NoSuchProcess):
        engine = psutil.Process(pid)
        for process in (*engine.children(recursive=True), engine):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class _TooMuchError(Exception):
    pass


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    content = bytearray()
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        content += chunk
        if len(content) > limit:
            raise _TooMuchError
    return bytes(content)


async def _feed(stream: asyncio.StreamWriter | None, content: bytes | None) -> None:
    if stream is None or content is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(content)
        await stream.drain()
    stream.close()


def _name(command: Sequence[str]) -> str:
    return command[2] if len(command) > 2 and command[1] == "-m" else Path(command[0]).name

"""Nothing is looked at twice: what an engine said of a content is remembered, and only the rest goes to its process.

The content that was hashed is the content that was looked at: the engine reads a file once, and gives the digest of
what it read beside what it found there; results are remembered under that.
"""

from __future__ import annotations

import asyncio
import json
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.errors import UnavailableError
from tasks.engine import run_engine
from tasks.result_cache import ResultCache, content_key

AT_ONCE = 2
"""Engines' processes that run side by side."""
_WORTH_TWO = 100  # below that, starting a second process takes longer than it saves

Result = dict[str, Any]
_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


@dataclass
class Examined:
    """What is known about the contents that were asked about, by name."""

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Why there is no result."""
    broken: list[str] = field(default_factory=list)
    """Why a process as a whole gave no results; what it was asked about is in `unseen`."""
    unseen: list[str] = field(default_factory=list)
    more: list[Mapping[str, Any]] = field(default_factory=list)
    """The whole answers of the processes, for what else they tell."""


@dataclass(frozen=True)
class Memory:
    """What one engine said before. `kind` changes with everything but the content that its results depend on."""

    cache: ResultCache
    kind: str

    async def known(self, keys: Mapping[str, bytes]) -> dict[str, Result]:
        """The results that are remembered, by the names in `keys`."""
        stored = await asyncio.to_thread(self.cache.get, self.kind, set(keys.values()))
        return {name: json.loads(stored[key]) for name, key in keys.items() if key in stored}

    async def keep(self, results: Mapping[bytes, Result], *, used: Iterable[bytes] = ()) -> None:
        """Remember `results`, and that those under `used` were of use."""
        rows = {key: json.dumps(result, separators=(",", ":")).encode() for key, result in results.items()}
        await asyncio.to_thread(self.cache.put, self.kind, rows, used=list(used))


def kind_of(engine: str, version: str, programs: Iterable[Path], *more: bytes) -> str:
    """The kind of the results of `engine`, a library at `version`, used by `programs`, with settings `more`."""
    texts = [program.read_bytes() for program in programs]
    python = repr(sys.version_info[:2]).encode()
    return f"{engine} {version} {content_key(python, *texts, *more).hex()[:16]}"


async def examine(
    names: Sequence[str],
    keys: Mapping[str, bytes],
    memory: Memory,
    ask: Callable[[list[str]], Awaitable[Mapping[str, Any]]],
    *,
    keys_read: Callable[[str, Mapping[str, Any]], Iterable[bytes]],
) -> Examined:
    """Results for `names`: those that are remembered under `keys`, and for the rest those that `ask` gets.

    Args:
        names: what to look at.
        keys: what their contents were when they were hashed; a name that has none is asked about.
        memory: what was said before.
        ask: starts the engine's process for some names; its answer has `told` (by name, with `result`) and `failed`.
        keys_read: the keys under which what was told of a name is remembered, from what the process says it read.
    """
    found = Examined(results=await memory.known({name: keys[name] for name in names if name in keys}))
    used = [keys[name] for name in found.results]
    unknown = [name for name in names if name not in found.results]
    count = AT_ONCE if len(unknown) >= _WORTH_TWO else 1
    batches = [batch for batch in (unknown[begin::count] for begin in range(count)) if batch]
    fresh: dict[bytes, Result] = {}
    # All of them end before one's failure is told: none goes on behind its back.
    answers = await asyncio.gather(*(_answer(ask, batch) for batch in batches), return_exceptions=True)
    for batch, answer in zip(batches, answers, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, str):
            found.broken.append(answer)
            found.unseen += batch
            continue
        found.more.append(answer)
        for name, told in answer["told"].items():
            found.results[name] = told["result"]
            fresh.update(dict.fromkeys(keys_read(name, told), told["result"]))
        found.failed.update({one["file"]: one["reason"] for one in answer["failed"]})
    silent = [name for name in unknown if name not in found.results and name not in found.failed]
    found.failed.update({name: "its engine says nothing about it." for name in silent if name not in found.unseen})
    await memory.keep(fresh, used=used)
    return found


async def run_program(program: Path, order: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """The answer of an engine's process to `order`, which gets `seconds`, a little less than `timeout_s`.

    Raises:
        UnavailableError: it took too long, failed, or gave no readable answer. What it wrote to stderr is not told:
            a traceback shows lines of what it was reading.
    """
    order = {**order, "seconds": max(timeout_s - 3.0, timeout_s * 0.8)}
    # Isolated (-I): a module in the working directory or in PYTHONPATH must not stand in for a library's. The order
    # goes by stdin: arguments and environment of a process can be seen by others.
    command = [sys.executable, "-I", "-X", "utf8", str(program)]
    async with turn():
        outcome = await run_engine(command, timeout_s=timeout_s, stdin=json.dumps(order).encode())
    try:
        if outcome.code == 0:
            return dict(json.loads(outcome.stdout))
    except (ValueError, TypeError):
        pass
    raise UnavailableError(f"gave no readable result (code {outcome.code}).", component=program.stem)


def turn() -> asyncio.Semaphore:
    """Held while a heavy process runs: at most `AT_ONCE` of them, whoever started them."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


async def _answer(
    ask: Callable[[list[str]], Awaitable[Mapping[str, Any]]], batch: list[str]
) -> Mapping[str, Any] | str:
    try:
        return await ask(batch)
    except UnavailableError as error:
        return f"{error.component} {error.what}"

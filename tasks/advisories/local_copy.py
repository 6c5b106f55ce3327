"""Asks an index of a local copy of advisories; one that is missing, outdated or damaged is built first.

Building goes on in a process of its own: it takes up to a minute for a full mirror, and some memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from blocks.errors import UnavailableError
from models.gap import Gap
from tasks.advisories.mirror_index import Archive, Index
from tasks.advisories.package import Package
from tasks.advisories.record import Advisory
from tasks.advisories.source import AREA, VULNERABILITY
from tasks.event_loop import has_loop, in_loop, in_thread

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """Where an index is, and how it is brought up to date."""

    name: str
    """What gaps call it: `mirror`, `github`."""
    index: Path
    module: str
    """Builds the index when it is run with `arguments`; `--anew` makes it read everything again."""
    arguments: tuple[str, ...]
    is_current: Callable[[], bool]
    """Whether the index is of what is there now. Runs in a thread."""
    budget_s: float
    """Seconds to look up packages."""
    build_s: float
    """Seconds to build the index."""


@dataclass(frozen=True, slots=True)
class Consulted:
    """What an index says."""

    archives: tuple[Archive, ...] = ()
    advisories: Mapping[Package, tuple[Advisory, ...]] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()


async def consult(copy: LocalCopy, packages: Iterable[Package]) -> Consulted:
    """What the copy knows about `packages`. Never raises for a copy that is missing or broken: that is a gap."""
    wanted = tuple(packages)
    gaps: list[Gap] = []
    if not await in_thread(copy.is_current):
        gaps += await _built(copy)
    try:
        return await _looked_up(copy, wanted, gaps)
    except UnavailableError as error:
        if gaps:  # it could not be built, and there is none that would serve
            return Consulted(gaps=(*gaps,))
        gaps += await _built(copy, "--anew")
        try:
            return await _looked_up(copy, wanted, gaps)
        except UnavailableError:
            return Consulted(gaps=(*gaps, gap(copy.name, f"the index {error.what}")))


def gap(component: str, what: str) -> Gap:
    """Vulnerabilities may have gone unseen because of `what`: words after a colon, before a full stop."""
    reason = f"Known vulnerabilities were not all looked up: {what.rstrip('.')}."
    return Gap(AREA, component, reason, (VULNERABILITY,))


async def _looked_up(copy: LocalCopy, wanted: Sequence[Package], gaps: list[Gap]) -> Consulted:
    def look() -> Consulted:
        with Index(copy.index) as index:
            return Consulted(index.archives(), index.look_up(wanted), tuple(gaps))

    if not has_loop():
        return look()
    import asyncio  # noqa: PLC0415 - only where it is loaded already

    try:
        async with asyncio.timeout(copy.budget_s):
            return await in_thread(look)
    except TimeoutError as error:
        raise UnavailableError(f"did not answer within {copy.budget_s:g} s", component=copy.name) from error


async def _built(copy: LocalCopy, *more: str) -> list[Gap]:
    from tasks.engine import run_engine  # noqa: PLC0415 - needed once after each update

    command = [sys.executable, "-X", "utf8", "-m", copy.module, *copy.arguments, *more]
    try:
        # Our own root as working directory: `-m` finds the module there, and nothing of anybody else's.
        outcome = await in_loop(run_engine(command, timeout_s=copy.build_s, cwd=_ROOT))
    except UnavailableError as error:
        return [gap(copy.name, f"its index is out of date, and building it {error.what}")]
    if outcome.code == 0:
        return []
    lines = outcome.stderr.strip().splitlines() or [f"it ended with code {outcome.code}"]
    return [gap(copy.name, f"its index is out of date and cannot be built: {lines[-1]}")]


def utc_now() -> datetime:
    """The present moment; tests pass another."""
    return datetime.now(UTC)

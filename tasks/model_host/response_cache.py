"""Answers that are given again: of deterministic requests only, and one computation for identical ones at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Generic, TypeVar

from cachetools import TTLCache

from tasks.model_host.engine import Ask, Sampling

T = TypeVar("T")

_OVERHEAD = 256
"""Bytes of an entry beside its answer."""


def is_deterministic(sampling: Sampling) -> bool:
    """Whether the same request has the same answer again."""
    return sampling.temperature == 0 or sampling.seed is not None


def request_key(weights: str, ask: Ask, more: Mapping[str, Any] | None = None) -> str:
    """A digest of who is asked (weights and quantisation) and of the whole request.

    Args:
        weights: see `accounts.weights_key`.
        ask: the request.
        more: whatever else changes the answer, as JSON values.
    """
    request = {one.name: getattr(ask, one.name) for one in fields(ask)}
    # Where the most likely token is always taken, nothing else of the sampling matters but what is told of it.
    greedy = ask.sampling.temperature == 0
    request["sampling"] = {"temperature": 0, "logprobs": ask.sampling.logprobs} if greedy else asdict(ask.sampling)
    request |= {"weights": weights, "more": more}
    said = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


@dataclass(frozen=True)
class CacheFigures:
    """What the cache did since its start, and what it holds."""

    hits: int
    misses: int
    joined: int
    """Requests that got the answer which was being computed for an identical one."""
    bytes: int
    entries: int


class ResponseCache(Generic[T]):
    """Answers by their key, the least recently used leave first.

    Args:
        limit_bytes: most bytes of all entries; 0: none is kept, and nothing is shared.
        ttl_s: how long an answer may be given again.
        size_of: bytes of an answer.
        told_to_all: errors that say something of the request or its model, and not of who asked: whoever waited for the
            answer gets them, too, instead of computing it after all.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        limit_bytes: int,
        ttl_s: float,
        size_of: Callable[[T], int],
        *,
        told_to_all: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size_of = size_of
        self._told_to_all = told_to_all
        self._kept: TTLCache[str, tuple[T]] = TTLCache(limit_bytes, ttl_s, timer=clock, getsizeof=self._size)
        self._under_way: dict[tuple[str, Hashable], asyncio.Future[T]] = {}
        self._hits = self._misses = self._joined = 0

    @property
    def figures(self) -> CacheFigures:
        """Hits, misses and bytes."""
        self._kept.expire()
        return CacheFigures(self._hits, self._misses, self._joined, int(self._kept.currsize), len(self._kept))

    async def answer(
        self, key: str | None, compute: Callable[[], Awaitable[T]], *, apart: Hashable = None
    ) -> tuple[T, bool]:
        """The answer for `key`, and whether it was there or was computed for somebody else.

        One of those who ask for the same at a time computes. When he is cancelled, or fails by what is not
        `told_to_all`, that is his alone: the next one computes.

        Args:
            key: see `request_key`; None: this request is answered by itself, whatever there is.
            compute: makes the answer; it is given to the others as soon as this returns.
            apart: who computes for whom: those with another value are not waited for, since they may wait longer.
        """
        if key is None or not self._kept.maxsize:
            return await compute(), False
        while True:
            kept = self._kept.get(key)
            if kept is not None:
                self._hits += 1
                return kept[0], True
            under_way = self._under_way.get((key, apart))
            if under_way is None:
                return await self._lead(key, apart, compute), False
            await asyncio.wait({under_way})
            if not under_way.cancelled():
                self._joined += 1
                return under_way.result(), True

    def forget(self, key: str) -> None:
        """Keep the answer for `key` no longer."""
        self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget every answer, such as those of a model whose files have changed."""
        self._kept.clear()

    async def _lead(self, key: str, apart: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        self._misses += 1
        under_way = self._under_way[key, apart] = asyncio.get_running_loop().create_future()
        try:
            answer = await compute()
        except self._told_to_all as error:
            under_way.set_exception(error)
            under_way.exception()  # nobody may be waiting for it
            raise
        except BaseException:
            under_way.cancel()  # whatever it was, it is the leader's alone
            raise
        else:
            under_way.set_result(answer)
            with contextlib.suppress(ValueError):  # it is larger than the whole cache
                self._kept[key] = (answer,)
            return answer
        finally:
            del self._under_way[key, apart]

    def _size(self, kept: tuple[T]) -> int:
        return self._size_of(kept[0]) + _OVERHEAD

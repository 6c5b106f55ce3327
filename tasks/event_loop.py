"""Work that may or may not have an event loop around it.

A flow has one. The audit's engine as a process of its own has none: to import asyncio takes as long as half an audit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Given = TypeVar("Given")
Arguments = ParamSpec("Arguments")


async def in_thread(work: Callable[Arguments, Given], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Given:
    """What `work` gives, which blocks: in a thread, so that the loop goes on; without a loop, right here."""
    if not has_loop():
        return work(*args, **kwargs)
    import asyncio  # noqa: PLC0415 - only where it is loaded already

    return await asyncio.to_thread(work, *args, **kwargs)


async def in_loop(coroutine: Coroutine[Any, Any, Given]) -> Given:
    """What `coroutine` gives, which needs a loop; where there is none, it gets one of its own."""
    if has_loop():
        return await coroutine
    return run(coroutine)


def run(coroutine: Coroutine[Any, Any, Given]) -> Given:
    """What `coroutine` gives, with a loop of its own.

    As `asyncio.run`, which before Python 3.12 makes a text of the whole result when it ends: of a report that takes
    longer than all the rest.
    """
    import asyncio  # noqa: PLC0415 - see above

    given: list[Given] = []

    async def kept() -> None:
        given.append(await coroutine)

    asyncio.run(kept())
    return given[0]


def run_to_end(coroutine: Coroutine[Any, Any, Given]) -> Given:
    """What `coroutine` gives, without a loop.

    Raises:
        RuntimeError: it waits for something; only `in_loop` may do that.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        given: Given = ended.value
        return given
    coroutine.close()
    raise RuntimeError("waits for something without an event loop")


def has_loop() -> bool:
    """Whether an event loop runs in this thread."""
    asyncio = sys.modules.get("asyncio")  # whoever runs a loop has loaded it
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

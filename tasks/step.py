"""What every step is: a Prefect task that is retried, but only on failures that may pass by themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from blocks.errors import UnavailableError
from blocks.logs import masked

P = ParamSpec("P")
R = TypeVar("R")


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later: a lost connection, a server that is starting, a deadlock."""
    import httpx  # noqa: PLC0415
    import psycopg  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    transient = (UnavailableError, ConnectionError, TimeoutError, httpx.TransportError, psycopg.OperationalError)
    return isinstance(error, transient)


async def _retry_condition(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    result = await state.aresult(raise_on_failure=False)
    return isinstance(result, BaseException) and may_pass(result)


def step(
    name: str, *, retries: int = 3, timeout_s: float | None = None, tags: set[str] | None = None
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task called `name`: up to `retries` more tries 1, 2, 4 ... seconds apart (with jitter), never from a cache.

    Args:
        name: what the run's graph shows.
        retries: further tries after the first; 0 for steps that must not be repeated.
        timeout_s: seconds for one try. Only asynchronous steps can be interrupted; in others bound the calls.
        tags: tags of its task runs, for concurrency limits.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return task(
            name=name,
            retries=retries,
            retry_delay_seconds=exponential_backoff(1),
            retry_jitter_factor=0.5,
            retry_condition_fn=_retry_condition,
            timeout_seconds=timeout_s,
            cache_policy=NO_CACHE,
            persist_result=False,
            tags=tags or set(),
        )(_without_secrets(function))

    return decorate


def _without_secrets(function: Callable[P, R]) -> Callable[P, R]:
    """`function` whose errors name no secret: Prefect keeps their words as the message of the run's state."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*arguments: P.args, **named: P.kwargs) -> Any:
            try:
                return await function(*arguments, **named)
            except Exception as error:
                _mask(error)
                raise

        return cast("Callable[P, R]", asynchronous)

    @functools.wraps(function)
    def plain(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except Exception as error:
            _mask(error)
            raise

    return plain


def _mask(error: BaseException) -> None:
    """Mask the words of `error` in place: its type, and all else that it carries, stay what may be acted on."""
    error.args = tuple(masked(part) if isinstance(part, str) else part for part in error.args)

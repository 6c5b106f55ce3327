"""Starts flow runs through Prefect's own client."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from pydantic import JsonValue

from services.gateway.dispatch import NotYetError, OutageError, RefusedError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

_TIMEOUT_S = 15.0
_REMEMBERED_S = 60.0
_REFUSALS = frozenset({400, 409, 413, 422})


class PrefectStarter:
    """A `Starter` for the Prefect server that this process's settings lead to."""

    def __init__(self) -> None:
        self._client: PrefectClient | None = None
        self._stack = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._ids: dict[str, tuple[UUID, float]] = {}

    async def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str, tags: Sequence[str]) -> str:
        """The id of the run that `key` identifies, started now or earlier.

        Raises:
            OutageError, NotYetError, RefusedError: see there.
        """
        client = await self._opened()
        from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError  # noqa: PLC0415
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings  # noqa: PLC0415

        try:
            # The client would wait a minute by itself, and the row lock with it; waiting is the dispatcher's.
            with temporary_settings(updates={PREFECT_CLIENT_MAX_RETRIES: 0}):
                run = await client.create_flow_run_from_deployment(
                    await self._id_of(client, deployment),
                    parameters=dict(parameters),
                    idempotency_key=key,
                    tags=list(tags),
                )
        except ObjectNotFound:
            self._ids.pop(deployment, None)
            raise NotYetError(f"there is no deployment {deployment!r}") from None
        except PrefectHTTPStatusError as error:
            status = error.response.status_code
            if status in _REFUSALS:
                raise RefusedError(f"Prefect refuses the run ({status}): {_detail(error.response)}") from None
            if status == 404:
                self._ids.pop(deployment, None)
                raise NotYetError(f"there is no deployment {deployment!r}") from None
            raise OutageError(f"Prefect answers {status}") from None
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            raise OutageError(f"Prefect does not answer: {type(error).__name__}") from None
        return str(run.id)

    async def close(self) -> None:
        """Close the client."""
        await self._stack.aclose()
        self._client = None

    async def _opened(self) -> PrefectClient:
        async with self._opening:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def _open(self) -> PrefectClient:
        # Two seconds of imports, beside the event loop.
        await asyncio.to_thread(importlib.import_module, "prefect.client.orchestration")
        from prefect.client.orchestration import get_client  # noqa: PLC0415

        client = get_client(httpx_settings={"timeout": httpx.Timeout(_TIMEOUT_S), "trust_env": False})
        return await self._stack.enter_async_context(client)

    async def _id_of(self, client: PrefectClient, deployment: str) -> UUID:
        known = self._ids.get(deployment)
        if known is None or time.monotonic() - known[1] > _REMEMBERED_S:
            found = await client.read_deployment_by_name(deployment)
            known = (found.id, time.monotonic())
            self._ids[deployment] = known
        return known[0]


def _detail(response: httpx.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return "no reason given"
    detail = answer.get("detail") or answer.get("exception_detail") if isinstance(answer, dict) else answer
    return str(detail)[:300]

"""Starts flow runs through Prefect's API, by two small requests.

Prefect's own client would do the same; it takes two seconds to import and, while it waits for a server that is away,
time from the event loop that takes deliveries in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import JsonValue

from blocks.flow_parameters import unknown_to
from blocks.settings import Settings

_TIMEOUT_S = 15.0
_REMEMBERED_S = 60.0
_REFUSALS = frozenset({400, 409, 413, 422})


class OutageError(Exception):
    """Whoever starts runs is away; everything waits."""


class NotYetError(Exception):
    """The run cannot be started now, but perhaps later: its deployment is not there, or Prefect fails at it alone."""


class RefusedError(Exception):
    """The run will never be started: its parameters are refused."""


@dataclass(frozen=True)
class _Known:
    """What we have read of a deployment, and when, by the monotonic clock."""

    id: str
    described: Mapping[str, Any]
    at: float


class PrefectStarter:
    """Starts runs at the Prefect server of this platform."""

    def __init__(self, settings: Settings) -> None:
        self._client = httpx.AsyncClient(
            base_url=settings.api_url,
            auth=settings.prefect_credentials,
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
        )
        self._known: dict[str, _Known] = {}

    async def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str, tags: Sequence[str]) -> str:
        """The id of the run that `key` identifies, started now or earlier.

        Raises:
            OutageError: Prefect is away, or does not accept our credentials.
            NotYetError: there is no such deployment, or Prefect is well and fails at this run alone.
            RefusedError: it will not take these parameters.
        """
        known = await self._read(deployment)
        if unknown_to(known.described, parameters) is not None:
            known = await self._read(deployment, remembered_s=0.0)  # they may be those of a newer flow
            unknown = unknown_to(known.described, parameters)
            if unknown is not None:
                raise RefusedError(f"{unknown}.")
        path = f"/deployments/{known.id}/create_flow_run"
        body = {
            "parameters": dict(parameters),
            "idempotency_key": key,
            "tags": list(tags),
            "state": {"type": "SCHEDULED"},
        }
        return str((await self._call("POST", path, deployment, body))["id"])

    async def is_waiting(self, run_id: str) -> bool:
        """Whether nobody has taken the run up yet, so that it will do its work as soon as somebody does.

        Raises:
            OutageError: Prefect is away, or does not accept our credentials.
        """
        try:
            answer = await self._client.get(f"/flow_runs/{quote(run_id, safe='')}")
        except httpx.HTTPError as error:
            raise OutageError(f"Prefect does not answer: {type(error).__name__}") from error
        if answer.status_code == 404:
            return False  # somebody has deleted it
        if not answer.is_success:
            raise OutageError(f"Prefect answers {answer.status_code}")
        return bool(answer.json()["state_type"] == "SCHEDULED")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read(self, deployment: str, *, remembered_s: float = _REMEMBERED_S) -> _Known:
        known = self._known.get(deployment)
        if known is None or time.monotonic() - known.at > remembered_s:
            flow, _, name = deployment.partition("/")
            found = await self._call(
                "GET", f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}", deployment
            )
            known = _Known(str(found["id"]), found, time.monotonic())
            self._known[deployment] = known
        return known

    async def _call(self, method: str, path: str, deployment: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise OutageError(f"Prefect does not answer: {type(error).__name__}") from error
        if answer.status_code == 404:
            self._known.pop(deployment, None)
            raise NotYetError(f"there is no deployment {deployment!r}")
        if answer.status_code in _REFUSALS:
            raise RefusedError(f"Prefect refuses the run ({answer.status_code}): {_reason(answer)}")
        if answer.is_server_error and await self._is_well():
            raise NotYetError(f"Prefect is well, but answers this run with {answer.status_code}")
        if not answer.is_success:
            raise OutageError(f"Prefect answers {answer.status_code}")
        return answer.json()

    async def _is_well(self) -> bool:
        """Whether Prefect and its database work, so that a failure is one request's own and others need not wait."""
        try:
            answers = [await self._client.get(path) for path in ("/health", "/ready")]
        except httpx.HTTPError:
            return False
        return not any(answer.is_server_error for answer in answers)


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return "no reason given"
    reason = body.get("detail") or body.get("exception_detail") if isinstance(body, dict) else body
    return str(reason)[:300]

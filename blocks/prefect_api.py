"""The few calls of Prefect's API that the command line and the gateway make, without importing Prefect.

Prefect's own client takes two seconds to import; a command that asks one question should not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from blocks.errors import LamaError, UnavailableError
from blocks.flow_parameters import unknown_to
from blocks.logs import masked
from blocks.settings import Settings

_OVERLAP = 50
_PAGE = 200

ROUTE_BLOCKS = "lama-handoff-route"
"""Slug of the type of blocks that are routes of the handoffs."""

FINAL_STATES = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})


@dataclass(frozen=True)
class FlowRun:
    """What the API says of one flow run."""

    id: str
    name: str
    state_type: str
    state_name: str
    message: str

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state_type in FINAL_STATES


@dataclass(frozen=True)
class Watched:
    """One look at a flow run that is being followed."""

    run: FlowRun
    progress: float | None
    """Percent of its progress artifact, when it has one."""
    logs: tuple[str, ...]
    """New lines of the flow itself since the last look; those of its tasks are in the Prefect UI."""


class PrefectApi:
    """A client of the platform's Prefect server. Use it as a context manager."""

    def __init__(self, settings: Settings, *, timeout_s: float = 20.0) -> None:
        self._url = settings.api_url
        self._client = httpx.Client(
            base_url=settings.api_url, auth=settings.prefect_credentials, timeout=timeout_s, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def deployments(self) -> list[dict[str, Any]]:
        """Every deployment: id, name, flow id, parameter schema, paused."""
        found: list[dict[str, Any]] = []
        while page := self._call("POST", "/deployments/filter", {"offset": len(found), "limit": 200}):
            found += page
        return found

    def automation_names(self) -> set[str]:
        """The names of the automations, at most the first 200."""
        return {str(row["name"]) for row in self._call("POST", "/automations/filter", {"limit": 200})}

    def deployment(self, name: str) -> dict[str, Any]:
        """The deployment called `flow/deployment`, or `flow` for one called like its flow.

        Raises:
            LamaError: there is none.
        """
        flow, _, own = name.partition("/")
        try:
            return dict(self._call("GET", f"/deployments/name/{flow}/{own or flow}"))
        except _NotFoundError:
            known = ", ".join(sorted(deployment["name"] for deployment in self.deployments())) or "none"
            raise LamaError(f"there is no deployment {name!r}. There are: {known}.", component="prefect") from None

    def has_deployment(self, name: str) -> bool:
        """Whether there is a deployment called `flow/deployment`."""
        flow, _, own = name.partition("/")
        return self._is_there(f"/deployments/name/{quote(flow, safe='')}/{quote(own or flow, safe='')}")

    def has_block(self, slug: str, name: str) -> bool:
        """Whether there is a block called `name` of the type whose slug is `slug`."""
        return self._is_there(f"/block_types/slug/{quote(slug, safe='')}/block_documents/name/{quote(name, safe='')}")

    def blocks(self, slug: str) -> dict[str, dict[str, Any]]:
        """What every block of the type `slug` says, by name, without secrets: one request for each 200.

        Raises:
            UnavailableError: the answer is none of Prefect's, too.
        """
        asked = {"block_types": {"slug": {"any_": [slug]}}, "include_secrets": False, "limit": _PAGE}
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        while True:
            page = self._call("POST", "/block_documents/filter", asked | {"offset": offset})
            try:
                found |= {str(row["name"]): dict(row["data"]) for row in page}
            except (KeyError, TypeError, ValueError) as error:
                raise UnavailableError(f"what answers at {self._url} is no Prefect.", component="prefect") from error
            if len(page) < _PAGE:
                return found
            offset += _PAGE

    def create_run(
        self, deployment: Mapping[str, Any], parameters: Mapping[str, Any], idempotency_key: str | None = None
    ) -> FlowRun:
        """Start a run of `deployment`.

        Raises:
            LamaError: the parameters are refused, and no run was made; the message says why.
        """
        unknown = unknown_to(deployment, parameters)
        if unknown is not None:  # also where the server is not ours, and would take them
            raise LamaError(f"{unknown}.", component=str(deployment["name"]))
        body: dict[str, Any] = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
        if idempotency_key is not None:
            body["idempotency_key"] = idempotency_key
        return _run(self._call("POST", f"/deployments/{deployment['id']}/create_flow_run", body))

    def run(self, run_id: str) -> FlowRun:
        """The flow run with this id."""
        return _run(self._call("GET", f"/flow_runs/{run_id}"))

    def cancel(self, run_id: str) -> None:
        """Ask for a run to be cancelled."""
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
        self._call("POST", f"/flow_runs/{run_id}/set_state", body)

    def follow(
        self, run_id: str, *, timeout_s: float, poll_s: float = 0.5, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Watched]:
        """Look at a run until it is final; the last look is the final one. A server that is away is waited for.

        Raises:
            UnavailableError: it is not final after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        seen: set[str] = set()
        while True:
            try:
                run = self.run(run_id)
                # Lines of several processes do not arrive in the order of their times: the last ones are read again.
                rows = [row for row in self._logs(run_id, max(0, len(seen) - _OVERLAP)) if row["id"] not in seen]
                progress = self._progress(run_id)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
            else:
                seen |= {row["id"] for row in rows}
                lines = [
                    f"{row['timestamp'][11:19]} {masked(row['message'])}" for row in rows if not row.get("task_run_id")
                ]
                yield Watched(run, progress, tuple(lines))
                if run.final:
                    return
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the run has not ended after {timeout_s:.0f} s.",
                    component=run_id,
                    remedy="It goes on; look at it in the Prefect UI.",
                )
            sleep(poll_s)

    def _is_there(self, path: str) -> bool:
        try:
            self._call("GET", path)
        except _NotFoundError:
            return False
        return True

    def _logs(self, run_id: str, offset: int) -> list[dict[str, Any]]:
        body = {
            "logs": {"flow_run_id": {"any_": [run_id]}, "level": {"ge_": 20}},
            "sort": "TIMESTAMP_ASC",
            "offset": offset,
            "limit": 200,
        }
        return list(self._call("POST", "/logs/filter", body))

    def _progress(self, run_id: str) -> float | None:
        body = {
            "artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["progress"]}},
            "limit": 1,
        }
        found = self._call("POST", "/artifacts/filter", body)
        try:
            return float(found[0]["data"])
        except (IndexError, KeyError, TypeError, ValueError):
            return None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise UnavailableError(
                f"does not answer at {self._url}: {error}.", component="prefect", remedy="Is it up? `lama status`"
            ) from error
        if answer.status_code == 404:
            raise _NotFoundError(path, component="prefect")
        if answer.status_code in {401, 403}:
            raise LamaError("refuses our credentials.", component="prefect", remedy="Check LAMA_PREFECT_AUTH.")
        if answer.status_code in {409, 422}:
            raise LamaError(_complaint(answer), component="prefect")
        if answer.is_error:
            raise UnavailableError(f"answered {answer.status_code} to {method} {path}.", component="prefect")
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise UnavailableError(f"what answers at {self._url} is no Prefect.", component="prefect") from error


class _NotFoundError(LamaError):
    pass


def _complaint(answer: httpx.Response) -> str:
    try:
        detail = answer.json()
    except ValueError:
        return answer.text[:500]
    text = detail.get("detail") or detail.get("exception_message") or detail if isinstance(detail, dict) else detail
    return str(text)[:2000]


def _run(row: Mapping[str, Any]) -> FlowRun:
    state = row.get("state") or {}
    return FlowRun(
        id=str(row["id"]),
        name=str(row["name"]),
        state_type=str(state.get("type") or row.get("state_type") or "PENDING"),
        state_name=str(state.get("name") or row.get("state_name") or "Pending"),
        message=masked(str(state.get("message") or "")),  # a flow of anybody's may have failed with a secret in hand
    )

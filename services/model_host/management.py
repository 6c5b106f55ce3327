"""`/host/`: how the host is looked at and told what to do, beside OpenAI's API."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.model_host import MODEL_NAME, Priority, Requirements, Reserve
from services.model_host.asked import priority_of
from services.model_host.host import Host, JobRequest
from services.model_host.problems import RefusedError
from services.model_host.responses import body_of, events, plain, told

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class _Promised(BaseModel):
    """Body of `PUT /host/reserves/{model}`."""

    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(gt=0, le=2**50)
    priority: Priority = Priority.normal
    sharing: bool = True
    context_window: int = Field(default=4_096, ge=16, le=2**24)


class _Planned(BaseModel):
    """Body of `POST /host/plan`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(pattern=MODEL_NAME)


class Management:
    """The addresses."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def routes(self) -> list[Route]:
        """As Starlette takes them."""
        return [
            Route("/host/status", self._status),
            Route("/host/events", self._events),
            Route("/host/models/{name:path}/load", self._load, methods=["POST"]),
            Route("/host/models/{name:path}/unload", self._unload, methods=["POST"]),
            Route("/host/reserves/{name:path}", self._reserve, methods=["PUT"]),
            Route("/host/reserves/{name:path}", self._release, methods=["DELETE"]),
            Route("/host/plan", self._plan, methods=["POST"]),
            Route("/host/select", self._select, methods=["POST"]),
            Route("/host/clean", self._clean, methods=["POST"]),
            Route("/host/jobs/{run_id}", self._lease, methods=["POST"]),
            Route("/host/jobs/{run_id}", self._end, methods=["DELETE"]),
        ]

    async def _status(self, _: Request) -> Response:
        return told(self._host.status())

    async def _events(self, _: Request) -> Response:
        return events(self._host.changes())

    async def _load(self, request: Request) -> Response:
        priority = priority_of(request.headers.get("x-lama-priority"))
        return told(await self._host.load(_name(request), priority))

    async def _unload(self, request: Request) -> Response:
        return told(await self._host.unload(_name(request)))

    async def _reserve(self, request: Request) -> Response:
        given = _Promised.model_validate(await body_of(request))
        return told(await self._host.reserve(Reserve(model=_name(request), **given.model_dump())))

    async def _release(self, request: Request) -> Response:
        return told(await self._host.release(_name(request)))

    async def _plan(self, request: Request) -> Response:
        priority = priority_of(request.headers.get("x-lama-priority"))
        return told(await self._host.plan(_Planned.model_validate(await body_of(request)).model, priority))

    async def _select(self, request: Request) -> Response:
        given = await body_of(request)
        named = given.get("priority")
        if isinstance(named, str):
            given["priority"] = priority_of(named)
        return told(self._host.select(Requirements.model_validate(given)))

    async def _clean(self, _: Request) -> Response:
        return plain({"freed_bytes": await self._host.clean()})

    async def _lease(self, request: Request) -> Response:
        return told(await self._host.lease_job(_run(request), JobRequest.model_validate(await body_of(request))))

    async def _end(self, request: Request) -> Response:
        if not await self._host.end_job(_run(request)):
            raise RefusedError(404, "This run has no lease.", parameter="run_id", code="not_found")
        return plain({"ended": True})


def _name(request: Request) -> str:
    name = str(request.path_params["name"])
    if not re.fullmatch(MODEL_NAME, name):
        raise RefusedError(404, "No model is called that.", parameter="model", code="model_not_found")
    return name


def _run(request: Request) -> str:
    run_id = str(request.path_params["run_id"])
    if not _RUN_ID.fullmatch(run_id):
        raise RefusedError(400, "A run's id has up to 128 letters, digits and `._:-`.", parameter="run_id")
    return run_id

"""`/host/` of all devices: looked at as one, told what to do one by one or all at once (`?device=1`, `?device=all`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.model_host import ModelDone, ModelStatus, Requirements, Unseen
from services.model_host.asked import priority_of
from services.model_host.door import LARGEST_BODY
from services.model_host.front.device import Device
from services.model_host.front.devices import Devices, has
from services.model_host.front.merging import model_of
from services.model_host.problems import Problem, RefusedError
from services.model_host.responses import body_of, events, plain, told

_AWAY = 503
ALL = "all"


class FrontManagement:
    """The addresses."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def routes(self) -> list[Route]:
        """As Starlette takes them."""
        return [
            Route("/host/status", self._status),
            Route("/host/events", self._events),
            Route("/host/models/{name:path}/load", self._load, methods=["POST"]),
            Route("/host/models/{name:path}/unload", self._unload, methods=["POST"]),
            Route("/host/reserves/{name:path}", self._reserves, methods=["PUT", "DELETE"]),
            Route("/host/plan", self._plan, methods=["POST"]),
            Route("/host/select", self._select, methods=["POST"]),
            Route("/host/clean", self._clean, methods=["POST"]),
            Route("/host/jobs/{run_id}", self._lease, methods=["POST"]),
            Route("/host/jobs/{run_id}", self._end, methods=["DELETE"]),
        ]

    async def _status(self, request: Request) -> Response:
        word = request.query_params.get("device", ALL)
        status = self._devices.status() if word == ALL else self._devices.called(word).status
        assert status is not None  # noqa: S101 - a device that does not answer has been refused before
        return told(status)

    async def _events(self, _: Request) -> Response:
        return events(self._devices.changes())

    async def _load(self, request: Request) -> Response:
        """Where it is, or fits; or where it is said."""
        model = str(request.path_params["name"])
        if "device" in request.query_params:
            return await self._models(request, self._named(request))
        device = await self._devices.place(model, priority_of(request.headers.get("x-lama-priority")))
        if device is None:
            raise _nobody()
        try:
            return await self._models(request, [device])
        finally:
            device.release(model)

    async def _unload(self, request: Request) -> Response:
        """Everywhere, unless it is said where."""
        if "device" in request.query_params:
            return await self._models(request, self._named(request))
        model = str(request.path_params["name"])
        there = [one for one in self._devices.up if has(one, model)] or self._some()
        return await self._models(request, there, everywhere=True)

    async def _reserves(self, request: Request) -> Response:
        """Everywhere, unless it is said where: every host makes the reserves of the same catalogue."""
        asked = self._named(request) if "device" in request.query_params else self._some()
        answers = await self._each(request, asked)
        if isinstance(answers, Response):
            return answers
        for device, answer in zip(asked, answers, strict=True):
            device.heard(answer)  # sooner than its events tell
        return told(self._devices.status())

    async def _plan(self, request: Request) -> Response:
        asked = self._named(request) if "device" in request.query_params else self._some()
        answers = await self._each(request, asked)
        if isinstance(answers, Response):
            return answers
        plans = [{"device": str(one.number), **answer} for one, answer in zip(asked, answers, strict=True)]
        best = min(plans, key=lambda one: (not one["fits"], len(one["evicted"])))
        return plain(best | {"devices": plans})

    async def _select(self, request: Request) -> Response:
        given = await body_of(request)
        named = given.get("priority")
        if isinstance(named, str):
            given["priority"] = priority_of(named)
        found = await self._devices.select(Requirements.model_validate(given))
        if found is not None:
            return told(found[1])
        if not self._devices.up:
            raise _nobody()
        return _passed(await self._send(self._devices.up[0], request, orjson.dumps(given)))  # it says why

    async def _clean(self, request: Request) -> Response:
        asked = self._named(request) if "device" in request.query_params else self._some()
        answers = await self._each(request, asked)
        if isinstance(answers, Response):
            return answers
        freed = sum(one["freed_bytes"] for one in answers)
        gone = [one.model_dump() for one in self._left_out(request)]
        return plain({"freed_bytes": freed, **({"incomplete": gone} if gone else {})})

    async def _lease(self, request: Request) -> Response:
        """On the device that is named: the run's own process is there."""
        word = request.query_params.get("device")
        if word is None or word == ALL:
            raise RefusedError(400, "A run is on one device: say `?device=`, or ask its host.", parameter="device")
        device = self._devices.called(word)
        return _passed(await self._send(device, request, await _bytes(request)))

    async def _end(self, request: Request) -> Response:
        asked = self._named(request) if "device" in request.query_params else self._some()
        answers = await asyncio.gather(*(self._send(device, request, b"") for device in asked))
        first = min(answers, key=lambda one: one.status_code)
        gone = self._left_out(request)
        if gone and not first.is_success:  # who is away may be the one that it ran on
            raise RefusedError(503, f"Device {gone[0].device}: {gone[0].reason}", code="device_away", retry_after_s=1.0)
        away = (one for one in answers if one.status_code == _AWAY)
        return _passed(first if first.is_success else next(away, first))

    async def _models(self, request: Request, asked: Sequence[Device], *, everywhere: bool = False) -> Response:
        answers = await self._each(request, asked)
        if isinstance(answers, Response):
            return answers
        status = model_of([ModelStatus.model_validate(one) for one in answers])
        everywhere = everywhere or request.query_params.get("device") == ALL
        gone = self._left_out(request) if everywhere else ()
        return told(ModelDone(**dict(status), incomplete=gone))

    def _named(self, request: Request) -> list[Device]:
        word = request.query_params["device"]
        return self._some() if word == ALL else [self._devices.called(word)]

    def _some(self) -> list[Device]:
        up = self._devices.up
        if not up:
            raise _nobody()
        return up

    def _left_out(self, request: Request) -> tuple[Unseen, ...]:
        """Who is meant, and does not answer."""
        if request.query_params.get("device", ALL) != ALL:
            return ()
        return tuple(one.unseen for one in self._devices.all if one.status is None)

    async def _each(self, request: Request, asked: Sequence[Device]) -> list[dict[str, Any]] | Response:
        """What every device answered; the first refusal, with who did it all the same, where one refuses."""
        body = await _bytes(request)
        answers = await asyncio.gather(*(self._send(device, request, body) for device in asked))
        done = [str(one.number) for one, answer in zip(asked, answers, strict=True) if answer.is_success]
        for device, answer in zip(asked, answers, strict=True):
            if not answer.is_success:
                document = _document(answer)
                about = {**(document.get("lama") or {}), "device": str(device.number), "done": done}
                kept = {name: answer.headers[name] for name in ("retry-after", "x-should-retry")
                        if name in answer.headers}  # fmt: skip
                return Response(
                    orjson.dumps(document | {"lama": about}), answer.status_code, kept, media_type="application/json"
                )
        return [_document(answer) for answer in answers]

    @staticmethod
    async def _send(device: Device, request: Request, body: bytes) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name.startswith("x-lama-")}
        # What is quoted in an address stays so: names of models hold slashes and colons.
        path = request.scope["raw_path"].decode("ascii")
        try:
            return await device.client.request(
                request.method, path, content=body, headers={"Content-Type": "application/json", **headers}
            )
        except httpx.HTTPError as error:
            problem = Problem(503, f"Device {device.number} does not answer ({type(error).__name__}).",
                              code="device_away", headers={"Retry-After": "1"})  # fmt: skip
            return httpx.Response(503, headers=dict(problem.headers), content=bytes(problem.body))


def _nobody() -> RefusedError:
    return RefusedError(503, "No device answers.", code="no_device", retry_after_s=1.0)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


async def _bytes(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise RefusedError(413, f"The request has more than {LARGEST_BODY:,} bytes.")
    return bytes(body)


def _passed(answer: httpx.Response) -> Response:
    kept = {name: answer.headers[name] for name in ("retry-after", "x-should-retry") if name in answer.headers}
    return Response(answer.content, answer.status_code, kept, media_type="application/json")

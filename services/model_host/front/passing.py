"""A request to a model goes to the device where it is served best, and its answer comes back as it is made.

Until the first byte of an answer has been passed on, another device is asked when one is gone, or has no room.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from blocks.logs import logger
from models.model_host import ModelKind, Priority, Requirements
from services.guard import LESSER
from services.model_host.answers import event
from services.model_host.asked import (
    AUTO,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    claimed,
    needs_of,
    needs_of_texts,
    use_case_of,
)
from services.model_host.door import GoneError, read_json, while_connected
from services.model_host.front.device import Device
from services.model_host.front.devices import Devices
from services.model_host.front.measures import FrontMeasures
from services.model_host.problems import Problem, problem_of
from services.model_host.reply import Reply

_BACK = frozenset(
    {"content-type", "cache-control", "retry-after", "x-should-retry", "x-accel-buffering", "www-authenticate"}
)
_log = logger("model host")


@dataclass(frozen=True)
class Answer:
    """A whole answer of a host."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def elsewhere(self) -> bool:
        """Whether another device might do better: this one has no room, or cannot load the model."""
        return self.status in {429, 503}

    async def send(self, reply: Reply) -> None:
        """Send all of it.

        Raises:
            GoneError: the client does not read.
        """
        length = (b"content-length", str(len(self.body)).encode())
        await reply.start(self.status, [*self.headers, length])
        await reply.more(self.body, last=True)


class BrokenOffError(Exception):
    """A host ended while it answered."""


class Passing:
    """One of the addresses of OpenAI's API that use a model.

    Args:
        devices: who may answer.
        measures: what is counted.
        kind: of the models of this address.
        claim: the highest priority that the clients' key may claim.
    """

    def __init__(self, devices: Devices, measures: FrontMeasures, kind: ModelKind, claim: Priority) -> None:
        self._claim = claim
        self._devices = devices
        self._measures = measures
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; a client that hangs up ends the work."""
        headers, reply, body = Headers(scope=scope), Reply(send), bytearray()

        async def kept() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        try:
            document = await read_json(kept, headers.get("content-length"))
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            priority = claimed(headers.getlist("x-lama-priority"), self._claim, lesser=scope.get(LESSER, False))
            asked = _Asked(path, bytes(body), document, headers, priority)
            await while_connected(receive, self._answer(asked, reply))
        except GoneError:
            pass
        except BrokenOffError as error:
            with contextlib.suppress(GoneError):  # too late for a status
                told = {"message": str(error), "type": "server_error", "param": None, "code": "broken_off"}
                await reply.more(event({"error": told}), last=True)
        except Exception as error:
            if reply.begun:
                raise
            await problem_of(error)(scope, receive, send)

    async def _answer(self, asked: _Asked, reply: Reply) -> None:
        refused: list[Answer] = []
        tried: set[int] = set()
        model = str(asked.document.get("model", ""))[:128]
        first = await self._chosen(asked) if model == AUTO else None
        while True:
            if first is not None:
                device, first = first, None
                device.asked[model] += 1
            else:
                found = await self._devices.place(model, asked.priority, tried)
                if found is None:
                    break
                device = found
            tried.add(device.number)
            try:
                answer = await self._ask(device, asked, reply)
            except httpx.HTTPError as error:
                if reply.begun:
                    _log.warning("device %s: its answer broke off (%r)", device.number, error)
                    self._measures.broken(device.number)
                    raise BrokenOffError(f"Device {device.number} ended while it answered.") from error
                _log.warning("device %s: it did not answer (%r)", device.number, error)
                self._measures.moved(device.number)
                continue
            finally:
                device.release(model)
            if answer is None:
                return
            if not answer.elsewhere:
                await answer.send(reply)
                return
            refused.append(answer)
            self._measures.moved(device.number)
        if refused:  # whoever may have room later says so
            waiting = (one for one in refused if any(name == b"retry-after" for name, _ in one.headers))
            await next(waiting, refused[0]).send(reply)
            return
        away = " ".join(f"Device {one.number}: {one.unseen.reason}" for one in self._devices.all)
        problem = Problem(503, f"No device answers. {away}", code="no_device", headers={"Retry-After": "1"})
        await Answer(503, tuple(_returned(httpx.Headers(problem.raw_headers))), bytes(problem.body)).send(reply)

    async def _chosen(self, asked: _Asked) -> Device | None:
        needs = asked.needs(self._kind)
        found = await self._devices.select(needs)
        if found is None and needs.context_tokens:  # it may have been estimated too high
            found = await self._devices.select(needs.model_copy(update={"context_tokens": 0}))
        return found[0] if found else None

    async def _ask(self, device: Device, asked: _Asked, reply: Reply) -> Answer | None:
        """What `device` answers; None: it has been passed on already, piece by piece."""
        self._measures.asked(device.number)
        device_header = (b"x-lama-device", str(device.number).encode())
        async with device.client.stream("POST", asked.path, content=asked.body, headers=asked.passed()) as upstream:
            headers = (*_returned(upstream.headers), device_header)
            if not upstream.headers.get("content-type", "").startswith("text/event-stream"):
                return Answer(upstream.status_code, headers, await upstream.aread())
            async for part in upstream.aiter_raw():
                if not reply.begun:
                    await reply.start(upstream.status_code, headers)
                await reply.more(part)
            if not reply.begun:
                await reply.start(upstream.status_code, headers)
            await reply.more(b"", last=True)
            return None


@dataclass(frozen=True)
class _Asked:
    """A request as it came."""

    path: str
    body: bytes
    document: dict[str, Any]
    headers: Headers
    priority: Priority | None

    def needs(self, kind: ModelKind) -> Requirements:
        """What the host that gets it will choose by.

        Raises:
            ValidationError: it is no request to models of that `kind`.
        """
        use_case = use_case_of(self.headers.get("x-lama-use-case"))
        if kind is ModelKind.embed:
            texts = EmbeddingRequest.model_validate(self.document).texts()
            return needs_of_texts(texts, use_case, self.priority)
        request = ChatRequest if self.path.endswith("/chat/completions") else CompletionRequest
        return needs_of(request.model_validate(self.document).asks(), use_case, self.priority)

    def passed(self) -> dict[str, str]:
        """The headers that mean something to a host, which believes them: the priority is the one that was judged."""
        ours = {name: value for name, value in self.headers.items() if name.startswith("x-lama-")}
        ours.pop("x-lama-priority", None)
        judged = {} if self.priority is None else {"x-lama-priority": self.priority.name}
        return {"Content-Type": "application/json", **ours, **judged}


def _returned(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    """The headers that mean something to whoever has asked."""
    return [
        (name, value)
        for name, value in ((name.lower(), value) for name, value in headers.raw)
        if name.decode("latin-1") in _BACK or name.startswith(b"x-lama-")
    ]

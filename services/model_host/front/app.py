"""The application of the one address: OpenAI's API, the host's own, and what supervisors and Prometheus ask."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from blocks.settings import Settings
from models.model_host import ModelKind, ModelStatus, Priority, Unseen
from services.model_host.app import guarded_app
from services.model_host.front.device import Device
from services.model_host.front.devices import Devices
from services.model_host.front.management import FrontManagement
from services.model_host.front.measures import FrontMeasures
from services.model_host.front.passing import Passing
from services.model_host.problems import Problem
from services.model_host.responses import model_document, plain

_FIGURES_S = 5.0
_READY_S = 1.0


def create_front(
    settings: Settings, devices: Devices, hosts: Iterable[str], *, client_priority: Priority = Priority.normal
) -> ASGIApp:
    """The application, to be served by an ASGI server.

    Args:
        settings: have the key and the address.
        devices: who answers.
        hosts: further names that this machine is asked by.
        client_priority: the highest that the clients' key may claim.
    """
    measures = FrontMeasures()
    started = int(time.time())

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with devices.watched():
            yield

    async def health(_: Request) -> Response:
        return plain({"status": "ok"})

    async def ready(_: Request) -> Response:
        """Whether anybody is ready; who is not is said, and why."""
        up = devices.up
        if not up:
            return Problem(503, "No device answers yet.", code="no_device", headers={"Retry-After": "1"})
        why = await asyncio.gather(*(_unready(device) for device in up))
        unready = [Unseen(device=str(one.number), reason=told) for one, told in zip(up, why, strict=True) if told]
        gone = [one.unseen for one in devices.all if one.status is None]
        if len(unready) == len(up):
            told = " ".join(f"Device {one.device}: {one.reason}" for one in (*unready, *gone))
            return Problem(503, told, headers={"Retry-After": "1"})
        left_out = sorted((*gone, *unready), key=lambda one: int(one.device))
        return plain({"status": "ok", **({"incomplete": [one.model_dump() for one in left_out]} if left_out else {})})

    async def metrics(_: Request) -> Response:
        up = devices.up
        texts = await asyncio.gather(*(_figures(device) for device in up))
        told = {device.number: text for device, text in zip(up, texts, strict=True) if text is not None}
        return Response(measures.text(devices.all, told), media_type=CONTENT_TYPE_LATEST)

    async def models(_: Request) -> Response:
        status = devices.status()
        gone = [one.model_dump() for one in status.incomplete]
        data = [_model(one, started, devices) for one in status.models]
        return plain({"object": "list", "data": data, **({"lama": {"incomplete": gone}} if gone else {})})

    async def model(request: Request) -> Response:
        for one in devices.status().models:
            if one.name == request.path_params["name"]:
                return plain(_model(one, started, devices))
        return Problem(404, "No model is called that.", parameter="model", code="model_not_found")

    generating, embedding = (
        Passing(devices, measures, kind, client_priority) for kind in (ModelKind.generate, ModelKind.embed)
    )
    routes = [
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/v1/chat/completions", generating, methods=["POST"]),
        Route("/v1/completions", generating, methods=["POST"]),
        Route("/v1/embeddings", embedding, methods=["POST"]),
        *FrontManagement(devices).routes(),
    ]
    return guarded_app(routes, lifespan, settings, hosts)


async def _unready(device: Device) -> str:
    """Why a device's host is not ready; empty: it is."""
    try:
        answer = await device.client.get("/ready", timeout=_READY_S)
        if answer.is_success:
            return ""
        return str(answer.json()["error"]["message"])
    except httpx.HTTPError as error:
        return f"Its host does not answer ({type(error).__name__})."
    except (ValueError, KeyError, TypeError):
        return f"Its host answered {answer.status_code}."


async def _figures(device: Device) -> str | None:
    with contextlib.suppress(httpx.HTTPError):
        answer = await device.client.get("/metrics", timeout=_FIGURES_S)
        if answer.is_success:
            return answer.text
    return None


def _model(status: ModelStatus, started: int, devices: Devices) -> dict[str, Any]:
    where = {
        str(device.number): one.state
        for device in devices.up
        for one in (device.status.models if device.status else ())
        if one.name == status.name
    }
    return model_document(status, started, devices=where)

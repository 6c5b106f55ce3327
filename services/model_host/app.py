"""The application: OpenAI's API at `/v1/`, the host's own at `/host/`, and what supervisors and Prometheus ask."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from blocks.errors import LamaError
from blocks.home import Home
from blocks.logs import logger
from blocks.settings import Settings
from models.model_host import Priority
from services.guard import Guard, Lesser, Names
from services.model_host.door import GoneError
from services.model_host.embeddings import Embeddings
from services.model_host.generation import Generation, Turnstile
from services.model_host.host import Host
from services.model_host.management import Management
from services.model_host.measures import Measures
from services.model_host.problems import Problem, RefusedError, answer_problem, guarded
from services.model_host.responses import model_document, plain

_AT_ONCE = 256
"""Requests to models; those for which there is no memory wait among them."""
_FOR_HIGH = 64
"""Of these, the ones that only requests of high priority have."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
KEY = "model_host.key"
CLIENT_KEY = "model_host_client.key"
_FOR_CLIENTS = ("/v1/", "/metrics")
_OPEN = frozenset({"/health", "/ready"})


def create_app(
    settings: Settings, host: Host, hosts: Iterable[str], *, client_priority: Priority = Priority.normal
) -> ASGIApp:
    """The application, to be served by an ASGI server.

    Args:
        settings: have the key and the address.
        host: keeps the models; it is closed at the end.
        hosts: further names that this machine is asked by.
        client_priority: the highest that the clients' key may claim.
    """
    measures = Measures()
    turnstile = Turnstile(_AT_ONCE, _FOR_HIGH)
    started = int(time.time())
    failed: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Who asks meanwhile waits for the memory that he needs, as always.
        starting = asyncio.create_task(_start(host, failed))
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await host.close()

    async def health(_: Request) -> Response:
        return plain({"status": "ok"})

    async def ready(_: Request) -> Response:
        told = dict(host.unkept)
        if host.ready:
            return plain({"status": "ok"} | ({"reserves": told} if told else {}))
        why = "; ".join([*failed[-1:], *told.values()])
        return Problem(503, why or "The model host is starting or stopping.")

    async def metrics(_: Request) -> Response:
        return Response(measures.text(host.status()), media_type=CONTENT_TYPE_LATEST)

    async def models(_: Request) -> Response:
        return plain({"object": "list", "data": [model_document(one, started) for one in host.status().models]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        for one in host.status().models:
            if one.name == name:
                return plain(model_document(one, started))
        return Problem(404, "No model is called that.", parameter="model", code="model_not_found")

    inside = (host, measures, turnstile, client_priority)
    routes = [
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/v1/chat/completions", Generation(*inside, chat=True), methods=["POST"]),
        Route("/v1/completions", Generation(*inside, chat=False), methods=["POST"]),
        Route("/v1/embeddings", Embeddings(*inside), methods=["POST"]),
        *Management(host).routes(),
    ]
    return guarded_app(routes, lifespan, settings, hosts)


def guarded_app(
    routes: Sequence[Route], lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]], settings: Settings,
    hosts: Iterable[str],
) -> ASGIApp:  # fmt: skip
    """`routes` behind the keys and names of a model host; whatever goes wrong is told in OpenAI's shape.

    Args:
        routes: what is asked.
        lifespan: what lives as long as the application.
        settings: have the key and the address.
        hosts: further names that this machine is asked by.
    """
    kinds = (HTTPException, RefusedError, ValidationError, LamaError, GoneError, Exception)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=dict.fromkeys(kinds, answer_problem))
    lesser = Lesser(CLIENT_KEY, settings.model_host_client_key, _FOR_CLIENTS)
    return Guard(
        app, Names(settings, hosts), Home(settings), KEY, settings.model_host_key, without_key=_OPEN, refused=guarded,
        lesser=lesser,
    )  # fmt: skip


async def _start(host: Host, failed: list[str]) -> None:
    """Start `host`, again and again until it has: `failed` says why it has not yet."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            await host.start()
        except Exception as error:  # noqa: BLE001 - a driver or a library; nobody else would hear of it
            failed.append(f"The model host cannot start: {type(error).__name__}: {error}")
            logger("model host").error("%s", failed[-1], exc_info=error)
        else:
            failed.clear()
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

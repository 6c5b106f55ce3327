"""The gateway's application: its parts, put together, and their life from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from blocks.database import LAMA_DATABASE, dsn
from blocks.home import Home
from blocks.logs import logger
from blocks.prefect_starter import PrefectStarter
from blocks.settings import Settings
from models.webhook import WebhooksSettings
from services.connection import Connection
from services.gateway import deliveries, graph, predictions, probes, reports, webhooks
from services.gateway.auth import Key, require_key, require_key_of_browser
from services.gateway.dispatch import Dispatcher
from services.gateway.docs_page import docs_page
from services.gateway.drains import DrainStarter
from services.gateway.exposition import Exposition
from services.gateway.guard import Guard
from services.gateway.intake import Intake
from services.gateway.measures import Measures
from services.gateway.prefect_figures import PrefectFigures
from services.gateway.registry import Registry
from services.gateway.retention import keep_pruning
from services.live_routes import LiveRoutes

_log = logger("gateway")

_AGAIN_S = 5.0
_DESCRIPTION = "Takes signed webhooks, starts flow runs, and shows reports and figures of this node."


@dataclass(frozen=True)
class Gateway:
    """What the routes need; `app.state.gateway`."""

    settings: Settings
    key: Key
    reception: webhooks.Reception
    reads: Connection
    prefect: PrefectFigures
    predictions: predictions.Predictions
    exposition: Exposition
    wake: asyncio.Event


def create_app(settings: Settings, hooks: WebhooksSettings, live: LiveRoutes) -> Guard:
    """The application, to be served by an ASGI server. The database may come up later than it."""
    url = dsn(settings, LAMA_DATABASE)
    measures = Measures()
    wake = asyncio.Event()
    intake_connection, dispatch_connection, reads = Connection(url), Connection(url), Connection(url)
    intake = Intake(intake_connection, measures)
    starter = PrefectStarter(settings)
    dispatcher = Dispatcher(hooks, dispatch_connection, starter, measures, wake)
    drains = DrainStarter(lambda: live.settings.routes, url, starter)
    prefect = PrefectFigures(settings)
    registry = Registry(hooks.registry, Home(settings))
    predicting = predictions.Predictions(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "intake": intake.run,
            "dispatch": dispatcher.run,
            "retention": lambda: keep_pruning(reads, hooks.retention_days),
            "routes": live.run,
            "handoffs": drains.run,
            "handoffs bell": drains.listen,
            "predictions": predicting.record,
        }
        await live.begin()
        tasks = [asyncio.create_task(_kept_up(name, work), name=name) for name, work in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await drains.close()
            await starter.close()
            await prefect.close()
            await predicting.close()
            live.close()
            for connection in (intake_connection, dispatch_connection, reads):
                await connection.close()

    app = FastAPI(
        title="Lama gateway", version="1", description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None,
        exception_handlers={
            HTTPException: _http_error, RequestValidationError: _bad_parameters, Exception: _unexpected,
        },
    )  # fmt: skip
    reception = webhooks.Reception(hooks, live, registry, intake, measures, wake)
    app.add_middleware(webhooks.Door, reception=reception)
    app.state.gateway = Gateway(
        settings=settings,
        key=Key(settings),
        reception=reception,
        reads=reads,
        prefect=prefect,
        predictions=predicting,
        exposition=Exposition(measures, reads, prefect, live),
        wake=wake,
    )
    app.include_router(webhooks.router)
    app.include_router(probes.router)
    for module in (reports, deliveries, predictions):
        app.include_router(module.router, dependencies=[Depends(require_key)])
    app.include_router(graph.router, dependencies=[Depends(require_key_of_browser)])

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    return Guard(app, settings, hooks.hosts, measures)


async def _kept_up(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`; should it end by a mistake of ours, say so and start it again rather than be half a gateway."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - it is logged whole; nothing else would notice a task's end
            _log.exception("%s ended; it starts again in %g s", name, _AGAIN_S)
        await asyncio.sleep(_AGAIN_S)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _bad_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    # What was sent is not repeated: it may hold what does not belong into a log.
    problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
    return JSONResponse({"error": "; ".join(problems)}, 422)


async def _unexpected(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "The gateway made a mistake; its log has it."}, 500)

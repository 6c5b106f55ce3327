"""`/health`, `/ready` and `/metrics`: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from models.report import Value
from services.connection import UNAVAILABLE, Connection
from services.gateway.auth import require_key
from services.gateway.exposition import Exposition
from services.gateway.prefect_figures import PrefectFigures

router = APIRouter(tags=["probes"])

_DATABASE_S = 2.0


class Health(Value):
    """The process lives."""

    status: Literal["ok"] = Field(default="ok", description="Always this.")


class Readiness(Value):
    """Whether deliveries can be taken and reports be read."""

    status: Literal["ok", "degraded", "unavailable"] = Field(
        description="`degraded`: deliveries are taken, but start nothing until Prefect is back."
    )
    database: bool = Field(description="Whether PostgreSQL answers and has the tables.")
    prefect: bool = Field(description="Whether Prefect's API answers.")


@router.get("/health")
async def health() -> Health:
    """Whether the process lives."""
    return Health()


@router.get("/ready", responses={503: {"model": Readiness, "description": "Deliveries cannot be taken."}})
async def ready(request: Request, response: Response) -> Readiness:
    """Whether deliveries can be taken. A missing Prefect only degrades: they are stored and started later."""
    reads: Connection = request.app.state.gateway.reads
    prefect: PrefectFigures = request.app.state.gateway.prefect
    try:
        async with reads.use(_DATABASE_S) as connection:
            await connection.execute("SELECT FROM delivery LIMIT 1")
    except UNAVAILABLE:
        response.status_code = 503
        return Readiness(status="unavailable", database=False, prefect=await prefect.reachable())
    up = await prefect.reachable()
    return Readiness(status="ok" if up else "degraded", database=True, prefect=up)


async def _key_beyond_loopback(request: Request) -> None:
    gateway = request.app.state.gateway
    if not gateway.settings.on_loopback:
        key = request.headers.get("authorization", "")
        scheme, _, token = key.partition(" ")
        offered = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
        if not gateway.key.fits(offered):
            await require_key(request)


@router.get("/metrics", dependencies=[Depends(_key_beyond_loopback)], response_class=Response)
async def metrics(request: Request) -> Response:
    """Everything for Prometheus. Needs the key when the gateway listens beyond loopback."""
    exposition: Exposition = request.app.state.gateway.exposition
    return Response(await exposition.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

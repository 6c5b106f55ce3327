"""What one would otherwise write to take GitHub's deliveries in: a FastAPI handler that commits its row.

Both do the same work as ours on a delivery (signature, JSON, a durable row that a repeated id does not double) and none
of the rest. `python benchmarks/_gateway_peers.py asyncpg|sqlmodel PORT URL SECRET_FILE`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import Column, DateTime, LargeBinary
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, create_engine
from starlette.concurrency import run_in_threadpool

TABLES = ("peer_asyncpg", "peer_sqlmodel")
_INSERT = "INSERT INTO peer_asyncpg VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"


class Row(SQLModel, table=True):
    __tablename__ = "peer_sqlmodel"

    delivery_id: str = Field(primary_key=True)
    event: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


async def _verified(request: Request, secret: bytes) -> tuple[str, str, bytes]:
    body = await request.body()
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(request.headers["x-hub-signature-256"], expected):
        raise HTTPException(401)
    json.loads(body)
    return request.headers["x-github-delivery"], request.headers["x-github-event"], body


def with_asyncpg(url: str, secret: bytes) -> FastAPI:
    """A pool of asyncpg, one row and one commit a request."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=10, max_size=10) as app.state.pool:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhooks/github", status_code=202)
    async def take(request: Request) -> dict[str, str]:
        identifier, event, body = await _verified(request, secret)
        async with request.app.state.pool.acquire() as connection:
            await connection.execute(_INSERT, identifier, event, body, datetime.now(UTC))
        return {"status": "accepted"}

    return app


def with_sqlmodel(url: str, secret: bytes) -> FastAPI:
    """FastAPI's own tutorial: a SQLModel session a request, committed in the thread pool."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_size=10)
    app = FastAPI()

    def store(identifier: str, event: str, body: bytes) -> None:
        with Session(engine) as session, contextlib.suppress(IntegrityError):
            session.add(Row(delivery_id=identifier, event=event, body=body, received_at=datetime.now(UTC)))
            session.commit()

    @app.post("/webhooks/github", status_code=202)
    async def take(request: Request) -> dict[str, str]:
        await run_in_threadpool(store, *await _verified(request, secret))
        return {"status": "accepted"}

    return app


def main() -> None:
    kind, port, url, secret = sys.argv[1:]
    make = {"asyncpg": with_asyncpg, "sqlmodel": with_sqlmodel}[kind]
    app = make(url, Path(secret).read_text().strip().encode())
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()

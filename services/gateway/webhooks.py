"""`POST /webhooks/{source}`: verified over the raw body, durable before it is answered.

The order matters. Unknown sources are turned away before their body is read, unsigned ones before it is parsed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from pydantic import JsonValue
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from blocks.logs import logger
from models.webhook import DeliveryStatus, Route, Source, WebhooksSettings
from models.webhook_template import PayloadError, lookup
from services.gateway.intake import Arrival, Intake, NotStoredError
from services.gateway.measures import Measures
from services.gateway.payload import GarbageError, parse
from services.gateway.registry import Registry
from services.gateway.routing import matching
from services.gateway.signatures import BadSignatureError, Claim, event_name, read_claim, verify
from services.live_routes import LiveRoutes
from tasks.handoffs.arrivals import messages_of
from tasks.handoffs.hearing import Heard, heard_of
from tasks.handoffs.inbox import Row, rows

_log = logger("gateway")

router = APIRouter(tags=["webhooks"])

_MOST_BUFFERED = 200_000_000
"""Bytes of bodies that are held at once, over all senders."""
_LARGE = 200_000
"""Bytes from which a body is verified beside the event loop, so that small ones do not wait for it."""
_QUIET_S = 10.0


class _Refusal(Exception):  # noqa: N818 - not an error of ours
    def __init__(self, status: int, outcome: str, sentence: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.outcome = outcome
        self.sentence = sentence
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class _Proven:
    delivery_id: str
    event: str
    payload: JsonValue
    fingerprint: bytes | None


class Reception:
    """Takes deliveries in. One a gateway."""

    def __init__(
        self,
        settings: WebhooksSettings,
        live: LiveRoutes,
        registry: Registry,
        intake: Intake,
        measures: Measures,
        wake: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._live = live
        self._registry = registry
        self._intake = intake
        self._measures = measures
        self._wake = wake
        self._buffered = 0
        self._said: dict[tuple[str, str], float] = {}

    async def receive(self, name: str, request: Request) -> Response:
        """Answer one delivery to the source `name`."""
        source = self._registry.source(name)
        try:
            fresh, delivery_id = await self._accept(_existing(source), request)
        except _Refusal as refusal:
            label = source.name if source else "unknown"
            self._measures.delivery(label, refusal.outcome)
            self._say(label, refusal)
            headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else None
            return JSONResponse({"error": refusal.sentence}, refusal.status, headers)
        outcome = "accepted" if fresh else "duplicate"
        self._measures.delivery(name, outcome)
        return JSONResponse({"status": outcome, "id": delivery_id}, 202 if fresh else 200)

    async def _accept(self, source: Source, request: Request) -> tuple[bool, str]:
        keys = self._registry.keys(source)
        if not keys:
            raise _Refusal(503, "no_secret", "This source has no secret yet.", retry_after_s=60)
        try:
            claim = read_claim(source, request.headers, time.time())
        except BadSignatureError as error:
            raise _bad_signature(error) from None
        limit = source.body_limit_bytes or self._settings.body_limit_bytes
        body = bytearray()
        try:
            await self._read(request, body, limit)
            content = bytes(body)
            if len(content) > _LARGE:
                proven = await asyncio.to_thread(_prove, source, claim, content, keys)
            else:
                proven = _prove(source, claim, content, keys)
            routes = matching(self._settings.routes, source.name, proven.event, proven.payload)
            content_type = _printable(request.headers.get("content-type", ""))
            handed_on, heard = self._messages(source, proven, content_type, content)
            arrival = Arrival(
                source=source.name,
                delivery_id=proven.delivery_id,
                fingerprint=proven.fingerprint,
                event=proven.event,
                content_type=content_type,
                body=content,
                received_at=datetime.now(UTC),
                status=_status(routes, handed_on),
                messages=tuple(handed_on),
                heard=tuple(heard),
            )
            fresh = await self._intake.store(arrival)
        except NotStoredError as error:
            raise _Refusal(503, "unavailable", f"Not stored: {error}.", retry_after_s=5) from None
        finally:
            self._buffered -= len(body)
        if fresh and routes:
            self._wake.set()
        return fresh, proven.delivery_id

    def _messages(
        self, source: Source, proven: _Proven, content_type: str, body: bytes
    ) -> tuple[list[Row], list[Heard]]:
        """What of a delivery goes into the inbox, for each route that takes it; what it tells of messages we sent."""
        kind = "whatsapp" if source.kind == "whatsapp" else "webhook"
        handoffs = self._live.receiving
        takers = handoffs.of_source(f"{kind}:{source.name}")
        sends = kind == "whatsapp" and any(route.target.kind == "whatsapp" for route in handoffs.routes)
        if not takers and not sends:
            return [], []
        found = messages_of(
            source.kind,
            source.name,
            delivery_id=proven.delivery_id,
            event=proven.event,
            content_type=content_type,
            body=body,
            payload=proven.payload,
        )
        return rows(takers, found), heard_of(found) if sends else []

    def challenge(self, name: str, query: Mapping[str, str]) -> Response:
        """Answer the question with which Meta finds out whether an address is ours.

        https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests
        """
        source = self._registry.source(name)
        if source is None:
            return JSONResponse({"error": "There is no such source."}, 404)
        if source.kind != "whatsapp":
            return JSONResponse({"error": "Deliveries are posted."}, 405, {"Allow": "POST"})
        token, told = self._registry.verify_token(source), query.get("hub.verify_token", "")
        known = token is not None and hmac.compare_digest(token.encode(), told.encode())
        if query.get("hub.mode") != "subscribe" or not known:
            return JSONResponse({"error": "The verify token is wrong."}, 403)
        return PlainTextResponse(_printable(query.get("hub.challenge", "")))

    async def _read(self, request: Request, body: bytearray, limit: int) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > limit:
                        raise _too_large(limit)
                    body += chunk
                    self._buffered += len(chunk)
                    if self._buffered > _MOST_BUFFERED:
                        raise _Refusal(503, "overloaded", "Too much is being received.", retry_after_s=5)
        except TimeoutError:
            raise _Refusal(408, "timeout", "The body did not arrive in time.") from None
        except ClientDisconnect:
            raise _Refusal(400, "disconnected", "The body did not arrive.") from None

    def _say(self, source: str, refusal: _Refusal) -> None:
        # One line in a while: whoever sends garbage at full speed must not fill the disk with our complaints.
        now = time.monotonic()
        if now - self._said.get((source, refusal.outcome), -_QUIET_S) >= _QUIET_S:
            self._said[source, refusal.outcome] = now
            _log.warning("delivery to %s refused: %s (%d)", source, refusal.outcome, refusal.status)


class Door:
    """ASGI middleware that leads deliveries straight to the reception.

    What the framework does for a route (three exit stacks, dependencies, a threading of exceptions) costs more than all
    that is done for a delivery; the route below describes the same answers, and gives them where this is not in place.
    """

    def __init__(self, app: ASGIApp, reception: Reception) -> None:
        self._app = app
        self._reception = reception

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a delivery, or pass on whatever else it is."""
        head, _, name = scope["path"].rpartition("/") if scope["type"] == "http" else ("", "", "")
        if head != "/webhooks" or not name or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = _TEMPLATE
        response = await self._reception.receive(name, Request(scope, receive))
        await response(scope, receive, send)


@dataclass(frozen=True)
class _Template:
    path: str


_TEMPLATE = _Template("/webhooks/{source}")


@router.post(
    _TEMPLATE.path,
    summary="Take a delivery",
    responses={
        200: {"description": "Seen before; nothing happens."},
        202: {"description": "New, and durable."},
        400: {"description": "Signed, but no JSON that can be used, or without an id."},
        401: {"description": "The signature is missing, wrong, or too old."},
        404: {"description": "No such source."},
        408: {"description": "The body did not arrive in time."},
        413: {"description": "The body is too large."},
        503: {"description": "Not stored, or the source has no secret; send it again later."},
    },
    status_code=202,
    response_model=None,
)
async def receive(source: str, request: Request) -> Response:
    """A delivery of `source`, signed the way that source signs. The body is JSON."""
    reception: Reception = request.app.state.gateway.reception
    return await reception.receive(source, request)


@router.get(
    _TEMPLATE.path,
    summary="Prove that this address is ours",
    responses={
        403: {"description": "The verify token is wrong."},
        404: {"description": "No such source."},
        405: {"description": "A source of another kind, which only posts."},
    },
    response_class=PlainTextResponse,
)
async def challenge(source: str, request: Request) -> Response:
    """The challenge of a source of kind `whatsapp`, given back to whoever knows its verify token."""
    reception: Reception = request.app.state.gateway.reception
    return reception.challenge(source, request.query_params)


def _status(routes: Sequence[Route], handed_on: Sequence[Row]) -> DeliveryStatus:
    if routes:
        return DeliveryStatus.stored
    return DeliveryStatus.handed_on if handed_on else DeliveryStatus.ignored


def _existing(source: Source | None) -> Source:
    if source is None:
        raise _Refusal(404, "unknown_source", "There is no such source.")
    return source


def _prove(source: Source, claim: Claim, body: bytes, keys: Sequence[bytes]) -> _Proven:
    try:
        fingerprint = verify(source, claim, body, keys)
    except BadSignatureError as error:
        raise _bad_signature(error) from None
    try:
        payload = parse(body)
    except GarbageError as error:
        raise _Refusal(400, "malformed", f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    identifier = claim.delivery_id
    if source.id_header is None:
        identifier = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if identifier is None:
        raise _Refusal(400, "malformed", f"There is no usable id in {source.id_header}.")
    event = claim.event
    if not event and source.event_path is not None:
        try:
            event = event_name(lookup(payload, source.event_path))
        except PayloadError:
            event = ""  # an event without a name matches routes for any event only
    return _Proven(identifier, event, payload, fingerprint)


def _bad_signature(error: BadSignatureError) -> _Refusal:
    # Which part was wrong helps whoever sets a source up; it tells a forger nothing that trying would not.
    sentences = {
        "missing": "The signature, or what it covers, is missing.",
        "malformed": "The signature cannot be read.",
        "stale": "The signed time is outside of the replay window.",
    }
    outcome = "stale" if error.reason == "stale" else "bad_signature"
    return _Refusal(401, outcome, sentences.get(error.reason, "The signature is wrong."))


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, "too_large", f"The body is larger than {limit} bytes.")


def _printable(text: str) -> str:
    return "".join(character for character in text[:100] if " " <= character <= "~")

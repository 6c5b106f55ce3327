"""The tools of one source: what is offered, what is refused before anything is stored, and what callers are told."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic import JsonValue

from blocks.errors import ConfigurationError
from models.handoff import EffectState, Message
from models.handoff_route import ApiTarget
from services.mcp.calls import Calls, NotKnownError
from tasks.handoffs.direct import Direct, Standing
from tasks.handoffs.inbox import storable_document
from tasks.handoffs.openapi_request import ArgumentsError, Operation, json_text

KEY = "idempotencyKey"
"""Of a call's `_meta`: what the caller knows it by, however often it asks."""
_LONGEST_KEY = 200


@dataclass(frozen=True)
class Offer:
    """One tool, and where its calls go."""

    operation: Operation
    target: ApiTarget
    direct: Direct


class Toolbox:
    """What one source of MCP offers.

    Args:
        source: `mcp:` and its name.
        offers: its tools.
        calls: makes the calls.
        room: how many may be waited for at a time, over all sources.

    Raises:
        ConfigurationError: two tools have one name.
    """

    def __init__(self, source: str, offers: Sequence[Offer], calls: Calls, room: asyncio.Semaphore) -> None:
        self._source = source
        self._calls = calls
        self._room = room
        self._offers: dict[str, Offer] = {}
        for offer in offers:
            other = self._offers.setdefault(offer.operation.tool, offer)
            if other is not offer:
                raise ConfigurationError(
                    f"the routes {other.direct.route.name!r} and {offer.direct.route.name!r} both offer the tool "
                    f"{offer.operation.tool!r} at {source}.",
                    component="lama.toml",
                    remedy="Give one of them another source.",
                )

    def listed(self) -> list[types.Tool]:
        """The tools as callers see them."""
        return [
            types.Tool(
                name=name,
                description=offer.operation.description,
                input_schema=dict(offer.operation.schema),
                annotations=types.ToolAnnotations(
                    read_only_hint=offer.operation.safe, idempotent_hint=offer.operation.idempotent
                ),
            )
            for name, offer in self._offers.items()
        ]

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """The schema of a tool's arguments."""
        offer = self._offers.get(name)
        return None if offer is None else offer.operation.schema

    async def call(
        self, params: types.CallToolRequestParams, session_id: str | None, request_id: Any
    ) -> types.CallToolResult:
        """Call a tool, or tell what became of an earlier call of the same key.

        Args:
            params: what the caller sent.
            session_id: of the caller; None: the protocol has none.
            request_id: what the caller calls its request; it is used once a session.

        Raises:
            MCPError: there is no such tool.
        """
        offer = self._offers.get(params.name)
        if offer is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name[:100]!r}")
        arguments: dict[str, JsonValue] = params.arguments or {}
        key: Any = (params.meta or {}).get(KEY)
        problem = _wrong_key(key) if key is not None else None
        problem = problem or _wrong(arguments, offer)
        if problem:
            return _error(f"Not called: {problem}.")
        if self._room.locked():
            return _error("Not called: too many calls are under way. Ask again in a while.")
        own = f"key {key}" if key is not None else f"request {session_id or uuid.uuid4().hex} {request_id!r}"
        message = message_of(self._source, offer.operation, arguments, own, key)
        async with self._room:
            try:
                known = await self._calls.outcome(offer.direct, message, offer.target.answer_s)
            except NotKnownError:
                again = f"Ask again with `_meta.{KEY}` {message.message_id!r}: it is done once, however often you ask."
                return _error(f"The database is away; it is not known whether the call is made. {again}")
        return _told(params.name, message.message_id, known)


def message_of(
    source: str, operation: Operation, arguments: dict[str, JsonValue], own: str, key: str | None = None
) -> Message:
    """A call as a message.

    Its id is made of the tool's name, of what the caller knows the call by, and of the arguments: the same key with
    other arguments is another call. An id that was told to the caller is taken for a key, and leads to its call.
    """
    digest = _digest(json.dumps(arguments, sort_keys=True, allow_nan=False))
    message_id = f"{operation.tool}.{_digest(own)}{digest}"
    if (
        key is not None
        and key.startswith(f"{operation.tool}.")
        and key.endswith(digest)
        and len(key) == len(message_id)
    ):
        message_id = key
    return Message(
        source=source,
        message_id=message_id,
        conversation=message_id,  # nothing orders it, unless the route says what does
        content_type="application/json",
        raw=json_text({"name": operation.tool, "arguments": arguments}).encode(),
        attributes={"operation": operation.operation_id, "arguments": arguments},
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12, person=b"lama.mcp").hexdigest()


def _wrong_key(key: Any) -> str | None:
    if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        return f"`_meta.{KEY}` is not a text of 1 to {_LONGEST_KEY} ASCII characters"
    return None


def _wrong(arguments: dict[str, JsonValue], offer: Offer) -> str | None:
    """What is wrong with `arguments`; None: nothing. They are not repeated."""
    try:
        size = len(json_text(arguments))
        if size > offer.target.largest_request:
            return f"the arguments have {size} characters, more than {offer.target.largest_request}"
        if storable_document(arguments) != arguments:
            return "the arguments hold a character that cannot be stored (NUL, or half of a surrogate pair)"
        offer.operation.request(arguments)
    except ArgumentsError as error:
        return str(error)
    except (ValueError, RecursionError):
        return "the arguments hold a number that is not finite, or are nested too deeply"
    return None


def _told(tool: str, message_id: str, known: Standing | None) -> types.CallToolResult:
    if known is None or not known.settled:
        return types.CallToolResult(
            content=[
                types.TextContent(
                    text=f"{tool} is under way, and not done yet. It goes on by itself. Ask again with the same "
                    f"arguments and `_meta.{KEY}` {message_id!r} for its answer."
                )
            ],
            structured_content={"id": message_id, "state": "under way"},
        )
    if known.effect is not EffectState.delivered:
        why = known.error or "the route's filter left it out"
        return _error(f"{tool} was not done: {why}.", id=message_id, state=str(known.effect or known.message))
    if known.answer is None:
        return _error(f"{tool} was done earlier; its answer is not kept any more.", id=message_id, state="delivered")
    answer = known.answer.get("answer")
    structured = {"id": message_id, "state": "delivered", **known.answer}
    told = answer if isinstance(answer, str) else json_text(answer)
    if "error" in known.answer:
        sentence = f"{tool} {known.answer['error']}."
        return _error(sentence if answer is None else f"{sentence} {told}", **structured)
    return types.CallToolResult(content=[types.TextContent(text=told)], structured_content=structured)


def _error(text: str, **structured: Any) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=structured or None, is_error=True
    )

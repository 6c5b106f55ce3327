"""Messages by WhatsApp's Cloud API, each at most once.

The API knows no repetition, so what may have been sent is never sent again. Every message carries its idempotency key
as `biz_opaque_callback_data`, which statuses give back: `tasks.handoffs.hearing` learns from them what became of it.
https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from pydantic import JsonValue, ValidationError

from blocks.whatsapp import WhatsApp
from models.handoff import Again, Delivered, Effect, Outcome, Refused, Uncertain
from models.whatsapp import Outgoing
from tasks.handoffs.http_target import answer_to, parsed, retry_after
from tasks.handoffs.whatsapp_errors import meaning


class WhatsAppTarget:
    """One number of ours.

    Args:
        block: leads to it.
        heard_within_s: seconds in which a status may tell of a message whose sending nobody confirmed.
    """

    batch = 1

    def __init__(self, block: WhatsApp, *, heard_within_s: float) -> None:
        self.at_once = block.connections
        self.heard_within_s = heard_within_s
        self._path = f"{block.phone_number_id}/messages"
        self._client = block.get_client()

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """Send a message for each of `effects`."""
        return [await self._deliver(effect) for effect in effects]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _deliver(self, effect: Effect) -> Outcome:
        try:
            message = Outgoing.model_validate(effect.payload)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) or "the payload" for problem in error.errors())
            return Refused(f"is no message for WhatsApp: {places}")
        request = self._client.build_request("POST", self._path, json=_body(message, effect.idempotency_key))
        answered = await answer_to(self._client, request)
        if isinstance(answered, Again) and answered.unclear:
            return Uncertain(f"WhatsApp gave {answered.reason}; it waits for a status")
        if not isinstance(answered, tuple):
            return answered
        response, body = answered
        return _judged(response, parsed(body))


def _body(message: Outgoing, key: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.to,
        "biz_opaque_callback_data": key,
    }
    if message.reply_to:
        body["context"] = {"message_id": message.reply_to}
    if message.template is None:
        return body | {"type": "text", "text": {"body": message.text, "preview_url": False}}
    template: dict[str, Any] = {"name": message.template.name, "language": {"code": message.template.language}}
    if message.template.components:
        template["components"] = message.template.components
    return body | {"type": "template", "template": template}


def _judged(response: httpx.Response, document: JsonValue) -> Outcome:
    answer: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
    if response.is_success:
        messages = answer.get("messages")
        first = messages[0] if isinstance(messages, list) and messages else None
        if isinstance(first, Mapping) and isinstance(first.get("id"), str):
            return Delivered(first["id"], {"message_status": first.get("message_status")})
        return Uncertain("WhatsApp's answer has no id of a message; it waits for a status")
    error = answer.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, int):
        return meaning(code, status=response.status_code, after_s=retry_after(response))
    if response.status_code == 429:
        return Again("WhatsApp answered 429", after_s=retry_after(response), outage=True)
    if response.status_code >= 500 or response.status_code == 408:
        # Not Meta's own words, but those of something before it: the message may have gone through.
        return Uncertain(f"WhatsApp answered {response.status_code}; it waits for a status")
    return Refused(f"WhatsApp answered {response.status_code}")

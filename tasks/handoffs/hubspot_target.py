"""Leads as contacts of a HubSpot, up to 100 a call. An upsert may be repeated: it finds the contact that it made.

https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/batch/post-crm-v3-objects-contacts-batch-upsert and
https://developers.hubspot.com/docs/api-reference/error-handling
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson
from pydantic import JsonValue

from blocks.hubspot import HubSpot
from models.crm import Lead
from models.handoff import Again, Delivered, Effect, Outcome, Refused
from tasks.handoffs.crm_target import lead_of
from tasks.handoffs.http_target import LARGEST_ANSWER, answer_to, judged, parsed, retry_after

KEY = "lama_key"
"""The property with unique values that knows a person without an e-mail address: the phone number in E.164."""

_PATH = "/crm/v3/objects/contacts/batch/upsert"
_LONGEST_TEXT = 5_000
_LOCK_S = 2.0
"""Seconds that HubSpot holds a lock, after which it takes more."""
_MIGRATING = 477
_PASSING = frozenset({"RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE"})
"""Categories of errors of single inputs that say nothing about the input."""
_CODES = re.compile(r'"(?:error|code)":\s*"([A-Z][A-Z_]{2,60})"')
_SETUP = ("PROPERTY_DOESNT_EXIST", "non-unique")
"""What is wrong is the account, not a lead: the properties of `docs/handoffs.md` are not there, or not unique."""


@dataclass(frozen=True)
class _Input:
    place: int
    """That of its effect among those of the call."""
    trace: str
    """What HubSpot's answer calls it."""
    id_property: str
    id: str
    properties: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "idProperty": self.id_property,
            "id": self.id,
            "objectWriteTraceId": self.trace,
            "properties": dict(self.properties),
        }


class HubSpotTarget:
    """The contacts of one account.

    Args:
        block: leads to it.
        patience_s: seconds after which one call of `deliver` sends nothing more; the rest is tried again.
    """

    batch = 100

    def __init__(self, block: HubSpot, *, patience_s: float = 8.0) -> None:
        self.at_once = block.connections
        self._client = block.get_client()
        self._patience_s = patience_s

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """A contact for each of `effects`."""
        ends_at = time.monotonic() + self._patience_s
        outcomes: dict[int, Outcome] = {}
        inputs = []
        for place, effect in enumerate(effects):
            lead = lead_of(effect)
            if isinstance(lead, Refused):
                outcomes[place] = lead
            else:
                inputs.append(_input(place, effect, lead))
        away: Again | None = None
        for group in _calls(inputs):
            if away is None:
                outcomes |= await self._upsert(group, ends_at)
                away = _outage(outcomes[one.place] for one in group)
            else:
                outcomes |= _all(group, away)
        return [outcomes[place] for place in range(len(effects))]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _upsert(self, group: Sequence[_Input], ends_at: float) -> dict[int, Outcome]:
        """Upsert `group` in one call; where HubSpot refuses it as a whole, by halves, to find which it refuses."""
        if time.monotonic() >= ends_at:
            return _all(group, Again("HubSpot took too long over others of the same batch"))
        request = self._client.build_request("POST", _PATH, json={"inputs": [one.as_json() for one in group]})
        answered = await answer_to(self._client, request, largest=4 * LARGEST_ANSWER)
        if not isinstance(answered, tuple):
            return _all(group, replace(answered, reason=f"HubSpot {answered.reason}"))
        response, body = answered
        document = parsed(body)
        if response.is_success:
            return _each(group, document)
        whole = _whole(response, document)
        if isinstance(whole, Again) or len(group) == 1:
            return _all(group, whole)
        half = len(group) // 2
        return await self._upsert(group[:half], ends_at) | await self._upsert(group[half:], ends_at)


def _input(place: int, effect: Effect, lead: Lead) -> _Input:
    first, _, last = (lead.name or "").rpartition(" ")
    told = {
        "email": lead.email.lower() if lead.email else None,
        "phone": lead.phone,
        "firstname": first or last,
        "lastname": last if first else None,
        "lama_message": effect.message_id,
        "lama_interest": lead.interest,
        "lama_budget": f"{lead.budget.amount:g} {lead.budget.currency}" if lead.budget else None,
        "lama_timeline": lead.timeline,
        "lama_text": lead.text[:_LONGEST_TEXT] if lead.text else None,
    }
    properties = {name: value for name, value in told.items() if value}
    if "email" in properties:
        return _Input(place, effect.idempotency_key, "email", properties["email"], properties)
    key = properties["phone"]
    return _Input(place, effect.idempotency_key, KEY, key, properties | {KEY: key})


def _calls(inputs: Sequence[_Input]) -> list[list[_Input]]:
    """`inputs` as calls: in one all have the same property for their id, and no two are the same person.

    HubSpot refuses a batch in which an id stands twice.
    """
    calls: dict[tuple[int, str], list[_Input]] = {}
    seen: dict[tuple[str, str], int] = {}
    for one in inputs:
        person = (one.id_property, one.id)
        seen[person] = seen.get(person, -1) + 1
        calls.setdefault((seen[person], one.id_property), []).append(one)
    return [calls[key] for key in sorted(calls)]


def _whole(response: httpx.Response, document: JsonValue) -> Again | Refused:
    """What an answer means that is about all inputs of a call."""
    if response.status_code == 403:
        return Again("HubSpot answered 403: the private app may not write contacts", outage=True)
    if response.status_code == _MIGRATING:
        return Again("HubSpot is moving the account", after_s=retry_after(response), outage=True)
    if response.status_code == 423:
        return Again("HubSpot answered 423", after_s=max(_LOCK_S, retry_after(response) or 0.0))
    outcome = judged(response, None)
    if isinstance(outcome, Again):
        return replace(outcome, reason=f"HubSpot {outcome.reason}")
    return _refusal(document, f"answered {response.status_code}")


def _each(group: Sequence[_Input], document: JsonValue) -> dict[int, Outcome]:
    """What became of each input, of an answer that says so (200, or 207 where some were refused)."""
    answer = document if isinstance(document, Mapping) else {}
    known: dict[str, Outcome] = {}
    for result in _mappings(answer.get("results")):
        outcome = Delivered(str(result.get("id", "")), {"new": result.get("new") is True})
        known |= dict.fromkeys(_names(result), outcome)
    for error in _mappings(answer.get("errors")):
        refused = Again("HubSpot could not do it") if error.get("category") in _PASSING else _refusal(error, "refused")
        known |= dict.fromkeys(_names_of_error(error), refused)
    unsaid = Again("HubSpot did not say what became of it")
    return {one.place: known.get(one.trace) or known.get(one.id) or unsaid for one in group}


def _names(result: Mapping[str, Any]) -> list[str]:
    properties = result.get("properties")
    values = [properties.get("email"), properties.get(KEY)] if isinstance(properties, Mapping) else []
    return [str(value) for value in (result.get("objectWriteTraceId"), *values) if value]


def _names_of_error(error: Mapping[str, Any]) -> list[str]:
    context = error.get("context")
    if not isinstance(context, Mapping):
        return []
    lists = (context.get("objectWriteTraceId"), context.get("ids"), context.get("id"))
    return [str(name) for names in lists if isinstance(names, list) for name in names]


def _refusal(document: JsonValue | Mapping[str, Any], what: str) -> Again | Refused:
    """Why something was refused, by HubSpot's own words for it: its sentences may repeat what a person wrote."""
    error = document if isinstance(document, Mapping) else {}
    told = orjson.dumps(error.get("errors") or []).decode() + str(error.get("message", ""))
    if any(one in told for one in _SETUP):
        return Again("HubSpot lacks the properties that docs/handoffs.md says how to make", outage=True)
    category = str(error.get("category", ""))
    words = [category] if re.fullmatch(r"[A-Z_]{3,60}", category) else []
    words += _CODES.findall(told)
    return Refused(f"HubSpot {what}: {', '.join(dict.fromkeys(words))}" if words else f"HubSpot {what}")


def _outage(outcomes: Iterable[Outcome]) -> Again | None:
    """Why nothing more need be sent: all of a call failed, and not by the fault of its leads."""
    seen = list(outcomes)
    first = seen[0]
    whole = isinstance(first, Again) and (first.outage or first.unclear) and all(one == first for one in seen)
    return first if whole and isinstance(first, Again) else None


def _all(group: Sequence[_Input], outcome: Outcome) -> dict[int, Outcome]:
    return dict.fromkeys((one.place for one in group), outcome)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []

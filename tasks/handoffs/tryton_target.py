"""Leads as sale opportunities of a Tryton, spoken to by its JSON-RPC.

An opportunity has the message's id for its reference, which is looked for before one is created: what an earlier try
brought about, and could not tell us, is found. https://docs.tryton.org/latest/server/topics/rpc.html
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from typing import Any

import httpx

from blocks.tryton import Tryton
from models.crm import Lead
from models.handoff import Again, Delivered, Effect, Outcome, Refused
from tasks.handoffs.crm_target import lead_of


class _AgainError(Exception):
    """Tryton does not take it now. Even its `UserError` may pass: two parties at once may be given one code."""


class TrytonTarget:
    """One Tryton database."""

    batch = 1

    def __init__(self, block: Tryton) -> None:
        self.at_once = block.connections
        self._block = block
        self._client = block.get_client()
        self._session: str | None = None
        self._context: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """An opportunity for each of `effects`."""
        return [await self._deliver(effect) for effect in effects]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _deliver(self, effect: Effect) -> Outcome:
        lead = lead_of(effect)
        if isinstance(lead, Refused):
            return lead
        try:
            return Delivered(f"sale.opportunity,{await self._opportunity(effect.message_id, lead)}")
        except _AgainError as error:
            return Again(str(error))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return Again(f"Tryton cannot be reached: {type(error).__name__}", outage=True)
        except httpx.HTTPError as error:
            return Again(f"Tryton does not answer: {type(error).__name__}", unclear=True)  # it may have happened

    async def _opportunity(self, reference: str, lead: Lead) -> int:
        model = "model.sale.opportunity"
        named = ["reference", "=", reference]
        found = await self._call(f"{model}.search", [named], 0, None, [["id", "ASC"]])
        if found:
            return int(found[0])
        told = [
            lead.text or "",
            f"Budget: {lead.budget.amount:g} {lead.budget.currency}" if lead.budget else "",
            f"When: {lead.timeline}" if lead.timeline else "",
        ]
        values = {
            "reference": reference,
            "party": await self._party(lead),
            "company": self._context.get("company"),
            "description": lead.interest,
            "comment": "\n".join(filter(None, told)),
        }
        await self._call(f"{model}.create", [values])
        # A first try that we took for lost may have come through meanwhile: the older one stays.
        first, *more = await self._call(f"{model}.search", [named], 0, None, [["id", "ASC"]])
        if more:
            await self._call(f"{model}.cancel", more)
            await self._call(f"{model}.delete", more)
        return int(first)

    async def _party(self, lead: Lead) -> int:
        for value in filter(None, (lead.phone, lead.email)):
            asked = [["OR", ["value", "=", value], ["value_compact", "=", value]]]
            mechanisms = await self._call("model.party.contact_mechanism.search_read", asked, 0, 1, None, ["party"])
            if mechanisms:
                return int(mechanisms[0]["party"])
        known = {"mobile": lead.phone, "email": lead.email}
        ways = [{"type": kind, "value": value} for kind, value in known.items() if value]
        party = {"name": lead.name or lead.phone or lead.email, "contact_mechanisms": [["create", ways]]}
        created = await self._call("model.party.party.create", [party])
        return int(created[0])

    async def _call(self, method: str, *parameters: Any) -> Any:
        """The result of `method`; the context comes last, and a session that has ended is begun anew."""
        for _ in range(2):
            if self._session is None:
                await self._log_in()
            answer = await self._post(method, [*parameters, self._context])
            if answer.status_code != 401:
                return _result(answer)
            self._session = None
        raise _AgainError("Tryton ends our sessions at once")

    async def _log_in(self) -> None:
        user = self._block.user
        password = {"password": self._block.password.get_secret_value()}
        answer = await self._post("common.db.login", [user, password, "en"])
        if answer.status_code == 401:
            raise _AgainError("Tryton does not accept the user or the password of the block")
        user_id, token, *_ = _result(answer)
        self._session = base64.b64encode(f"{user}:{user_id}:{token}".encode()).decode()
        company = self._block.company
        if company is None:
            company = _result(await self._post("model.res.user.get_preferences", [True, {}])).get("company")
        self._context = {"company": company, "companies": [company]} if company else {}

    async def _post(self, method: str, parameters: list[Any]) -> httpx.Response:
        document = {"id": next(self._numbers), "method": method, "params": parameters}
        headers = {"Authorization": f"Session {self._session}"} if self._session else {}
        return await self._client.post("rpc/", json=document, headers=headers)


def _result(answer: httpx.Response) -> Any:
    if answer.status_code >= 400:
        raise _AgainError(f"Tryton answers {answer.status_code}")
    try:
        document = answer.json()
        if "error" not in document:
            return document["result"]
    except (ValueError, KeyError, TypeError):
        raise _AgainError("Tryton's answer is not one of JSON-RPC") from None
    error = document["error"]
    kind = str(error[0])[:100] if isinstance(error, list) and error else "error"
    # What else stands in it may repeat what a person wrote.
    raise _AgainError(f"Tryton refuses it: {kind}")

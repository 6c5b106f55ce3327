"""A HubSpot on loopback, as far as its documentation says how it answers.

- https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/batch/post-crm-v3-objects-contacts-batch-upsert:
  inputs of `idProperty`, `id`, `properties` and `objectWriteTraceId`; results with `id`, `new` and the trace.
- https://developers.hubspot.com/docs/api-reference/error-handling: 207 with `numErrors` and `errors`, whose `context`
  holds the traces; 401, 403, 423 and 429, and 400 for a batch that is refused as a whole.
- https://developers.hubspot.com/docs/guides/crm/understanding-the-crm: at most 100 inputs a call. An id that stands
  twice in one call, and a property that is not there or not unique, refuse the whole call.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from blocks.hubspot import HubSpot
from tests.loopback import Reply, Server

TOKEN = "pat-eu1-for-tests"
_OURS = ("lama_key", "lama_message", "lama_interest", "lama_budget", "lama_timeline", "lama_text")


class RunningHubSpot:
    """The account. `fault` says what a call answers instead of doing its work; `late_s` how long it takes after it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.contacts: dict[str, dict[str, str]] = {}
        self.properties = {"email", "phone", "firstname", "lastname", *_OURS}
        self.multi_status = True
        self.fault: Callable[[list[dict[str, Any]]], Reply | None] = lambda _inputs: None
        self.late_s = 0.0
        self._writing = threading.Lock()
        self.calls: list[list[dict[str, Any]]] = []
        server.route = self._answer

    @property
    def block(self) -> HubSpot:
        return HubSpot(token=SecretStr(TOKEN), base_url=self.server.url)

    def _answer(self, path: str, body: Any) -> Reply | None:
        if path != "/crm/v3/objects/contacts/batch/upsert":
            return None
        if self.server.headers[-1].get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        inputs = body["inputs"]
        self.calls.append(inputs)
        fault = self.fault(inputs)
        if fault is not None:
            return fault
        return self._refused(inputs) or self._done(inputs)

    def _refused(self, inputs: list[dict[str, Any]]) -> Reply | None:
        if len(inputs) > 100:
            return _error(400, "VALIDATION_ERROR", "The maximum number of inputs supported in a batch request is 100")
        if len({(one["idProperty"], one["id"].lower()) for one in inputs}) < len(inputs):
            return _error(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input")
        for one in inputs:
            missing = [name for name in one["properties"] if name not in self.properties]
            if missing:
                return _error(400, "VALIDATION_ERROR", _invalid("PROPERTY_DOESNT_EXIST", missing[0], "x"))
        return None

    def _done(self, inputs: list[dict[str, Any]]) -> Reply:
        results, errors = [], []
        for one in inputs:
            wrong = self._wrong(one)
            if wrong is None:
                with self._writing:
                    results.append(self._upsert(one))
            elif not self.multi_status:
                return _error(400, "VALIDATION_ERROR", wrong)
            else:
                context = {"objectWriteTraceId": [one["objectWriteTraceId"]]}
                errors.append({"status": "error", "category": "VALIDATION_ERROR", "message": wrong, "context": context})
        if self.late_s:
            time.sleep(self.late_s)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            answer |= {"numErrors": len(errors), "errors": errors}
        return (207 if errors else 200), "application/json", json.dumps(answer).encode()

    def _wrong(self, one: dict[str, Any]) -> str | None:
        email = one["properties"].get("email", "")
        return _invalid("INVALID_EMAIL", "email", email) if email.endswith(".invalid") else None

    def _upsert(self, one: dict[str, Any]) -> dict[str, Any]:
        name, value = one["idProperty"], one["id"].lower()
        known = next((key for key, contact in self.contacts.items() if contact.get(name) == value), None)
        key = known or str(501 + len(self.contacts))
        self.contacts[key] = self.contacts.get(key, {}) | {name: value} | one["properties"]
        return {
            "id": key, "new": known is None, "archived": False, "properties": {name: value},
            "objectWriteTraceId": one["objectWriteTraceId"],
        }  # fmt: skip


def _error(status: int, category: str, message: str) -> Reply:
    document = {"status": "error", "category": category, "message": message, "correlationId": "a-b-c"}
    return status, "application/json", json.dumps(document).encode()


def _invalid(code: str, name: str, value: str) -> str:
    problem = {"isValid": False, "message": f"{value} is wrong", "error": code, "name": name}
    return f"Property values were not valid: {json.dumps([problem])}"


@contextmanager
def running() -> Iterator[RunningHubSpot]:
    """An account without contacts."""
    server = Server()
    try:
        yield RunningHubSpot(server)
    finally:
        server.close()

"""WhatsApp's Cloud API on loopback, as far as its documentation says how it answers.

- https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages: `POST /{version}/{number}/messages` with
  `messaging_product`, `to`, `type`, `context` and `biz_opaque_callback_data`; the answer has `messages[0].id`. A
  request that is sent twice is sent twice.
- https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes: `error.code`.
- https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples: `statuses`, which give the
  callback data back.
- https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media: `GET /{version}/{media_id}` gives `url`,
  `mime_type`, `sha256` (of the file, in hexadecimal) and `file_size`; the file is had with the same token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from blocks.whatsapp import WhatsApp
from tests.handoffs.test_whatsapp import delivery, value
from tests.loopback import Reply, Server

TOKEN = "EAAG-for-tests"
NUMBER = "106540352242922"


class RunningCloudApi:
    """One number.

    `refuse` are status and code of the next answers, which send nothing; after that `lose` answers are cut off.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sent: list[dict[str, Any]] = []
        self.asked = 0
        self.refuse: list[tuple[int, int]] = []
        self.lose = 0
        self.files: dict[str, bytes] = {}
        self.told: dict[str, dict[str, Any]] = {}
        self.fetched = 0
        server.route = self._answer

    @property
    def block(self) -> WhatsApp:
        return WhatsApp(
            phone_number_id=NUMBER, access_token=SecretStr(TOKEN), app_secret=SecretStr("s"), base_url=self.server.url
        )

    def statuses(self, *states: str, of: int = -1, **more: Any) -> dict[str, Any]:
        """The delivery that tells of a message that was sent."""
        sent = self.sent[of]
        known = {"id": sent["wamid"], "timestamp": "1700000001", "recipient_id": sent["to"].lstrip("+")}
        key = {"biz_opaque_callback_data": sent["biz_opaque_callback_data"]}
        return delivery(value(statuses=[known | key | {"status": state} | more for state in states]))

    def _answer(self, path: str, body: Any) -> Reply | None:
        path, _, query = path.partition("?")
        if self.server.headers[-1].get("authorization") != f"Bearer {TOKEN}":
            return _error(401, 190)
        if path.startswith("/file/"):
            self.fetched += 1
            return 200, "image/jpeg", self.files[path.removeprefix("/file/")]
        if "appsecret_proof=" not in query:
            return _error(400, 100)
        if path == f"/v23.0/{NUMBER}/messages":
            return self._send(body)
        return self._media(path.removeprefix("/v23.0/"))

    def _send(self, body: dict[str, Any]) -> Reply:
        self.asked += 1
        if self.refuse:
            return _error(*self.refuse.pop(0))
        wamid = f"wamid.{len(self.sent) + 1}"
        self.sent.append(body | {"wamid": wamid})
        if self.lose:
            self.lose -= 1
            return 200, "application/json", b"{}", {"content-length": "100", "connection": "close"}
        bare = body["to"].lstrip("+")
        answer = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": body["to"], "wa_id": bare}],
            "messages": [{"id": wamid, "message_status": "accepted"}],
        }
        return 200, "application/json", json.dumps(answer).encode()

    def _media(self, media_id: str) -> Reply:
        if media_id not in self.files:
            return _error(400, 100)
        content = self.files[media_id]
        answer = {
            "messaging_product": "whatsapp",
            "url": f"{self.server.url}/file/{media_id}",
            "mime_type": "image/jpeg",
            "sha256": hashlib.sha256(content).hexdigest(),
            "file_size": len(content),
            "id": media_id,
        }
        return 200, "application/json", json.dumps(answer | self.told.get(media_id, {})).encode()


def _error(status: int, code: int) -> Reply:
    error = {
        "message": f"(#{code}) to +491711234567",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": "+491711234567"},
        "fbtrace_id": "x",
    }
    return status, "application/json", json.dumps({"error": error}).encode()


@contextmanager
def running() -> Iterator[RunningCloudApi]:
    """A number that has sent nothing."""
    server = Server()
    try:
        yield RunningCloudApi(server)
    finally:
        server.close()

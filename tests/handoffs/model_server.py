"""A server on loopback that speaks `POST /v1/chat/completions`, as OpenAI's reference and vLLM's documentation say.

- https://platform.openai.com/docs/api-reference/chat/create
- https://docs.vllm.ai/en/stable/features/structured_outputs.html: `response_format` with `json_schema`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from blocks.model import LanguageModel
from tests.loopback import Reply, Server

MODEL = "tiny-for-tests"
KEY = "sk-a-very-secret-key-of-this-test"


class RunningModel:
    """The model. `think` gives its answer to a message; `fault` what a request is answered instead."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.think: Callable[[str], Any] = lambda _message: {}
        self.fault: Callable[[dict[str, Any]], Reply | None] = lambda _body: None
        self.takes_s = 0.0
        self.asked: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._now = 0
        self._counting = threading.Lock()
        server.route = self._answer

    def block(self, **more: Any) -> LanguageModel:
        """The block that leads here; it does not wait long."""
        known: dict[str, Any] = {"base_url": f"{self.server.url}/v1", "model": MODEL, "timeout_s": 2.0, "attempts": 1}
        return LanguageModel(**(known | {"retry_delay_s": 0.02} | more))

    @property
    def messages(self) -> list[str]:
        """The messages that were asked about."""
        return [_message(body) for body in self.asked]

    def _answer(self, path: str, body: Any) -> Reply | None:
        if path != "/v1/chat/completions":
            return None
        with self._counting:
            self.asked.append(body)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            time.sleep(self.takes_s)
            return self.fault(body) or said(self.think(_message(body)))
        finally:
            with self._counting:
                self._now -= 1


def _message(body: dict[str, Any]) -> str:
    text = str(body["messages"][-1]["content"])
    return text.partition("<message>\n")[2].rpartition("\n</message>")[0]


def said(answer: Any) -> Reply:
    """A completion with `answer`: a text as it is, all else as JSON."""
    content = answer if isinstance(answer, str) else json.dumps(answer)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    whole = {"id": "c-1", "object": "chat.completion", "model": MODEL, "choices": [choice]}
    return 200, "application/json", json.dumps(whole).encode()


def refused(status: int) -> Reply:
    """A failure whose words repeat the key: a proxy or a hostile server may."""
    return status, "application/json", json.dumps({"error": {"message": f"no, {KEY}", "code": status}}).encode()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; what another thread does rings no bell."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@contextmanager
def running() -> Iterator[RunningModel]:
    """A model that finds nothing."""
    server = Server()
    try:
        yield RunningModel(server)
    finally:
        server.close()

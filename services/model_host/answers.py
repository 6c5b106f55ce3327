"""Answers in the shapes of OpenAI's API: whole, and in the pieces of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from tasks.model_host.engine import FinishReason, Piece, TokenLogprob

DONE = b"data: [DONE]\n\n"
_NEVER = -9999.0
"""What OpenAI's API writes for a logarithm of nought."""


@dataclass(frozen=True)
class Marks:
    """The `lama` of every answer: what OpenAI's API has no word for."""

    model: str
    fallback: tuple[str, ...] = ()
    cache: Literal["hit", "miss", "off"] = "off"
    reasons: tuple[str, ...] = ()

    @property
    def field(self) -> dict[str, Any]:
        """As a part of the body."""
        return {
            "model": self.model, "fallback": self.fallback, "cache": self.cache, "reasons": self.reasons,
        }  # fmt: skip

    @property
    def headers(self) -> dict[str, str]:
        """As headers; reasons are for the body."""
        told = {"X-Lama-Model": self.model, "X-Lama-Cache": self.cache}
        return told | ({"X-Lama-Fallback": ", ".join(self.fallback)} if self.fallback else {})


@dataclass
class Shape:
    """How one answer is written.

    Args:
        chat: whether it is a chat's; otherwise a completion's.
        marks: what stands in its `lama`.
        prompt_tokens: tokens of the prompt.
        with_logprobs: whether log probabilities were asked for.
        with_usage: whether a stream tells the number of tokens.
    """

    chat: bool
    marks: Marks
    prompt_tokens: int
    with_logprobs: bool = False
    with_usage: bool = False
    _offset: int = 0
    _before: bytes = b""
    _after: bytes = b""
    _head: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._head = {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": "chat.completion" if self.chat else "text_completion",
            "created": int(time.time()),
            "model": self.marks.model,
        }

    def whole(self, text: str, tokens: int, logprobs: Sequence[TokenLogprob], finish: FinishReason) -> bytes:
        """The body of an answer that is not a stream."""
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        )
        choice = {"index": 0, **said, "logprobs": self._logprobs(logprobs), "finish_reason": finish}
        usage = self._usage(tokens)
        return orjson.dumps({**self._head, "choices": [choice], "usage": usage, "lama": self.marks.field})

    def first(self) -> bytes:
        """The first event of a stream."""
        if self.chat:
            self._head["object"] = "chat.completion.chunk"
        said: dict[str, Any] = (
            {"delta": {"role": "assistant", "content": "", "refusal": None}} if self.chat else {"text": ""}
        )
        self._before, self._after = self._around()
        return self._event([{"index": 0, **said, "logprobs": None, "finish_reason": None}], lama=self.marks.field)

    def piece(self, piece: Piece) -> bytes:
        """An event of a stream; the last one of a text has its end beside it."""
        if not piece.logprobs and not piece.finish:
            return self._before + orjson.dumps(piece.text) + self._after  # nearly all are like that
        said: dict[str, Any] = {"delta": {"content": piece.text}} if self.chat else {"text": piece.text}
        if self.chat and not piece.text and piece.finish:
            said = {"delta": {}}
        told = self._logprobs(piece.logprobs) if piece.logprobs else None
        return self._event([{"index": 0, **said, "logprobs": told, "finish_reason": piece.finish}])

    def last(self, tokens: int) -> bytes:
        """What ends a stream."""
        return (self._event([], usage=self._usage(tokens)) if self.with_usage else b"") + DONE

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        usage = {"usage": None} if self.with_usage else {}
        return event({**self._head, "choices": choices, **usage, **more})

    def _around(self) -> tuple[bytes, bytes]:
        mark = uuid.uuid4().hex
        said: dict[str, Any] = {"delta": {"content": mark}} if self.chat else {"text": mark}
        whole = self._event([{"index": 0, **said, "logprobs": None, "finish_reason": None}])
        before, _, after = whole.partition(f'"{mark}"'.encode())
        return before, after

    def _usage(self, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        if self.chat:
            rows = [
                {**_row(one.token, one.logprob), "top_logprobs": [_row(*other) for other in one.top]}
                for one in logprobs
            ]
            return {"content": rows, "refusal": None}
        offsets = []
        for one in logprobs:
            offsets.append(self._offset)
            self._offset += len(one.token)
        return {
            "tokens": [one.token for one in logprobs],
            "token_logprobs": [max(one.logprob, _NEVER) for one in logprobs],
            "top_logprobs": [{token: max(value, _NEVER) for token, value in one.top} for one in logprobs],
            "text_offset": offsets,
        }


def event(document: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def _row(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": max(logprob, _NEVER), "bytes": list(token.encode("utf-8", "replace"))}

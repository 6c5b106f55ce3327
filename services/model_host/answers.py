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
    """How one choice of an answer is written.

    Args:
        chat: whether it is a chat's; otherwise a completion's.
        marks: what stands in its `lama`.
        with_logprobs: whether log probabilities were asked for.
        with_usage: whether a stream tells the number of tokens.
        index: which choice it is.
        id: of the answer; what comes after its first letters.
        created: when it was begun (seconds since the epoch).
    """

    chat: bool
    marks: Marks
    with_logprobs: bool = False
    with_usage: bool = False
    index: int = 0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    _offset: int = 0
    _before: bytes = b""
    _after: bytes = b""
    _head: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._head = {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.marks.model,
        }

    def choice(self, text: str, logprobs: Sequence[TokenLogprob], finish: FinishReason) -> dict[str, Any]:
        """One of `choices` of an answer that is not a stream."""
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        )
        return {"index": self.index, **said, "logprobs": self._logprobs(logprobs), "finish_reason": finish}

    def whole(self, choices: Sequence[dict[str, Any]], prompt_tokens: int, tokens: int) -> bytes:
        """The body of an answer that is not a stream."""
        usage = _usage(prompt_tokens, tokens)
        return orjson.dumps({**self._head, "choices": choices, "usage": usage, "lama": self.marks.field})

    def first(self) -> bytes:
        """The first event of a stream."""
        said: dict[str, Any] = (
            {"delta": {"role": "assistant", "content": "", "refusal": None}} if self.chat else {"text": ""}
        )
        self._before, self._after = self._around()
        return self._event(
            [{"index": self.index, **said, "logprobs": None, "finish_reason": None}], lama=self.marks.field
        )

    def piece(self, piece: Piece) -> bytes:
        """An event of a stream; the last one of a text has its end beside it."""
        if not piece.logprobs and not piece.finish:
            return self._before + orjson.dumps(piece.text) + self._after  # nearly all are like that
        said: dict[str, Any] = {"delta": {"content": piece.text}} if self.chat else {"text": piece.text}
        if self.chat and not piece.text and piece.finish:
            said = {"delta": {}}
        told = self._logprobs(piece.logprobs) if piece.logprobs else None
        return self._event([{"index": self.index, **said, "logprobs": told, "finish_reason": piece.finish}])

    def last(self, prompt_tokens: int, tokens: int) -> bytes:
        """What ends a stream."""
        return (self._event([], usage=_usage(prompt_tokens, tokens)) if self.with_usage else b"") + DONE

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        usage = {"usage": None} if self.with_usage else {}
        kind = {"object": "chat.completion.chunk"} if self.chat else {}
        return event({**self._head, **kind, "choices": choices, **usage, **more})

    def _around(self) -> tuple[bytes, bytes]:
        mark = uuid.uuid4().hex
        said: dict[str, Any] = {"delta": {"content": mark}} if self.chat else {"text": mark}
        whole = self._event([{"index": self.index, **said, "logprobs": None, "finish_reason": None}])
        before, _, after = whole.partition(f'"{mark}"'.encode())
        return before, after

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


def _usage(prompt_tokens: int, tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}


def together(marks: Sequence[Marks]) -> Marks:
    """The marks of an answer of several choices; its model is that of the first."""
    caches = {one.cache for one in marks}
    return Marks(
        marks[0].model,
        tuple(dict.fromkeys(name for one in marks for name in one.fallback)),
        caches.pop() if len(caches) == 1 else "miss",
        tuple(dict.fromkeys(reason for one in marks for reason in one.reasons)),
    )


def _row(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": max(logprob, _NEVER), "bytes": list(token.encode("utf-8", "replace"))}

"""`/v1/embeddings`: vectors of texts."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from array import array
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.datastructures import Headers

from models.model_host import Priority
from services.model_host.answers import Marks
from services.model_host.asked import AUTO, EmbeddingRequest, needs_of_texts, use_case_of
from services.model_host.generation import Endpoint
from services.model_host.reply import Reply
from tasks.model_host.engine import Embedded


class Embeddings(Endpoint):
    """The address."""

    async def _answer(
        self, document: dict[str, Any], headers: Headers, priority: Priority | None, reply: Reply
    ) -> None:
        started = time.perf_counter()
        request = EmbeddingRequest.model_validate(document)
        texts = request.texts()
        model, reasons = request.model, tuple[str, ...]()
        if model == AUTO:
            choice = self._choose(needs_of_texts(texts, use_case_of(headers.get("x-lama-use-case")), priority))
            model, reasons = choice.model, choice.reasons
        made = await self._host.embed(model, texts, priority)
        marks = Marks(made.model, made.fallback, "off", (*reasons, *made.reasons))
        # Two thousand vectors take longer to write than others may have to wait.
        body = await asyncio.to_thread(_body, made.embedded, marks, plain=request.encoding_format != "base64")
        await reply.whole(body, marks.headers)
        measures = self._measures.of(made.model)
        measures.read(made.embedded.tokens)
        measures.done("stop", time.perf_counter() - started)


def _body(embedded: Embedded, marks: Marks, *, plain: bool) -> bytes:
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": [float(one) for one in vector] if plain else _packed(vector),
        }
        for index, vector in enumerate(embedded.vectors)
    ]
    usage = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return orjson.dumps({"object": "list", "data": rows, "model": marks.model, "usage": usage, "lama": marks.field})


def _packed(vector: Sequence[float]) -> str:
    """Little-endian float32 in base64, which is what OpenAI's clients ask for by default."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()

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

from models.model_host import EngineKind, ModelKind, Priority, Requirements
from services.model_host.answers import Marks
from services.model_host.asked import EmbeddingRequest, priority_of
from services.model_host.generation import Endpoint, Reply
from tasks.model_host.engine import Embedded
from tasks.model_host.errors import RequestError


class Embeddings(Endpoint):
    """The address."""

    async def _answer(self, document: dict[str, Any], headers: Headers, reply: Reply) -> None:
        started = time.perf_counter()
        request = EmbeddingRequest.model_validate(document)
        priority = priority_of(headers.get("x-lama-priority"))
        needs = Requirements(kind=ModelKind.embed, priority=priority or Priority.normal)
        model, reasons = self._name(request.model, headers, needs)
        texts = request.texts()
        async with self._host.serve(model, None, priority) as serving:
            if serving.engine.kind is not EngineKind.llamacpp and any(not isinstance(text, str) for text in texts):
                raise RequestError(
                    f"{serving.model} takes texts, not ids of tokens: of another vocabulary they are other words.",
                    parameter="input",
                    code="unsupported_parameter",
                )
            embedded = await serving.engine.embed(texts)
        marks = Marks(serving.model, serving.fallback, "off", (*reasons, *serving.reasons))
        # Two thousand vectors take longer to write than others may have to wait.
        body = await asyncio.to_thread(_body, embedded, marks, plain=request.encoding_format != "base64")
        await reply.whole(body, marks.headers)
        measures = self._measures.of(serving.model)
        measures.read(embedded.tokens)
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

"""How many tokens a request takes, within the context window of the name that it was for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tasks.model_host.engine import Ask, Engine, Prepared
from tasks.model_host.errors import RequestError


async def prepare(engine: Engine, ask: Ask, window: int, name: str) -> Prepared:
    """Tokenise `ask`, in a thread: llama.cpp is asked for it, and answers late while it computes for others.

    Args:
        engine: who will answer.
        ask: the request.
        window: most tokens for `name`; it may be narrower than that of the engine, whose weights others share.
        name: what the request called the model.

    Raises:
        RequestError: it is longer than the window, or malformed.
    """
    prepared = await asyncio.to_thread(engine.prepare, ask)
    if prepared.most_tokens > window and ask.max_tokens is None and prepared.prompt_tokens < window:
        narrow = replace(ask, max_tokens=window - prepared.prompt_tokens)
        prepared = await asyncio.to_thread(engine.prepare, narrow)
    if prepared.most_tokens > window:
        raise RequestError(
            f"{prepared.prompt_tokens} tokens of the prompt and {prepared.max_tokens} of the answer are more than "
            f"the {window} of its context window.",
            parameter="messages" if ask.prompt is None else "prompt",
            code="context_length_exceeded",
            component=name,
        )
    return prepared


def guess(ask: Ask, window: int) -> int:
    """Tokens of a request whose model is not loaded yet: four characters make one."""
    return window if ask.max_tokens is None else min(window, estimate(ask))


def estimate(ask: Ask) -> int:
    """Tokens of a prompt and its answer, whichever model it is for; at least one of an answer."""
    prompt = len(ask.prompt) if isinstance(ask.prompt, tuple) else sum(len(text) // 4 + 8 for text in _texts(ask))
    return prompt + (ask.max_tokens or 1)


def _texts(ask: Ask) -> list[str]:
    if isinstance(ask.prompt, str):
        return [ask.prompt]
    return [str(message.get("content")) for message in ask.messages or ()]

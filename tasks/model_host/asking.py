"""Asks the model host on behalf of flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import httpx

from blocks.errors import LamaError, UnavailableError
from models.model_host import Choice, HostStatus, Requirements, Reserve

_COMPONENT = "model host"
_TOO_LONG = "context_length_exceeded"


@dataclass(frozen=True)
class Said:
    """An answer, and how it came about."""

    text: str
    model: str
    prompt_tokens: int
    tokens: int
    finish: str
    fallback: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    cache: Literal["hit", "miss", "off"] = "off"
    turns: int = 0
    """Earlier turns that were shown to the model."""


class TooLongError(LamaError):
    """What was asked has more tokens than the model's context window."""


async def choose(client: httpx.AsyncClient, requirements: Requirements) -> Choice:
    """The model that fits best.

    Raises:
        LamaError: none does; the message says why.
        UnavailableError: the host does not answer, or cannot now.
    """
    body = requirements.model_dump(mode="json", exclude_none=True)
    return Choice.model_validate(await _call(client, "POST", "host/select", body))


async def chat(
    client: httpx.AsyncClient,
    model: str,
    history: Sequence[dict[str, str]],
    question: str,
    *,
    system: str | None,
    priority: str,
    cache: bool,
    **sampling: Any,
) -> Said:
    """Ask `model`. Earlier turns that its context window has no room for are left out, the oldest first.

    Raises:
        TooLongError: the question alone is too long.
        LamaError: it is refused; the message says why.
        UnavailableError: the host does not answer, or has no room now.
    """
    head = [{"role": "system", "content": system}] if system else []
    shown = list(history)
    headers = {"X-Lama-Priority": priority} | ({} if cache else {"X-Lama-Cache": "off"})
    while True:
        messages = [*head, *shown, {"role": "user", "content": question}]
        body = {"model": model, "messages": messages, **sampling}
        try:
            answer = await _call(client, "POST", "v1/chat/completions", body, headers)
            break
        except TooLongError:
            if not shown:
                raise
            shown = shown[-(len(shown) // 2) // 2 * 2 :] if len(shown) > 2 else []
    choice, usage, marks = answer["choices"][0], answer["usage"], answer.get("lama") or {}
    return Said(
        text=choice["message"]["content"] or "",
        model=marks.get("model") or answer["model"],
        prompt_tokens=usage["prompt_tokens"],
        tokens=usage["completion_tokens"],
        finish=choice["finish_reason"] or "",
        fallback=tuple(marks.get("fallback", ())),
        reasons=tuple(marks.get("reasons", ())),
        cache=marks.get("cache", "off"),
        turns=len(shown),
    )


async def status(client: httpx.AsyncClient) -> HostStatus:
    """How the host is.

    Raises:
        UnavailableError: it does not answer.
    """
    return HostStatus.model_validate(await _call(client, "GET", "host/status"))


async def reserve(client: httpx.AsyncClient, wanted: Reserve) -> None:
    """Promise memory to a model.

    Raises:
        LamaError: it cannot be promised; the message has the sum.
    """
    body = wanted.model_dump(mode="json", exclude={"model"})
    await _call(client, "PUT", f"host/reserves/{_path(wanted.model)}", body)


async def release(client: httpx.AsyncClient, model: str) -> None:
    """Take a model's reserve back."""
    await _call(client, "DELETE", f"host/reserves/{_path(model)}")


async def clean(client: httpx.AsyncClient) -> int:
    """Give back memory that nobody needs; how many bytes."""
    return int((await _call(client, "POST", "host/clean"))["freed_bytes"])


async def _call(
    client: httpx.AsyncClient, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Any:
    try:
        response = await client.request(method, path, json=body, headers=headers)
    except httpx.HTTPError as error:
        reason = f"it does not answer ({type(error).__name__})."
        raise UnavailableError(reason, component=_COMPONENT) from error
    if response.is_success:
        return response.json()
    try:
        told = response.json()["error"]
        message, code = str(told["message"]), told.get("code")
    except (ValueError, KeyError, TypeError):
        message, code = f"it answered {response.status_code}.", None
    if code == _TOO_LONG:
        raise TooLongError(message, component=_COMPONENT)
    # 429 and 503: there is no room now; a step tries again.
    kind = UnavailableError if response.status_code == 429 or response.status_code >= 500 else LamaError
    raise kind(message, component=_COMPONENT)


def _path(model: str) -> str:
    return quote(model, safe="/:")

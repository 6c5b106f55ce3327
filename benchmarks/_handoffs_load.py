"""The sender of `benchmarks/handoffs.py`, in a process of its own: signed WhatsApp deliveries over kept connections."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import time
from typing import Any

TEXT = "I'm Jane Roe. I want a 3 room apartment in Berlin, budget 350.000 EUR, by next summer. jane.roe@example.com"


def message(run: str, number: int, conversations: int) -> dict[str, Any]:
    """A text message as WhatsApp sends it."""
    sender = f"49171{number % conversations:07d}"
    return {
        "from": sender, "id": f"wamid.{run}.{number}", "timestamp": str(int(time.time())), "type": "text",
        "text": {"body": TEXT},
    }  # fmt: skip


def delivery(run: str, number: int, conversations: int) -> bytes:
    """A delivery with one message."""
    one = message(run, number, conversations)
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100", "phone_number_id": "99"},
        "contacts": [{"profile": {"name": "Jane Roe"}, "wa_id": one["from"]}],
        "messages": [one],
    }
    changes = [{"field": "messages", "value": value}]
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": changes}]}).encode()


class Sender:
    """Sends for some seconds, at most `rate` a second (0: as fast as it is answered)."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._number = 0
        self.latencies: list[float] = []
        self.refused = 0

    async def run(self) -> dict[str, Any]:
        self._started = time.perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(self._options.connections)))
        took = time.perf_counter() - self._started
        ordered = sorted(self.latencies)
        return {
            "accepted": len(ordered),
            "refused": self.refused,
            "per_second": round(len(ordered) / took, 1),
            "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 2),
        }

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._options.port)
        while time.perf_counter() - self._started < self._options.seconds:
            number = self._number
            self._number += 1
            if self._options.rate:
                await asyncio.sleep(max(0.0, self._started + number / self._options.rate - time.perf_counter()))
            body = delivery(self._options.run, number, self._options.conversations)
            signature = hmac.new(self._options.secret.encode(), body, hashlib.sha256).hexdigest()
            head = (
                f"POST /webhooks/whatsapp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n"
            )
            began = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
            if answer.startswith(b"HTTP/1.1 202"):
                self.latencies.append(time.perf_counter() - began)
            else:
                self.refused += 1
        writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--conversations", type=int, default=200)
    print(json.dumps(asyncio.run(Sender(parser.parse_args()).run())))

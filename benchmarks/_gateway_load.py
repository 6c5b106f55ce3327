"""The sender of `benchmarks/gateway.py`, in a process of its own: signed GitHub deliveries over kept connections."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

EVENTS = ("push", "check_run", "check_suite", "workflow_run", "workflow_job", "status", "issues", "issue_comment",
          "pull_request", "create")  # fmt: skip


def push_payload(commits: int) -> dict[str, Any]:
    """An event as GitHub sends it, in size and shape; some 6 to 10 KB."""
    api, web = "https://api.github.example/repos/acme/shop", "https://github.example/acme/shop"
    user = {"login": "octo", "id": 1, "node_id": "MDQ6VXNlcjE=", "type": "User", "site_admin": False} | {
        f"{name}_url": f"https://api.github.example/users/octo/{name}"
        for name in ("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events")
    }
    names = ("keys", "teams", "hooks", "events", "assignees", "branches", "tags", "blobs", "trees", "statuses",
             "stargazers", "languages", "contributors", "subscribers", "commits", "comments", "contents", "compare",
             "merges", "archive", "downloads", "issues", "pulls", "milestones", "notifications", "labels", "releases",
             "deployments")  # fmt: skip
    repository = {
        "id": 35129377, "name": "shop", "full_name": "acme/shop", "private": False, "owner": user, "html_url": web,
        "description": "A shop, as every example has one.", "default_branch": "main", "topics": ["shop", "example"],
    } | {f"{name}_url": f"{api}/{name}{{/sha}}" for name in names}  # fmt: skip
    person = {"name": "Octo Cat", "email": "octo@acme.example", "username": "octo"}
    entries = [
        {
            "id": uuid.uuid4().hex, "tree_id": uuid.uuid4().hex, "distinct": True, "timestamp": "2026-11-01T10:00:00Z",
            "message": "Say what the basket costs before it is paid, and keep what is in it for a week",
            "url": f"{web}/commit/{number}", "author": person, "committer": person, "added": [],
            "removed": [], "modified": [f"shop/basket/{name}.py" for name in ("price", "keep", "view")],
        }
        for number in range(commits)
    ]  # fmt: skip
    return {
        "ref": "refs/heads/main", "before": "0" * 40, "after": "@" * 32, "created": False, "deleted": False,
        "forced": False, "repository": repository, "pusher": person, "sender": user, "commits": entries,
        "head_commit": entries[-1],
    }  # fmt: skip


class Sender:
    """Sends until the time is over, over some connections; each sends its next delivery when the last is answered."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._secret = Path(options.secret).read_text().strip().encode()
        self._templates = [json.dumps(push_payload(commits)).encode() for commits in (1, 2, 4, 8)]
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.answers: dict[str, list[int]] = {}
        self.resent = 0
        self.bytes = 0
        self._number = 0

    async def run(self) -> None:
        self._until = time.perf_counter() + self._options.seconds
        await asyncio.gather(*(self._connection() for _ in range(self._options.connections)))

    async def _connection(self) -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while time.perf_counter() < self._until:
            identifier, request = self._next()
            while True:  # until it is answered for good, as GitHub's own redelivery would
                try:
                    if reader is None or writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self._options.port)
                    started = time.perf_counter()
                    writer.write(request)
                    status = await _status(reader)
                except (OSError, asyncio.IncompleteReadError, ValueError):
                    reader = writer = None
                    self.resent += 1
                    await asyncio.sleep(0.05)
                    continue
                self.latencies.append(time.perf_counter() - started)
                self.statuses[status] = self.statuses.get(status, 0) + 1
                if status in {200, 202}:
                    self.answers.setdefault(identifier, []).append(status)
                    break
                if status != 503:
                    raise RuntimeError(f"answered {status}")
                self.resent += 1
                await asyncio.sleep(0.05)
        if writer is not None:
            writer.close()

    def _next(self) -> tuple[str, bytes]:
        self._number += 1
        unique = uuid.uuid4()
        body = self._templates[self._number % len(self._templates)].replace(b"@" * 32, unique.hex.encode())
        self.bytes += len(body)
        signature = hmac.digest(self._secret, body, hashlib.sha256).hex()
        head = (
            f"POST {self._options.path} HTTP/1.1\r\nHost: 127.0.0.1:{self._options.port}\r\n"
            f"User-Agent: GitHub-Hookshot/abc\r\nAccept: */*\r\nContent-Type: application/json\r\n"
            f"X-GitHub-Delivery: {unique}\r\nX-GitHub-Event: {EVENTS[self._number % len(EVENTS)]}\r\n"
            f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return str(unique), head.encode() + body


async def _status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/webhooks/github")
    parser.add_argument("--secret", required=True, help="file with the secret")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--ledger", required=True, help="file for what was answered")
    options = parser.parse_args()
    sender = Sender(options)
    started = time.perf_counter()
    asyncio.run(sender.run())
    elapsed = time.perf_counter() - started
    ledger = {
        "elapsed": elapsed, "latencies": sender.latencies, "statuses": sender.statuses, "answers": sender.answers,
        "resent": sender.resent, "mean_body_bytes": sender.bytes / max(1, sum(sender.statuses.values())),
    }  # fmt: skip
    Path(options.ledger).write_text(json.dumps(ledger))


if __name__ == "__main__":
    main()

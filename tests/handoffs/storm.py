"""`python -m tests.handoffs.storm`: everything is killed while messages pass; each takes effect once, in order.

A real platform with its gateway, worker, Prefect and PostgreSQL, and an outside system that fails by itself. While
senders send, and send again what was not acknowledged, processes are killed with -9 at random moments.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psycopg

from blocks.database import dsn
from blocks.home import Home
from blocks.settings import CHECKOUT
from tests.conftest import free_port
from tests.platform.node import Node, temporary_node

SECRET = b"correct horse battery staple"
_KILL_EVERY_S = 3.0
"""About as long as it is from one kill to the next."""
VICTIMS = ("gateway", "worker", "postgres", "target")


@dataclass(frozen=True)
class Outcome:
    """What became of a storm."""

    messages: int
    conversations: int
    acknowledged: int
    sent_again: int
    kills: dict[str, int]
    kills_with_work_left: int
    """Those at which not every message had taken effect yet."""
    effects: int
    lost: int
    twice: int
    out_of_order: int
    repeated_posts: int
    dead: int
    seconds: float


class _Target:
    """The outside system, which may be killed and comes back with all that it had."""

    def __init__(self, folder: Path, faults: float) -> None:
        self.port = free_port()
        self.file = folder / "effects.sqlite"
        self._faults = faults
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.handoffs.far_side", str(self.port), str(self.file), str(self._faults)]
        self._process = subprocess.Popen(command, cwd=CHECKOUT)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def effects(self) -> list[tuple[str, int, int]]:
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            return database.execute("SELECT conversation, number, posts FROM effect ORDER BY place").fetchall()


class _Sender(threading.Thread):
    """Sends the messages of some conversations, each after the one before it was acknowledged."""

    def __init__(self, url: str, conversations: list[str], each: int, seed: int, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._conversations = conversations
        self._each = each
        self._pause_s = pause_s
        self._random = random.Random(seed)
        self.acknowledged = 0
        self.again = 0

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=15) as client:
            for number in range(self._each):
                for conversation in self._conversations:
                    self._send(client, conversation, number)
                    self.acknowledged += 1
                    time.sleep(self._pause_s)
                    if self._random.random() < 0.1:
                        self.again += 1
                        self._send(client, conversation, self._random.randint(0, number))

    def _send(self, client: httpx.Client, conversation: str, number: int) -> None:
        body = json.dumps(_delivery(conversation, number)).encode()
        signature = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        while True:
            with contextlib.suppress(httpx.HTTPError):
                answer = client.post(self._url, content=body, headers={"X-Hub-Signature-256": signature})
                if answer.status_code in {200, 202}:
                    return
            time.sleep(0.1)


def _delivery(conversation: str, number: int) -> dict[str, object]:
    message = {
        "from": conversation, "id": f"wamid.{conversation}.{number}", "timestamp": "1700000000", "type": "text",
        "text": {"body": str(number)},
    }  # fmt: skip
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": [message]}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}],
    }


_TOML = """
[handoffs]
linger_s = 1.0
[[handoffs.routes]]
name = "storm"
source = "whatsapp:whatsapp"
fields = {{ conversation = "from", number = "number(text)" }}
target = {{ kind = "http", url = "http://127.0.0.1:{port}/", allow_private = ["127.0.0.1"] }}
retry = {{ tries = 1000, first_s = 0.2, longest_s = 2.0, timeout_s = 1.0 }}
"""


@contextlib.contextmanager
def _running(faults: float) -> Iterator[tuple[Node, _Target]]:
    with temporary_node() as node:
        node.home.mkdir(mode=0o700, exist_ok=True)
        target = _Target(node.home, faults)
        (node.home / "lama.toml").write_text(_TOML.format(port=target.port))
        home = Home(node.settings)
        home.prepare()
        home.write_secret("webhooks/whatsapp", SECRET.decode())
        target.start()
        try:
            node.start()
            yield node, target
        finally:
            target.kill()


def storm(*, messages: int, conversations: int, kills: int, faults: float, seed: int, patience_s: float) -> Outcome:
    """Send `messages` over `conversations` while `kills` processes are killed; waits until all have taken effect."""
    chance = random.Random(seed)
    each = messages // conversations
    killed: Counter[str] = Counter()
    under_fire = 0
    with _running(faults) as (node, target):
        began = time.monotonic()
        names = [f"49171{number:07d}" for number in range(conversations)]
        url = f"{node.settings.gateway_url}/webhooks/whatsapp"
        pause_s = kills * _KILL_EVERY_S / (messages / 4)  # so that messages come for as long as things are killed
        senders = [_Sender(url, names[start::4], each, seed + start, pause_s) for start in range(4)]
        for sender in senders:
            sender.start()
        turns = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
        for victim in turns:
            time.sleep(chance.uniform(1.0, 4.0))
            if victim == "target":
                target.kill()
                time.sleep(chance.uniform(0.0, 1.0))
                target.start()
            else:
                _kill(node, victim)
            killed[victim] += 1
            under_fire += len(target.effects()) < each * conversations
        for sender in senders:
            sender.join(patience_s)
        deadline = time.monotonic() + patience_s
        while len(target.effects()) < each * conversations and time.monotonic() < deadline:
            time.sleep(0.25)
        seconds = time.monotonic() - began
        time.sleep(2.0)  # what would come twice has the time to
        effects = target.effects()
        dead = _dead(node)
    order: dict[str, list[int]] = {}
    for conversation, number, _ in effects:
        order.setdefault(conversation, []).append(number)
    counted = Counter((conversation, number) for conversation, number, _ in effects)
    return Outcome(
        messages=each * conversations,
        conversations=conversations,
        acknowledged=sum(sender.acknowledged for sender in senders),
        sent_again=sum(sender.again for sender in senders),
        kills=dict(killed),
        kills_with_work_left=under_fire,
        effects=len(effects),
        lost=sum((f"+{name}", number) not in counted for name in names for number in range(each)),
        twice=sum(count - 1 for count in counted.values()),
        out_of_order=sum(numbers != sorted(numbers) for numbers in order.values()),
        repeated_posts=sum(posts - 1 for _, _, posts in effects),
        dead=dead,
        seconds=round(seconds, 1),
    )


def _kill(node: Node, victim: str) -> None:
    """Kill `victim` with -9; one that is only just coming up again is waited for."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(ProcessLookupError, StopIteration, TypeError, ValueError):
            pid = node.pid(victim)
            if pid > 0:  # 0 is one that is only just coming up, and would be our own process group
                os.kill(pid, signal.SIGKILL)
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{victim} had no process for a minute")
        time.sleep(0.2)


def _dead(node: Node) -> int:
    deadline = time.monotonic() + 60
    while True:
        try:
            with psycopg.connect(dsn(node.settings)) as connection:
                row = connection.execute(
                    "SELECT (SELECT count(*) FROM handoff_message WHERE state = 'dead')"
                    " + (SELECT count(*) FROM handoff_effect WHERE state = 'dead')"
                ).fetchone()
                return int(row[0]) if row else -1
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--faults", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    outcome = storm(**vars(chosen), patience_s=900)
    print(json.dumps({"soak": "handoffs", **asdict(outcome)}))
    return 0 if outcome.lost == outcome.twice == outcome.out_of_order == outcome.dead == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

"""WhatsApp messages to the CRM: durable at the receiver, and delivered end to end; beside a flow run a message.

The whole platform runs as `lama up` runs it, in a home of its own; the sender is another process on the same machine.
Each message is verified, stored, understood (a lead is found in its text) and written into contact and history.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._handoffs_load import TEXT  # noqa: E402
from benchmarks.gateway import free_port  # noqa: E402
from blocks.database import dsn  # noqa: E402
from blocks.home import Home  # noqa: E402
from blocks.settings import Settings  # noqa: E402
from deployments.embedded_postgres import EmbeddedPostgres  # noqa: E402
from deployments.platform import Platform  # noqa: E402
from lama.commands.session import start_and_apply  # noqa: E402

SECRET = "benchmark secret"  # pragma: allowlist secret
PEER = "a Prefect flow run a message, by the warm worker"
TOML = """
[[handoffs.routes]]
name = "leads"
source = "whatsapp:whatsapp"
extract = "lead"
required = ["phone"]
region = "DE"
currency = "EUR"
target = { kind = "crm" }
"""
_LATENCY = """
SELECT count(*), percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM delivered_at - received_at)::float8),
       extract(epoch FROM max(delivered_at) - min(received_at))::float8
FROM handoff_effect JOIN handoff_message USING (route, message_id)
WHERE effect_state AND message_id LIKE %s
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    quick = parser.parse_args().quick
    seconds, peers = (2.0, 8) if quick else (20.0, 100)
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as home, running(Path(home)) as settings:
        first = send(settings, "first", seconds=0.01, connections=1)
        waited(settings, "first", first["accepted"])
        cold = delivered(settings, "first")
        steady = send(settings, "steady", seconds=seconds, rate=60.0) | waited_for(settings, "steady")
        full = send(settings, "full", seconds=seconds) | waited_for(settings, "full")
        peer = asyncio.run(by_runs(settings, peers))
    result = {
        "benchmark": "handoffs",
        "unit": "messages/s, from the signed delivery to the CRM",
        "ours": full["delivered_per_second"],
        "peers": {PEER: peer["delivered_per_second"]},
        "ratio": {PEER: round(full["delivered_per_second"] / peer["delivered_per_second"], 1)},
        "detail": {
            "full_speed": full,
            "steady_60_a_second": steady,
            "first_message_after_quiet_s": cold["p50_s"],
            PEER: peer,
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }
    for name, figures in (("full speed", full), ("60 a second", steady), (PEER, peer)):
        print(f"{name:50} {figures}")
    print(json.dumps(result))


@contextlib.contextmanager
def running(home: Path) -> Iterator[Settings]:
    """The whole platform, with one route."""
    settings = Settings(home=home, gateway_port=free_port(), prefect_port=free_port())
    Home(settings).prepare()
    Home(settings).write_secret("webhooks/whatsapp", SECRET)
    (home / "lama.toml").write_text(TOML)
    platform = Platform(settings)
    start_and_apply(platform, lambda _name, _event: None, keep=True)
    try:
        yield settings
    finally:
        platform.stop()
        EmbeddedPostgres(settings).remove()


def send(settings: Settings, run: str, *, seconds: float, rate: float = 0.0, connections: int = 8) -> dict[str, Any]:
    """Send from another process; what it saw."""
    command = [
        sys.executable, str(ROOT / "benchmarks" / "_handoffs_load.py"), "--port", str(settings.gateway_port),
        "--secret", SECRET, "--run", run, "--seconds", str(seconds), "--rate", str(rate),
        "--connections", str(connections),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def waited_for(settings: Settings, run: str) -> dict[str, Any]:
    """The figures of a run, when all that was accepted has been delivered."""
    with psycopg.connect(dsn(settings), autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM handoff_message WHERE message_id LIKE %s", (f"wamid.{run}.%",)
        ).fetchone()
    waited(settings, run, int(row[0]) if row else 0)
    return delivered(settings, run)


def waited(settings: Settings, run: str, count: int, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while delivered(settings, run)["delivered"] < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} messages of {run!r} were not delivered within {limit_s:g} s")
        time.sleep(0.1)


def delivered(settings: Settings, run: str) -> dict[str, Any]:
    with psycopg.connect(dsn(settings), autocommit=True) as connection:
        row = connection.execute(
            _LATENCY.replace("effect_state", "handoff_effect.state = 'delivered'").encode(), (f"wamid.{run}.%",)
        ).fetchone()
    assert row is not None
    count, latency, took = row
    p50, p95, p99 = latency or (None, None, None)
    return {
        "delivered": count,
        "delivered_per_second": round(count / took, 1) if took else 0.0,
        "p50_s": p50 and round(p50, 3),
        "p95_s": p95 and round(p95, 3),
        "p99_s": p99 and round(p99, 3),
    }


async def by_runs(settings: Settings, count: int) -> dict[str, Any]:
    """The same messages, each by a flow run of its own."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings are in the environment

    async with get_client() as client:
        deployment = await client.create_deployment(
            flow_id=await client.create_flow_from_name("hand-on-one"),
            name="peer",
            work_pool_name="lama",
            entrypoint="benchmarks/_handoffs_peer.py:hand_on_one",
            path=str(ROOT),
        )
        ended: list[float] = []
        for warm in (True, False):
            began = time.monotonic()
            number = 1 if warm else count
            for index in range(number):
                message = {"id": f"peer.{warm}.{index}", "from": f"+49172{index:07d}", "name": "Jane Roe", "text": TEXT}
                await client.create_flow_run_from_deployment(deployment, parameters={"message": message})
            ended = await _arrivals(settings, f"peer.{warm}.%", number, began)
    ended.sort()
    return {
        "delivered": len(ended),
        "delivered_per_second": round(len(ended) / ended[-1], 2),
        "p50_s": round(statistics.median(ended), 3),
        "p95_s": round(ended[int(len(ended) * 0.95)], 3),
    }


async def _arrivals(settings: Settings, like: str, count: int, began: float) -> list[float]:
    """Seconds after `began` at which each message was there."""
    found: list[float] = []
    deadline = time.monotonic() + 300
    async with await psycopg.AsyncConnection.connect(dsn(settings), autocommit=True) as connection:
        while len(found) < count:
            cursor = await connection.execute("SELECT count(*) FROM crm_interaction WHERE message_id LIKE %s", (like,))
            row = await cursor.fetchone()
            found += [time.monotonic() - began] * (int(row[0]) - len(found) if row else 0)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} flow runs have ended")
            await asyncio.sleep(0.05)
    return found


if __name__ == "__main__":
    main()

"""Signed GitHub deliveries at full speed, every one durable before it is answered; and what a kill -9 costs.

The gateway and PostgreSQL run as `lama up` runs them, in a home of their own; the sender is another process on the same
machine. The peers are what one would otherwise write, on the same database, in turn with ours. Then the gateway is
killed in the middle of the load, the supervisor starts it again, and the sender resends what was not answered.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from blocks.database import dsn  # noqa: E402
from blocks.home import Home  # noqa: E402
from blocks.settings import Settings  # noqa: E402
from deployments.embedded_postgres import EmbeddedPostgres  # noqa: E402
from deployments.platform import Platform  # noqa: E402

SECRET = "benchmark secret"  # pragma: allowlist secret
CONNECTIONS = 16
PEERS = ("asyncpg", "sqlmodel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    quick = parser.parse_args().quick
    rounds, seconds, crash_seconds = (3, 1.2, 6.0) if quick else (5, 5.0, 20.0)
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as home, running(Path(home)) as platform:
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in ("gateway", *PEERS)}
        with contextlib.ExitStack() as stack:
            ports = {name: stack.enter_context(peer(name, platform)) for name in PEERS}
            ports["gateway"] = platform.settings.gateway_port
            for name, port in ports.items():
                load(platform, port, 1.0, name)  # connections, statements and caches are warm
            before = commits(platform)
            for turn in range(rounds):
                for name in measured if turn % 2 == 0 else reversed(list(measured)):
                    measured[name].append(load(platform, ports[name], seconds, name))
            grouped = sum(run["accepted"] for run in measured["gateway"]) / max(1, commits(platform) - before)
        crash = killed_in_the_middle(platform, crash_seconds)
        ours = figures(measured["gateway"])
        peers = {f"FastAPI + {name}, a commit a request": figures(measured[name]) for name in PEERS}
        rates = {name: peer_figures["per_second"] for name, peer_figures in peers.items()}
        result = {
            "benchmark": "gateway",
            "unit": "durable deliveries/s",
            "ours": ours["per_second"],
            "peers": rates,
            "ratio": {name: round(ours["per_second"] / rate, 2) for name, rate in rates.items()},
            "detail": {
                "gateway": ours | {"deliveries_per_commit": round(grouped, 1)},
                "peers": peers,
                "kill_9_in_mid_load": crash,
                "connections": CONNECTIONS,
                "mean_body_bytes": round(measured["gateway"][0]["mean_body_bytes"]),
                "seconds_each": round(rounds * seconds, 1),
                "prefect": "away: one delivery in ten asks for a run, which waits",
                "cores": os.cpu_count(),
                "load_average": [round(value, 1) for value in os.getloadavg()],
            },
        }
    for name, value in (("gateway", ours), *peers.items()):
        print(f"{name:45} {value['per_second']:7.0f}/s  p50 {value['p50_ms']:6.1f}  p99 {value['p99_ms']:6.1f} ms")
    print(f"kill -9: {crash}")
    print(json.dumps(result))
    if crash["lost"] or crash["duplicates"]:
        sys.exit(1)


@contextlib.contextmanager
def running(home: Path) -> Iterator[Platform]:
    """PostgreSQL and the gateway, supervised, in `home`."""
    settings = Settings(home=home, gateway_port=free_port(), prefect_port=free_port())
    platform = Platform(settings, only=["postgres", "gateway"])
    Home(settings).prepare()
    Home(settings).write_secret("webhooks/github", SECRET)
    platform.start()
    try:
        with psycopg.connect(dsn(settings), autocommit=True) as connection:
            for name in PEERS:
                connection.execute(
                    f"""CREATE TABLE peer_{name} (delivery_id varchar PRIMARY KEY, event varchar NOT NULL,
                        body bytea NOT NULL, received_at timestamptz NOT NULL)""".encode()
                )
        yield platform
    finally:
        platform.stop()
        EmbeddedPostgres(settings).remove()


@contextlib.contextmanager
def peer(name: str, platform: Platform) -> Iterator[int]:
    """A peer in a process of its own; gives its port."""
    port = free_port()
    secret = platform.home.webhook_secrets("github")
    arguments = [str(ROOT / "benchmarks" / "_gateway_peers.py"), name, str(port), dsn(platform.settings), str(secret)]
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def sender(platform: Platform, port: int, seconds: float, ledger: Path) -> subprocess.Popen[bytes]:
    """The sender, started."""
    arguments = {
        "port": port, "secret": platform.home.webhook_secrets("github"), "seconds": seconds, "ledger": ledger,
        "connections": CONNECTIONS,
    }  # fmt: skip
    flags = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    return subprocess.Popen([sys.executable, str(ROOT / "benchmarks" / "_gateway_load.py"), *flags])


def load(platform: Platform, port: int, seconds: float, name: str) -> dict[str, Any]:
    """One spell of load; the ledger of its sender, checked against the database."""
    ledger = platform.settings.home / "ledger.json"
    process = sender(platform, port, seconds, ledger)
    if process.wait(seconds + 60):
        raise SystemExit(f"the sender to {name} failed")
    found: dict[str, Any] = json.loads(ledger.read_text())
    found["accepted"] = sum(202 in statuses for statuses in found["answers"].values())
    table = "delivery" if name == "gateway" else f"peer_{name}"
    missing = set(found["answers"]) - stored(platform, table)
    if missing:
        raise SystemExit(f"{name}: {len(missing)} deliveries were answered and are not stored")
    return found


def killed_in_the_middle(platform: Platform, seconds: float) -> dict[str, Any]:
    """Load, a kill -9 after two fifths of it, and what became of every delivery."""
    time.sleep(max(0.0, 6 - (time.time() - platform.states()["gateway"].since)))  # it counts as started by then
    pid = platform.states()["gateway"].pid
    ledger = platform.settings.home / "ledger.json"
    process = sender(platform, platform.settings.gateway_port, seconds, ledger)
    time.sleep(seconds * 0.4)
    os.kill(pid, signal.SIGKILL)
    died = time.monotonic()
    url = f"{platform.settings.gateway_url}/ready"
    while time.monotonic() - died < 60:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                break
        time.sleep(0.02)
    away = time.monotonic() - died
    if process.wait(seconds + 60):
        raise SystemExit("the sender failed")
    found = json.loads(ledger.read_text())
    with psycopg.connect(dsn(platform.settings)) as connection:
        rows = [row[0] for row in connection.execute("SELECT delivery_id FROM delivery")]
    answered = found["answers"]
    twice = sum(statuses.count(202) > 1 for statuses in answered.values())
    return {
        "answered": len(answered),
        "resent": found["resent"],
        "already_stored_when_resent": sum(200 in statuses for statuses in answered.values()),
        "lost": len(set(answered) - set(rows)),
        "duplicates": len(rows) - len(set(rows)) + twice,
        "away_seconds": round(away, 2),
    }


def stored(platform: Platform, table: str) -> set[str]:
    """Every delivery in `table`."""
    with psycopg.connect(dsn(platform.settings)) as connection:
        return {row[0] for row in connection.execute(f"SELECT delivery_id FROM {table}".encode())}


def commits(platform: Platform) -> float:
    """Transactions of the gateway so far."""
    text = httpx.get(f"{platform.settings.gateway_url}/metrics", timeout=10, trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("lama_webhook_commits_total ")]
    return float(lines[0].split()[1])


def figures(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The spells of one server as one: the median of their rates, percentiles over all answers."""
    latencies = sorted(value * 1000 for run in runs for value in run["latencies"])
    rates = [run["accepted"] / run["elapsed"] for run in runs]
    return {
        "per_second": round(statistics.median(rates), 1),
        "p50_ms": round(latencies[len(latencies) // 2], 2),
        "p95_ms": round(latencies[int(len(latencies) * 0.95)], 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)], 2),
        "deliveries": sum(run["accepted"] for run in runs),
    }


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

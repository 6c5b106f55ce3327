"""The health check of this checkout: wall time by module, memory, and the same engines run one after the other by hand.

PostgreSQL and the Prefect server run as `lama up` runs them, in a home of their own. The check runs in a process of its
own, as a worker would start it. The peer is what one would otherwise type: the same analysers over the same packages
from a shell, one after the other. It leaves several outputs in several formats, without history, without a look at the
host, PostgreSQL and Prefect, and without a word on what was not seen; so it does less than the check does.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._watched import watched  # noqa: E402
from blocks.prefect_server import client_environment  # noqa: E402
from blocks.settings import Settings  # noqa: E402
from deployments.embedded_postgres import EmbeddedPostgres  # noqa: E402
from deployments.platform import Platform  # noqa: E402
from deployments.schema import upgrade  # noqa: E402

PACKAGES = ("lama", "services", "deployments", "flows", "tasks", "blocks", "models")
BIN = Path(sys.executable).parent
BY_HAND = "the same engines by hand"
INDEX = "pip list --outdated"

ONCE = """
import asyncio, sys, time
begun = time.perf_counter()
from flows.health_check import health_check
imported = time.perf_counter()
report = asyncio.run(health_check())
ended = time.perf_counter()
print(report.model_dump_json())
print(imported - begun, ended - imported, file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    quick = parser.parse_args().quick
    rounds = 1 if quick else 3
    checks: list[dict[str, Any]] = []
    by_hand: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as home:
        settings = Settings(home=Path(home), prefect_port=free_port(), gateway_port=free_port())
        platform = Platform(settings, only=["postgres", "prefect"])
        try:
            platform.start()
            upgrade(settings)
            for _ in range(rounds):
                checks.append(check(settings))
                by_hand.append(peer(quick=quick))
        finally:
            platform.stop()
            EmbeddedPostgres(settings).remove()
    show(checks, by_hand)


def check(settings: Settings) -> dict[str, Any]:
    """One health check in a fresh process; its times, its peak memory, its report."""
    environment = os.environ | client_environment(settings) | {
        "LAMA_HOME": str(settings.home),
        "LAMA_PREFECT_PORT": str(settings.prefect_port),
        "LAMA_GATEWAY_PORT": str(settings.gateway_port),
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    started = time.perf_counter()
    output, errors, peak = run([sys.executable, "-c", ONCE], environment)
    wall = time.perf_counter() - started
    report = json.loads(output.strip().splitlines()[-1])
    imported, ran = (float(word) for word in errors.strip().splitlines()[-1].split())
    return {"report": report, "process_s": wall, "import_s": imported, "flow_s": ran, "peak_bytes": peak}


def peer(*, quick: bool) -> dict[str, float]:
    """Seconds of each tool, one after the other, as typed in a shell at the top of the checkout.

    The quick form leaves out the question to the package index, which alone takes a minute.
    """
    commands: dict[str, list[str]] = {
        "bandit": [str(BIN / "bandit"), "-q", "-r", *PACKAGES],
        "lint-imports (grimp)": [str(BIN / "lint-imports")],
        "griffe": [str(BIN / "griffe"), "dump", *PACKAGES],
        "detect-secrets": [str(BIN / "detect-secrets"), "scan"],
        INDEX: [str(BIN / "pip"), "list", "--outdated", "--disable-pip-version-check"],
    }
    if (BIN / "pip-audit").exists():
        commands["pip-audit"] = [str(BIN / "pip-audit"), "--progress-spinner=off"]
    if quick:
        del commands[INDEX]
    seconds = {}
    for name, command in commands.items():
        if not Path(command[0]).exists():
            continue
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
        seconds[name] = time.perf_counter() - started
    return seconds


def run(command: list[str], environment: dict[str, str]) -> tuple[str, str, int]:
    """Output, errors and the peak of the resident memory of the process and all that it starts, in bytes."""
    done = watched(command, cwd=ROOT, timeout_s=300, environment=environment)
    if done.code != 0:
        sys.exit(f"the health check ended with {done.code}:\n{done.errors[-3000:]}")
    return done.output, done.errors, done.peak_bytes


def show(checks: list[dict[str, Any]], by_hand: list[dict[str, float]]) -> None:
    ours = statistics.median(one["flow_s"] for one in checks)
    peers = {f"{BY_HAND}, without {INDEX}": [sum(one.values()) - one.get(INDEX, 0.0) for one in by_hand]}
    if INDEX in by_hand[0]:
        peers[BY_HAND] = [sum(one.values()) for one in by_hand]
    theirs = {name: statistics.median(values) for name, values in peers.items()}
    last = checks[-1]["report"]
    modules = {
        module["capability"].rpartition(".")[2]: {
            "seconds": round(seconds(module), 2),
            "status": module["status"],
            "findings": len(module["findings"]),
            "skipped": len(module["skipped"]),
        }
        for module in last["modules"]
    }
    for name, module in modules.items():
        print(f"{name:16} {module['seconds']:6.2f} s  {module['status']:10} {module['findings']:4} findings")
    print(f"{'all of it':16} {ours:6.2f} s")
    for name, value in theirs.items():
        print(f"{value:6.2f} s  {name}")
    result = {
        "benchmark": "health_check",
        "unit": "s",
        "ours": round(ours, 2),
        "peers": {name: round(value, 2) for name, value in theirs.items()},
        "ratio": {name: round(value / ours, 2) for name, value in theirs.items()},
        "detail": {
            "modules": modules,
            "sum_of_modules_s": round(sum(module["seconds"] for module in modules.values()), 2),
            "status": last["status"],
            "skipped": sorted({f"{skip['area']}: {skip['reason']}"[:160] for skip in last["skipped"]}),
            "process_s": round(statistics.median(one["process_s"] for one in checks), 2),
            "import_s": round(statistics.median(one["import_s"] for one in checks), 2),
            "peak_rss_mib": round(max(one["peak_bytes"] for one in checks) / 2**20),
            "by_hand_s": {name: round(value, 2) for name, value in by_hand[-1].items()},
            "rounds": len(checks),
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }
    print(json.dumps(result))


def seconds(module: dict[str, Any]) -> float:
    ended, started = (datetime.fromisoformat(module[name]) for name in ("finished_at", "started_at"))
    return (ended - started).total_seconds()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

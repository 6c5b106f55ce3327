"""From nothing to a report: `lama up` with a health check in an empty home, then again in the same one.

What a user waits for after installation: the start of PostgreSQL, the Prefect server, the gateway and the worker, the
deployments, and one health check of this machine and this checkout through that worker. Nothing else does this, so
there is no peer; the figures stand against the limits that the platform sets itself.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from blocks.settings import Settings  # noqa: E402
from deployments.embedded_postgres import EmbeddedPostgres  # noqa: E402

LIMITS_S = {"first": 45.0, "second": 25.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first start only, once")
    quick = parser.parse_args().quick
    names = ("first",) if quick else ("first", "second")
    starts = [in_a_new_home(names) for _ in range(1 if quick else 3)]
    ours = {name: statistics.median(one[name]["seconds"] for one in starts) for name in names}
    for name, value in ours.items():
        print(f"{name:7} {value:6.1f} s to the report; at most {LIMITS_S[name]:.0f} s")
    result = {
        "benchmark": "start",
        "unit": "s",
        "ours": ours["first"],
        "peers": {},
        "ratio": {},
        "detail": {
            "first_s": ours["first"],
            "second_s": ours.get("second"),
            "limits_s": LIMITS_S,
            "within": {name: value <= LIMITS_S[name] for name, value in ours.items()},
            "starts": starts,
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }
    print(json.dumps(result))


def in_a_new_home(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """As many starts of one home as there are `names`, by name."""
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as home:
        settings = Settings(home=Path(home), prefect_port=free_port(), gateway_port=free_port())
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAMA_", "PREFECT_"))}
        environment = kept | settings.environment()
        try:
            return {name: start(environment) for name in names}
        finally:
            lama(environment, "down")
            EmbeddedPostgres(settings).remove()


def start(environment: dict[str, str]) -> dict[str, Any]:
    """Seconds from the command to its report, and what the report says; the platform is down again at the end."""
    begun = time.perf_counter()
    told = json.loads(lama(environment, "up", "--detach", "--health-check", "--json"))
    seconds = time.perf_counter() - begun
    lama(environment, "down")
    if not told["started"] or told["report"] is None:
        sys.exit(f"there was no start, or no report: {told}")
    return {
        "seconds": round(seconds, 2),
        "up_after_s": round(told["up_after_s"], 2),
        "report_after_s": round(told["report"]["after_s"], 2),
        "status": told["report"]["status"],
    }


def lama(environment: dict[str, str], *arguments: str) -> str:
    """The output of one `lama` command."""
    done = subprocess.run(
        [sys.executable, "-m", "lama.cli", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"lama {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

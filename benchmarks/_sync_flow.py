"""What the flow adds to the engine: the flow `sync` over PostgreSQL and a Prefect server of its own; prints times.

Called in this process, as from Python; a run with nothing to do, beside `sync_one` for the same, which is what the flow
calls: the rest is Prefect's record of the run and the report.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from _sync_folders import make

from blocks.home import Home
from blocks.prefect_server import client_environment
from blocks.settings import Settings
from deployments.embedded_postgres import EmbeddedPostgres
from deployments.platform import Platform

TOML = """[sync]
store = "{folder}/store"
device = "one"
[[sync.categories]]
name = "notes"
folder = "{folder}/notes"
"""


def main() -> None:
    files, rounds = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as made:
        folder = Path(made)
        settings = Settings(home=folder / "home", prefect_port=free_port(), gateway_port=free_port())
        os.environ.update(
            client_environment(settings),
            LAMA_HOME=str(settings.home), LAMA_PREFECT_PORT=str(settings.prefect_port),
            LAMA_GATEWAY_PORT=str(settings.gateway_port), PREFECT_LOGGING_LEVEL="ERROR",
        )  # fmt: skip
        make(folder / "notes", files, 2026)
        (folder / "store").mkdir()
        Home(settings).prepare()
        (settings.home / "lama.toml").write_text(TOML.format(folder=folder), encoding="utf-8")
        platform = Platform(settings, only=["postgres", "prefect"])
        try:
            platform.start()
            print(json.dumps({"files": files, **measured(settings, rounds)}))
        finally:
            platform.stop()
            EmbeddedPostgres(settings).remove()


def measured(config: Settings, rounds: int) -> dict[str, float]:
    """Seconds of a run with nothing to do, the least of `rounds`."""
    from blocks.configuration import load_configuration  # noqa: PLC0415 - Prefect is imported after its settings
    from flows.sync import sync  # noqa: PLC0415
    from tasks.sync.opened import identity_of  # noqa: PLC0415
    from tasks.sync.run import Asked, sync_one  # noqa: PLC0415
    from tasks.sync.vault import Vault  # noqa: PLC0415

    wanted = load_configuration(config).sync
    assert wanted.store is not None
    Vault(wanted.store, identity_of(config, wanted)).create()
    (category,) = wanted.categories

    def engine() -> object:
        return sync_one(config, wanted, category, Asked(), run=f"run-{time.time_ns()}")

    def flow() -> object:
        report = asyncio.run(sync())  # type: ignore[arg-type]
        assert report.status == "ok", report
        return report

    first = timed(flow)
    for _ in range(2):  # what changed shortly before it was looked at is looked at again
        time.sleep(2.5)
        engine()
    return {
        "first_s": first,
        "flow_s": min(timed(flow) for _ in range(rounds)),
        "of_it_category_s": min(timed(engine) for _ in range(rounds)),
    }


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return round(time.perf_counter() - begun, 3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

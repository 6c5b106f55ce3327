"""Runs a worker: `python -m deployments.worker --pool lama --name NAME`; with `--gpu`, of the pool of GPUs.

Importing it registers the worker types with Prefect, so `prefect worker start --type lama` starts one, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from blocks.logs import logger
from blocks.model_host import ModelHost
from blocks.settings import settings
from deployments.gpu_worker import GpuJobConfiguration, GpuVariables, LamaGpuWorker
from deployments.late_tls import read_authorities_late
from deployments.warm_worker import LamaJobConfiguration, LamaVariables, LamaWorker

__all__ = [
    "GpuJobConfiguration",
    "GpuVariables",
    "LamaGpuWorker",
    "LamaJobConfiguration",
    "LamaVariables",
    "LamaWorker",
    "main",
]

_PREFETCH_S = 2
"""How far ahead runs are taken: about what a start takes. More would hold slots that others could use."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT, then drain it; a second signal cancels its runs at once."""
    options = _options(arguments)
    read_authorities_late()
    from prefect.settings import (  # noqa: PLC0415
        PREFECT_API_URL,
        PREFECT_WORKER_QUERY_SECONDS,
        temporary_settings,
    )

    config = settings()
    with temporary_settings(
        updates={PREFECT_WORKER_QUERY_SECONDS: config.worker_poll_s},
        set_defaults={PREFECT_API_URL: config.api_url},
    ):
        return asyncio.run(_serve(_worker(options), options.drain_seconds))


def _worker(options: argparse.Namespace) -> LamaWorker:
    of_every_worker = {
        "work_pool_name": options.pool,
        "name": options.name,
        "work_queues": options.work_queue,
        "limit": options.limit,
        "prefetch_seconds": _PREFETCH_S,
        "checkout": options.checkout,
    }
    if options.gpu is None:
        return LamaWorker(**of_every_worker)
    host = ModelHost.of(settings())
    if options.model_host:
        host = ModelHost(url=options.model_host, key=host.key)
    return LamaGpuWorker(**of_every_worker, host=host, gpu=None if options.gpu == "cpu" else options.gpu)


async def _serve(worker: LamaWorker, drain_seconds: float) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):  # also where whoever started us had SIGINT ignored
        loop.add_signal_handler(number, on_signal)
    serving = asyncio.create_task(worker.start(printer=logger("worker").info))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        logger("worker").info("%s takes no more runs; %d in flight", worker.name, worker.runs_in_flight)
        draining = asyncio.create_task(worker.drain(drain_seconds))
        hurrying = asyncio.create_task(hurry.wait())
        await asyncio.wait({serving, draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await worker.cancel_runs()
        for task in (draining, hurrying, serving):
            task.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.worker", description="Runs a warm worker.")
    parser.add_argument("--pool", default="lama", help="work pool to take runs from; created if it is missing")
    parser.add_argument(
        "--name", default=f"lama-{socket.gethostname()}", help="name in the Prefect UI; unique (default: %(default)s)"
    )
    parser.add_argument("--work-queue", action="append", help="take runs of this queue only; may be repeated")
    parser.add_argument("--limit", type=int, help="most runs at a time on this worker")
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=20.0,
        help="how long runs in flight may go on after SIGTERM before they are cancelled (default: %(default)s)",
    )
    parser.add_argument(
        "--checkout", type=Path, help="folder with the prefect.yaml whose flows are imported ahead (default: Lama's)"
    )
    parser.add_argument(
        "--gpu",
        metavar="UUID",
        help="be of the type lama-gpu, pinned to this GPU, or with `cpu` to none: runs wait for their memory",
    )
    parser.add_argument(
        "--model-host", metavar="URL", help="with --gpu: the model host of that device (default: the node's)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

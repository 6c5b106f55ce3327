"""The long-running processes of a node: what starts each, and how it shows that it is ready."""

from __future__ import annotations

import base64
import functools
import http.client
import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.gpus import grouped_gpus
from blocks.prefect_server import client_environment, server_environment
from blocks.settings import CHECKOUT, Settings
from deployments.embedded_graph import EmbeddedGraph, not_run_because
from deployments.embedded_postgres import EmbeddedPostgres
from models.mail import Receiver
from tasks.handoffs.kept_routes import kept_blocks
from tasks.handoffs.route_set import merge
from tasks.model_host.sources import has_host

POOL = "lama"
GPU_POOL = "gpu"
"""Runs there wait until the model host has leased them their memory."""


@dataclass(frozen=True)
class Program:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    priority: int
    """Started lowest first, stopped highest first."""
    ready: Callable[[float], bool]
    """Whether it does its work, given when its process was started; called again and again while it starts."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """The user to run as when we are root; None: as ourselves."""
    port: int | None = None
    """The TCP port that it will listen on."""
    stop_signal: str = "TERM"
    stop_wait_s: int = 30
    """Seconds to end by itself before it is killed."""
    awaited: bool = True
    """Whether a start waits until it is ready, also of those who have not named it."""
    kill_group: bool = True
    """Whether what it started is killed with it. PostgreSQL sees to its own children."""


def programs(settings: Settings) -> dict[str, Program]:
    """What runs on this node under `settings`, by name, in starting order."""
    python = sys.executable
    common = _own_environment(settings)
    name = f"lama-{socket.gethostname()}"
    chosen: list[Program] = []
    if settings.embeds_postgres:
        postgres = EmbeddedPostgres(settings)
        chosen.append(
            Program(
                name="postgres",
                command=tuple(postgres.command()),
                priority=10,
                ready=lambda _since: postgres.ready(),
                user=postgres.location.os_user,
                stop_signal="INT",  # "fast": ends sessions, loses nothing
                kill_group=False,
                environment={"LAMA_INSTANCE": settings.instance},
            )
        )
    if settings.embeds_prefect:
        chosen.append(
            Program(
                name="prefect",
                command=(python, "-m", "deployments.prefect_server"),
                priority=20,
                ready=lambda _since: _answers(f"{settings.api_url}/health"),
                environment=common | server_environment(settings),
                port=settings.prefect_port,
                stop_wait_s=15,
            )
        )
    chosen.append(
        Program(
            name="gateway",
            command=(python, "-m", "services.gateway"),
            priority=30,
            ready=lambda _since: _answers(f"{settings.gateway_url}/ready"),
            environment=common | client_environment(settings),
            port=settings.gateway_port,
            stop_wait_s=15,
        )
    )
    chosen += graph_programs(settings)
    receivers = _receivers(settings)
    if receivers:
        chosen.append(
            Program(
                name="mail",
                command=(python, "-m", "services.mail"),
                priority=35,
                ready=lambda _since: all(_listens(one.host, one.port) for one in receivers),
                environment=common,
                stop_wait_s=15,
            )
        )
    if _offers_tools(settings):
        chosen.append(
            Program(
                name="mcp",
                command=(python, "-m", "services.mcp"),
                priority=35,
                ready=lambda _since: _answers(f"{settings.mcp_url}/health"),
                environment=common | client_environment(settings),
                port=settings.mcp_port,
                stop_wait_s=20,
            )
        )
    chosen.append(
        Program(
            name="worker",
            command=(python, "-m", "deployments.worker", "--pool", POOL, "--name", name),
            priority=40,
            ready=lambda since: worker_online(settings, POOL, name, since),
            environment=common | client_environment(settings),
            stop_wait_s=60,
        )
    )
    chosen += model_programs(settings)
    return {program.name: program for program in chosen}


def graph_programs(settings: Settings) -> list[Program]:
    """The embedded graph server, where it is ours to run; not where `lama.toml` is no use."""
    try:
        configured = load_configuration(settings).graph
    except ConfigurationError:
        return []
    if not_run_because(settings, configured) is not None:
        return []
    server = EmbeddedGraph(settings, configured)
    return [
        Program(
            name="graph",
            command=(sys.executable, "-m", "deployments.embedded_graph"),
            priority=15,
            ready=lambda _since: server.ready(),
            environment=_own_environment(settings),
            port=settings.graph_port,
            stop_wait_s=60,
            awaited=False,
        )
    ]


def model_programs(settings: Settings) -> list[Program]:
    """A model host for each device, and beside it a worker that is pinned to the same one.

    With several devices there is one address in front of their hosts, which then have the ports after it.
    """
    devices = _devices(settings)
    ports = [settings.model_host_port + number + (len(devices) > 1) for number in range(len(devices))]
    chosen = [_front(settings, devices, ports)] if len(devices) > 1 else []
    for number, (device, port) in enumerate(zip(devices, ports, strict=True)):
        suffix = f"-{number}" if number else ""
        url = f"http://{settings.reachable_host}:{port}"
        name = f"lama-gpu-{socket.gethostname()}{suffix}"
        # Models compute with every core that they are given; the host divides them by itself.
        environment = {name: value for name, value in _own_environment(settings).items() if name != "OMP_NUM_THREADS"}
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "" if device == "cpu" else device}
        chosen.append(
            Program(
                name=f"model-host{suffix}",
                command=(sys.executable, "-m", "services.model_host", "--device", device, "--port", str(port)),
                priority=35,
                ready=functools.partial(_host_answers, url),
                environment=environment,
                port=port,
                stop_wait_s=30,  # it lets answers end, then unloads
                awaited=False,  # whoever starts a platform does not wait for what is needed by few
            )
        )
        chosen.append(
            Program(
                name=f"gpu-worker{suffix}",
                command=(
                    sys.executable, "-m", "deployments.worker", "--pool", GPU_POOL, "--name", name, "--gpu", device,
                    "--model-host", url,
                ),
                priority=45,
                ready=functools.partial(worker_online, settings, GPU_POOL, name),
                environment=_own_environment(settings) | client_environment(settings),
                stop_wait_s=60,
                awaited=False,
            )
        )  # fmt: skip
    return chosen


def _front(settings: Settings, devices: list[str], ports: list[int]) -> Program:
    """What passes requests to the device that serves them best."""
    places = [
        word
        for device, port in zip(devices, ports, strict=True)
        for word in ("--device", f"{device}=http://{settings.reachable_host}:{port}")
    ]
    port = settings.model_host_port
    return Program(
        name="model-host-front",
        command=(sys.executable, "-m", "services.model_host.front", *places, "--port", str(port)),
        priority=35,
        ready=functools.partial(_host_answers, settings.model_host_url),
        environment=_own_environment(settings),
        port=port,
        stop_wait_s=20,
        awaited=False,
    )


def _devices(settings: Settings) -> list[str]:
    """The devices that models run on, of a group the UUIDs of all its GPUs, divided by commas.

    None where the host is off or elsewhere, or `lama.toml` cannot be read.
    """
    if settings.model_host_elsewhere is not None:
        return []
    try:
        configured = load_configuration(settings).model_host
        if not has_host(configured):
            return []
    except ConfigurationError:
        return []
    try:
        found = grouped_gpus(configured.device, configured.groups)
        return [",".join(gpu.uuid for gpu in group) for group in found] or ["cpu"]
    except ConfigurationError:  # what is not here: the host says so, and a start fails with that
        return [",".join(map(str, group)) for group in configured.groups] or [configured.device]


def _own_environment(settings: Settings) -> dict[str, str]:
    """What a child needs to see the settings that we see, and to be known as ours."""
    return settings.environment() | {
        "LAMA_INSTANCE": settings.instance,
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        # Nothing of ours needs more than one computing thread, and idle pools cost every process memory.
        "OMP_NUM_THREADS": "1",
    }


def _receivers(settings: Settings) -> tuple[Receiver, ...]:
    """The receivers of mail; none where `lama.toml` cannot be read, which the gateway says better."""
    try:
        return load_configuration(settings).mail.receivers
    except ConfigurationError:
        return ()


def _offers_tools(settings: Settings) -> bool:
    """Whether a route takes calls by MCP, as far as is known before Prefect is up; not where `lama.toml` is no use."""
    try:
        known = merge(load_configuration(settings), kept_blocks(settings))
    except ConfigurationError:
        return False
    return any(route.source.startswith("mcp:") for route in known.routes)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _host_answers(url: str, _since: float) -> bool:
    return _answers(f"{url}/health")


def _answers(url: str) -> bool:
    return _ask("GET", url)[0] in {200, 401}


def worker_online(settings: Settings, pool: str, name: str, since: float) -> bool:
    """Whether the worker called `name` has shown itself to Prefect after `since` (seconds since the epoch).

    Prefect takes a worker that has ended for online for minutes more, so its state alone says nothing.
    """
    headers = {"Content-Type": "application/json"}
    if settings.prefect_auth is not None:
        token = base64.b64encode(settings.prefect_auth.get_secret_value().encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    body = json.dumps({"workers": {"status": {"any_": ["ONLINE"]}}})
    status, content = _ask("POST", f"{settings.api_url}/work_pools/{pool}/workers/filter", body, headers)
    if status != 200:
        return False
    try:
        beats = [row["last_heartbeat_time"] for row in json.loads(content) if row["name"] == name]
        return any(datetime.fromisoformat(beat).timestamp() >= since for beat in beats if beat)
    except (ValueError, KeyError, TypeError):
        return False


def _ask(method: str, url: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and content of one answer; 0 when there is none.

    Readiness is asked for ten times a second while the machine is busy starting: the standard library does it without
    the set-up (certificates, pools) that a real client makes for each call.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=2)
    try:
        connection.request(method, parts.path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def log_file(logs: Path, name: str) -> Path:
    """Where the output of the program called `name` goes."""
    return logs / f"{name}.log"

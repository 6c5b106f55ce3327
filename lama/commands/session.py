"""A platform to run something on: the one that is up, or one that is started for the purpose and stopped again."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from blocks.home import Home
from blocks.settings import Settings
from deployments.platform import Observer, Platform
from models.configuration import Configuration

MODELS_TAG = "models"
"""A deployment with this tag asks models of the node's host."""
GRAPH_TAG = "graph"
"""A deployment with this tag writes to the knowledge graph."""


@contextlib.contextmanager
def platform_for_a_run(settings: Settings, observe: Observer, flow: str | None = None) -> Iterator[None]:
    """Within it, flows can be run. What they need and is not up (no gateway) is started, and stopped at the end.

    Args:
        settings: the node's settings.
        observe: told what happens.
        flow: the deployment that is going to run: one that asks models has the model host started, too.
    """
    if not settings.embeds_prefect:
        yield
        return
    platform = Platform(settings, only=["postgres", "prefect", "worker", *_beside(settings, flow)])
    with platform.in_use():
        start_and_apply(platform, observe)
        yield


def _beside(settings: Settings, flow: str | None) -> list[str]:
    """Further programs that `flow` needs, as its entry in prefect.yaml says."""
    from deployments.apply import read_definitions
    from deployments.programs import GPU_POOL, graph_programs, model_programs

    entry: dict[str, Any] = next((one for one in read_definitions()["deployments"] if one["name"] == flow), {})
    tags = entry.get("tags") or ()
    pinned = (entry.get("work_pool") or {}).get("name") == GPU_POOL
    beside = [one.name for one in graph_programs(settings)] if GRAPH_TAG in tags else []
    if pinned or MODELS_TAG in tags:
        beside += [one.name for one in model_programs(settings) if pinned or one.port is not None]
    return beside


def start_and_apply(platform: Platform, observe: Observer, *, keep: bool = False) -> bool:
    """Start `platform` and bring Prefect to what the checkout says; False when it was up already.

    What was applied before and has not changed is not applied again. Otherwise Prefect and the flows are imported
    while the servers start. When another process of this node is at it, its end is waited for.
    """
    from blocks.configuration import load_configuration, place_in
    from deployments.apply import read_definitions, refuse_unknown

    config = platform.settings
    configuration = load_configuration(config)  # what is wrong with it is said before anything starts
    refuse_unknown(configuration.schedules, read_definitions(), lambda name: place_in(config, "schedules", name))
    as_client(platform.settings)
    with platform.coming_up(observe):
        return _start_and_apply(platform, configuration, observe, keep=keep)


def _start_and_apply(platform: Platform, configuration: Configuration, observe: Observer, *, keep: bool) -> bool:
    from blocks.prefect_api import PrefectApi
    from deployments.apply import fingerprint, in_place

    mark = platform.home.run / "applied"
    wanted = fingerprint(configuration.timetable, platform.settings.api_url)
    known = mark.exists() and mark.read_text(encoding="ascii") == wanted
    started = platform.start(observe, meanwhile=None if known else _import_flows, keep=keep)
    try:
        if known:
            with PrefectApi(platform.settings) as api:
                known = in_place(api)
        if not known:
            apply_deployments(configuration.timetable)
            mark.write_text(wanted, encoding="ascii")
        _tell_of_routes_to_nowhere(platform.settings, configuration, observe)
    except BaseException:
        if started:  # or the next `up` would find it up, and nobody would know that something is missing
            platform.stop()
        raise
    return started


def wait_while_starting(settings: Settings, observe: Observer) -> None:
    """Return when nobody is bringing the platform up: what is asked of it in between finds half of it."""
    if settings.embeds_prefect and Home(settings).run.exists():
        with Platform(settings).coming_up(observe):
            return


def _tell_of_routes_to_nowhere(config: Settings, configuration: Configuration, observe: Observer) -> None:
    """Say which webhooks start a deployment that Prefect does not have. It may come yet, so nothing is refused."""
    from blocks.configuration import place_in
    from blocks.prefect_api import PrefectApi

    written = [(n, one) for n, one in enumerate(configuration.webhooks.routes) if one.deployment not in _our_names()]
    if not written:
        return
    with PrefectApi(config) as api:
        for number, route in written:
            if not api.has_deployment(route.deployment):
                place = place_in(config, "webhooks", "routes", number, "deployment")
                observe(
                    "gateway", f"{place}: Prefect has no deployment {route.deployment!r}; its deliveries wait for it"
                )


def _our_names() -> set[str]:
    """Every deployment of prefect.yaml whose flow is called like it, as routes name them."""
    from deployments.apply import read_definitions

    return {f"{entry['name']}/{entry['name']}" for entry in read_definitions()["deployments"]}


def as_client(settings: Settings) -> None:
    """Make this process a client of the platform's Prefect; has to come before Prefect is imported."""
    from blocks.prefect_server import client_environment

    os.environ.update(client_environment(settings))


def apply_deployments(schedules: Mapping[str, str]) -> list[str]:
    """Bring Prefect to what the checkout and `lama.toml` say."""
    from deployments.apply import apply

    return asyncio.run(apply(schedules))


def _import_flows() -> None:
    import importlib

    from deployments.apply import entrypoints, read_definitions

    for entrypoint in entrypoints(read_definitions()):
        # A flow that cannot be imported is reported by `apply`, which tries again and has somebody to tell.
        with contextlib.suppress(Exception):
            importlib.import_module(entrypoint.rpartition(".")[0])


@contextlib.contextmanager
def database_for(settings: Settings, observe: Observer) -> Iterator[None]:
    """Within it, the database answers: the platform's, or the embedded one started for the purpose."""
    if not settings.embeds_postgres:
        yield
        return
    platform = Platform(settings, only=["postgres"])
    with platform.in_use():
        platform.start(observe)
        yield


@contextlib.contextmanager
def graph_for(settings: Settings, observe: Observer) -> Iterator[None]:
    """Within it, the graph answers: the platform's, or the embedded one started for the purpose.

    Raises:
        ConfigurationError: there is none: no embedded server is run here, and none is named.
    """
    if not settings.embeds_graph:
        yield
        return
    if not has_graph(settings):
        platform = Platform(settings, only=["graph"])
        with platform.in_use():
            platform.start(observe)
            yield
        return
    yield


def has_graph(settings: Settings) -> bool:
    """Whether the embedded graph server is up; False: it could be started.

    Raises:
        ConfigurationError: it is not, and no embedded server is run here.
    """
    from blocks.configuration import load_configuration
    from blocks.errors import ConfigurationError
    from deployments.embedded_graph import EmbeddedGraph, not_run_because

    configured = load_configuration(settings).graph
    Home(settings).prepare()
    if EmbeddedGraph(settings, configured).ready():  # also one of `lama serve graph`, which no platform looks after
        return True
    if (why := not_run_because(settings, configured)) is not None:
        raise ConfigurationError(
            f"no graph server is run here: {why}.", component="graph", remedy="Or set LAMA_GRAPH_URI to a Neo4j >= 5."
        )
    return False


def refuse_without_graph(settings: Settings) -> None:
    """Raise a sentence that says why, where neither an embedded graph server is run nor another one is named.

    Raises:
        ConfigurationError: there is no graph here.
    """
    if settings.embeds_graph:
        has_graph(settings)

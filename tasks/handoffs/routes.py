"""A route of the configuration, made ready: its expressions read, its target reached."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from blocks.errors import ConfigurationError
from blocks.prefect_starter import PrefectStarter
from blocks.settings import Settings
from models.crm import Lead
from models.handoff_route import CrmTarget as ToCrm
from models.handoff_route import FlowTarget as ToFlow
from models.handoff_route import HandoffsSettings, Route
from models.handoff_route import HttpTarget as ToHttp
from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.functions import Context
from tasks.handoffs.target import InsideTarget, Target
from tasks.handoffs.transform import Extract, Transformation

CAPABILITY = "handoffs"


def chosen(settings: HandoffsSettings, asked: list[str] | None) -> tuple[Route, ...]:
    """The routes that `asked` names; None: all.

    Raises:
        ConfigurationError: there is no such route, or `asked` is empty.
    """
    if asked is None:
        return settings.routes
    known = ", ".join(route.name for route in settings.routes) or "none in lama.toml"
    if not asked:
        raise ConfigurationError("routes is an empty list.", component=CAPABILITY, remedy=f"There are: {known}.")
    found = []
    for name in dict.fromkeys(asked):
        route = settings.route(name)
        if route is None:
            raise ConfigurationError(
                f"there is no route {name[:100]!r}.", component=CAPABILITY, remedy=f"There are: {known}."
            )
        found.append(route)
    return tuple(found)


def transformation_of(route: Route) -> Transformation:
    """The transformation of `route`.

    Raises:
        ConfigurationError: an expression or its schema cannot be used.
    """
    try:
        return Transformation(route, _schema(route), _extract(route))
    except ExpressionError as error:
        raise ConfigurationError(f"the route {route.name!r} cannot be used: {error}.", component="lama.toml") from error


async def target_of(route: Route, config: Settings) -> Target | InsideTarget:
    """What `route` leads to; close it where it can be closed.

    Raises:
        ConfigurationError: the block that it names is not there.
    """
    target = route.target
    if isinstance(target, ToCrm):
        from tasks.handoffs.crm_target import CrmTarget  # noqa: PLC0415

        return CrmTarget()
    if isinstance(target, ToFlow):
        from tasks.handoffs.flow_target import FlowTarget  # noqa: PLC0415

        return FlowTarget(PrefectStarter(config), target.deployment)
    return await _http(route, target)


async def _http(route: Route, target: ToHttp) -> Target:
    import httpx  # noqa: PLC0415

    from tasks.handoffs.addresses import GuardedTransport  # noqa: PLC0415
    from tasks.handoffs.http_target import HttpTarget  # noqa: PLC0415

    transport = GuardedTransport(target.allow_private)
    if target.block is None:
        timeout = httpx.Timeout(route.retry.timeout_s)
        return HttpTarget(
            httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, headers={"User-Agent": "lama"}),
            target.url,
        )
    from blocks.http_api import HttpApi  # noqa: PLC0415

    try:
        block = await cast("Awaitable[HttpApi]", HttpApi.aload(target.block))
    except ValueError as error:
        raise ConfigurationError(
            f"the route {route.name!r} needs the block {target.block!r} of type `Lama HTTP API`, which is not there.",
            component=CAPABILITY,
            remedy="Create it in the Prefect UI.",
        ) from error
    return HttpTarget(block.get_client(transport), target.url)


def _schema(route: Route) -> Mapping[str, Any]:
    return Lead.model_json_schema() if isinstance(route.target, ToCrm) else {}


def _extract(route: Route) -> Extract | None:
    if route.extract is None:
        return None
    from tasks.handoffs.lead import find_lead  # noqa: PLC0415

    return functools.partial(find_lead, context=Context(region=route.region, currency=route.currency))

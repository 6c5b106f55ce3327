"""A route of the configuration, made ready: its expressions read, its target reached."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from blocks.errors import ConfigurationError
from blocks.prefect_starter import PrefectStarter
from blocks.settings import Settings
from models.board import NewTask
from models.crm import Lead
from models.handoff_route import ApiTarget as ToApi
from models.handoff_route import BoardTarget as ToBoard
from models.handoff_route import CrmTarget as ToCrm
from models.handoff_route import FlowTarget as ToFlow
from models.handoff_route import HttpTarget as ToHttp
from models.handoff_route import Route
from models.handoff_route import WhatsAppTarget as ToWhatsApp
from models.whatsapp import Outgoing
from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.functions import Context
from tasks.handoffs.route_set import CAPABILITY
from tasks.handoffs.target import InsideTarget, Target
from tasks.handoffs.transform import Extract, Transformation

if TYPE_CHECKING:
    import httpx
    from prefect.blocks.core import Block

    from blocks.whatsapp import WhatsApp
    from tasks.handoffs.extract import ModelLead

B = TypeVar("B", bound="Block")

_CALL: Mapping[str, Any] = {
    "properties": {"operation": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["operation", "arguments"],
}
"""What an API is called with; its arguments are held to the operation's own schema when it is called."""


def transformation_of(route: Route, model: ModelLead | None = None) -> Transformation:
    """The transformation of `route`; without `model`, leads are found by the rules alone.

    Raises:
        ConfigurationError: an expression or its schema cannot be used.
    """
    try:
        return Transformation(route, _schema(route), model or _extract(route))
    except ExpressionError as error:
        raise ConfigurationError(f"the route {route.name!r} cannot be used: {error}.", component="lama.toml") from error


async def model_of(route: Route) -> ModelLead | None:
    """Who is asked for what the rules leave open in leads; None: `route` asks nobody.

    Raises:
        ConfigurationError: the block that it names is not there.
    """
    if route.model is None:
        return None
    from blocks.model import LanguageModel  # noqa: PLC0415
    from tasks.handoffs.extract import ModelLead  # noqa: PLC0415

    block = await _block(route, LanguageModel, route.model)
    return ModelLead(block, Context(region=route.region, currency=route.currency))


async def target_of(route: Route, config: Settings) -> Target | InsideTarget:
    """What `route` leads to; close it where it can be closed.

    Raises:
        ConfigurationError: the block that it names is not there.
    """
    target = route.target
    if isinstance(target, ToCrm):
        return await _crm(route, target)
    if isinstance(target, ToBoard):
        from tasks.handoffs.board_target import BoardTarget  # noqa: PLC0415

        return BoardTarget()
    if isinstance(target, ToFlow):
        from tasks.handoffs.flow_target import FlowTarget  # noqa: PLC0415

        return FlowTarget(PrefectStarter(config), target.deployment)
    if isinstance(target, ToWhatsApp):
        return await _whatsapp(route, target)
    if isinstance(target, ToApi):
        return await _api(route, target, config)
    from tasks.handoffs.http_target import HttpTarget  # noqa: PLC0415

    client, _ = await _http_client(route, target)
    return HttpTarget(client, target.url)


async def _crm(route: Route, target: ToCrm) -> Target | InsideTarget:
    if target.system == "tryton":
        return await _tryton(route, target.block)
    if target.system == "hubspot":
        return await _hubspot(route, target.block)
    from tasks.handoffs.crm_target import CrmTarget  # noqa: PLC0415

    return CrmTarget()


async def _api(route: Route, target: ToApi, config: Settings) -> Target:
    from tasks.handoffs.api_target import ApiTarget  # noqa: PLC0415
    from tasks.handoffs.apis import api_of, refuse_header  # noqa: PLC0415

    api = api_of(route, target, config)
    client, header = await _http_client(route, target)
    refuse_header(route, api, header)
    return ApiTarget(client, api)


async def _http_client(route: Route, target: ToHttp | ToApi) -> tuple[httpx.AsyncClient, str]:
    """A client that speaks to allowed addresses only, and the header of its credentials; empty: it has none."""
    import httpx  # noqa: PLC0415

    from tasks.handoffs.addresses import GuardedTransport  # noqa: PLC0415

    transport = GuardedTransport(target.allow_private)
    if target.block is None:
        timeout = httpx.Timeout(route.retry.timeout_s)
        headers = {"User-Agent": "lama"}
        return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, headers=headers), ""
    from blocks.http_api import HttpApi  # noqa: PLC0415

    block = await _block(route, HttpApi, target.block)
    return block.get_client(transport), block.header


async def _tryton(route: Route, name: str) -> Target:
    from blocks.tryton import Tryton  # noqa: PLC0415
    from tasks.handoffs.tryton_target import TrytonTarget  # noqa: PLC0415

    return TrytonTarget(await _block(route, Tryton, name))


async def _hubspot(route: Route, name: str) -> Target:
    from blocks.hubspot import HubSpot  # noqa: PLC0415
    from tasks.handoffs.hubspot_target import HubSpotTarget  # noqa: PLC0415

    return HubSpotTarget(await _block(route, HubSpot, name), patience_s=route.retry.timeout_s * 0.8)


async def number_of(route: Route, name: str) -> WhatsApp:
    """The `Lama WhatsApp` block called `name`.

    Raises:
        ConfigurationError: it is not there.
    """
    from blocks.whatsapp import WhatsApp  # noqa: PLC0415

    return await _block(route, WhatsApp, name)


async def _whatsapp(route: Route, target: ToWhatsApp) -> Target:
    from tasks.handoffs.whatsapp_target import WhatsAppTarget  # noqa: PLC0415

    return WhatsAppTarget(await number_of(route, target.block), heard_within_s=target.heard_within_s)


async def _block(route: Route, kind: type[B], name: str) -> B:
    try:
        return await cast("Awaitable[B]", kind.aload(name))
    except ValueError as error:
        title = kind.get_block_type_name()
        raise ConfigurationError(
            f"the route {route.name!r} needs the block {name!r} of the type {title}, which is not there.",
            component=CAPABILITY,
            remedy="Make it in the Prefect UI, under Blocks.",
        ) from error


def _schema(route: Route) -> Mapping[str, Any]:
    if isinstance(route.target, ToBoard):
        return NewTask.model_json_schema()
    if isinstance(route.target, ToApi):
        return _CALL
    if isinstance(route.target, ToWhatsApp):
        return Outgoing.model_json_schema()
    return Lead.model_json_schema() if isinstance(route.target, ToCrm) else {}


def _extract(route: Route) -> Extract | None:
    if route.extract is None:
        return None
    context = Context(region=route.region, currency=route.currency)
    if route.extract == "task":
        from tasks.board.find_task import find_task  # noqa: PLC0415

        return functools.partial(find_task, context=context)
    from tasks.handoffs.lead import find_lead  # noqa: PLC0415

    return functools.partial(find_lead, context=context)

"""The parts of a scan as steps of a flow. They are not repeated: what could not look has said so in its result."""

from __future__ import annotations

from collections.abc import Collection

from models.health_check import Checkout
from models.scan import Engine
from tasks.result_cache import ResultCache
from tasks.scan import run
from tasks.scan.looked import Looked
from tasks.step import step
from tasks.target import Target


@step("look at the node", retries=0)
async def look_at_node(target: Target, engines: Collection[Engine]) -> Looked:
    """The home, what listens, how the configured services are set up."""
    return await run.look_at_node(target, engines)


@step("look at a checkout", retries=0)
async def look_at_checkout(
    target: Target, checkout: Checkout, engines: Collection[Engine], cache: ResultCache
) -> Looked:
    """Secrets, also in the history, risky code, containers, workflows, licences, hits of rules, modes."""
    return await run.look_at_checkout(target, checkout, engines, cache)


PARTS = run.Parts(checkout=look_at_checkout, node=look_at_node)

"""Whoever opens Prefect's UI finds the types of our blocks there, without having registered anything."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client

from blocks.http_api import HttpApi
from blocks.mailbox import Mailbox
from blocks.model_host import ModelHost
from blocks.tryton import Tryton
from deployments.apply import apply, automations, block_types, register


@pytest.mark.usefixtures("prefect_server")
async def test_applying_makes_every_type_of_block_known_and_twice_changes_nothing() -> None:
    assert {HttpApi, Mailbox, ModelHost, Tryton} <= set(block_types())
    known = []
    for _ in range(2):
        await apply({}, definitions={"deployments": []})
        async with get_client() as client:
            for automation in automations():
                for found in await client.read_automations_by_name(automation.name):
                    await client.delete_automation(found.id)
            types = [await client.read_block_type_by_slug(one.get_block_type_slug()) for one in block_types()]
            schemas = [await client.get_most_recent_block_schema_for_block_type(one.id) for one in types]
            assert None not in schemas
            known.append([(one.id, one.name) for one in types])
    assert known[0] == known[1]
    assert "Lama HTTP API" in {name for _, name in known[0]}


@pytest.mark.usefixtures("prefect_server")
async def test_several_who_register_the_same_types_at_once_all_succeed() -> None:
    """Two `lama` that start at once, or two nodes of one Prefect: what the other has just made is no error."""
    name = f"Registered at once {uuid.uuid4().hex[:8]}"
    types = [type("AtOnce", (Block,), {"_block_type_name": f"{name} {n}", "__module__": __name__}) for n in range(3)]
    async with get_client() as client:
        await asyncio.gather(*(register(client, types) for _ in range(4)))
        for one in types:
            found = await client.read_block_type_by_slug(one.get_block_type_slug())
            assert await client.get_most_recent_block_schema_for_block_type(found.id) is not None
            await client.delete_block_type(found.id)

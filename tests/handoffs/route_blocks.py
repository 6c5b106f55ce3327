"""Blocks of the type `Lama Handoff Route`, as a person makes, edits and deletes them in the Prefect UI."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.handoff_route import HandoffRoute
from blocks.prefect_api import ROUTE_BLOCKS, PrefectApi
from blocks.settings import settings

CRM: dict[str, Any] = {"source": "webhook:github", "extract": "lead", "required": ["phone"], "target": {"kind": "crm"}}


async def save(name: str, **said: Any) -> None:
    """Save the form as the UI does, which lets through what the class refuses."""
    await HandoffRoute.aregister_type_and_schema()
    async with get_client() as client:
        kind = await client.read_block_type_by_slug(ROUTE_BLOCKS)
        schema = await client.get_most_recent_block_schema_for_block_type(kind.id)
        assert schema is not None
        try:
            there = await client.read_block_document_by_name(name, ROUTE_BLOCKS)
        except ObjectNotFound:
            body = {"name": name, "data": said, "block_type_id": str(kind.id), "block_schema_id": str(schema.id)}
            answer = await client._client.post("/block_documents/", json=body)
        else:
            body = {"data": said, "merge_existing_data": False}
            answer = await client._client.patch(f"/block_documents/{there.id}", json=body)
        assert answer.is_success, answer.text


async def delete(name: str) -> None:
    """Delete a block."""
    async with get_client() as client:
        found = await client.read_block_document_by_name(name, ROUTE_BLOCKS)
        await client.delete_block_document(found.id)


async def delete_all() -> None:
    """Delete every block of the type."""
    with PrefectApi(settings()) as api:
        names = list(api.blocks(ROUTE_BLOCKS))
    for one in names:
        await delete(one)

"""A run with a parameter that its flow does not have, or with an impossible value, is refused before it is made."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

from blocks.errors import LamaError
from blocks.flow_parameters import unknown_parameters
from blocks.prefect_api import PrefectApi
from blocks.prefect_starter import PrefectStarter, RefusedError
from blocks.settings import Settings

_GATE = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}], "default": None}


@dataclass
class Deployed:
    """A deployment of a flow with the one parameter `gate`, until it is given others."""

    client: PrefectClient
    settings: Settings
    name: str

    async def deploy(self, **properties: Any) -> None:
        """Let its flow have the parameters of `properties`."""
        await self.client.create_deployment(
            flow_id=await self.client.create_flow_from_name(self.name),
            name=self.name,
            parameter_openapi_schema={"type": "object", "properties": properties},
            enforce_parameter_schema=True,
        )

    async def by_rest(self, **parameters: Any) -> httpx.Response:
        """The answer to who asks Prefect's own API for a run."""
        one = await self.client.read_deployment_by_name(f"{self.name}/{self.name}")
        asked = {"parameters": parameters}
        async with httpx.AsyncClient(base_url=self.settings.api_url, trust_env=False) as plain:
            return await plain.post(f"/deployments/{one.id}/create_flow_run", json=asked)

    async def runs(self) -> list[Any]:
        """The runs that it has."""
        one = await self.client.read_deployment_by_name(f"{self.name}/{self.name}")
        only = DeploymentFilter(id=DeploymentFilterId(any_=[one.id]))
        return await self.client.read_flow_runs(deployment_filter=only)


@pytest.fixture
async def deployed(prefect_server: Settings) -> AsyncIterator[Deployed]:
    async with get_client() as client:
        one = Deployed(client, prefect_server, f"parameters-{uuid.uuid4().hex[:8]}")
        await one.deploy(gate=_GATE)
        yield one
        await client.delete_deployment((await client.read_deployment_by_name(f"{one.name}/{one.name}")).id)


async def test_prefects_own_api_refuses_unknown_names_and_says_what_is_wrong_with_a_value(deployed: Deployed) -> None:
    unknown = await deployed.by_rest(nonsense=1)
    assert (unknown.status_code, unknown.json()["detail"]) == (
        409, "Error creating flow run: there is no parameter 'nonsense'. There are: gate.",
    )  # fmt: skip
    impossible = await deployed.by_rest(gate=7)
    assert impossible.status_code == 409
    assert "7 is greater than the maximum of 1" in impossible.json()["detail"]
    assert await deployed.runs() == []
    assert (await deployed.by_rest(gate=0.5)).status_code == 201
    assert (await deployed.by_rest()).status_code == 201


async def test_the_command_line_refuses_them_whatever_the_server_takes(deployed: Deployed) -> None:
    with PrefectApi(deployed.settings) as api:
        found = api.deployment(f"{deployed.name}/{deployed.name}")
        with pytest.raises(LamaError, match=r"there is no parameter 'nonsense'\. There are: gate\."):
            api.create_run(found, {"nonsense": 1})
        with pytest.raises(LamaError, match="7 is greater than the maximum of 1"):
            api.create_run(found, {"gate": 7})
    assert await deployed.runs() == []


async def test_the_gateway_refuses_them_and_sees_a_flow_that_has_got_them_since(deployed: Deployed) -> None:
    starter, name = PrefectStarter(deployed.settings), f"{deployed.name}/{deployed.name}"
    try:
        with pytest.raises(RefusedError, match=r"there is no parameter 'since'\. There are: gate\."):
            await starter.start(name, {"since": "2020"}, "key", [])
        assert await deployed.runs() == []
        await deployed.deploy(gate=_GATE, since={"type": "string"})
        await starter.start(name, {"since": "2020"}, "key", [])
    finally:
        await starter.close()
    assert [run.parameters for run in await deployed.runs()] == [{"since": "2020"}]


@pytest.mark.parametrize("schema", [None, {}, {"properties": {}}, {"properties": "?"}, [], "?"])
def test_a_schema_that_names_nothing_refuses_nothing(schema: object) -> None:
    assert unknown_parameters(schema, ["anything"]) is None


def test_the_sentence_names_them_and_stays_short() -> None:
    sentence = unknown_parameters({"properties": {"a": {}, "b": {}}}, ["a", *(f"x{n}" * 100 for n in range(9))])
    assert sentence is not None
    assert sentence.startswith("there are no parameters 'x0x0")
    assert sentence.endswith(" and others. There are: a, b")
    assert len(sentence) < 700

"""OpenAPI documents as tools: what is offered, what is sent for which arguments, what is refused when it is read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from models.handoff import Effect
from tasks.handoffs.api_target import Api, ApiTarget
from tasks.handoffs.apis import refuse_header
from tasks.handoffs.functions import Context
from tasks.handoffs.openapi import read_operations
from tasks.handoffs.openapi_request import ArgumentsError, Operation
from tasks.handoffs.openapi_schema import OpenApiError
from tests.handoffs.making import make_route

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def parameter(name: str, place: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema or {"type": "string"}} | more


def document(
    *parameters: dict[str, Any], path: str = "/things", method: str = "post", version: str = "3.1.0", **more: Any
) -> dict[str, Any]:
    return {
        "openapi": version,
        "servers": [{"url": "https://{region}.api.example/v1/", "variables": {"region": {"default": "eu"}}}],
        "paths": {path: {method: {"operationId": "call", "parameters": list(parameters)} | more}},
    }


def read(told: dict[str, Any] | str) -> Operation:
    text = told if isinstance(told, str) else json.dumps(told)
    return read_operations(text.encode(), ["call"])["call"]


def body(schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {"requestBody": {"content": {kind: {"schema": schema}}}}


def sent(operation: Operation, arguments: dict[str, Any]) -> httpx.Request:
    """The request as the client puts it on the wire."""
    api = Api({"call": operation}, {}, Context("US", "USD"), 1.0, 1000, keeps_refusals=True)
    return ApiTarget(httpx.AsyncClient(trust_env=False), api)._request(operation, arguments, "k")


@given(value=TEXTS)
def test_an_argument_of_the_path_stays_one_segment_whatever_it_is(value: str) -> None:
    operation = read(document(parameter("id", "path"), path="/things/{id}/parts"))
    try:
        url = sent(operation, {"id": value}).url
    except ArgumentsError:
        forbidden = any(part in {".", ".."} for part in value.replace("\\", "/").split("/"))
        assert forbidden or any(ord(letter) < 32 or ord(letter) == 127 for letter in value)
        return
    raw = url.raw_path.decode()
    assert raw.count("/") == 4
    assert not {"?", "#"} & set(raw)
    assert unquote(raw.split("/")[3]) == value
    assert (url.scheme, url.host, raw.split("/")[1]) == ("https", "eu.api.example", "v1")


@pytest.mark.parametrize("value", ["..", ".", "../x", "a/../b", "..\\x", "a\x00", "a\nb", "", None])
def test_what_leads_to_another_path_is_refused(value: Any) -> None:
    operation = read(document(parameter("id", "path", {"type": ["string", "null"]}), path="/things/{id}"))
    with pytest.raises(ArgumentsError):
        operation.request({"id": value})


def test_pieces_that_are_harmless_by_themselves_do_not_make_a_step_up() -> None:
    operation = read(document(parameter("a", "path"), parameter("b", "path"), path="/x/{a}{b}/y"))
    with pytest.raises(ArgumentsError):
        operation.request({"a": ".", "b": "."})


@given(one=TEXTS, many=st.lists(TEXTS, max_size=4), deep=st.dictionaries(st.sampled_from("abc"), TEXTS, max_size=3))
def test_a_query_is_read_back_as_it_was_given(one: str, many: list[str], deep: dict[str, str]) -> None:
    operation = read(
        document(
            parameter("one", "query"),
            parameter("many", "query", {"type": "array"}),
            parameter("deep", "query", {"type": "object"}, style="deepObject", explode=True),
            parameter("json", "query", content={"application/json": {}}),
        )
    )
    url = sent(operation, {"one": one, "many": many, "deep": deep, "json": deep}).url
    pairs = parse_qsl(urlsplit(str(url)).query, keep_blank_values=True, strict_parsing=True)
    assert pairs == [
        ("one", one),
        *(("many", item) for item in many),
        *((f"deep[{name}]", item) for name, item in deep.items()),
        ("json", json.dumps(deep, ensure_ascii=False, separators=(",", ":"))),
    ]
    assert url.fragment == ""


@given(value=st.text(max_size=20))
def test_a_header_is_one_header_or_is_refused(value: str) -> None:
    operation = read(document(parameter("X-Note", "header")))
    try:
        headers = operation.request({"X-Note": value}).headers
    except ArgumentsError:
        assert not (value.isascii() and value.isprintable() and value == value.strip())
        return
    assert headers == {"X-Note": value}
    assert not {"\r", "\n", "\x00"} & set(value)


@pytest.mark.parametrize(
    ("more", "value", "query"),
    [
        ({}, [1, 2], "p=1&p=2"),
        ({"explode": False}, ["a,b", "c"], "p=a%2Cb,c"),
        ({"style": "pipeDelimited", "explode": False}, ["a", "b"], "p=a%7Cb"),
        ({"style": "spaceDelimited", "explode": False}, ["a", "b"], "p=a%20b"),
        ({"style": "pipeDelimited", "explode": True}, ["a", "b"], "p=a&p=b"),
        ({}, {"r": 100, "g": True}, "r=100&g=true"),
        ({"explode": False}, {"r": 100, "g": 2.5}, "p=r,100,g,2.5"),
        ({"style": "deepObject", "explode": True}, {"r": 100}, "p[r]=100"),
        ({}, None, ""),
        ({}, [], ""),
        ({}, False, "p=false"),
    ],
)
def test_styles_of_the_query_are_those_of_the_specification(more: dict[str, Any], value: Any, query: str) -> None:
    operation = read(document(parameter("p", "query", {"description": "any"}, **more)))
    assert operation.request({"p": value}).target.partition("?")[2] == query


def test_a_field_of_an_object_does_not_pass_for_another_parameter() -> None:
    operation = read(document(parameter("filter", "query", {"type": "object"}), parameter("admin", "query")))
    with pytest.raises(ArgumentsError, match="called like another"):
        operation.request({"filter": {"admin": "1"}})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (document(parameter("c", "cookie")), "cookie"),
        (document(parameter("id", "path", style="label"), path="/{id}"), "style 'label'"),
        (document(parameter("id", "path", style="matrix"), path="/{id}"), "style 'matrix'"),
        (document(**body({}, "multipart/form-data")), "only JSON"),
        (document(**body({}, "application/x-www-form-urlencoded")), "only JSON"),
        (document(method="get", **body({})), "GET cannot have"),
        (document(parameter("Host", "header")), "not for callers"),
        (document(parameter("Proxy-Authorization", "header")), "not for callers"),
        (document(parameter("X-HTTP-Method-Override", "header")), "not for callers"),
        (document(parameter("a: b", "header")), "not for callers"),
        (document(path="/{id}"), "do not fit each other"),
        (document(path="/a/../b"), "no path"),
        (document(path="/a?b=c"), "no path"),
        (document(**body({"$ref": "https://evil.example/schema.json"})), "leads out of the document"),
        (document(**body({"$ref": "#/components/schemas/None"})), "leads nowhere"),
        (document(**body({"type": "string", "pattern": "("})), "is no pattern"),
        (document(parameter("a", "query"), version="2.0"), "no OpenAPI document"),
        (document() | {"servers": [{"url": "/v1"}]}, "name it in `url`"),
        (document() | {"servers": [{"url": "https://user:word@api.example"}]}, "name it in `url`"),
        (document() | {"servers": [{"url": "file:///etc/passwd"}]}, "name it in `url`"),
        ({"openapi": "3.1.0", "paths": {}}, "there is no operation 'call'"),
        ("openapi: 3.1.0\npaths: [", "neither JSON nor YAML"),
        ("[]", "no object"),
    ],
)
def test_what_cannot_be_done_is_refused_when_it_is_read(told: Any, words: str) -> None:
    with pytest.raises(OpenApiError, match=words):
        read(told)


def test_schemas_that_lead_back_to_themselves_and_aliases_without_end_are_bounded() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#/components/schemas/Tree"}},
        "additionalProperties": False,
    }
    operation = read(
        document(**body({"$ref": "#/components/schemas/Tree"})) | {"components": {"schemas": {"Tree": tree}}}
    )
    assert operation.request({"body": {"left": {"left": {}}}}).content == b'{"left":{"left":{}}}'
    with pytest.raises(ArgumentsError, match="not in the schema"):
        operation.request({"body": {"left": {"right": {}}}})
    loop = document() | {"paths": {"/a": {"$ref": "#/paths/~1b"}, "/b": {"$ref": "#/paths/~1a"}}}
    with pytest.raises(OpenApiError, match="back to itself"):
        read(loop)
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(OpenApiError, match="so often"):
        read("\n".join(lines))
    deep: Any = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(OpenApiError, match="within each other"):
        read(document(**body(deep)))


def test_the_dialect_of_version_3_0_is_understood() -> None:
    schema = {
        "type": "object",
        "required": ["id", "size"],
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "size": {"type": "integer", "format": "int64", "minimum": 0, "exclusiveMinimum": True, "nullable": True},
            "kind": {"type": "string", "enum": ["a"], "nullable": True},
        },
    }
    operation = read(document(version="3.0.4", **body(schema)))
    assert operation.schema["properties"]["body"] == {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "kind": {"type": ["string", "null"], "enum": ["a", None]},
        },
    }
    operation.request({"body": {"size": None, "kind": None}})
    with pytest.raises(ArgumentsError):
        operation.request({"body": {"size": 0}})


def test_yaml_is_read_as_json_would_be_and_names_that_clash_are_told_apart() -> None:
    told = document(parameter("id", "path"), parameter("id", "query", {"enum": ["on", "2027-01-01"]}), path="/x/{id}")
    text = yaml.safe_dump(told).replace("'on'", "on").replace("'2027-01-01'", "2027-01-01")
    operation = read(text)
    assert list(operation.schema["properties"]) == ["id", "query_id"]
    assert operation.request({"id": "1", "query_id": "on"}).target == "/x/1?id=on"
    assert operation.schema["properties"]["query_id"] == {"enum": ["on", "2027-01-01"]}


def test_our_own_headers_are_not_for_callers() -> None:
    names = ("Authorization", "Idempotency-Key", "Accept", "Content-Type")
    operation = read(document(*(parameter(name, "header") for name in names)))
    assert operation.schema["properties"] == {}
    assert sent(operation, {}).headers["idempotency-key"] == "k"


async def test_a_payload_that_somebody_edited_is_held_to_the_schema_before_it_is_sent() -> None:
    operation = read(document(parameter("id", "path"), path="/things/{id}"))
    api = Api({"call": operation}, {}, Context("US", "USD"), 1.0, 1000, keeps_refusals=True)
    target = ApiTarget(httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))), api)
    for payload in ({}, {"operation": "drop", "arguments": {}}, {"operation": "call", "arguments": {"id": ".."}}):
        (outcome,) = await target.deliver([Effect("r", "m", "m", 1, "k", payload, 1)])
        assert type(outcome).__name__ == "Refused"
    await target.close()


def test_no_parameter_may_replace_the_header_of_our_credentials() -> None:
    route = make_route(source="mcp:shop", target={"kind": "api", "document": "x", "operations": ["call"]})
    operation = read(document(parameter("X-API-Key", "header")))
    api = Api({"call": operation}, {}, Context("US", "USD"), 1.0, 1000, keeps_refusals=True)
    refuse_header(route, api, "Authorization")
    with pytest.raises(ConfigurationError, match="which the block sets"):
        refuse_header(route, api, "x-api-key")

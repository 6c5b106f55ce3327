"""The interfaces that OpenAPI documents describe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from blocks.errors import UnavailableError
from blocks.settings import CHECKOUT
from services.gateway.document import document
from tasks.code.openapi import Input, apis_of, printed_api
from tests.code.trees import write

_DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "2"},
    "paths": {
        "/parcels/{id}": {
            "parameters": [{"$ref": "#/components/parameters/id"}],
            "get": {
                "summary": "Show one.",
                "tags": ["parcels"],
                "responses": {
                    "200": {
                        "description": "It.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Parcel"}}},
                    },
                    "404": {"description": "There is none."},
                },
            },
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}}
                },
                "deprecated": True,
            },
        }
    },
    "components": {
        "parameters": {
            "id": {
                "name": "id",
                "in": "path",
                "required": True,
                "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            }
        },
        "schemas": {"Parcel": {"type": "object"}},
    },
}


def test_operations_are_told_with_what_they_take_and_give(tmp_path: Path) -> None:
    (api,), unread = apis_of(write(tmp_path, {"docs/openapi.json": json.dumps(_DOCUMENT)}))
    assert unread == ()
    assert (api.file, api.title, api.version) == ("docs/openapi.json", "Shop", "2")
    show, send = api.operations
    assert (show.method, show.path, show.summary, show.tags) == ("GET", "/parcels/{id}", "Show one.", ("parcels",))
    assert show.inputs == (Input("id", "path", required=True, type="string | null", description=""),)
    assert show.answers == (("200", "It.", "Parcel"), ("404", "There is none.", ""))
    assert (send.body, send.deprecated) == ("array of string", True)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"openapi": 3}',
     '{"openapi": "3", "paths": {"/x": {"get": {"responses": [], "parameters": 3, "tags": 1}}}}',
     '{"openapi": "3", "paths": {"/x": {"get": {"parameters": [{"$ref": "#/paths/~1x/get/parameters/0"}, {"$ref": "http://x"}]}}}}',
     '{"openapi": "3", "info": [], "paths": []}', "[" * 10_000],
)  # fmt: skip
def test_a_broken_document_is_said_or_told_in_part(tmp_path: Path, text: str) -> None:
    found, unread = apis_of(write(tmp_path, {"openapi.json": text}))
    assert len(found) + len(unread) == 1


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    root = write(tmp_path / "co", {"docs/x.md": ""})
    write(tmp_path, {"openapi.json": json.dumps(_DOCUMENT)})
    (root / "openapi.json").symlink_to(tmp_path / "openapi.json")
    (root / "swagger.json").symlink_to("/dev/zero")
    found, unread = apis_of(root)
    assert found == ()
    assert {one.place for one in unread} == {"openapi.json", "swagger.json"}


def test_the_document_of_the_gateway_is_the_gateways() -> None:
    text = (CHECKOUT / "docs" / "gateway.openapi.json").read_text()
    assert json.loads(text) == document(), "python -m services.gateway.document > docs/gateway.openapi.json"
    api = next(one for one in apis_of(CHECKOUT)[0] if one.file == "docs/gateway.openapi.json")
    assert ("GET", "/api/reports") in {(one.method, one.path) for one in api.operations}


async def test_a_checkout_prints_its_document_when_it_is_asked_to(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "show.py": f"print({json.dumps(json.dumps(_DOCUMENT))})",
            "fail.py": "import os\nos._exit(3)",
            "other.py": "print(1)",
        },
    )
    api = await printed_api(tmp_path, [sys.executable, "show.py"])
    assert [one.method for one in api.operations] == ["GET", "POST"]
    for name in ("fail.py", "other.py", "gone.py"):
        with pytest.raises(UnavailableError):
            await printed_api(tmp_path, [sys.executable, name])

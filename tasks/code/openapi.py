"""The HTTP interfaces that a checkout describes by OpenAPI documents of its own, or prints when it is asked to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from models.code import Unread
from tasks.code.places import read_file

_FORMS = frozenset({"json", "yaml", "yml"})
_FOLDERS = ("", "docs", "doc", "api", "openapi", "spec", "schemas")
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MOST = 5_000
_LONGEST = 2_000
_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter of an operation."""

    name: str
    where: str
    """`path`, `query`, `header` or `cookie`."""
    required: bool
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for."""

    method: str
    """In capitals."""
    path: str
    summary: str
    description: str
    inputs: tuple[Input, ...] = ()
    body: str | None = None
    """What is sent: the name of its schema, or its type."""
    answers: tuple[tuple[str, str, str], ...] = ()
    """(status, description, name of the schema or type; empty without content)."""
    tags: tuple[str, ...] = ()
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Api:
    """One OpenAPI document."""

    file: str
    """Relative to the checkout."""
    title: str
    version: str
    description: str
    operations: tuple[Operation, ...]


@dataclass(slots=True)
class _Document:
    """A document while it is read."""

    root: Mapping[str, Any]
    types: dict[int, str] = field(default_factory=dict)
    """What was found of schemas, which many operations may share."""


def apis_of(root: Path) -> tuple[tuple[Api, ...], tuple[Unread, ...]]:
    """The OpenAPI (3) and Swagger (2) documents in the usual places of the checkout at `root`; what could not be read.

    Looked for are files called `openapi` or `swagger`, or ending so (`gateway.openapi.json`), in its root and in
    folders such as `docs` and `api`. Nothing is run.
    """
    root = Path(os.path.realpath(root))
    found: list[Api] = []
    unread: list[Unread] = []
    for place in places_of(root):
        try:
            data, _ = read_file(f"{root}/{place}", inside=f"{root}/")
            document = _parsed(place, data)
        except (OSError, ValueError, RecursionError) as error:
            unread.append(Unread(place, (getattr(error, "strerror", None) or str(error))[:300]))
            continue
        if isinstance(document, dict) and ("openapi" in document or "swagger" in document):
            found.append(api_of(place, document))
        else:
            unread.append(Unread(place, "no OpenAPI document"))
    return tuple(found), tuple(unread)


async def printed_api(root: Path, command: Sequence[str], *, timeout_s: float = 60.0) -> Api:
    """The document that `command` prints as JSON, run in the checkout at `root` as a process of its own.

    This runs code of the checkout: only for one that is trusted, and only when somebody asks for it.

    Raises:
        UnavailableError: it cannot be run, fails, takes too long, or prints no OpenAPI document.
    """
    from blocks.errors import UnavailableError  # noqa: PLC0415
    from tasks.engine import run_engine  # noqa: PLC0415

    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}  # and no secret of ours
    outcome = await run_engine(
        command, timeout_s=timeout_s, cwd=root, environment=environment, max_output=64 * 1024 * 1024
    )
    if outcome.code != 0:
        last = outcome.stderr.strip().rpartition("\n")[2][:300]
        raise UnavailableError(f"ended with {outcome.code}: {last}", component=Path(command[0]).name)
    try:
        document = orjson.loads(outcome.stdout)
    except ValueError as error:
        raise UnavailableError("prints no JSON.", component=Path(command[0]).name) from error
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise UnavailableError("prints no OpenAPI document.", component=Path(command[0]).name)
    return api_of("", document)


def places_of(root: Path) -> list[str]:
    """The files, relative to `root`, in which `apis_of` looks for documents."""
    return sorted(_places(root))


def _places(root: Path) -> Iterator[str]:
    for folder in _FOLDERS:
        try:
            entries = list(os.scandir(root / folder))
        except OSError:
            continue
        for entry in entries:
            stem, _, form = entry.name.lower().rpartition(".")
            if form in _FORMS and stem.rpartition(".")[2] in {"openapi", "swagger"}:
                yield f"{folder}/{entry.name}" if folder else entry.name


def _parsed(place: str, data: bytes) -> Any:
    if place.lower().endswith(".json"):
        return orjson.loads(data)
    from tasks.code.yaml_file import load_yaml  # noqa: PLC0415

    return load_yaml(data)


def api_of(file: str, document: Mapping[str, Any]) -> Api:
    """What an OpenAPI document says; parts that are not as they should be are left out."""
    info = _mapping(document.get("info"))
    reading = _Document(document)
    operations: list[Operation] = []
    for path, item in _mapping(document.get("paths")).items():
        shared = _mapping(item)
        for method in _METHODS:
            if isinstance(shared.get(method), dict) and len(operations) < _MOST:
                operations.append(_operation(reading, method, str(path), shared))
    return Api(file, _text(info, "title"), _text(info, "version"), _text(info, "description"), tuple(operations))


def _operation(document: _Document, method: str, path: str, item: Mapping[str, Any]) -> Operation:
    found = _mapping(item[method])
    inputs: list[Input] = []
    body = None
    for one in (*_rows(item.get("parameters")), *_rows(found.get("parameters"))):
        given = _followed(document, one)
        if given.get("in") == "body":
            body = _type(document, given.get("schema"))
            continue
        kind = _type(document, given.get("schema", given))
        inputs.append(
            Input(
                _text(given, "name"),
                _text(given, "in"),
                given.get("required") is True,
                kind,
                _text(given, "description"),
            )
        )
    if "requestBody" in found:
        body = _content(document, _followed(document, found["requestBody"]))
    answers = []
    for status, answer in _mapping(found.get("responses")).items():
        told = _followed(document, answer)
        kind = _content(document, told) if "content" in told else _type(document, told.get("schema"))
        answers.append((str(status), _text(told, "description"), kind))
    return Operation(
        method=method.upper(),
        path=path,
        summary=_text(found, "summary"),
        description=_text(found, "description"),
        inputs=tuple(inputs),
        body=body,
        answers=tuple(answers),
        tags=tuple(str(tag) for tag in found.get("tags", ()) if isinstance(tag, str))
        if isinstance(found.get("tags"), list)
        else (),
        deprecated=found.get("deprecated") is True,
    )


def _content(document: _Document, holder: Mapping[str, Any]) -> str:
    for form, content in _mapping(holder.get("content")).items():
        schema = _mapping(content).get("schema")
        return _type(document, schema) or str(form)
    return ""


def _type(document: _Document, schema: Any, depth: int = 0) -> str:
    """A schema in a few words: its name, or its type."""
    if id(schema) not in document.types:
        document.types[id(schema)] = _described(document, schema, depth)[:_LONGEST]
    return document.types[id(schema)]


def _described(document: _Document, schema: Any, depth: int) -> str:
    if not isinstance(schema, dict) or depth > _DEPTH:
        return ""
    if isinstance(reference := schema.get("$ref"), str):
        return reference.rpartition("/")[2]
    for several in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(several), list):
            parts = [_type(document, one, depth + 1) for one in schema[several][:20]]
            return " | ".join(dict.fromkeys(part for part in parts if part))
    kind = schema.get("type")
    if kind == "array":
        return f"array of {_type(document, schema.get('items'), depth + 1) or 'anything'}"
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    return str(schema.get("title") or kind) if kind == "object" else str(kind or "")


def _followed(document: _Document, value: Any) -> Mapping[str, Any]:
    """What a local reference leads to."""
    found = _mapping(value)
    for _ in range(_DEPTH):
        reference = found.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return found
        target: Any = document.root
        for part in reference[2:].split("/"):
            target = _mapping(target).get(part.replace("~1", "/").replace("~0", "~"))
        found = _mapping(target)
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[Any]:
    return value[:500] if isinstance(value, list) else []


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    return str(value)[:_LONGEST] if isinstance(value, str | int | float) else ""

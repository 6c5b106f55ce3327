"""Reads an OpenAPI document, 3.0 or 3.1, and gives the operations that may be called. Nothing is fetched.

https://spec.openapis.org/oas/v3.1.1.html. What cannot be done as the document says is refused when it is read, not when
somebody calls.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.openapi_request import Operation, Parameter, template_names
from tasks.handoffs.openapi_schema import OpenApiError, Pointers, Schemas
from tasks.handoffs.validate import Validator

LARGEST = 20_000_000
"""Bytes of a document."""
_LARGEST_SCHEMA = 200_000
_METHODS = ("get", "put", "post", "delete", "head", "patch")
_OURS = frozenset({"accept", "content-type", "authorization", "idempotency-key"})
"""Headers that are not for callers: the first three by OpenAPI's own rule, the last because it is the effect's."""
_FORBIDDEN = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
     "cookie", "cookie2", "set-cookie", "forwarded", "via", "x-http-method", "x-http-method-override",
     "x-method-override", "x-original-url", "x-rewrite-url"}
)  # fmt: skip
_FORBIDDEN_STARTS = ("proxy-", "x-forwarded-", "sec-")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_UNSENDABLE = re.compile(r"[{}\\\x00-\x20\x7f-\U0010ffff]")
_STYLES = {
    "path": ("simple",),
    "header": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
}


class _Loader(yaml.CSafeLoader):
    """YAML as JSON is: only true and false are truth values, and a date is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}
    ]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF"))


def read_operations(content: bytes, wanted: Sequence[str], *, url: str | None = None) -> dict[str, Operation]:
    """The operations with the ids `wanted`, by what callers know them by.

    Args:
        content: the document.
        wanted: the only operations that may be called.
        url: where the API is, instead of what the document says.

    Raises:
        OpenApiError: the document cannot be read, lacks an operation, or one cannot be called as it says.
    """
    document = _document(content)
    version = str(document.get("openapi", ""))
    if not version.startswith(("3.0.", "3.1.")):
        raise OpenApiError(f"it is no OpenAPI document of version 3.0 or 3.1, but {version[:20]!r}")
    reading = _Reading(document, url, old=version.startswith("3.0."))
    found = reading.of_ids(wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise OpenApiError(f"there is no operation {missing[0]!r}; there are {', '.join(reading.known[:50]) or 'none'}")
    tools: dict[str, Operation] = {}
    for name in dict.fromkeys(wanted):
        try:
            operation = reading.operation(name, *found[name])
        except OpenApiError as error:
            raise OpenApiError(f"{name}: {error}") from None
        if operation.tool in tools:
            raise OpenApiError(f"{name}: another operation is called {operation.tool!r} too, as tools are")
        tools[operation.tool] = operation
    return tools


def _document(content: bytes) -> Mapping[str, Any]:
    if len(content) > LARGEST:
        raise OpenApiError(f"the document is larger than {LARGEST} bytes")
    try:
        text = content.decode("utf-8-sig")
        document = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _Loader)  # noqa: S506  # nosec B506 - a safe loader
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f", line {line + 1}" if isinstance(line, int) else ""
        raise OpenApiError(f"the document is neither JSON nor YAML: {type(error).__name__}{where}") from None
    if not isinstance(document, Mapping):
        raise OpenApiError("the document is no object")
    if _written_out(document) > LARGEST:
        raise OpenApiError("the document refers to its own parts (&, *) so often that it cannot be written out")
    return document


def _written_out(document: Any) -> float:
    """Values that `document` has where each alias of YAML stands for what it means; infinite: it is within itself."""
    sizes: dict[int, float] = {}
    pending = [document]
    while pending:
        node = pending[-1]
        children = list(node.values()) if isinstance(node, dict) else node
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # until it is known; whoever meets it before that is inside of it
            pending.extend(one for one in children if isinstance(one, dict | list) and id(one) not in sizes)
            continue
        pending.pop()
        sizes[id(node)] = 1 + sum(sizes[id(one)] if isinstance(one, dict | list) else 1 for one in children)
    return sizes[id(document)]


class _Reading:
    """One document while it is read."""

    def __init__(self, document: Mapping[str, Any], url: str | None, *, old: bool) -> None:
        self._document = document
        self._pointers = Pointers(document)
        self._url = url
        self._old = old
        self.known: list[str] = []

    def of_ids(self, wanted: Sequence[str]) -> dict[str, tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
        """Path, method, path item and operation of each id that is there."""
        found: dict[str, tuple[str, str, Mapping[str, Any], Mapping[str, Any]]] = {}
        for path, raw in _mapping(self._document.get("paths")).items():
            item = _mapping(self._pointers.resolved(raw))
            for method in _METHODS:
                operation = _mapping(item.get(method))
                name = operation.get("operationId")
                if not isinstance(name, str):
                    continue
                self.known.append(name)
                if name in found:
                    raise OpenApiError(f"two operations are called {name[:100]!r}")
                if name in wanted:
                    found[name] = (str(path), method, item, operation)
        return found

    def operation(
        self, name: str, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> Operation:
        """What is needed to call it.

        Raises:
            OpenApiError: it cannot be called as the document says.
        """
        schemas = Schemas(self._pointers, old=self._old)
        properties: dict[str, Any] = {}
        required: list[str] = []
        body, content_type = self._body(method, operation, schemas, properties, required)
        parameters: list[Parameter] = []
        for raw in self._parameters(item, operation):
            parameter = self._parameter(raw, properties)
            if parameter is None:
                continue
            properties[parameter.argument] = _described(raw, schemas.converted(_schema_of(raw)))
            if raw.get("required") is True or parameter.place == "path":
                required.append(parameter.argument)
            parameters.append(parameter)
        _check_path(path, parameters)
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        schema |= {"required": required} if required else {}
        schema |= {"$defs": schemas.definitions} if schemas.definitions else {}
        try:
            too_large = len(json.dumps(schema, allow_nan=False)) > _LARGEST_SCHEMA
            validator = Validator(schema)
        except (ExpressionError, ValueError, TypeError, RecursionError) as error:
            raise OpenApiError(str(error)[:300]) from None
        if too_large:
            raise OpenApiError(f"its schema is longer than {_LARGEST_SCHEMA} characters")
        told = [text for text in (operation.get("summary"), operation.get("description")) if isinstance(text, str)]
        return Operation(
            operation_id=name,
            tool=re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64],
            description="\n\n".join(dict.fromkeys(told))[:4_000] or f"{method.upper()} {path}",
            method=method.upper(),
            server=self._server(item, operation),
            path=path,
            parameters=tuple(parameters),
            body=body,
            content_type=content_type,
            schema=schema,
            validator=validator,
        )

    def _body(
        self,
        method: str,
        operation: Mapping[str, Any],
        schemas: Schemas,
        properties: dict[str, Any],
        required: list[str],
    ) -> tuple[str | None, str]:
        body = self._pointers.resolved(operation.get("requestBody"))
        if not isinstance(body, Mapping):
            return None, ""
        if method in {"get", "head"}:
            raise OpenApiError(f"it has a body, which {method.upper()} cannot have")
        kinds = _mapping(body.get("content"))
        kind = next((one for one in kinds if _is_json(str(one))), None)
        if kind is None:
            raise OpenApiError(f"its body is {', '.join(map(str, kinds)) or 'of no kind'}; only JSON can be sent")
        properties["body"] = _described(body, schemas.converted(_mapping(kinds[kind]).get("schema", True)))
        if body.get("required") is True:
            required.append("body")
        return "body", str(kind)

    def _parameters(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Those of the path and of the operation, which come before the former."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for raw in [*_list(item.get("parameters")), *_list(operation.get("parameters"))]:
            parameter = _mapping(self._pointers.resolved(raw))
            found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
        return list(found.values())

    def _parameter(self, raw: Mapping[str, Any], taken: Mapping[str, Any]) -> Parameter | None:
        name, place = raw.get("name"), raw.get("in")
        if not isinstance(name, str) or not name or place not in (*_STYLES, "cookie"):
            raise OpenApiError("a parameter has no name, or is in a place that OpenAPI does not know")
        if place == "cookie":
            raise OpenApiError(f"the parameter {name[:100]!r} is a cookie, which is not sent")
        if place == "header":
            if name.lower() in _OURS:
                return None
            if not _TOKEN.fullmatch(name) or name.lower() in _FORBIDDEN or name.lower().startswith(_FORBIDDEN_STARTS):
                raise OpenApiError(f"the header {name[:100]!r} is not for callers to set")
        style = raw.get("style", _STYLES[place][0])
        as_json = "content" in raw
        if not as_json and style not in _STYLES[place]:
            raise OpenApiError(
                f"the parameter {name[:100]!r} has the style {str(style)[:50]!r}, which cannot be written"
            )
        explode = raw.get("explode", style == "form") is True
        if style in {"spaceDelimited", "pipeDelimited"} and explode:
            style = "form"  # the same thing, by the specification's own table
        argument = name if name not in taken else f"{place}_{name}"
        if argument in taken:
            raise OpenApiError(f"two parameters are called {name[:100]!r}")
        return Parameter(argument, name, place, str(style), explode, as_json)

    def _server(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
        if self._url is not None:
            return _base(self._url)
        servers = next(
            (found for where in (operation, item, self._document) if (found := _list(where.get("servers")))), []
        )
        server = _mapping(servers[0]) if servers else {}
        url = str(server.get("url", ""))
        for name, variable in _mapping(server.get("variables")).items():
            url = url.replace(f"{{{name}}}", str(_mapping(variable).get("default", "")))
        return _base(url)


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or parts.username is not None or parts.query or parts.fragment or _UNSENDABLE.search(url):
        raise OpenApiError("where the API is, is no http or https address without user and query; name it in `url`")
    return url.rstrip("/")


def _check_path(path: str, parameters: Sequence[Parameter]) -> None:
    literal = re.sub(r"\{[^{}]*\}", "x", path)
    segments = [unquote(segment) for segment in literal.split("/")]
    if not path.startswith("/") or re.search(r"[{}?#\\\x00-\x20\x7f]", literal) or {".", ".."} & set(segments):
        raise OpenApiError(f"{path[:100]!r} is no path")
    names = template_names(path)
    declared = {one.name for one in parameters if one.place == "path"}
    if set(names) != declared or len(names) != len(set(names)):
        raise OpenApiError(f"the path {path[:100]!r} and the parameters that it names do not fit each other")


def _schema_of(parameter: Mapping[str, Any]) -> Any:
    if "content" not in parameter:
        return parameter.get("schema", True)
    kinds = _mapping(parameter["content"])
    kind = next(iter(kinds), "")
    if not _is_json(str(kind)):
        raise OpenApiError(f"the parameter {str(parameter.get('name'))[:100]!r} is {str(kind)[:50]!r}, not JSON")
    return _mapping(kinds[kind]).get("schema", True)


def _described(node: Mapping[str, Any], schema: Any) -> Any:
    told = node.get("description")
    if not isinstance(told, str) or schema is False:
        return schema
    rest = {} if schema is True else schema
    return rest if "description" in rest else {"description": told[:1_000]} | rest


def _is_json(kind: str) -> bool:
    plain = kind.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

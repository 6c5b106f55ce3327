"""Settings and models of a checkout: pydantic classes, their fields, and the environment variables that set them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from models.code import Codebase, Symbol
from tasks.code.classes import Classes
from tasks.code.docstrings import parse
from tasks.code.literals import Written, call_of, constant, parsed
from tasks.code.veil import veiled_source

_REQUIRED = frozenset({"...", "Ellipsis"})


@dataclass(frozen=True, slots=True)
class SettingsField:
    """One field."""

    name: str
    annotation: str
    default: str | None
    """Source text, as given; None: it has to be given, or a function makes it."""
    required: bool
    description: str
    """Empty when nobody described it."""
    environment: tuple[str, ...] = ()
    """Variables that set it, the first one that is set; empty for models that read no environment, or when unsure."""
    secret: bool = False
    line: int = 0
    owner: str = ""
    """Path of the class that defines it, which may be a base."""


@dataclass(frozen=True, slots=True)
class SettingsClass:
    """A pydantic class."""

    path: str
    kind: str
    """`settings`: it reads the environment; `model` otherwise."""
    module: str
    file: str
    line: int
    summary: str
    fields: tuple[SettingsField, ...]
    prefix: str | None = None
    """Of its environment variables; None when that cannot be read from the source."""


def settings_of(codebase: Codebase, kind: str = "settings") -> tuple[SettingsClass, ...]:
    """The classes of one `kind`, `settings` or `model`, with the fields that they and their bases define."""
    classes = Classes(codebase)
    found = []
    for module, symbol in classes.labelled(kind):
        attributes = classes.attributes(symbol)
        prefix = _prefix(attributes, classes.lineage(symbol), classes) if kind == "settings" else None
        told: dict[str, str] = {}
        for one in classes.lineage(symbol):
            told |= {item.name: item.description for item in parse(one.docstring).attributes}
        fields = tuple(
            _field(name, member, owner, told, prefix, environment=kind == "settings")
            for name, (member, owner) in attributes.items()
            if is_field(name, member)
        )
        summary = parse(symbol.docstring).summary
        found.append(SettingsClass(symbol.path, kind, module.path, module.file, symbol.line, summary, fields, prefix))
    return tuple(found)


def is_field(name: str, member: Symbol) -> bool:
    """Whether pydantic makes a field of the attribute `name`."""
    return (
        member.annotation is not None
        and not name.startswith("_")
        and name != "model_config"
        and "classvar" not in member.labels
    )


def _field(
    name: str, member: Symbol, owner: Symbol, told: dict[str, str], prefix: str | None, *, environment: bool
) -> SettingsField:
    annotation = member.annotation or ""
    field = next(_fields(member), None)
    default = member.value
    required = default is None
    if (written := call_of(parsed(member.value))) is not None and written.last == "Field":
        given = written.arguments[0] if written.arguments else written.options.get("default")
        default = None if given is None else ast.unparse(given)
        required = given is None and "default_factory" not in written.options
    elif default is not None and default.startswith(("Field(", "pydantic.Field(")):
        default, required = None, False  # too long to be kept whole
    if default in _REQUIRED:
        default, required = None, True
    description = ""
    if field is not None:
        description = field.value("description") or veiled_source("", None, field.text("description") or "")
    elif "description=" in (member.value or ""):
        description = "(described at length in the source)"
    description = str(description) or (member.docstring or "") or told.get(name, "")
    variables = _variables(name, field, prefix) if environment else ()
    secret = "SecretStr" in annotation or "SecretBytes" in annotation
    return SettingsField(name, annotation, default, required, description, variables, secret, member.line, owner.path)


def _fields(member: Symbol) -> Iterator[Written]:
    """`Field(...)` of a field: as its value, or in what annotates it."""
    written = call_of(parsed(member.value))
    if written is not None and written.last == "Field":
        yield written
    annotation = parsed(member.annotation)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        for element in annotation.slice.elts[1:]:
            inner = call_of(element)
            if inner is not None and inner.last == "Field":
                yield inner


def _variables(name: str, field: Written | None, prefix: str | None) -> tuple[str, ...]:
    for option in ("validation_alias", "alias", "env"):
        node = None if field is None else field.options.get(option)
        if node is None:
            continue
        choices = call_of(node)
        values = [node] if choices is None else list(choices.arguments)
        names = [value for one in values if isinstance(value := constant(one), str)]
        return tuple(one.upper() for one in names)
    return () if prefix is None else (f"{prefix}{name}".upper(),)


def _prefix(attributes: dict[str, tuple[Symbol, Symbol]], lineage: list[Symbol], classes: Classes) -> str | None:
    """The prefix that `model_config`, or the inner class `Config`, gives."""
    if "model_config" in attributes:
        node = parsed(attributes["model_config"][0].value)
        written = call_of(node)
        if written is not None:
            return _text(written.options.get("env_prefix"))
        if isinstance(node, ast.Dict):
            keys = [constant(key) for key in node.keys]
            return _text(node.values[keys.index("env_prefix")]) if "env_prefix" in keys else ""
        return None
    for one in reversed(lineage):
        inner = classes.symbol(f"{one.path}.Config.env_prefix")
        if inner is not None:
            return _text(parsed(inner.value))
    return ""


def _text(node: ast.expr | None) -> str | None:
    if node is None:
        return ""
    value = constant(node)
    return value if isinstance(value, str) else None

"""Writes `docs/configuration.md` from the settings themselves: `python -m lama.reference > docs/configuration.md`."""

from __future__ import annotations

import types
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from blocks.settings import Settings
from models.configuration import Configuration

_HEAD = """# Configuration

A node needs none: without any of this it keeps its state in `~/.lama`, listens on loopback, runs its own PostgreSQL and
Prefect server, and watches itself and its own checkout.

This page is written from the settings themselves (`python -m lama.reference > docs/configuration.md`); a test holds the
two together.

## Environment variables

What a node is: where it keeps things, what it listens on, which outside systems it uses. Secrets belong here or into
files of the home (`lama secret NAME`), never into `lama.toml` and never into parameters of a run.

| variable | default | what it is |
| --- | --- | --- |
"""

_TOML = """
## `lama.toml`

What a node watches. It is read from `$LAMA_CONFIG`, otherwise from the home (`~/.lama/lama.toml`). What is wrong with
it is reported with file, line and key before anything starts:

```
lama: /home/ada/.lama/lama.toml:2: performance.disk_ratio: Input should be less than or equal to 1
```

An example:

```toml
[[checkouts]]
name = "agents"
path = "~/src/agents"
exclude = ["vendored/**"]

[[services]]
name = "letta"
kind = "letta"
url = "http://127.0.0.1:8283"

[schedules]
health-check = "*/30 * * * *"

[performance]
disk_ratio = 0.8
```
"""


def reference() -> str:
    """The page."""
    parts = [_HEAD]
    for name, field in Settings.model_fields.items():
        parts.append(f"| `{_variables(name, field)}` | {_default(field)} | {field.description} |\n")
    parts.append(_TOML)
    for name, field in Configuration.model_fields.items():
        parts.append(_section(name, field))
    return "".join(parts)


def _section(name: str, field: FieldInfo) -> str:
    table, repeated = _table_of(field.annotation)
    if table is None:
        return f"\n### `[{name}]`\n\n{field.description}\n"
    title = f"[[{name}]]" if repeated else f"[{name}]"
    return f"\n### `{title}`\n\n{field.description}\n\n{_rows(table)}" + _nested(name, table)


def _nested(prefix: str, table: type[BaseModel]) -> str:
    text = ""
    for name, field in table.model_fields.items():
        title = f"{prefix}.{name}" + (".NAME" if get_origin(field.annotation) is dict else "")
        if field.discriminator is not None:
            text += _kinds(title, field)
            continue
        inner, repeated = _table_of(field.annotation)
        if inner is not None:
            text += f"\n### `{f'[[{title}]]' if repeated else f'[{title}]'}`\n\n{field.description}\n\n{_rows(inner)}"
            text += _nested(title, inner)
    return text


def _kinds(title: str, field: FieldInfo) -> str:
    """A table that is of one of several kinds, each with keys of its own."""
    text = f"\n### `[{title}]`\n\n{field.description}\n"
    for table in _flat(field.annotation):
        kind = get_args(table.model_fields[str(field.discriminator)].annotation)[0]
        text += f'\n`{field.discriminator} = "{kind}"`: {table.__doc__}\n\n{_rows(table)}'
    return text


def _rows(table: type[BaseModel]) -> str:
    rows = "| key | default | what it is |\n| --- | --- | --- |\n"
    for name, field in table.model_fields.items():
        rows += f"| `{field.alias or name}` | {_default(field)} | {field.description}{_choices(field.annotation)} |\n"
    return rows


def _variables(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, str):
        return alias
    known = [str(choice) for choice in getattr(alias, "choices", ()) if str(choice).isupper()]
    return "` or `".join(known) if known else f"LAMA_{name.upper()}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or isinstance(value, SecretStr | BaseModel) or value in ((), {}):
        return ""
    if isinstance(value, tuple | frozenset | list):
        return ", ".join(f"`{_plain(part)}`" for part in value)
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Path) and value.is_absolute() and value.is_relative_to(Path.home()):
        return f"~/{value.relative_to(Path.home())}"
    if isinstance(value, BaseModel):
        return str(getattr(value, "name", type(value).__name__))  # the rest has a table of its own
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(annotation: Any) -> str:
    kinds = [part for part in _flat(annotation) if isinstance(part, type) and issubclass(part, Enum)]
    return "".join(f" One of {', '.join(f'`{member.value}`' for member in kind)}." for kind in kinds)


def _table_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The table that a field holds, and whether it holds many in a row."""
    for part in _flat(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, get_origin(annotation) is tuple
    return None, False


def _flat(annotation: Any) -> list[Any]:
    if get_origin(annotation) in {Union, types.UnionType, tuple, dict, list, frozenset}:
        return [inner for part in get_args(annotation) for inner in _flat(part)]
    return [annotation]


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())

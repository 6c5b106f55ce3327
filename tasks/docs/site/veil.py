"""Defaults and values as pages may show them: without what may be a secret.

Pages are read by more people than the source is. Docstrings are shown as they are: whoever wrote them wrote them to be
read, and `lama scan` looks for secrets in them.
"""

from __future__ import annotations

import re
from dataclasses import replace

from models.code import Parameter, Symbol
from tasks.masked import MASK, masked

HIDDEN = "…"
_SECRET = re.compile(r"\bSecret(?:Str|Bytes)?\b")
_TEXT = re.compile(r"[\"']")
_SHORTEST = 5


def veiled_source(name: str, annotation: str | None, source: str) -> str:
    """The source of a default or value that is called `name`."""
    if annotation and source != "None" and _SECRET.search(annotation):
        return HIDDEN
    if len(source) < _SHORTEST or not _TEXT.search(source):
        return source  # a number or a name: no text that could be one
    if _SECRET.search(source):
        return HIDDEN
    head = f"{name} = "
    told = masked(head + source)
    return told[len(head) :] if told.startswith(head) else MASK


def veiled(symbol: Symbol) -> Symbol:
    """`symbol` with its defaults, its value and what its decorators are given as pages may show them."""
    given = any(symbol.decorator_arguments)
    if symbol.value is None and not (symbol.keywords or given or any(one.default for one in symbol.parameters)):
        return symbol
    value = symbol.value
    return replace(
        symbol,
        parameters=tuple(map(_parameter, symbol.parameters)),
        value=None if value is None else veiled_source(symbol.path.rpartition(".")[2], symbol.annotation, value),
        keywords=_veiled_all(symbol.keywords),
        decorator_arguments=tuple(map(_veiled_all, symbol.decorator_arguments)),
    )


def _veiled_all(given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, veiled_source(name, None, text)) for name, text in given)


def _parameter(one: Parameter) -> Parameter:
    if one.default is None:
        return one
    shown = veiled_source(one.name, one.annotation, one.default)
    return one if shown == one.default else replace(one, default=shown)

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
    changes: dict[str, object] = {}
    if any(one.default is not None for one in symbol.parameters):
        changes["parameters"] = tuple(map(_parameter, symbol.parameters))
    if symbol.value is not None:
        changes["value"] = veiled_source(symbol.path.rpartition(".")[2], symbol.annotation, symbol.value)
    if symbol.keywords:
        changes["keywords"] = tuple((name, veiled_source(name, None, text)) for name, text in symbol.keywords)
    if any(symbol.decorator_arguments):
        changes["decorator_arguments"] = tuple(
            tuple((name, veiled_source(name, None, text)) for name, text in given)
            for given in symbol.decorator_arguments
        )
    return replace(symbol, **changes) if changes else symbol  # type: ignore[arg-type] - each as its field is


def _parameter(one: Parameter) -> Parameter:
    if one.default is None:
        return one
    shown = veiled_source(one.name, one.annotation, one.default)
    return one if shown == one.default else replace(one, default=shown)

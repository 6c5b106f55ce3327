"""Symbols as pages may show them: without what may be a secret.

Pages are read by more people than the source is. Docstrings are shown as they are: whoever wrote them wrote them to be
read, and `lama scan` looks for secrets in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from models.code import Kind, Module, Parameter, Symbol
from tasks.code.literals import plain
from tasks.code.secret_names import Says, says
from tasks.code.veil import ALIASES, veiled_annotation, veiled_source

_HOLDERS = frozenset({"Secrets", "Passwords", "ApiKeys", "APIKeys"})
"""Classes whose attributes are secrets, whatever they are called."""

Place = tuple[str, int, int, str | None]
"""Path of what it stands in, first line, last line, source of the value."""
_NO_VALUES = ALIASES | {"help", "name", "metavar"}


def veiled(symbol: Symbol, others: Iterable[str] = ()) -> Symbol:
    """`symbol` with its defaults, its value, its types and what its decorators are given as pages may show them.

    `others` are more names that its value is given to, as in `USER, PASSWORD = ...`.
    """
    above, _, name = symbol.path.rpartition(".")
    held = (above.rpartition(".")[2],) if above.rpartition(".")[2] in _HOLDERS else ()
    return replace(
        symbol,
        parameters=tuple(map(veiled_parameter, symbol.parameters)) if symbol.parameters else (),
        value=symbol.value and veiled_source(name, symbol.annotation, symbol.value, others=(*others, *held)),
        annotation=symbol.annotation and veiled_annotation(name, symbol.annotation),
        returns=symbol.returns and veiled_annotation(name, symbol.returns),
        bases=tuple(veiled_source("", None, base) for base in symbol.bases),
        keywords=_veiled_all(symbol.keywords),
        decorator_arguments=tuple(map(_veiled_all, symbol.decorator_arguments)),
    )


def shared_names(module: Module) -> Mapping[Place, list[str]]:
    """The names of secrets that one statement gives a value to, by the place of it."""
    found: dict[Place, list[str]] = {}
    for symbol in module.symbols:
        if symbol.kind is Kind.attribute and says(name := symbol.path.rpartition(".")[2]) is Says.secret:
            found.setdefault(place_of(symbol), []).append(name)
    return found


def place_of(symbol: Symbol) -> Place:
    """The statement that gives the value of `symbol`."""
    return symbol.path.rpartition(".")[0], symbol.line, symbol.end_line, symbol.value


def _veiled_all(given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not given:
        return given
    # `option("-p", "--password", envvar="SHOP_PASSWORD", default=...)`: it is called what it is given.
    names = [
        text
        for name, source in given
        if (text := plain(source)) and (text.startswith("-") if not name else name in ALIASES)
    ]
    return tuple(
        (name, veiled_source(name, None, text, others=() if name in _NO_VALUES or plain(text) in names else names))
        for name, text in given
    )


def veiled_parameter(one: Parameter) -> Parameter:
    """`one` with its default and its type as others may read them."""
    default = one.default and veiled_source(one.name, one.annotation, one.default)
    annotation = one.annotation and veiled_annotation(one.name, one.annotation)
    if default == one.default and annotation == one.annotation:
        return one
    return replace(one, default=default, annotation=annotation)

"""From the bytes of a module to what it says, in the form in which it is kept: JSON, small enough for 100,000 files."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import replace
from typing import Any

import orjson

from models.code import Call, Import, Kind, Symbol
from tasks.code.calls import calls_of, handed_of
from tasks.code.definitions import Definitions, digest
from tasks.code.related import makers_of, relations_of
from tasks.code.scopes import scopes_of


class UnreadableError(Exception):
    """A source that says nothing: the reason is for people."""


def extracted(module: str, *, package: bool, data: bytes, stub: bytes | None = None) -> tuple[bytes, bytes, bytes]:
    """The module that `data` is, its entry in the index, both as JSON, and its words, one a line.

    A stub adds what the source leaves open; one that cannot be read leaves the module as it is, and the index says why.

    Raises:
        UnreadableError: it does not parse, or nests too deep.
    """
    parts = _read(module, data, package=package)
    problem: str | None = None
    if stub is not None:
        try:
            parts = _with_stub(parts, _read(module, stub, package=package))
        except UnreadableError as error:
            problem = str(error)
    relations, symbols, rest, strings = parts
    prefix = len(module) + 1
    docstring, public, imports, calls, exports, handed = rest
    body = [
        docstring,
        public,
        [_symbol_row(symbol, prefix) for symbol in symbols],
        [[one.name, one.target, one.line, one.lazy, one.typing] for one in imports],
        [[one.caller, one.callee, one.line] for one in calls],
        exports,
        [[one.caller, one.callee, one.line] for one in handed],
    ]
    index = [_names(symbols, prefix, docstring, public, data), relations, problem]
    return _dump(body), _dump(index), _words(strings, symbols)


def _words(strings: list[str], symbols: list[Symbol]) -> bytes:
    words: set[str] = set()
    for text in set(strings):
        if len(text) < _LONGEST_STRING:
            words.update(_WORD.findall(text))
    for symbol in symbols:
        if symbol.kind is Kind.function:
            name = symbol.path.rpartition(".")[2]
            words.update((name, name.replace("_", "-")))
    return "\n".join(sorted(words)).encode()


_Rest = tuple[str | None, bool, list[Import], list[Call], tuple[str, ...] | None, list[Call]]
_Parts = tuple[dict[str, Any], list[Symbol], _Rest, list[str]]
_WORD = re.compile(r"[\w.:/-]{2,120}", re.ASCII)
_LONGEST_STRING = 20_000


def _read(module: str, data: bytes, *, package: bool) -> _Parts:
    depth = module.count(".") + 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's string
            tree = ast.parse(data)
        scopes = scopes_of(tree, module, package=package)
        definitions = Definitions(tree, module, data, scopes)
        makers = makers_of(tree, scopes)
        symbols = [
            symbol
            if (maker := makers.get(symbol.path.rpartition(".")[2])) is None or symbol.path.count(".") != depth
            else replace(symbol, keywords=maker.options)
            for symbol in definitions.symbols()
        ]
        relations = relations_of(module, scopes, symbols, makers)
    except SyntaxError as error:
        place = "" if error.lineno is None else f" (line {error.lineno})"
        raise UnreadableError(f"{error.msg}{place}"[:300]) from error
    except (ValueError, LookupError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}"[:300]) from error
    except (RecursionError, MemoryError) as error:
        raise UnreadableError("it nests too deep, or takes too much memory to parse") from error
    calls, handed = calls_of(scopes), handed_of(scopes)
    rest = (definitions.docstring, definitions.public, scopes.imports, calls, definitions.exports, handed)
    return relations, symbols, rest, scopes.strings


def _with_stub(source: _Parts, stub: _Parts) -> _Parts:
    relations, symbols, rest, strings = source
    typed: dict[str, list[Symbol]] = {}
    for symbol in stub[1]:
        typed.setdefault(symbol.path, []).append(symbol)
    merged: list[Symbol] = []
    for symbol in symbols:
        others = typed.pop(symbol.path, None)
        merged.append(symbol if others is None else _typed(symbol, others[-1]))
    merged += [symbol for group in typed.values() for symbol in group]  # what only an extension module defines
    return relations, merged, rest, strings + stub[3]


def _typed(symbol: Symbol, other: Symbol) -> Symbol:
    if symbol.kind is not other.kind or (symbol.annotation or symbol.returns):
        return symbol
    if any(parameter.annotation for parameter in symbol.parameters):
        return symbol
    hints = {parameter.name: parameter.annotation for parameter in other.parameters}
    if symbol.kind is Kind.function and list(hints) != [parameter.name for parameter in symbol.parameters]:
        return symbol
    parameters = tuple(replace(one, annotation=hints[one.name]) for one in symbol.parameters)
    return replace(
        symbol,
        parameters=parameters,
        returns=other.returns,
        annotation=other.annotation,
        interface=digest((symbol.interface.encode(), other.interface.encode())),
    )


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, which a string in a source may spell and JSON may not
        return orjson.dumps(_spelled(value))


def _spelled(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_spelled(one) for one in value]
    if isinstance(value, dict):
        return {_spelled(key): _spelled(one) for key, one in value.items()}
    return value


def _symbol_row(symbol: Symbol, prefix: int) -> list[Any]:
    return [
        symbol.path[prefix:],
        symbol.kind.value,
        symbol.line,
        symbol.end_line,
        symbol.public,
        symbol.docstring,
        [[one.name, one.kind, one.annotation, one.default] for one in symbol.parameters],
        symbol.returns,
        symbol.bases,
        symbol.decorators,
        symbol.annotation,
        symbol.value,
        symbol.labels,
        symbol.interface,
        symbol.source,
        symbol.decorator_arguments,
        symbol.keywords,
    ]


def _names(symbols: list[Symbol], prefix: int, docstring: str | None, public: bool, data: bytes) -> list[list[Any]]:  # noqa: FBT001
    rows: dict[str, list[Any]] = {}
    visible = []
    for symbol in symbols:
        if symbol.public:
            visible.append(f"{symbol.path} {symbol.interface}")
        rows[symbol.path[prefix:]] = [
            symbol.path[prefix:],
            symbol.kind.value,
            symbol.public,
            symbol.interface,
            symbol.source,
            _summary(symbol.docstring),
            symbol.line,
        ]
    interface = digest(line.encode("utf-8", "surrogatepass") for line in sorted(visible))
    return [["", "module", public, interface, digest((data,)), _summary(docstring), 1], *rows.values()]


def _summary(docstring: str | None) -> str:
    return docstring.strip().partition("\n")[0].strip()[:500] if docstring else ""

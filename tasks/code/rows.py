"""From the form in which modules are kept to the values of `models.code`; `tasks.code.extract` writes that form."""

from __future__ import annotations

from typing import Any

import orjson

from models.code import Call, Import, Kind, Module, Named, Parameter, Symbol

KINDS = {kind.value: kind for kind in Kind}


def module_of(path: str, file: str, content: str, data: bytes, labels: dict[str, list[str]]) -> Module:
    """The module that `extracted` wrote; `labels`: those that follow from other modules, by path."""
    docstring, public, symbols, imports, calls, exports, handed = orjson.loads(data)
    return Module(
        path=path,
        file=file,
        content=content,
        public=public,
        docstring=docstring,
        symbols=tuple(_symbol(path, row, labels) for row in symbols),
        imports=tuple(Import(*row) for row in imports),
        calls=tuple(Call(*row) for row in calls),
        exports=None if exports is None else tuple(exports),
        handed=tuple(Call(*row) for row in handed),
    )


def _symbol(module: str, row: list[Any], labels: dict[str, list[str]]) -> Symbol:
    path = f"{module}.{row[0]}"
    own = tuple(row[12])
    if more := labels.get(path):
        own = tuple(sorted({*own, *more}))
    return Symbol(
        path,
        KINDS[row[1]],
        row[2],
        row[3],
        row[4],
        row[5],
        tuple(Parameter(*one) for one in row[6]),
        row[7],
        tuple(row[8]),
        tuple(row[9]),
        row[10],
        row[11],
        own,
        row[13],
        row[14],
        tuple(tuple((name, text) for name, text in one) for one in row[15]),
        tuple((name, text) for name, text in row[16]),
    )


def named_of(module: str, row: list[Any]) -> tuple[str, Named]:
    """One name of the index, and what the index knows of it."""
    path = f"{module}.{row[0]}" if row[0] else module
    return path, Named(module, KINDS[row[1]], row[2], row[3], row[4], row[5], row[6])

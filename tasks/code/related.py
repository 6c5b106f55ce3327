"""What one module knows of how it hangs together with others: the form that `tasks.code.relations` joins."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.code import Kind, Symbol
from tasks.code.definitions import resolved
from tasks.code.expressions import dotted
from tasks.code.relations import BASES
from tasks.code.scopes import Scopes
from tasks.code.statements import statements

_MEMBERS = frozenset({"property", "classmethod", "staticmethod", "abc.abstractmethod", "typing.overload"})


def relations_of(module: str, scopes: Scopes, symbols: Sequence[Symbol], makers: Mapping[str, Maker]) -> dict[str, Any]:
    """What is true of the module, by a letter each.

    `c`: of each class with bases these, whether it is told to be a table, and whether it names one; `d`: decorators of
    functions; `m`: functions that return what another decorator makes of theirs, and the path of that; `i`: the names
    that the module has from others; `s`: what it takes everything from.
    """
    classes: dict[str, Any] = {}
    decorated: dict[str, tuple[str, ...]] = {}
    prefix = len(module) + 1
    tables = {s.path.rpartition(".")[0] for s in symbols if s.path.endswith((".__tablename__", ".__table__"))}
    for symbol in symbols:
        if symbol.kind is Kind.class_ and symbol.bases:
            told = ("table", "True") in symbol.keywords
            classes[symbol.path[prefix:]] = [symbol.bases, told, symbol.path in tables]
        elif others := [path for path in symbol.decorators if path not in _MEMBERS]:
            decorated[symbol.path[prefix:]] = tuple(others)
    names = {}
    for name, bindings in scopes.module.bindings.items():
        target = bindings[0].target
        if all(one.target == target for one in bindings) and target and target != f"{module}.{name}":
            names[name] = target
    stars = sorted({one.target for one in scopes.imports if one.name == "*" and not one.lazy})
    found = {
        "c": classes,
        "d": decorated,
        "m": {name: one.root for name, one in makers.items()},
        "i": names,
        "s": stars,
    }
    return {key: value for key, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Maker:
    """A function that makes a decorator of another one, or of a class its base."""

    root: str
    """Path of that other one."""
    options: tuple[tuple[str, str], ...] = ()
    """What it hands on to it: names of its own parameters, and constants."""


def makers_of(tree: ast.Module, scopes: Scopes) -> dict[str, Maker]:
    """The makers that a module defines, by their names."""
    makers: dict[str, Maker] = {}
    for statement in statements(tree.body):
        node = statement.node
        if isinstance(node, ast.FunctionDef):
            maker = _of_function(node, scopes)
            if maker is not None:
                makers[node.name] = maker
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            maker = _of_value(node.value, scopes)
            if maker is not None:
                makers[node.targets[0].id] = maker
    return makers


def _of_function(node: ast.FunctionDef, scopes: Scopes) -> Maker | None:
    """What all returns of a decorator, or of the function that makes it, come from; None when they differ."""
    inner = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    own = _arguments(node)
    makers: set[Maker | None] = set()
    for returned in _returns(node):
        if isinstance(returned, ast.Name) and returned.id in inner:
            one = inner[returned.id]
            makers |= {_made_of(value, _arguments(one), own, scopes) for value in _returns(one)} or {None}
        else:
            makers.add(_made_of(returned, own, own, scopes))
    return makers.pop() if len(makers) == 1 else None


def _arguments(node: ast.FunctionDef) -> set[str]:
    return {one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}


def _made_of(value: ast.expr | None, functions: set[str], own: set[str], scopes: Scopes) -> Maker | None:
    """What makes `decorator(...)(f)` or `decorator(f, ...)`, where `f` is one of `functions`."""
    if not isinstance(value, ast.Call) or not value.args:
        return None
    given = value.args[0]
    while isinstance(given, ast.Call) and given.args:
        given = given.args[0]
    if not (isinstance(given, ast.Name) and given.id in functions):
        return None
    outer = value.func if isinstance(value.func, ast.Call) else value
    path = _path(outer.func, scopes)
    return None if path is None else Maker(path, _options(outer, own))


def _of_value(value: ast.expr, scopes: Scopes) -> Maker | None:
    if not isinstance(value, ast.Call):
        return None
    path = _path(value.func, scopes)
    if path == "functools.partial" and value.args:
        inner = _path(value.args[0], scopes)
        return None if inner is None else Maker(inner, _options(value, set()))
    return Maker(path) if path in BASES else None


def _options(call: ast.Call, own: set[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for keyword in call.keywords:
        if isinstance(keyword.value, ast.Name) and keyword.value.id in own and keyword.arg:
            found.append((keyword.arg, keyword.value.id))
        elif isinstance(keyword.value, ast.Constant) and keyword.arg:
            found.append((keyword.arg, repr(keyword.value.value)[:200]))
    return tuple(found)


def _path(node: ast.expr, scopes: Scopes) -> str | None:
    chain = dotted(node)
    return None if chain is None else resolved(scopes.module, chain)


def _returns(node: ast.FunctionDef) -> list[ast.expr | None]:
    return [s.node.value for s in statements(node.body) if isinstance(s.node, ast.Return)]

"""What one module knows of how it hangs together with others: the form that `tasks.code.relations` joins."""

from __future__ import annotations

import ast
from typing import Any

from models.code import Kind, Symbol
from tasks.code.definitions import resolved, statements
from tasks.code.expressions import dotted
from tasks.code.relations import BASES
from tasks.code.scopes import Scopes

_MEMBERS = frozenset({"property", "classmethod", "staticmethod", "abc.abstractmethod", "typing.overload"})


def relations_of(tree: ast.Module, module: str, scopes: Scopes, symbols: list[Symbol]) -> dict[str, Any]:
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
    found = {"c": classes, "d": decorated, "m": _makers(tree, scopes), "i": names, "s": stars}
    return {key: value for key, value in found.items() if value}


def _makers(tree: ast.Module, scopes: Scopes) -> dict[str, str]:
    makers: dict[str, str] = {}
    for statement in statements(tree.body):
        node = statement.node
        if isinstance(node, ast.FunctionDef):
            root = _root_of_function(node, scopes)
            if root is not None:
                makers[node.name] = root
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            root = _root(node.value, scopes)
            if root is not None:
                makers[node.targets[0].id] = root
    return makers


def _root_of_function(node: ast.FunctionDef, scopes: Scopes) -> str | None:
    """What all returns of a decorator, or of the function that makes it, come from; None when they differ."""
    inner = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    parameters = {one.arg for one in (*node.args.posonlyargs, *node.args.args)}
    roots: set[str | None] = set()
    for returned in _returns(node):
        if isinstance(returned, ast.Name) and returned.id in inner:
            one = inner[returned.id]
            given = {a.arg for a in (*one.args.posonlyargs, *one.args.args)}
            roots |= {_made_of(value, given, scopes) for value in _returns(one)} or {None}
        else:
            roots.add(_made_of(returned, parameters, scopes))
    return roots.pop() if len(roots) == 1 else None


def _made_of(value: ast.expr | None, parameters: set[str], scopes: Scopes) -> str | None:
    """The path at the root of `decorator(...)(f)` or `decorator(f, ...)`, where `f` is one of `parameters`."""
    if not isinstance(value, ast.Call) or not value.args:
        return None
    given = value.args[0]
    while isinstance(given, ast.Call) and given.args:
        given = given.args[0]
    if not (isinstance(given, ast.Name) and given.id in parameters):
        return None
    return _path(value.func.func if isinstance(value.func, ast.Call) else value.func, scopes)


def _root(value: ast.expr, scopes: Scopes) -> str | None:
    if not isinstance(value, ast.Call):
        return None
    path = _path(value.func, scopes)
    if path in {"functools.partial", "partial"} and value.args:
        return _path(value.args[0], scopes)
    return path if path in BASES else None


def _path(node: ast.expr, scopes: Scopes) -> str | None:
    chain = dotted(node)
    return None if chain is None else resolved(scopes.module, chain)


def _returns(node: ast.FunctionDef) -> list[ast.expr | None]:
    return [s.node.value for s in statements(node.body) if isinstance(s.node, ast.Return)]

"""Groups of commands whose classes are the checkout's own: what they load when it is called, and what they take."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tasks.code.literals import constant

_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_PARSES = frozenset({"parse_args", "make_parser", "resolve_command", "get_params"})


def loaded(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name of a command, dotted path) of those that a module loads by name.

    They stand in a table of names and places (`{"x": "package.module:x"}`), or `get_command` takes them out of a module
    that it imports (`if name in {"x"}: from package import module; getattr(module, name)`).
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                first = value.elts[0] if isinstance(value, ast.Tuple | ast.List) and value.elts else value
                name, place = constant(key), constant(first)
                if isinstance(name, str) and isinstance(place, str) and _PLACE.fullmatch(place):
                    yield name, place.replace(":", ".")
        elif isinstance(node, ast.DictComp):
            yield from _comprehended(node)
        elif isinstance(node, ast.FunctionDef) and node.name == "get_command":
            for inner in ast.walk(node):
                if isinstance(inner, ast.If):
                    yield from _taken(inner)


def _comprehended(node: ast.DictComp) -> Iterator[tuple[str, str]]:
    """Of `{name: f"package.module:{name}" for name in ("x", "y")}`."""
    part = node.generators[0]
    names = constant(part.iter)
    if (
        len(node.generators) > 1
        or part.ifs
        or not isinstance(part.target, ast.Name)
        or not isinstance(names, tuple | list)
    ):
        return
    if not (isinstance(node.key, ast.Name) and node.key.id == part.target.id and isinstance(node.value, ast.JoinedStr)):
        return
    for name in names:
        pieces = [_piece(one, part.target.id, name) for one in node.value.values]
        place = "".join(one or " " for one in pieces)
        if isinstance(name, str) and _PLACE.fullmatch(place):
            yield name, place.replace(":", ".")


def _piece(node: ast.expr, variable: str, name: object) -> str | None:
    """A piece of an f-string in which `variable` is `name`; None for what has to run."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    match node:
        case ast.FormattedValue(value=ast.Name(id=found)) if found == variable:
            return str(name)
        case ast.FormattedValue(
            value=ast.Call(
                func=ast.Attribute(value=ast.Name(id=found), attr="replace"),
                args=[ast.Constant(value=str(old)), ast.Constant(value=str(new))],
            )
        ) if found == variable:
            return str(name).replace(old, new)
    return None


def _taken(node: ast.If) -> Iterator[tuple[str, str]]:
    """The commands that a condition on a name takes out of a module."""
    test = node.test
    if not (
        isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and isinstance(test.ops[0], ast.In | ast.Eq)
    ):
        return
    told = constant(test.comparators[0])
    names = [told] if isinstance(told, str) else list(told) if isinstance(told, set | tuple | list) else []
    modules: dict[str, str] = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom) and inner.module and not inner.level:
            modules |= {alias.asname or alias.name: f"{inner.module}.{alias.name}" for alias in inner.names}
    for inner in ast.walk(node):
        if not (isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "getattr"):
            continue
        match inner.args:
            case [ast.Name(id=module), ast.Name(id=name), *_] if module in modules and name == test.left.id:
                yield from ((one, f"{modules[module]}.{one}") for one in sorted(names) if isinstance(one, str))


def takes_its_own(tree: ast.Module | None, name: str) -> bool:
    """Whether the class `name` takes words in a way of its own, or is not known: nobody can say what it refuses."""
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return any(isinstance(one, ast.FunctionDef) and one.name in _PARSES for one in node.body)
    return True

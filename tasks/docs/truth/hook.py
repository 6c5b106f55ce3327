"""The `__getattr__` of a module: which names it makes, as far as its syntax says so."""

from __future__ import annotations

import ast
from collections.abc import Sequence


def names_of_hook(text: str) -> frozenset[str] | None:
    """The names that the `__getattr__` of a module can make; None where it may make others.

    It is closed when its parameter is only compared with strings, looked up in tables of the module that are written
    out, or told in an error.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    hook = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__getattr__"), None)
    if hook is None or len(hook.args.args) != 1:
        return None
    tables = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Dict | ast.Set | ast.Tuple | ast.List)
    }
    parameter, found, allowed = hook.args.args[0].arg, set[str](), set[int]()
    for node in ast.walk(hook):
        if isinstance(node, ast.Raise | ast.JoinedStr):
            allowed |= {id(inner) for inner in ast.walk(node)}
        parts: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Subscript):
            parts = [node.value, node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            parts = [node.func.value, *node.args[:1]]
        if not any(_is_name(part, parameter) for part in parts):
            continue
        others = [part for part in parts if not _is_name(part, parameter)]
        spelt = [_spelt(tables.get(part.id) if isinstance(part, ast.Name) else part) for part in others]
        if all(one is not None for one in spelt):
            allowed |= {id(part) for part in parts}
            found.update(*(one for one in spelt if one is not None))
    uses = [node for node in ast.walk(hook) if _is_name(node, parameter)]
    return frozenset(found) if all(id(node) in allowed for node in uses) else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _spelt(node: ast.expr | None) -> set[str] | None:
    """The strings of a literal; None where it holds something else."""
    keys: Sequence[ast.expr | None]
    if isinstance(node, ast.Dict):
        keys = node.keys
    elif isinstance(node, ast.Set | ast.Tuple | ast.List):
        keys = node.elts
    else:
        keys = [node]
    found = {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return found if len(found) == len(keys) else None

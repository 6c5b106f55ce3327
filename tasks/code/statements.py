"""The statements of a body, wherever `if`, `try`, `with` and loops put them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Statement:
    """A statement of a body, wherever `if`, `try`, `with` and loops put it."""

    node: ast.stmt
    behind: ast.stmt | None
    """The statement after it in its block: a string there is the docstring of an attribute."""
    conditional: bool
    alternative: bool
    """In an `else` or `except`: what the first branch defines goes before it."""


def statements(nodes: list[ast.stmt]) -> Iterator[Statement]:
    """The statements of a body and of the blocks in it, but not those of functions and classes."""
    stack: list[tuple[list[ast.stmt], int, bool, bool]] = [(nodes, 0, False, False)]
    while stack:
        body, place, conditional, alternative = stack.pop()
        if place >= len(body):
            continue
        stack.append((body, place + 1, conditional, alternative))
        node = body[place]
        if isinstance(node, ast.If | ast.For | ast.AsyncFor | ast.While):
            stack.append((node.orelse, 0, True, True))
            stack.append((node.body, 0, True, alternative))
        elif isinstance(node, ast.Try | ast.TryStar):
            stack.append((node.finalbody, 0, conditional, alternative))
            stack.append((node.orelse, 0, conditional, alternative))
            stack.extend((handler.body, 0, True, True) for handler in reversed(node.handlers))
            stack.append((node.body, 0, True, alternative))
        elif isinstance(node, ast.With | ast.AsyncWith):
            stack.append((node.body, 0, conditional, alternative))
        elif isinstance(node, ast.Match):
            stack.extend((case.body, 0, True, alternative) for case in reversed(node.cases))
        else:
            behind = body[place + 1] if place + 1 < len(body) else None
            yield Statement(node, behind, conditional, alternative)

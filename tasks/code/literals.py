"""What the source text of a value spells, without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Written:
    """A call as it is written."""

    name: str
    """Dotted chain of what is called, such as `sa.Column`."""
    arguments: tuple[ast.expr, ...]
    options: dict[str, ast.expr]

    @property
    def last(self) -> str:
        """The last part of `name`."""
        return self.name.rpartition(".")[2]

    def text(self, option: str) -> str | None:
        """The source text of an option; None when it is not given."""
        node = self.options.get(option)
        return None if node is None else ast.unparse(node)

    def value(self, option: str) -> Any:
        """The constant that an option is; None when it is none, or not given."""
        return constant(self.options.get(option))


def parsed(text: str | None) -> ast.expr | None:
    """The expression that `text` spells; None when it spells none, as one that was cut off."""
    if text is None:
        return None
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def call_of(node: ast.expr | None) -> Written | None:
    """The call that `node` is; None for anything else."""
    if not isinstance(node, ast.Call):
        return None
    parts: list[str] = []
    head = node.func
    while isinstance(head, ast.Attribute):
        parts.append(head.attr)
        head = head.value
    if not isinstance(head, ast.Name):
        return None
    name = ".".join([head.id, *reversed(parts)])
    return Written(name, tuple(node.args), {k.arg: k.value for k in node.keywords if k.arg})


def constant(node: ast.expr | None) -> Any:
    """The value that `node` spells, made of constants only; None for anything else."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def literal(text: str | None) -> Any:
    """The value that `text` spells, made of constants only; None for anything else."""
    return constant(parsed(text))


def plain(text: str | None) -> str | None:
    """The string that `text` spells; None for anything else."""
    value = literal(text)
    return value if isinstance(value, str) else None

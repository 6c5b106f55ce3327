"""The text of an expression, the same however the source lays it out: what signatures are shown and compared by."""

from __future__ import annotations

import ast
from collections.abc import Callable

LONGEST = 1_000
"""Characters of an expression that are kept."""

_LARGEST_NODE = 1_500
"""Bytes of source above which an expression is cut out of the source as it stands instead of being laid out anew."""

_LITERAL = frozenset({"Literal", "typing.Literal", "typing_extensions.Literal", "t.Literal"})
_ANNOTATED = frozenset({"Annotated", "typing.Annotated", "typing_extensions.Annotated", "t.Annotated"})


class Source:
    """One file's lines, for cutting pieces out of them."""

    def __init__(self, data: bytes) -> None:
        self.lines = data.splitlines()

    def piece(self, node: ast.expr | ast.stmt, limit: int | None = None) -> bytes:
        """The source of `node`, at most `limit` bytes of it."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        if first == last:
            return self.lines[first][node.col_offset : node.end_col_offset][:limit]
        parts = [self.lines[first][node.col_offset :]]
        length = len(parts[0])
        for number in range(first + 1, last + 1):
            if limit is not None and length > limit:
                break
            line = self.lines[number]
            parts.append(line if number < last else line[: node.end_col_offset])
            length += len(line)
        return b"\n".join(parts)[:limit]

    def large(self, node: ast.expr) -> bool:
        """Whether `node` takes more source than is laid out anew."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        if first == last:
            return (node.end_col_offset or 0) - node.col_offset > _LARGEST_NODE
        length = 0
        for number in range(first, last + 1):
            length += len(self.lines[number])
            if length > _LARGEST_NODE:
                return True
        return False


def text_of(node: ast.expr, source: Source) -> str:
    """The text of `node`, at most 1,000 characters."""
    quick = _QUICK.get(type(node))
    if quick is not None and (text := quick(node)) is not None:
        return text[:LONGEST]
    if source.large(node):
        return source.piece(node, LONGEST * 4).decode("utf-8", "replace")[:LONGEST]
    try:
        return _text(node)[:LONGEST]
    except RecursionError:
        return source.piece(node, LONGEST * 4).decode("utf-8", "replace")[:LONGEST]


def annotation_of(node: ast.expr, source: Source) -> str:
    """The text of the annotation `node`: what is written in quotes, to be evaluated later, is shown without them."""
    if isinstance(node, ast.Name):
        return node.id
    if source.large(node):
        return text_of(node, source)
    try:
        return _text(_unquoted(node))[:LONGEST]
    except RecursionError:
        return text_of(node, source)


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` of a chain of names; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    parts.append(node.id)
    return ".".join(reversed(parts))


def _unquoted(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _unquoted(_quoted(node))
    if isinstance(node, ast.Subscript):
        return _unquoted_subscript(node)
    if isinstance(node, ast.Tuple | ast.List):
        elements = [_unquoted(element) for element in node.elts]
        if all(new is old for new, old in zip(elements, node.elts, strict=True)):
            return node
        return type(node)(elements, ast.Load())
    if isinstance(node, ast.BinOp):
        left, right = _unquoted(node.left), _unquoted(node.right)
        return node if left is node.left and right is node.right else ast.BinOp(left, node.op, right)
    return node


def _quoted(node: ast.Constant) -> ast.expr:
    """The expression that is written in quotes; a string that is none stands as it is."""
    try:
        inner = ast.parse(str(node.value).strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError):
        return ast.Name(repr(node.value), ast.Load())
    return inner


def _unquoted_subscript(node: ast.Subscript) -> ast.expr:
    head = dotted(node.value)
    if head in _LITERAL:
        return node
    inner: ast.expr = node.slice
    if head not in _ANNOTATED:
        inner = _unquoted(inner)
    elif isinstance(inner, ast.Tuple) and inner.elts:
        inner = ast.Tuple([_unquoted(inner.elts[0]), *inner.elts[1:]], ast.Load())
    return node if inner is node.slice else ast.Subscript(node.value, inner, ast.Load())


def _text(node: ast.expr) -> str:
    """As `ast.unparse`, several times faster for what annotations and defaults are mostly made of."""
    quick = _QUICK.get(type(node))
    if quick is not None and (text := quick(node)) is not None:
        return text
    if isinstance(node, ast.Subscript):
        inner = node.slice
        if isinstance(inner, ast.Tuple) and inner.elts and not any(isinstance(e, ast.Starred) for e in inner.elts):
            return f"{_primary(node.value)}[{', '.join(map(_text, inner.elts))}]"
        if not isinstance(inner, ast.Tuple | ast.Slice):
            return f"{_primary(node.value)}[{_text(inner)}]"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left = node.left
        if isinstance(left, ast.BinOp) and isinstance(left.op, ast.BitOr):
            return f"{_text(left)} | {_primary(node.right)}"
        return f"{_primary(left)} | {_primary(node.right)}"
    return ast.unparse(node)


def _primary(node: ast.expr) -> str:
    text = _text(node)
    simple = isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call) or (
        isinstance(node, ast.Constant) and not isinstance(node.value, int | float | complex)
    )
    return text if simple else f"({text})"


def _constant(node: ast.expr) -> str | None:
    value = node.value  # type: ignore[attr-defined]
    if value is None or value is True or value is False:
        return str(value)
    if type(value) is int:
        return repr(value) if -(10**15) < value < 10**15 else None
    if type(value) is str:
        return repr(value[:LONGEST])
    return None


def _attribute(node: ast.expr) -> str | None:
    return dotted(node)


def _name(node: ast.expr) -> str | None:
    return node.id  # type: ignore[attr-defined,no-any-return]


_QUICK: dict[type[ast.expr], Callable[[ast.expr], str | None]] = {
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Constant: _constant,
}

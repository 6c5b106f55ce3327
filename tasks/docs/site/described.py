"""A docstring in its parts: text, and lists of parameters, errors and the like."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.code.docstrings import Style, parse, style_of


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a list, such as a parameter."""

    name: str
    annotation: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """Text, or a list under a title."""

    title: str
    text: str = ""
    rows: tuple[Row, ...] = ()


def described(docstring: str) -> list[Part]:
    """The parts of `docstring`: its text, then parameters, what comes back, errors, and the rest."""
    style = style_of(docstring)
    if style is Style.plain:
        return [Part("", docstring)] if docstring.strip() else []
    told = parse(docstring, style=style)
    text = f"{told.summary}\n\n{told.text}".strip()
    parts = [Part("", text)] if text else []
    for title, items in (
        ("Parameters", told.parameters),
        ("Attributes", told.attributes),
        ("Returns", told.returns),
        ("Yields", told.yields),
        ("Raises", told.raises),
    ):
        if items:
            rows = tuple(Row(item.name, item.annotation or "", item.description) for item in items)
            parts.append(Part(title, rows=rows))
    parts += [Part("Example", example) for example in told.examples if example.strip()]
    parts += [Part(title, note) for title, note in told.notes if note.strip()]
    return parts

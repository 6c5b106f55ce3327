"""A docstring in its parts: text, and lists of parameters, errors and the like."""

from __future__ import annotations

from dataclasses import dataclass


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
    """The parts of `docstring`, in its order."""
    return [Part("", docstring)] if docstring.strip() else []

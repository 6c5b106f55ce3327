"""Docstrings in Google, NumPy and Sphinx style, parsed by griffe, and the names that they refer to."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Style(StrEnum):
    """How a docstring says what it says of parameters."""

    google = "google"
    numpy = "numpy"
    sphinx = "sphinx"
    plain = "plain"
    """It has no sections."""


@dataclass(frozen=True, slots=True)
class Item:
    """A parameter, attribute, returned value or error that a docstring describes."""

    name: str
    """Of a parameter without stars; empty for a returned value without a name; of an error its type."""
    annotation: str | None = None
    """As the docstring has it, not the signature."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Docstring:
    """What a docstring says."""

    style: Style
    summary: str = ""
    """Its first paragraph, on one line."""
    text: str = ""
    """What stands between the summary and the sections, and what is in no section that is told apart here."""
    parameters: tuple[Item, ...] = ()
    returns: tuple[Item, ...] = ()
    yields: tuple[Item, ...] = ()
    raises: tuple[Item, ...] = ()
    attributes: tuple[Item, ...] = ()
    examples: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """Other sections, such as notes and warnings: (title, text)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a docstring refers to."""

    kind: str
    """`code` (in backquotes), `role` (of Sphinx, such as `:class:`) or `link` (`[text][path]`)."""
    target: str
    line: int
    """In the docstring, from 0 on."""
    role: str = ""


_GOOGLE = re.compile(
    r"^(?P<indent> *)(?P<title>args|arguments|params|parameters|keyword args|keyword arguments|other parameters|"
    r"other args|returns?|yields?|raises?|exceptions|warns|attributes|examples?):[ \t]*$",
    re.IGNORECASE,
)
_NUMPY_TITLES = frozenset(
    {
        "parameters", "other parameters", "returns", "yields", "receives", "raises", "warns", "attributes", "examples",
        "example", "notes", "note", "see also", "references", "methods", "warnings",
    }
)  # fmt: skip
_FIELD = re.compile(
    r"^ *:(?:(?:param|parameter|arg|argument|key|keyword|type|raises?|except|exception|var|ivar|cvar|vartype)\s+[^:\n]+"
    r"|returns?|rtype|yields?):",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^ *(?:```|~~~)")
_DIRECTIVE = re.compile(r"^ *\.\. +(?!deprecated|versionadded|versionchanged|note|warning|seealso)[\w:-]+::")
_LONGEST = 200_000
"""Characters above which a docstring is prose."""
_LEVEL = 3
"""Dashes that underline a title, at least."""


def parse(text: str | None, *, style: Style | None = None) -> Docstring:
    """What the docstring `text` (without its indentation) says; its style is found out unless it is given."""
    if not text or not text.strip():
        return Docstring(Style.plain)
    return _parsed(text, Style.plain if len(text) > _LONGEST else style or style_of(text))


def style_of(text: str) -> Style:
    """The style that most of the sections of `text` are in; `plain` when there are none."""
    lines = text.split("\n")
    counts = dict.fromkeys((Style.sphinx, Style.numpy, Style.google), 0)
    fenced = False
    for place, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        elif fenced or (":" not in line and "-" not in line):
            continue
        elif _FIELD.match(line):
            counts[Style.sphinx] += 1
        elif (found := _GOOGLE.match(line)) is not None:
            counts[Style.google] += _indented_below(lines, place, len(found["indent"]))
        elif place and len(line.strip()) >= _LEVEL and not line.strip("- "):
            counts[Style.numpy] += lines[place - 1].strip().lower() in _NUMPY_TITLES
    best = max(counts, key=lambda one: counts[one])
    return best if counts[best] else Style.plain


def _indented_below(lines: list[str], place: int, indent: int) -> bool:
    below = lines[place + 1] if place + 1 < len(lines) else ""
    return bool(below.strip()) and len(below) - len(below.lstrip(" ")) > indent


@functools.lru_cache(maxsize=4_096)
def _parsed(text: str, style: Style) -> Docstring:
    if style is Style.plain:
        summary, rest = _summary(text)
        return Docstring(style, summary, rest)
    try:
        return _told(style, _sections(text, style))
    except Exception:  # noqa: BLE001 - whatever a parser trips over in somebody's prose, the prose is still there
        summary, rest = _summary(text)
        return Docstring(Style.plain, summary, rest)


def _told(style: Style, sections: Sequence[Any]) -> Docstring:
    found: dict[str, list[Item]] = {}
    texts: list[str] = []
    examples: list[str] = []
    notes: list[tuple[str, str]] = []
    for section in sections:
        kind = section.kind.value
        if kind == "text":
            texts.append(section.value.strip("\n"))
        elif kind in _ITEMS:
            found.setdefault(_ITEMS[kind], []).extend(_items(kind, section.value))
        elif kind == "examples":
            examples.append("\n\n".join(part for _, part in section.value))
        elif kind == "admonition" and section.title.lower() == "example":
            examples.append(section.value.description)
        elif kind in {"admonition", "deprecated"}:
            notes.append((section.title or section.value.annotation or kind, section.value.description or ""))
        else:
            # What a function warns of has a type and no name.
            lines = [f"{getattr(one, 'name', '') or one.annotation}: {one.description}" for one in section.value]
            notes.append((section.title or kind.capitalize(), "\n".join(lines)))
    summary, rest = _summary("\n\n".join(texts))
    items = {name: tuple(values) for name, values in found.items()}
    return Docstring(style, summary, rest, examples=tuple(examples), notes=tuple(notes), **items)


_ITEMS = {
    "parameters": "parameters",
    "other parameters": "parameters",
    "returns": "returns",
    "yields": "yields",
    "raises": "raises",
    "attributes": "attributes",
}


def _sections(text: str, style: Style) -> Sequence[Any]:
    griffe = _griffe()
    docstring = griffe.Docstring(text, lineno=1)
    quiet: dict[str, Any] = {"warnings": False}
    if style is Style.google:
        # Prose after "Returns:" goes on in the next line without being a second value.
        quiet |= {"returns_multiple_items": False, "returns_named_value": False}
        docstring = griffe.Docstring(_spaced(text), lineno=1)
    return docstring.parse(style.value, **quiet)  # type: ignore[no-any-return]


def _spaced(text: str) -> str:
    """`text` with an empty line before every section: without one griffe takes its title for prose."""
    lines: list[str] = []
    given = text.split("\n")
    fenced = False
    for place, line in enumerate(given):
        fenced ^= _FENCE.match(line) is not None
        found = None if fenced else _GOOGLE.match(line)
        if found is not None and lines and lines[-1].strip() and _indented_below(given, place, len(found["indent"])):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


@functools.cache
def _griffe() -> Any:
    import griffe  # noqa: PLC0415 - 0.1 s that only who parses a docstring pays

    return griffe


def _items(kind: str, values: Sequence[Any]) -> Iterator[Item]:
    for value in values:
        annotation = None if value.annotation is None else str(value.annotation).strip() or None
        description = (value.description or "").strip()
        if kind == "raises":
            yield Item(annotation or "", None, description)
            continue
        name = getattr(value, "name", "") or ""
        if kind in {"returns", "yields"} and annotation is not None and not _is_type(annotation):
            # "The values that hold: ..." is a sentence with a colon in it.
            said = annotation if not description else f"{annotation}: {description}"
            annotation, description = None, said
        if kind in {"parameters", "attributes"}:
            for one in re.split(r"\s*,\s*", name):
                yield Item(one.lstrip("*\\"), annotation, description)
        else:
            yield Item(name, annotation, description)


def _is_type(text: str) -> bool:
    if re.search(r"[A-Za-z0-9_)\]] +[A-Za-z0-9_(\[]", re.sub(r"\[.*\]| or | \| ", "|", text)):
        return False
    try:
        ast.parse(text.replace(" or ", " | "), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _summary(text: str) -> tuple[str, str]:
    """The first paragraph on one line, and what is behind it."""
    paragraph, _, rest = text.strip().partition("\n\n")
    return " ".join(paragraph.split()), rest.strip("\n")


_REFERENCE = re.compile(
    r":(?P<role>(?:[a-z]+:)?[a-z]+):`(?P<named>[^`<>\n]*<)?(?P<sphinx>[^`<>\n]{1,300})>?`"
    r"|\[(?P<text>[^\]\n]{1,300})\]\[(?P<link>[^\]\n]{0,300})\]"
    r"|(?<![`\w])(?P<ticks>``?)(?P<code>[^`\n]{1,300})(?P=ticks)(?!`)"
)


def references(text: str | None) -> tuple[Reference, ...]:
    """The names that the docstring `text` refers to, outside of code blocks and of examples at a prompt."""
    found: list[Reference] = []
    fenced = False
    block: int | None = None
    prompt = False
    for number, line in enumerate((text or "").split("\n")):
        indent = len(line) - len(line.lstrip(" "))
        if _FENCE.match(line):
            fenced = not fenced
            continue
        if block is not None and line.strip() and indent <= block:
            block = None
        prompt = bool(line.strip()) and (prompt or line.lstrip().startswith(">>>"))
        if fenced or block is not None or prompt:
            continue
        if _DIRECTIVE.match(line) or (line.rstrip().endswith("::") and not line.lstrip().startswith("..")):
            block = indent
        found += _in_line(line, number)
    return tuple(found)


def _in_line(line: str, number: int) -> Iterator[Reference]:
    for match in _REFERENCE.finditer(line):
        if match["role"]:
            yield Reference("role", match["sphinx"].strip().lstrip("~!."), number, sys.intern(match["role"]))
        elif match["text"] is not None:
            target = match["link"].strip() or match["text"].strip(" `")
            yield Reference("link", target, number)
        else:
            yield Reference("code", match["code"].strip(), number)

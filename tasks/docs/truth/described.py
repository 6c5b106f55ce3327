"""Which parameters a docstring describes, and which private definitions a package hands on to others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from models.code import Codebase, Kind, Module
from tasks.code.docstrings import Docstring, Item, Style, parse

_UNDERLINE = re.compile(r"^[ \t]*[-=~]{3,}[ \t]*$")
_ITEM = re.compile(
    r"^(?P<indent>[ \t]*)(?P<names>[*`]*[^\W\d]\w*[*`]*(?:[ \t]*,[ \t]*[*`]*[^\W\d]\w*[*`]*)*)"
    r"[ \t]*(?:\(.*\)[ \t]*)?(?P<colon>:|$)"
)
"""A line that begins with names and goes on with a colon: what stands otherwise is a sentence."""
_ARGS = re.compile(
    r"^[ \t]*(?:args|arguments|params|parameters|keyword args|keyword arguments|other parameters|other args):[ \t]*$",
    re.IGNORECASE,
)
_TITLES = frozenset(
    {
        "changed", "deprecated", "example", "examples", "example usage", "fixme", "none", "note", "notes", "raise",
        "raises", "reference", "references", "return", "returns", "see", "todo", "usage", "warning", "warnings",
        "warns", "yield", "yields",
    }
)  # fmt: skip
"""Words that begin another section where a writer set it so that it looks like one more parameter."""


def described(docstring: str | None) -> tuple[Item, ...]:
    """The parameters that `docstring` describes, as far as it has sections for them."""
    found = _read(docstring)
    return found.parameters if found.style is not Style.plain else ()


def certain(docstring: str) -> frozenset[str]:
    """The names that `docstring` describes for sure as parameters, and not a sentence that only begins with one."""
    found = _read(docstring)
    if found.style is Style.sphinx:
        return frozenset(one.name for one in found.parameters)
    told = {one.name for one in found.parameters if one.name.lower() not in _TITLES}
    return frozenset(told & set(_items(docstring.replace("\\", "").split("\n"), found.style)))


def _read(docstring: str | None) -> Docstring:
    # Sphinx has names escaped that end in an underscore, which would make them links.
    return parse(docstring.replace("\\", "") if docstring else docstring)


def _items(lines: list[str], style: Style) -> Iterator[str]:
    """Names at the head of a line of the sections of parameters that stand as a description begins."""
    inside = False
    for place, line in enumerate(lines):
        below = lines[place + 1] if place + 1 < len(lines) else ""
        if style is Style.numpy and _UNDERLINE.match(below):
            inside = line.strip().lower() in {"parameters", "other parameters"}
            continue
        if style is Style.google and _ARGS.match(line):
            # "The text has to be like this:" is followed by somebody else's section.
            inside = not (place and lines[place - 1].rstrip().endswith(":"))
            continue
        item = _ITEM.match(line) if inside else None
        if item is None:
            continue
        deeper = len(below) - len(below.lstrip()) > len(item["indent"])
        if item["colon"] or (style is Style.numpy and below.strip() and deeper):
            yield from re.findall(r"[^\W\d]\w*", item["names"])


def handed_on(codebase: Codebase) -> frozenset[str]:
    """Paths of the private functions and classes that are for others: what a public package or a public `__all__`
    hands on, and the bases of public classes, whose methods those have.
    """
    stars: dict[str, Mapping[str, str]] = {}
    found: set[str] = set()
    classes: list[str] = []

    def hand_on(path: str) -> None:
        target = path if path in codebase.names else codebase.resolve(path) or ""
        known = codebase.names.get(target)
        if known is None or known.public or known.kind not in {Kind.function, Kind.class_} or target in found:
            return
        found.add(target)
        if known.kind is Kind.class_:
            classes.append(target)

    for path in sorted(codebase.files):
        module = codebase.module(path)
        if module.public and (module.exports is not None or module.file.endswith("__init__.py")):
            for target in _given(codebase, module, stars, frozenset({path})).values():
                hand_on(target)
        for symbol in module.symbols:
            if symbol.public and symbol.kind is Kind.class_:
                for base in symbol.bases:
                    hand_on(base)
    while classes:
        path = classes.pop()
        for symbol in codebase.module(codebase.names[path].module).symbols:
            if symbol.path == path:
                for base in symbol.bases:
                    hand_on(base)
    return frozenset(found)


def is_handed_on(path: str, handed: frozenset[str]) -> bool:
    """Whether `path` is one of `handed`, or a public member of one."""
    while path not in handed:
        path, _, last = path.rpartition(".")
        if not path or (last.startswith("_") and not last.endswith("__")):
            return False
    return True


def _given(
    codebase: Codebase, module: Module, stars: dict[str, Mapping[str, str]], above: frozenset[str]
) -> Mapping[str, str]:
    """What a star import of `module` gives: its names, and where they come from."""
    held = stars.get(module.path)
    if held is not None:
        return held
    names: dict[str, str] = {}
    for one in module.imports:
        if one.lazy or one.typing:
            continue
        star = one.name == "*"
        target = one.target.removesuffix(".*") if star else one.target
        if not star:
            names[one.name] = target
        elif target in codebase.files and target not in above and len(above) < _DEEPEST:
            names |= _given(codebase, codebase.module(target), stars, above | {target})
    prefix = f"{module.path}."
    for symbol in module.symbols:
        name = symbol.path.removeprefix(prefix)
        if "." not in name:
            names[name] = symbol.path
    exports = module.exports
    stars[module.path] = found = {
        name: target
        for name, target in names.items()
        if (name in exports if exports is not None else not name.startswith("_"))
    }
    return found


_DEEPEST = 20
"""Star imports of star imports that are followed."""

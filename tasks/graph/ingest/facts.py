"""What one source says: facts with names that fit, and a digest by which it is known whether they are new. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from models.graph import Label, NodeFact, Property, Ref, RelationshipFact, Type

MOST_KEY = 400
"""Characters that a key may have; beyond it, a digest stands for its end."""
_MOST_TEXT = 1_000
_MOST_LIST = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one scope says."""

    nodes: tuple[NodeFact, ...] = ()
    relationships: tuple[RelationshipFact, ...] = ()

    def digest(self) -> str:
        """The same for the same facts, in whatever order they are said."""
        said = [
            *([one.ref.label, one.ref.key, sorted(one.properties.items())] for one in self.nodes),
            *([one.type, *_words(one.start), *_words(one.end), sorted(one.properties.items())]
              for one in self.relationships),
        ]  # fmt: skip
        lines = sorted(orjson.dumps(one) for one in said)
        return hashlib.blake2b(b"\n".join(lines), digest_size=12).hexdigest()


@dataclass(slots=True)
class Saying:
    """Collects facts. What is said twice is one fact; the first to say something of it is believed."""

    _nodes: dict[Ref, NodeFact] = field(default_factory=dict)
    _relationships: dict[tuple[Type, Ref, Ref], RelationshipFact] = field(default_factory=dict)

    def node(self, ref: Ref, **properties: object) -> Ref:
        """Something is, and what is true of it; what is empty or None is left out."""
        self._nodes.setdefault(ref, NodeFact(ref, fitting(properties)))
        return ref

    def hang(self, type_: Type, start: Ref, end: Ref, **properties: object) -> None:
        """Two things hang together; nothing hangs on itself."""
        if start != end:
            said = RelationshipFact(type_, start, end, fitting(properties))
            self._relationships.setdefault((type_, start, end), said)

    def facts(self) -> Facts:
        """All that was said."""
        return Facts(tuple(self._nodes.values()), tuple(self._relationships.values()))


def ref(label: Label, *parts: str) -> Ref:
    """The node of this label whose name has these parts, the checkout or host first: `shop:web.views`."""
    key = ":".join(sound(part) for part in parts)
    if len(key) > MOST_KEY:
        tail = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
        key = f"{key[: MOST_KEY - len(tail) - 1]}~{tail}"
    return Ref(label, key)


def sound(text: str) -> str:
    """`text` as a graph can keep it and a terminal can show it: names of files may hold anything."""
    if text.isprintable():
        return str(text)  # of an enumeration, its value
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def fitting(properties: Mapping[str, object]) -> dict[str, Property]:
    """`properties` with values that a graph can keep, in their order; empty ones are left out."""
    kept: dict[str, Property] = {}
    for name, value in properties.items():
        if isinstance(value, bool | int | float):
            kept[name] = value
        elif isinstance(value, str):
            if value:
                kept[name] = _text(value)
        elif isinstance(value, Iterable):
            if listed := tuple(_text(str(one)) for one in value)[:_MOST_LIST]:
                kept[name] = listed
        elif value is not None:
            raise TypeError(f"{name} is a {type(value).__name__}")
    return kept


def _text(text: str) -> str:
    clean = sound(text)
    return clean if len(clean) <= _MOST_TEXT else f"{clean[: _MOST_TEXT - 1]}…"


def _words(of: Ref) -> tuple[str, str]:
    return of.label, of.key

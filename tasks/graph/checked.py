"""What may be said: every fact is held against the model and the limits of a property before any of it is written.

Labels, types and the names of properties are the only words of a fact that become Cypher text or columns; all else
travels as parameters. Both are checked here, and only here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from blocks.errors import ConfigurationError
from models.graph import Label, NodeFact, Property, Ref, RelationshipFact, Type
from models.graph_sensitive import MARK, SENSITIVE
from tasks.graph.temporal import FOREVER

LONGEST_KEY = 4_000
"""Bytes of UTF-8 of a key, a scope or a mark: what an index of either server can hold."""
LONGEST_TEXT = 100_000
"""Characters of a property."""
LONGEST_SEALED = 1_000_000
"""The same of one that is encrypted: what it was before has been held against the other limits."""
LONGEST_FACT = 2 * 1024 * 1024
"""Bytes of all properties of a fact together, as JSON: so that any line of a backup can be read again."""
MOST_VALUES = 10_000
"""Members of a list."""
MOST_PROPERTIES = 100
"""Properties of one fact."""

RESERVED = frozenset({"key", "uid", "scope", "scopes", "said", "valid_from", "recorded_from"})
"""Names of the store's own columns."""

INDEXED = "name"
"""The property by which nodes are looked up: as long as a key at most."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


@dataclass(slots=True)
class Said:
    """One fact as one source says it, checked and ready to be sent."""

    fact: Ref | tuple[Type, Ref, Ref]
    scope: str
    said: str
    """The hash of scope and value, of a relationship with its ends: the same when the same source says the same."""
    properties: Mapping[str, Any]
    valid_from: int
    valid_to: int = FOREVER
    size: int = 0
    """About how many bytes it is to send."""
    uid: str = ""
    """Of a relationship, what names it in its index; see `hash_of`."""
    implied: bool = False
    """Only because a relationship starts here; it contradicts nothing that the source says of it otherwise."""

    @property
    def open(self) -> bool:
        """Whether it still holds."""
        return self.valid_to == FOREVER

    @property
    def value(self) -> str:
        """Its properties, canonical."""
        return canonical(self.properties)


def micros(moment: datetime) -> int:
    """A time as the store keeps it: microseconds since 1970 UTC.

    Raises:
        ConfigurationError: it has no time zone.
    """
    if moment.tzinfo is None:
        raise ConfigurationError(f"The time {moment.isoformat()} has no time zone.")
    return (moment - _EPOCH) // _TICK


def moment(micros: int) -> datetime:
    """The time that the store keeps as `micros`."""
    return _EPOCH + micros * _TICK


def checked_scope(scope: str) -> str:
    """`scope`, if it can name a source.

    Raises:
        ConfigurationError: it is empty, too long, or not printable.
    """
    _key(scope, "source")
    if not scope.isprintable() or scope == SHARED:
        raise ConfigurationError(f"{scope[:80]!r} cannot name a source: only printable characters can.")
    return scope


SHARED = "+"
"""The scope of what several sources say."""


def checked_mark(mark: str) -> str:
    """`mark`, if it can be kept.

    Raises:
        ConfigurationError: it is too long, or no text that a database keeps.
    """
    if mark:
        _key(mark, "mark")
    return mark


def checked_ref(ref: Ref) -> Ref:
    """`ref`, if it can be in the graph.

    Raises:
        ConfigurationError: its label is not of the model, or its key is empty, too long, or no text.
    """
    if type(ref.label) is not Label:
        raise ConfigurationError(f"{str(ref.label)[:80]!r} is no label of the graph's model.", remedy=_LABELS)
    key = ref.key
    if type(key) is not str or not key or len(key) > 1000 or not key.isascii() or "\0" in key:
        _key(key, "key")
    return ref


def checked_type(type_: Type) -> Type:
    """`type_`, if relationships can be of it.

    Raises:
        ConfigurationError: it is not of the model.
    """
    if type(type_) is not Type:
        raise ConfigurationError(f"{str(type_)[:80]!r} is no type of the graph's model.", remedy=_TYPES)
    return type_


def node(fact: NodeFact, scope: str, now: int) -> Said:
    """A node as `scope` says it.

    Raises:
        ConfigurationError: it cannot be kept; the message says what is wrong with it.
    """
    return _said(checked_ref(fact.ref), fact, scope, now)


def relationship(fact: RelationshipFact, scope: str, now: int) -> Said:
    """A relationship as `scope` says it.

    Raises:
        ConfigurationError: it cannot be kept; the message says what is wrong with it.
    """
    triple = (checked_type(fact.type), checked_ref(fact.start), checked_ref(fact.end))
    return _said(triple, fact, scope, now)


def hash_of(fact: Ref | tuple[Type, Ref, Ref]) -> str:
    """What names a fact in every index: 128 bits of BLAKE2b over its label and key, or its type and ends."""
    if isinstance(fact, Ref):
        text = f"{fact.label.value}\0{fact.key}"
    else:
        type_, start, end = fact
        text = f"{type_.value}\0{start.label.value}\0{start.key}\0{end.label.value}\0{end.key}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


def canonical(properties: Mapping[str, Property]) -> str:
    """Properties as JSON, sorted by name; equal texts exactly for equal properties (1 and 1.0 differ)."""
    return orjson.dumps(properties, option=orjson.OPT_SORT_KEYS).decode()


def parsed(value: str) -> dict[str, Property]:
    """The properties that were made canonical."""
    return {name: tuple(one) if isinstance(one, list) else one for name, one in orjson.loads(value).items()}


def _said(fact: Ref | tuple[Type, Ref, Ref], given: NodeFact | RelationshipFact, scope: str, now: int, /) -> Said:
    properties = _checked(given.properties, fact)
    if type(properties) is not dict:
        properties = dict(properties)
    text = orjson.dumps(properties, option=orjson.OPT_SORT_KEYS) if properties else b"{}"
    if len(text) > LONGEST_FACT:
        what = f"Its properties are {len(text)} bytes; at most {LONGEST_FACT} can be kept."
        raise ConfigurationError(what, component=_shown(fact))
    start = now if given.valid_from is None else micros(given.valid_from)
    end = FOREVER if given.valid_to is None else micros(given.valid_to)
    if start > now or (end != FOREVER and end > now):
        raise ConfigurationError("It is said to be true of a time that lies in the future.", component=_shown(fact))
    if start >= end:
        raise ConfigurationError("It is said to end before it begins.", component=_shown(fact))
    if isinstance(fact, Ref):
        return Said(fact, scope, _digest(text, scope), properties, start, end, len(text) + 4 * len(fact.key))
    uid = hash_of(fact)
    size = len(text) + 4 * (len(fact[1].key) + len(fact[2].key))
    return Said(fact, scope, _digest(uid.encode() + text, scope), properties, start, end, size, uid)


def _checked(properties: Mapping[str, Property], fact: Ref | tuple[Type, Ref, Ref], /) -> Mapping[str, Property]:
    if len(properties) > MOST_PROPERTIES:
        raise ConfigurationError(
            f"{len(properties)} properties; at most {MOST_PROPERTIES} can be kept.", component=_shown(fact)
        )
    for name, value in properties.items():
        if name not in _GOOD_NAMES:
            _name(name, fact)
        kind = type(value)
        if kind is str:
            if name == INDEXED:
                _key(value or "-", INDEXED)  # type: ignore[arg-type]
            elif len(value) > LONGEST_TEXT or not value.isascii() or "\0" in value:  # type: ignore[arg-type, union-attr, operator]
                _text(value, name, fact)  # type: ignore[arg-type]
        elif kind is int:
            if not _SMALLEST <= value <= _LARGEST:  # type: ignore[operator]
                raise ConfigurationError(f"{name} is an integer of more than 64 bits.", component=_shown(fact))
        elif kind is not bool:
            _other(value, name, fact)
    return properties


def start(ref: Ref, scope: str, now: int, *, implied: bool) -> Said:
    """That `scope` says a node because a relationship that it says starts there."""
    return Said(ref, scope, _digest(b"{}", scope), {}, now, implied=implied)


def digest(fact: Ref | tuple[Type, Ref, Ref], value: str, scope: str) -> str:
    """The hash of what a source says of a fact, given as canonical properties."""
    uid = "" if isinstance(fact, Ref) else hash_of(fact)
    return _digest(f"{uid}{value}".encode(), scope)


def _digest(text: bytes, scope: str) -> str:
    return blake2b(text, digest_size=16, key=_salt(scope)).hexdigest()


def _salt(scope: str) -> bytes:
    known = _SALTS.get(scope)
    if known is None:
        if len(_SALTS) > 10_000:
            _SALTS.clear()
        known = _SALTS[scope] = blake2b(scope.encode(), digest_size=32).digest()
    return known


_SALTS: dict[str, bytes] = {}
_KINDS = frozenset({str, int, float, bool})
_GOOD_NAMES: set[str] = set()
_LABELS = f"It knows {', '.join(Label)}."
_TYPES = f"It knows {', '.join(Type)}."


def _shown(fact: Ref | tuple[Type, Ref, Ref]) -> str:
    if isinstance(fact, Ref):
        return f"{fact.label} {fact.key[:200]!r}"
    return f"{fact[0]} from {_shown(fact[1])} to {_shown(fact[2])}"


def _name(name: str, fact: Ref | tuple[Type, Ref, Ref]) -> None:
    if type(name) is not str or not _NAME.fullmatch(name):
        shown = repr(name)[:80]
        remedy = (
            "Names are made of letters, digits and underscores, begin with no digit, and have at most 64 characters."
        )
        raise ConfigurationError(f"{shown} cannot name a property.", component=_shown(fact), remedy=remedy)
    if name in RESERVED:
        raise ConfigurationError(
            f"{name!r} is a column of the store itself.", component=_shown(fact), remedy="Choose another name."
        )
    if len(_GOOD_NAMES) < 10_000:
        _GOOD_NAMES.add(name)


def _text(text: str, what: str, fact: Ref | tuple[Type, Ref, Ref]) -> None:
    sealed = text.startswith(MARK) and isinstance(fact, Ref) and what in SENSITIVE.get(fact.label, ())
    longest = LONGEST_SEALED if sealed else LONGEST_TEXT
    if len(text) > longest:
        raise ConfigurationError(
            f"{what} has {len(text)} characters; at most {longest} can be kept.", component=_shown(fact)
        )
    _encodable(text, what, _shown(fact))


def _encodable(text: str, what: str, component: str = "") -> bytes:
    if "\0" in text:
        raise ConfigurationError(f"{what} holds the character NUL.", component=component)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{what} holds half of a surrogate pair, which is no text.", component=component
        ) from error


def _key(key: str, what: str) -> None:
    if type(key) is not str or not key:
        raise ConfigurationError(f"A {what} has to be a text that is not empty, not {key!r}."[:300])
    size = len(key) if len(key) > LONGEST_KEY else len(_encodable(key, f"The {what} {ascii(key)[:100]}"))
    if size > LONGEST_KEY:
        raise ConfigurationError(f"The {what} {key[:80]!r}... has more than {LONGEST_KEY} bytes.")


def _other(value: object, name: str, fact: Ref | tuple[Type, Ref, Ref]) -> None:
    """A number with a fraction, a list, or nothing that can be kept."""
    if type(value) is float:
        if not math.isfinite(value):
            raise ConfigurationError(f"{name} is {value}, which is no number.", component=_shown(fact))
        return
    if isinstance(value, tuple | list):
        if len(value) > MOST_VALUES:
            raise ConfigurationError(
                f"{name} has {len(value)} members; at most {MOST_VALUES} can be kept.", component=_shown(fact)
            )
        kinds = set(map(type, value))
        if len(kinds) > 1 or not kinds <= _KINDS:
            raise ConfigurationError(
                f"The members of {name} have to be of one kind: text, integer, number or truth.", component=_shown(fact)
            )
        if str in kinds:
            for one in value:
                _text(one, name, fact)
        elif float in kinds:
            for one in value:
                if not math.isfinite(one):
                    raise ConfigurationError(f"{name} holds {one}, which is no number.", component=_shown(fact))
        elif int in kinds and not (min(value) >= _SMALLEST and max(value) <= _LARGEST):
            raise ConfigurationError(f"{name} holds an integer of more than 64 bits.", component=_shown(fact))
        return
    shown = type(value).__name__
    raise ConfigurationError(
        f"{name} is of the type {shown}; text, integers, numbers, truths and tuples of these can be kept.",
        component=_shown(fact),
    )

"""The file of a backup: its form, and whether what is in one may be put into a graph."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from blocks.errors import ConfigurationError
from models.graph import Label, NodeFact, Ref, RelationshipFact, Type
from tasks.graph import checked
from tasks.graph.checked import parsed
from tasks.graph.columns import Fact, Statement
from tasks.graph.temporal import Record

FORM = "lama graph backup 1"
LONGEST_LINE = 256 * 1024 * 1024
"""Bytes: more than one record of the most and longest properties takes, twice escaped."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself, once it was read to its end and its checksum held."""

    schema: int
    cut: int
    """Microseconds since 1970 UTC."""
    records: int
    sha256: str


def line_of(one: Statement) -> bytes:
    """One record as a line of the file."""
    record = one.record
    times = [record.valid_from, record.recorded_from, record.valid_to, record.recorded_to]
    return orjson.dumps([_named(one.fact), one.scope, record.value, *times]) + b"\n"


def _named(fact: Fact) -> list[Any]:
    if isinstance(fact, Ref):
        return [fact.label.value, fact.key]
    return [fact[0].value, fact[1].label.value, fact[1].key, fact[2].label.value, fact[2].key]


def statement_of(line: bytes) -> Statement:
    """The record of a line.

    Raises:
        ValueError: it is none.
    """
    named, scope, value, *times = orjson.loads(line)
    if not (isinstance(scope, str) and isinstance(value, str) and all(type(one) is int for one in times)):
        raise ValueError("it is no record")
    fact: Fact
    if len(named) == 2:
        fact = Ref(Label(named[0]), str(named[1]))
    else:
        type_, start_label, start, end_label, end = named
        fact = (Type(type_), Ref(Label(start_label), str(start)), Ref(Label(end_label), str(end)))
    valid_from, recorded_from, valid_to, recorded_to = times
    return Statement(fact, scope, Record(value, valid_from, recorded_from, valid_to, recorded_to))


def verify(file: Path) -> Contents:
    """What `file` says of itself, after all of it was read.

    Raises:
        ConfigurationError: it is no backup, or not as it was written.
    """
    try:
        return _contents(file)
    except OSError as error:
        what = error.strerror or str(error)
        raise ConfigurationError(f"it cannot be read: {what}.", component=str(file)) from error
    except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error) as error:
        raise ConfigurationError(
            f"it cannot be restored: {str(error)[:200]}.", component=str(file), remedy="Take another backup."
        ) from error


def _contents(file: Path) -> Contents:
    digest, records = hashlib.sha256(), 0
    lines = lines_of(file)
    head = orjson.loads(next(lines, b"{}"))
    if head.get("form") != FORM:
        raise ValueError("it is no backup of a graph")
    digest.update(_line(head))
    for line in lines:
        if line.startswith(b"["):
            _checked(statement_of(line))
            records += 1
        else:
            entry = orjson.loads(line)
            if "sha256" in entry:
                break
            checked.checked_scope(entry["scope"])
            checked.checked_mark(entry["mark"])
        digest.update(line)
    else:
        raise ValueError("its end is missing")
    if next(lines, None) is not None:
        raise ValueError("it goes on after its end")
    if entry["sha256"] != digest.hexdigest() or entry["records"] != records:
        raise ValueError("its checksum does not hold: it was changed")
    return Contents(int(head["schema"]), int(head["cut"]), records, digest.hexdigest())


def _line(entry: dict[str, Any]) -> bytes:
    return orjson.dumps(entry) + b"\n"


def lines_of(file: Path) -> Iterator[bytes]:
    """Its lines, each whole.

    Raises:
        ValueError: one is cut off, or longer than any can be.
    """
    with gzip.open(file, "rb") as lines:
        while line := lines.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise ValueError("a line is longer than any record, or cut off")
            yield line


def _checked(one: Statement) -> None:
    """Refuse what the store itself would not have taken: a backup may come from anywhere."""
    record, properties = one.record, parsed(one.record.value)
    if record.valid_from >= record.valid_to or record.recorded_from >= record.recorded_to:
        raise ValueError("a record ends before it begins")
    if isinstance(one.fact, Ref):
        checked.node(NodeFact(one.fact, properties), checked.checked_scope(one.scope), 0)
    else:
        checked.relationship(RelationshipFact(*one.fact, properties), checked.checked_scope(one.scope), 0)

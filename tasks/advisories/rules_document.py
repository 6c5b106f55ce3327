"""Advisories of one's own, as TOML has them: `[[advisories]]`. Imports pydantic: `custom` loads it late."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from models.report import Severity, Value
from tasks.advisories.package import PYPI
from tasks.advisories.versions import Ordering, ordering

Events = tuple[tuple[str, str], ...]
"""Turns of a range, as OSV has them: `introduced`, then `fixed` or `last_affected`."""

_COMPARATOR = re.compile(r"(>=|<=|==|[<>=])?([^<>=!~^|]+)")
_SPACED = re.compile(r"([<>=]) +")
_TURNS = {">=": "introduced", "<": "fixed", "<=": "last_affected"}


class Rule(Value):
    """One advisory."""

    id: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9._-]{2,99}$", description="Its name in findings, such as `ACME-2026-1`."
    )
    package: str = Field(min_length=1, max_length=300, description="The package that it is about.")
    ecosystem: str = Field(default=PYPI, min_length=1, description="Where that is from, by OSV's names.")
    affected: tuple[str, ...] = Field(
        default=(),
        description="Ranges of affected versions: `>=1,<2`, `<=1.4`, `==1.5`, `*` for all. One text or a list.",
    )
    versions: tuple[str, ...] = Field(default=(), description="Affected versions, one by one.")
    severity: Severity = Field(default=Severity.unknown, description="How much it matters.")
    title: str = Field(min_length=1, max_length=200, description="One sentence that says what is wrong.")
    remedy: str = Field(default="", max_length=200, description="What to do, where it is not just to upgrade.")
    aliases: tuple[str, ...] = Field(default=(), description="Other names, such as a CVE.")
    url: str = Field(default="", pattern=r"^(https?://\S+)?$", description="A page about it.")

    @field_validator("affected", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not self.affected and not self.versions:
            raise ValueError("say which versions: `affected` with ranges, or `versions`")
        order = self.order()
        for version in self.versions:
            _known(order, version, self.ecosystem)
        for text in self.affected:
            self._ranges(text)
        return self

    def order(self) -> Ordering:
        """The order of its ecosystem's versions."""
        order = ordering(self.ecosystem)
        if order is None:
            raise ValueError(f"the order of versions of {self.ecosystem!r} is not known")
        return order

    def ranges(self) -> tuple[Events, ...]:
        """Its ranges."""
        return tuple(events for text in self.affected for events in self._ranges(text))

    def _ranges(self, text: str) -> list[Events]:
        return [_events(part, self.order(), self.ecosystem) for part in text.split("||")]


class Rules(Value):
    """The whole file."""

    advisories: tuple[Rule, ...] = Field(default=(), description="`[[advisories]]`.")

    @model_validator(mode="after")
    def _ids_identify(self) -> Self:
        ids = [rule.id for rule in self.advisories]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"two advisories are called {twice[0]!r}; ids identify them")
        return self


def _events(text: str, order: Ordering, ecosystem: str) -> Events:
    turns: dict[str, str] = {}
    for part in re.split(r"[,\s]+", _SPACED.sub(r"\1", text.strip())):
        if part == "*":
            turns.setdefault("introduced", "0")
            continue
        found = _COMPARATOR.fullmatch(part)
        if found is None:
            raise ValueError(f"{text.strip()!r} is no range; write >=, <, <=, == and versions, commas between them")
        sign, version = found[1] or "==", found[2]
        _known(order, version, ecosystem)
        if sign == ">":
            raise ValueError(f"{text.strip()!r}: name the first version that is affected, with >=")
        told = {"introduced": version, "last_affected": version} if sign in {"=", "=="} else {_TURNS[sign]: version}
        if told.keys() & turns.keys() or len({"fixed", "last_affected"} & {*told, *turns}) > 1:
            raise ValueError(f"{text.strip()!r} has more than one beginning or end; make it a list of ranges")
        turns |= told
    turns.setdefault("introduced", "0")
    begin, end = turns["introduced"], turns.get("fixed") or turns.get("last_affected")
    first, last = order.parse(begin), order.parse(end or "")
    if begin != "0" and first is not None and last is not None and first > last:
        raise ValueError(f"{text.strip()!r} ends before it begins")
    return tuple(sorted(turns.items(), key=lambda turn: turn[0] != "introduced"))


def _known(order: Ordering, version: str, ecosystem: str) -> None:
    if order.parse(version) is None:
        raise ValueError(f"{version!r} is no version of {ecosystem}")

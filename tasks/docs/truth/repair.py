"""Repairs of documents that are sure: a name that moved to one place, a link whose file lies in one other place.

A repair is only a repair when the page, read again, is found to be true where it was not, and no worse elsewhere.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.docs.truth.drift import drift_of
from tasks.docs.truth.judge import Material, dead_links, drifts
from tasks.docs.truth.links import Links
from tasks.docs.truth.page import Page, read_page
from tasks.docs.truth.spoken import speak
from tasks.proposals.change import Change

_NEAR = 12
"""Lines below a paragraph's first in which a reference of it may stand."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A text that is to be another."""

    file: str
    line: int
    old: str
    new: str
    is_link: bool

    @property
    def sentence(self) -> str:
        """What it does, in words."""
        return f"{self.file}:{self.line}: `{self.old}` becomes `{self.new}`"


def repairs_of(material: Material) -> tuple[Repair, ...]:
    """Every repair that is sure, in the order of the pages."""
    found = [
        Repair(page.file, drift.line, *drift.repair, is_link=False)
        for page, drift in drifts(material)
        if drift.repair is not None
    ]
    found += [
        Repair(page.file, dead.line, dead.target, dead.repair, is_link=True)
        for page, dead in dead_links(material)
        if dead.repair is not None
    ]
    return tuple(dict.fromkeys(found))


def changes_of(material: Material) -> tuple[tuple[Change, ...], tuple[Repair, ...]]:
    """The changes of files that make the repairs, and the repairs that are in them."""
    changes: list[Change] = []
    made: list[Repair] = []
    wanted: dict[str, list[Repair]] = {}
    for one in repairs_of(material):
        wanted.setdefault(one.file, []).append(one)
    for file, repairs in sorted(wanted.items()):
        text = material.documents.texts[file]
        before = _problems(material, material.pages[file])
        done: list[Repair] = []
        for one in repairs:
            changed = _repaired(text, one)
            if changed is None:
                continue
            after = _problems(material, read_page(file, changed))
            if after < before:  # less of everything that was wrong, and nothing new
                text, before = changed, after
                done.append(one)
        if done:
            bom = material.checkout.path.joinpath(file).read_bytes().startswith(b"\xef\xbb\xbf")
            marks = "\ufeff" if bom else ""
            old = f"{marks}{material.documents.texts[file]}".encode()
            changes.append(Change(file, old, f"{marks}{text}".encode()))
            made += done
    return tuple(changes), tuple(made)


def _repaired(text: str, one: Repair) -> str | None:
    """`text` with one repair made, at its line or shortly below; None where it cannot be found for sure."""
    lines = text.splitlines(keepends=True)
    escaped = re.escape(one.old)
    if one.is_link:
        pattern = re.compile(rf"(\]\(\s*<?|\]:\s*<?){escaped}(?=[\s)>\"']|$)")
    else:
        pattern = re.compile(rf"((?<![\w.])){escaped}(?![\w]|\.\w)")
    for number in range(one.line - 1, min(one.line - 1 + _NEAR, len(lines))):
        if pattern.search(lines[number]):
            lines[number] = pattern.sub(lambda found: f"{found[1]}{one.new}", lines[number], count=1)
            return "".join(lines)
    return None


def _problems(material: Material, page: Page) -> Counter[str]:
    """What is wrong with a page, each with how often. Sections are taken as they were accepted, by their keys."""
    found: Counter[str] = Counter(_wrong(material, page))
    return found


def _wrong(material: Material, page: Page) -> Iterator[str]:
    accepted = material.baseline.pages.get(page.file, {})
    for spoken in speak(page, material.resolver):
        known = accepted.get(spoken.section.key)
        if known is not None:  # its text is being changed: that it was looked at is not to hide what is wrong with it
            known = dataclasses.replace(known, text=spoken.section.hash)
        for drift in drift_of(page.file, spoken, known, material.resolver, material.literals):
            if drift.kind == "name":
                yield from (f"name {drift.subject}" for named in spoken.names if named.name == drift.subject)
            else:
                yield f"{drift.kind} {drift.subject}"
    links = Links(material.checkout.path, {**material.pages, page.file: page}, material.known, material.resolver)
    for dead in links.dead(page):
        count = sum(one.target == dead.target for section in page.sections for one in section.links)
        yield from [f"link {dead.target}"] * count

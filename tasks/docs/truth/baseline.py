"""What pages spoke of when somebody last said that they are true: the file that drift is measured against.

JSON, sorted, one symbol a line, so that a review shows what was accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blocks.errors import LamaError
from models.code import Kind
from tasks.docs.truth.page import Page
from tasks.docs.truth.resolve import HASH, Answer, Resolver
from tasks.docs.truth.spoken import speak

FILE = "docs/.truth.json"
"""Where it lies in a checkout."""
LARGEST = 50_000_000
VERSION = 1


class BaselineError(LamaError):
    """A baseline that cannot be read."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A symbol as it was when its section was accepted."""

    path: str
    interface: str
    source: str
    signature: str


@dataclass(frozen=True, slots=True)
class AcceptedSection:
    """A section as it was accepted."""

    text: str
    """Hash of its text."""
    symbols: Mapping[str, Accepted] = field(default_factory=dict)
    """By the name that the text spells."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Pages by file, sections by key."""

    pages: Mapping[str, Mapping[str, AcceptedSection]] = field(default_factory=dict)

    @classmethod
    def read(cls, content: bytes) -> Baseline:
        """Read what `written` wrote.

        Raises:
            BaselineError: it is something else.
        """
        try:
            found = json.loads(content)
            if found["version"] != VERSION:
                raise BaselineError(
                    f"is of version {found['version']!r}, not {VERSION}.", component=FILE, remedy="Accept anew."
                )
            return cls({file: _sections(sections) for file, sections in found["pages"].items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BaselineError(
                f"cannot be read ({type(error).__name__}).",
                component=FILE,
                remedy="Take it back from git, or write it anew with `lama docs accept`.",
            ) from error

    @property
    def written(self) -> bytes:
        """The file; the same for the same content."""
        lines = ["{", f' "version": {VERSION},', ' "pages": {']
        pages = sorted((file, sections) for file, sections in self.pages.items() if sections)
        for number, (file, sections) in enumerate(pages):
            lines.append(f"  {_json(file)}: {{")
            for place, (key, section) in enumerate(sorted(sections.items())):
                lines.append(f'   {_json(key)}: {{"text": {_json(section.text)}, "symbols": {{')
                symbols = sorted(section.symbols.items())
                for i, (name, one) in enumerate(symbols):
                    comma = "," if i + 1 < len(symbols) else ""
                    lines.append(f"    {_json(name)}: {_json(_symbol(name, one))}{comma}")
                lines.append("   }}" + ("," if place + 1 < len(sections) else ""))
            lines.append("  }" + ("," if number + 1 < len(pages) else ""))
        return "\n".join([*lines, " }", "}"]).encode() + b"\n"


def accept(pages: Iterable[Page], resolver: Resolver, before: Baseline | None = None) -> Baseline:
    """The baseline that says of `pages` that they are true now; other pages of `before` stay as they were."""
    found = dict(before.pages) if before is not None else {}
    for page in pages:
        if page.history:
            found.pop(page.file, None)
            continue
        found[page.file] = sections_of(page, resolver)
    return Baseline(found)


def with_unread(found: Baseline, before: Baseline, pages: Iterable[Page], modules: Collection[str]) -> Baseline:
    """`found`, with what `before` had of `pages` about symbols of `modules` (dotted), which could not be read."""
    whole = {file: dict(sections) for file, sections in found.pages.items()}
    for page in pages:
        for section in page.sections:
            old = before.pages.get(page.file, {}).get(section.key)
            if old is None or page.history or section.past:
                continue
            kept = {name: one for name, one in old.symbols.items() if _defined_in(one.path, modules)}
            if kept:
                sections = whole.setdefault(page.file, {})
                now = sections[section.key].symbols if section.key in sections else {}
                sections[section.key] = AcceptedSection(section.hash, kept | dict(now))
    return Baseline(whole)


def _defined_in(path: str, modules: Collection[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:length]) in modules for length in range(1, len(parts) + 1))


def sections_of(page: Page, resolver: Resolver) -> dict[str, AcceptedSection]:
    """The sections of `page` that speak of something of the code base, as they are now."""
    found: dict[str, AcceptedSection] = {}
    for spoken in speak(page, resolver):
        names = {one.name: one.full for one in spoken.names}
        names |= {shown.name: names.get(shown.name, shown.name) for shown in spoken.shown}
        names |= {call.path: call.path for call, _ in spoken.calls}
        symbols = {}
        for name, full in names.items():
            accepted = _accepted(full, resolver)
            if accepted is not None:
                symbols[name] = accepted
        if symbols and not spoken.section.past:
            found[spoken.section.key] = AcceptedSection(spoken.section.hash, symbols)
    return found


def _accepted(full: str, resolver: Resolver) -> Accepted | None:
    verdict = resolver.resolve(full)
    if verdict.answer is not Answer.defined:
        return None
    known = resolver.codebase.names.get(verdict.path)
    if known is None or known.kind is Kind.module:
        return Accepted(verdict.path, "", "", "")
    signature = resolver.signature(verdict.path)
    text = signature.text if signature is not None else ""
    return Accepted(verdict.path, known.interface[:HASH], known.source[:HASH], text)


def _sections(found: Any) -> dict[str, AcceptedSection]:
    sections = {}
    for key, section in found.items():
        symbols = {name: _of_json(name, one) for name, one in section["symbols"].items()}
        sections[str(key)] = AcceptedSection(str(section["text"]), symbols)
    return sections


def _symbol(name: str, one: Accepted) -> dict[str, str]:
    told = {"path": one.path, "interface": one.interface, "source": one.source, "signature": one.signature}
    return {key: value for key, value in told.items() if value and not (key == "path" and value == name)}


def _of_json(name: str, found: Any) -> Accepted:
    return Accepted(
        *(str(found.get(key, name if key == "path" else "")) for key in ("path", "interface", "source", "signature"))
    )


def _json(value: object) -> str:
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False)
    )

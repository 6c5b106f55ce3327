"""Rules that come with the scan: what each is about, and how hits become findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.report import Finding, Severity, Skip
from tasks.scan.contents import Reason, read_content, text_of
from tasks.scan.sources import is_test, shown

NO_TIME = "Not looked at: the others took all of the time; raise timeout_s of [scan]."


@dataclass(frozen=True, slots=True)
class BuiltInRule:
    """One rule. `docs/security-rules.md` has a row for each."""

    id: str
    what: str
    """What a hit means, as a sentence."""
    severity: Severity
    """Of a hit that gives none of its own."""
    why: str
    """What can come of it: the argument for its severity."""
    remedy: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A place where a rule hits."""

    rule: BuiltInRule
    line: int
    """From 1."""
    detail: str = ""
    """What a reader needs beyond the rule; never a secret."""
    severity: Severity | None = None
    """Where this place is better or worse than most."""


class UnreadableError(Exception):
    """A file has no text that could be looked at; the message says why."""


def read_text(root: Path, name: str) -> str:
    """The text of the file `name` below `root`; never through a link.

    Raises:
        UnreadableError: it cannot be read, is too large or is no text.
    """
    content = read_content(root / name)
    text = content if isinstance(content, Reason) else text_of(content)
    if text is None:
        raise UnreadableError("is no text.")
    if isinstance(text, Reason):
        raise UnreadableError(text.text)
    return text


def findings_of(kind: str, checkout: str, file: str, hits: Iterable[Hit]) -> tuple[Finding, ...]:
    """One finding for each rule that hits in `file`, as severe as the worst place."""
    places: dict[BuiltInRule, list[Hit]] = defaultdict(list)
    for hit in hits:
        places[hit.rule].append(hit)
    return tuple(
        _finding(kind, checkout, file, rule, places[rule]) for rule in sorted(places, key=lambda rule: rule.id)
    )


def _finding(kind: str, checkout: str, file: str, rule: BuiltInRule, hits: list[Hit]) -> Finding:
    severity = max((hit.severity or rule.severity for hit in hits), key=lambda severity: severity.rank)
    if is_test(file) and severity.rank > Severity.low.rank:
        severity = Severity.low  # examples and tests guard nothing, but they are copied
    lines = sorted({hit.line for hit in hits})
    details = [printable(hit.detail) for hit in sorted(hits, key=lambda hit: hit.line) if hit.detail]
    details = list(dict.fromkeys(details))
    more = f" And {len(details) - 5} more." if len(details) > 5 else ""
    file = shown(file)
    return Finding(
        key=f"security.{kind}:{checkout}/{file}/{rule.id}",
        severity=severity,
        component=checkout,
        title=f"{file}: {rule.what}",
        detail=f"Line {', '.join(map(str, lines[:10]))}; {rule.id}. {' '.join(details[:5])}{more} {rule.why}".replace(
            "  ", " "
        ),
        remedy=rule.remedy,
        evidence={"file": file, "lines": list(lines[:50]), "rule": rule.id},
    )


def printable(text: str) -> str:
    """`text` as reports can carry it: what is quoted from a file may hold anything."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def unseen(kind: str, checkout: str, file: str, reason: str) -> Skip:
    """That (a part of) `file` was not looked at; the finding that it hides are those of `kind` in it."""
    file = shown(file)
    return Skip(
        area="security",
        component=f"{checkout}/{file}",
        reason=reason,
        hides=(f"security.{kind}:{checkout}/{file}/",),
    )

"""Rules of your own, in TOML: a pattern, where it applies, and what a hit means."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from blocks.configuration import parse_document, read_document
from blocks.errors import ConfigurationError, UnavailableError
from models.report import Finding, Severity, Skip, Value
from tasks.engine import run_engine
from tasks.scan.looked import Looked
from tasks.scan.sources import Sources

_ENGINE = Path(__file__).with_name("rule_engine.py")


class Rule(Value):
    """One `[[rules]]` table."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="Its name in findings: letters, digits, hyphens.")
    title: str = Field(min_length=1, max_length=200, description="What a hit means, as a sentence.")
    severity: Severity = Field(default=Severity.medium, description="How much a hit matters.")
    pattern: str = Field(
        min_length=1, max_length=2000, description="Regular expression, searched in every line; `(?i)` ignores case."
    )
    paths: tuple[str, ...] = Field(
        default=("**",), min_length=1, description="Globs of files, relative to the checkout; `**` spans folders."
    )
    remedy: str = Field(default="", max_length=1000, description="What to do about a hit.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return pattern


class RuleBook(Value):
    """A file of rules."""

    rules: tuple[Rule, ...] = Field(default=(), description="`[[rules]]`: any number of them.")

    @model_validator(mode="after")
    def _ids_identify(self) -> RuleBook:
        ids = [rule.id for rule in self.rules]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"two rules are called {twice[0]!r}; ids identify them")
        return self


def load_rules(path: Path) -> RuleBook:
    """The rules in the file at `path`.

    Raises:
        ConfigurationError: it cannot be read or is not valid; the message names file, line and key.
    """
    path = path.expanduser()
    return parse_document(RuleBook, read_document(path), str(path))


def rules_or_skip(path: Path | None) -> tuple[RuleBook, tuple[Skip, ...]]:
    """The rules to apply; those that cannot be used are told by a skip instead."""
    if path is None:
        return RuleBook(), ()
    try:
        return load_rules(path), ()
    except ConfigurationError as error:
        return RuleBook(), (Skip(area="security", component=str(path), reason=str(error), hides=("security.rule:",)),)


async def apply_rules(book: RuleBook, sources: Sources, *, timeout_s: float) -> Looked:
    """What the rules find in the files of `sources`."""
    if not book.rules or not sources.files:
        return Looked()
    rules = [{"id": rule.id, "pattern": rule.pattern, "paths": rule.paths} for rule in book.rules]
    order = json.dumps({"root": str(sources.root), "files": sources.files, "rules": rules})
    try:
        command = [sys.executable, "-I", "-X", "utf8", str(_ENGINE)]
        outcome = await run_engine(command, timeout_s=timeout_s, stdin=order.encode("utf-8", "surrogatepass"))
    except UnavailableError as error:
        return Looked(skipped=(_skip(sources, "Rules", f"Rules were not applied: it {error.what}", ("",)),))
    if outcome.code != 0:
        reason = f"Rules were not applied: their program ended with code {outcome.code}."
        return Looked(skipped=(_skip(sources, "Rules", reason, ("",)),))
    return _judge(book, sources, json.loads(outcome.stdout))


def _judge(book: RuleBook, sources: Sources, result: dict[str, Any]) -> Looked:
    hits: dict[tuple[str, str], list[int]] = defaultdict(list)
    for hit in result["found"]:
        hits[hit["rule"], hit["file"]].append(int(hit["line"]))
    rules = {rule.id: rule for rule in book.rules}
    findings = tuple(
        Finding(
            key=f"security.rule:{sources.checkout}/{name}/{file}",
            severity=rules[name].severity,
            component=sources.checkout,
            title=f"{file}: {rules[name].title}",
            detail=f"Line {', '.join(map(str, lines[:10]))}; rule {name}.",
            remedy=rules[name].remedy,
            evidence={"file": file, "lines": list(lines[:50]), "rule": name},
        )
        for (name, file), lines in sorted(hits.items())
    )
    slow = [
        _skip(sources, f"rule {name}", f"Took too long ({result['slow'][name]}); simplify its pattern.", (f"{name}/",))
        for name in sorted(result["slow"])
    ]
    unread = [
        _skip(
            sources, one["file"], f"Rules were not applied to it: {one['reason']}", tuple(f"{name}/" for name in rules)
        )
        for one in result["failed"][:20]
    ]
    return Looked(findings, (*slow, *unread))


def _skip(sources: Sources, component: str, reason: str, parts: tuple[str, ...]) -> Skip:
    return Skip(
        area="security",
        component=f"{sources.checkout}: {component}",
        reason=reason,
        hides=tuple(f"security.rule:{sources.checkout}/{part}" for part in parts),
    )

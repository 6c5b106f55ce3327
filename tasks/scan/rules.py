"""Rules of your own, in TOML: a pattern, where it applies, and what a hit means."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from blocks.errors import ConfigurationError
from blocks.toml_document import parse_document, read_document
from models.report import Finding, Severity, Skip, Value
from tasks.result_cache import ResultCache, content_key
from tasks.scan.contents import LARGEST
from tasks.scan.incremental import Examined, Memory, examine, kind_of, run_program
from tasks.scan.looked import Looked
from tasks.scan.sources import Sources, shown

_HERE = Path(__file__).parent
_ENGINE = _HERE / "rule_engine.py"
_PROGRAMS = (_HERE / "contents.py", _ENGINE, _HERE / "time_limit.py")


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


async def apply_rules(
    book: RuleBook, sources: Sources, *, digests: Mapping[str, bytes], cache: ResultCache, timeout_s: float
) -> Looked:
    """What the rules find in the files of `sources`.

    Args:
        book: the rules.
        sources: what to look at.
        digests: what the files' contents were, by name.
        cache: what was said about contents before.
        timeout_s: seconds for it.
    """
    globs = [[glob_pattern(glob) for glob in rule.paths] for rule in book.rules]
    applying = {
        name: [number for number, own in enumerate(globs) if any(glob.fullmatch(name) for glob in own)]
        for name in (sources.files if book.rules else ())
    }
    applying = {name: numbers for name, numbers in applying.items() if numbers}
    ended = {"rules": f"{len(book.rules)} rules"}
    if not applying:
        return Looked(engines=ended)
    patterns = [rule.pattern for rule in book.rules]

    def key(name: str, digest: bytes) -> bytes:  # positions, because results are by them
        texts = [f"{number} {patterns[number]}".encode("utf-8", "surrogatepass") for number in applying[name]]
        return content_key(digest, *texts)

    def ask(batch: list[str]) -> Awaitable[Mapping[str, Any]]:
        files = [[name, applying[name]] for name in sorted(batch)]
        order = {"root": str(sources.root), "files": files, "patterns": patterns}
        return run_program(_ENGINE, order, timeout_s=timeout_s)

    examined = await examine(
        list(applying),
        {name: key(name, digests[name]) for name in applying if name in digests},
        Memory(cache, kind_of("rules", "1", _PROGRAMS)),
        ask,
        keys_read=lambda name, told: (key(name, bytes.fromhex(told["digest"])),) if told["whole"] else (),
    )
    looked = judge_rules(book, sources, examined)
    if not examined.broken:
        return Looked(looked.findings, looked.skipped, looked.metrics, ended)
    reason = f"Rules were not applied: {examined.broken[0]}"
    skip = _skip(sources, "rules", reason, ("",))
    return Looked(looked.findings, (*looked.skipped, skip), looked.metrics, {"rules": f"did not run: {reason}"})


def judge_rules(book: RuleBook, sources: Sources, examined: Examined) -> Looked:
    """Findings and skips of where the rules hit: one finding for each rule in each file."""
    slow: dict[int, str] = {}
    for answer in examined.more:
        for number, name in answer["slow"].items():
            slow[int(number)] = min(name, slow.get(int(number), name))
    findings = [
        _finding(book.rules[number], sources.checkout, shown(file), lines)
        for file, result in sorted(examined.results.items())
        for number, lines in ((int(text), lines) for text, lines in result.get("hits", {}).items())
        # What a rule that was given up said of later files is not told either: what is remembered must not matter.
        if lines and (number not in slow or file < slow[number])
    ]
    skipped = [
        _skip(
            sources,
            f"rule {book.rules[number].id}",
            f"Took too long (at {shown(name)}); simplify its pattern.",
            (f"{book.rules[number].id}/",),
        )
        for number, name in sorted(slow.items())
    ]
    failed = dict(examined.failed)
    failed |= {name: f"is larger than {LARGEST} bytes." for name, one in examined.results.items() if "large" in one}
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in sorted(failed.items()):
        reasons[reason].append(shown(name))
    for reason, files in sorted(reasons.items()):
        hides = tuple(f"{rule.id}/{file}" for rule in book.rules for file in files)
        component = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if files[5:] else "")
        hidden = hides if len(hides) <= 200 else ("",)
        skipped.append(_skip(sources, component, f"Rules were not applied to it: {reason}", hidden))
    return Looked(tuple(findings), tuple(skipped))


def _finding(rule: Rule, checkout: str, file: str, lines: list[int]) -> Finding:
    return Finding(
        key=f"security.rule:{checkout}/{rule.id}/{file}",
        severity=rule.severity,
        component=checkout,
        title=f"{file}: {rule.title}",
        detail=f"Line {', '.join(map(str, lines[:10]))}; rule {rule.id}.",
        remedy=rule.remedy,
        evidence={"file": file, "lines": list(lines[:50]), "rule": rule.id},
    )


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` within one folder, `**` over any number of them."""
    text = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", glob):
        text += {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}.get(part, re.escape(part))
    return re.compile(text, re.DOTALL)


def _skip(sources: Sources, component: str, reason: str, parts: tuple[str, ...]) -> Skip:
    return Skip(
        area="security",
        component=f"{sources.checkout}: {component}",
        reason=reason,
        hides=tuple(f"security.rule:{sources.checkout}/{part}" for part in parts),
    )

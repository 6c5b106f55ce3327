"""What of a page is no longer true of the code: names that are gone, calls that do not fit, signatures that changed.

Pure. A finding needs a proof in the text itself: that a signature changed under a section is told only where the
section shows, names or relies on the part that changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from models.code import Kind
from tasks.docs.truth.baseline import Accepted, AcceptedSection
from tasks.docs.truth.code import misfits, parameters_for
from tasks.docs.truth.page import Section
from tasks.docs.truth.resolve import Answer, Resolver
from tasks.docs.truth.signature import (
    PLAIN,
    Change,
    Signature,
    What,
    changes,
    normal_type,
)
from tasks.docs.truth.spoken import Literals, Shown, Spoken

_RETURNS = re.compile(r"\b(?:return\w*|gives?|yields?|results?|answers?|hands? back|produces?)\b", re.IGNORECASE)
_DERIVES = re.compile(r"\b(?:subclass\w*|inherits?|derive\w*|extends?|base class|is an?)\b", re.IGNORECASE)
_DEFAULTS = re.compile(
    r"\b(?:defaults?|by default|unless|omitted|left out|not given|otherwise|without it|if not)\b", re.IGNORECASE
)
_OPTIONAL = re.compile(r"\b(?:optional\w*|may be left out|can be (?:omitted|left out)|defaults?)\b", re.IGNORECASE)
_BY_PLACE = frozenset({PLAIN, "positional-only"})
_WORDS = {"true": "True", "false": "False", "none": "None", "on": "True", "off": "False"}


@dataclass(frozen=True, slots=True)
class Drift:
    """Something of a page that is not true."""

    kind: str
    """`name`, `example` or `signature`."""
    file: str
    line: int
    subject: str
    """What identifies it within its page."""
    title: str
    remedy: str
    evidence: Mapping[str, object] = field(default_factory=dict)
    repair: tuple[str, str] | None = None
    """Text on the line, and what it is to be, where that is sure."""


def drift_of(
    file: str, spoken: Spoken, known: AcceptedSection | None, resolver: Resolver, literals: Literals
) -> Iterator[Drift]:
    """What of one section is no longer true; `known` is how it was accepted, if it was."""
    same = known if known is not None and known.text == spoken.section.hash else None
    gone: set[str] = set()
    for drift in (
        *_gone_names(file, spoken, known, resolver, literals),
        *(_forgotten(file, spoken, same, resolver, literals) if same is not None else ()),
    ):
        if drift.subject not in gone:
            gone.add(drift.subject)
            yield drift
    told: set[tuple[str, str]] = set()
    for drift, path, part in (
        *_calls(file, spoken, resolver),
        *_shown_calls(file, spoken, resolver),
        *(_changed(file, spoken, same, resolver) if same is not None else ()),
    ):
        if (path, part) not in told:
            told.add((path, part))
            yield drift


def _gone_names(
    file: str, spoken: Spoken, known: AcceptedSection | None, resolver: Resolver, literals: Literals
) -> Iterator[Drift]:
    """Names that say by themselves what they stand for, and are not there."""
    for named in spoken.names:
        verdict = resolver.resolve(named.full)
        if verdict.answer is Answer.gone and named.sure and (named.in_code or not literals.has(named.name)):
            yield _gone(file, named.name, named.line, verdict.path, known, resolver)


def _forgotten(
    file: str, spoken: Spoken, known: AcceptedSection, resolver: Resolver, literals: Literals
) -> Iterator[Drift]:
    """Names that stood for something when the section was accepted, and that nothing has any more."""
    for name, accepted in known.symbols.items():
        if resolver.resolve(accepted.path).answer is not Answer.gone:
            continue
        current = resolver.resolve(name)
        if current.answer is not Answer.gone and resolver.is_ours(name):
            continue
        if resolver.is_any(accepted.path.rpartition(".")[2]) or literals.has(name):
            continue  # it moved, and the text does not say from where
        yield _gone(file, name, _line_of(spoken.section, name), current.path, known, resolver)


def _gone(file: str, name: str, line: int, parent: str, known: AcceptedSection | None, resolver: Resolver) -> Drift:
    accepted = known.symbols.get(name) if known is not None else None
    moved = [p for p in resolver.same_source(accepted.source) if accepted is not None] if accepted is not None else []
    candidates = moved or list(resolver.candidates(name))
    similar = resolver.similar(name) if not candidates else ()
    sure = candidates[0] if len(candidates) == 1 and (moved or _is_telling(name, candidates[0], resolver)) else None
    meant = (*candidates[:3], *similar[:3])
    evidence: dict[str, object] = {"exists": parent}
    if meant:
        evidence["did_you_mean"] = list(meant)
    if accepted is not None and accepted.signature:
        evidence["was"] = f"{name}{accepted.signature}"
    hint = f" Did you mean {' or '.join(f'`{one}`' for one in meant)}?" if meant else ""
    repair = (name, sure) if sure is not None and resolver.is_ours(name) else None
    return Drift(
        "name", file, line, name, f"names `{name}`, which the code does not define",
        f"Correct the document, or bring back what it names.{hint}", evidence, repair,
    )  # fmt: skip


def _is_telling(name: str, candidate: str, resolver: Resolver) -> bool:
    """Whether the last part of a name says enough that the one other place with it is where it went."""
    last = name.rpartition(".")[2]
    known = resolver.codebase.names[candidate]
    if known.kind is Kind.class_:
        return len(last) > 3 and last[:1].isupper()
    in_module = resolver.codebase.names[candidate.rpartition(".")[0]].kind is Kind.module
    return known.kind is Kind.function and in_module and len(last) > 7 and "_" in last


def _calls(file: str, spoken: Spoken, resolver: Resolver) -> Iterator[tuple[Drift, str, str]]:
    for call, start in spoken.calls:
        parameters = parameters_for(call, resolver)
        if parameters is None:
            continue
        for misfit in misfits(call.node, parameters, arity=True):
            line = start + call.line - 1
            drift = Drift(
                "example", file, line, f"{call.name}.{misfit.name}",
                f"calls `{call.name}` in a way that it does not take: {misfit.sentence}",
                "Correct the example.", {"signature": Signature(parameters).shown(call.path)},
            )  # fmt: skip
            yield drift, call.path, misfit.name


def _shown_calls(file: str, spoken: Spoken, resolver: Resolver) -> Iterator[tuple[Drift, str, str]]:
    full = {named.name: named.full for named in spoken.names}
    for shown in spoken.shown:
        path = full.get(shown.name)
        signature = _signature(path, resolver) if path is not None else None
        if path is None or signature is None or not _is_callable(path, resolver):
            continue
        for misfit in misfits(shown.node, signature.parameters, arity=False):
            if misfit.kind == "keyword":
                drift = Drift(
                    "example", file, shown.line, f"{shown.name}.{misfit.name}",
                    f"shows `{shown.name}` with `{misfit.name}`, which it does not take",
                    "Correct the document.", {"signature": signature.shown(path)},
                )  # fmt: skip
                yield drift, resolver.resolve(path).path, misfit.name


def _signature(path: str, resolver: Resolver) -> Signature | None:
    verdict = resolver.resolve(path)
    if verdict.answer is not Answer.defined:
        return None
    return resolver.signature(verdict.path)


def _is_callable(path: str, resolver: Resolver) -> bool:
    """Whether what a call of `path` takes is certain."""
    from tasks.docs.truth.resolve import is_plain  # noqa: PLC0415

    symbol = resolver.symbol(resolver.resolve(path).path)
    if symbol is None:
        return False
    if symbol.kind is Kind.class_:
        return resolver.constructor(symbol.path) is not None
    return symbol.kind is Kind.function and is_plain(symbol) and not {"overload", "property"} & set(symbol.labels)


def _changed(file: str, spoken: Spoken, known: AcceptedSection, resolver: Resolver) -> Iterator[tuple[Drift, str, str]]:
    for name, accepted in known.symbols.items():
        now = _now(name, accepted, resolver)
        if now is None:
            continue
        path, signature = now
        old = Signature.of_text(accepted.signature)
        if old is None or accepted.signature == signature.text:
            continue
        for change in changes(old, signature):
            proof = _Proof(spoken, name, accepted, old, change, _others(known, name, change)).find()
            if proof is None:
                continue
            line, quoted = proof
            drift = Drift(
                "signature", file, line, f"{name}.{change.name or change.what.value}",
                f"speaks of `{name}` as it was: {change.told(name.rpartition('.')[2])}",
                "Bring the text up to date, or accept it as it is with `lama docs accept`.",
                {"old": old.shown(name), "new": signature.shown(path), "quoted": quoted[:200]},
            )  # fmt: skip
            yield drift, path, change.name or change.what.value


def _now(name: str, accepted: Accepted, resolver: Resolver) -> tuple[str, Signature] | None:
    for candidate in (accepted.path, name):
        verdict = resolver.resolve(candidate) if resolver.is_ours(candidate) else None
        if verdict is not None and verdict.answer is Answer.defined:
            signature = resolver.signature(verdict.path)
            return (verdict.path, signature) if signature is not None else None
    return None


def _others(known: AcceptedSection, name: str, change: Change) -> bool:
    """Whether another symbol of the section has a parameter of the name that changed: then a bare mention is open."""
    for other, accepted in known.symbols.items():
        signature = Signature.of_text(accepted.signature) if other != name else None
        has_it = signature is not None and any(one.name == change.name for one in signature.parameters)
        if has_it and accepted.path != known.symbols[name].path:
            return True
    return False


@dataclass
class _Proof:
    """Looks for what in a section shows that it relies on the old signature."""

    spoken: Spoken
    name: str
    accepted: Accepted
    old: Signature
    change: Change
    shared: bool

    def find(self) -> tuple[int, str] | None:
        """Line and quotation of the proof; None without one."""
        for shown in self.spoken.shown:
            if self._is_mine(shown.name) and self._by_signature(shown):
                return shown.line, ast.unparse(shown.node)
        for call, start in self.spoken.calls:
            if call.path == self.accepted.path and self._by_call(call.node):
                return start + call.line - 1, ast.unparse(call.node)
        return self._by_mention()

    def _is_mine(self, name: str) -> bool:
        return name == self.name or any(
            named.name == name and named.full in {self.accepted.path, self.name} for named in self.spoken.names
        )

    def _by_signature(self, shown: Shown) -> bool:
        """Whether a signature that is shown has the part that changed as it was."""
        what, name = self.change.what, self.change.name
        positional = [one.name for one in self.old.parameters if one.kind in _BY_PLACE]
        bare = [arg.id for arg in shown.node.args if isinstance(arg, ast.Name)]
        is_signature = len(bare) == len(shown.node.args) and bare == positional[: len(bare)]
        named = {one.arg: ast.unparse(one.value) for one in shown.node.keywords if one.arg}
        if what in {What.removed, What.renamed}:
            whole = bare == [one.name for one in self.old.parameters if one.kind in _BY_PLACE and one.default is None]
            return name in named or (is_signature and name in bare and (whole or len(bare) > 1 or bool(named)))
        if what is What.default:
            return is_signature and len(named) >= 1 and named.get(name) == self.change.old and self._all_defaults(named)
        if what is What.returns:
            return shown.returns is not None and normal_type(shown.returns) == normal_type(self.change.old)
        if what is What.order:
            return is_signature and len(bare) > max(int(self.change.old), 1)
        if what is What.required:
            return bool(self.change.old) and is_signature and named.get(name) == self.change.old
        return False

    def _all_defaults(self, named: Mapping[str, str]) -> bool:
        """Whether what is given by name are the defaults of the old signature: it is one, and not a call."""
        defaults = {one.name: one.default for one in self.old.parameters}
        return all(defaults.get(name) == value for name, value in named.items())

    def _by_call(self, node: ast.Call) -> bool:
        what, name = self.change.what, self.change.name
        if what in {What.removed, What.renamed}:
            return any(keyword.arg == name for keyword in node.keywords)
        if what is What.order:
            return len(node.args) > max(int(self.change.old), int(self.change.new), 1)
        return False

    def _by_mention(self) -> tuple[int, str] | None:  # noqa: PLR0911 - one way out for each kind
        """Line and sentence of a code span that relies on what changed."""
        what, name = self.change.what, self.change.name
        for span in self.spoken.section.spans:
            if span.past:
                continue
            text, _, given = (part.strip() for part in span.text.partition("="))
            near = not self.shared or self._speaks_of_me(span.sentence)
            if what is What.returns:
                if self._speaks_of_me(span.sentence) and self._tells_of_return(span.text, span.sentence):
                    return span.line, span.sentence
                continue
            if what is What.bases:
                base = self.change.old.partition("[")[0].rpartition(".")[2]
                named = span.text.rpartition(".")[2] == base and _DERIVES.search(span.sentence)
                if named and self._speaks_of_me(span.sentence):
                    return span.line, span.sentence
                continue
            if what is What.value:
                if span.text == self.change.old and self._speaks_of_me(span.sentence):
                    return span.line, span.sentence
                continue
            if text.lstrip("*") != name or not near:
                continue
            if what in {What.removed, What.renamed}:
                return span.line, span.sentence
            if what is What.default and self._tells_default(given, span.sentence):
                return span.line, span.sentence
            if what is What.required and self.change.old and _OPTIONAL.search(span.sentence):
                return span.line, span.sentence
        return None

    def _speaks_of_me(self, sentence: str) -> bool:
        last = self.name.rpartition(".")[2]
        code = re.findall(r"`([^`]+)`", sentence)
        if any(re.search(rf"(?<!\w){re.escape(last)}(?!\w)", one) for one in code):
            return True
        named = {one.name for one in self.spoken.names}
        alone = len({one.full for one in self.spoken.names}) == 1 and self.name in named
        heading = self.spoken.section.path[-1:] and re.search(rf"\b{re.escape(last)}\b", self.spoken.section.path[-1])
        return alone or bool(heading)

    def _tells_default(self, given: str, sentence: str) -> bool:
        old, new = self.change.old, self.change.new
        if given:
            return given == old and bool(_DEFAULTS.search(sentence))
        if not _DEFAULTS.search(sentence):
            return False
        words = set(re.findall(r"`([^`]+)`|(?<![\w`])(-?\d+(?:\.\d+)?|[A-Za-z]+)(?![\w`])", sentence))
        said = {_WORDS.get((code or word).lower(), code or word).strip("\"'") for code, word in words}
        return old.strip("\"'") in said and new.strip("\"'") not in said

    def _tells_of_return(self, text: str, sentence: str) -> bool:
        if not _RETURNS.search(sentence):
            return False
        told = normal_type(text)
        old, new = normal_type(self.change.old), normal_type(self.change.new)
        return told in {old, *old.split("|")} and told not in {new, *new.split("|")}


def _line_of(section: Section, name: str) -> int:
    for span in section.spans:
        if span.text.startswith((name, f"{name}(")):
            return span.line
    return section.line

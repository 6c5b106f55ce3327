"""Licences of what a checkout depends on, against those that its owner allows or denies."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from models.report import Finding, Severity, Skip
from tasks.advisories.package import ACTIONS, DOCKER, Package
from tasks.audit.component import Component, Origin, Scope
from tasks.scan.built_in import BuiltInRule, printable
from tasks.scan.licence_names import Licence, One, copyleft, each, family_of, grade, names_licences, read_licence
from tasks.scan.looked import Looked

DENIED = BuiltInRule(
    "LI001",
    "a dependency has a licence that is denied.",
    Severity.high,
    "Its terms are ones that the owner of this code has said not to accept.",
    "Replace it, ask its authors for another licence, or take the licence out of licences_denied of [scan].",
)
NOT_ALLOWED = BuiltInRule(
    "LI002",
    "a dependency has a licence that is not among those allowed.",
    Severity.medium,
    "Nobody has agreed to its terms yet.",
    "Read its terms; then add the licence to licences_allowed of [scan], or replace the dependency.",
)
UNKNOWN = BuiltInRule(
    "LI003",
    "the licence of a dependency is not known.",
    Severity.unknown,
    "What declares none may not be copied at all; what cannot be read was not compared with anything.",
    "Look it up where its source is; set it aside in [[suppressions]] with what you found.",
)
RULES = (DENIED, NOT_ALLOWED, UNKNOWN)

KIND = "licence"
_WITHOUT = frozenset({DOCKER, ACTIONS})
"""Ecosystems whose inventories never tell a licence."""
_SHOWN = 100


class _Verdict(IntEnum):
    fine = 0
    unknown = 1
    not_allowed = 2
    denied = 3


_RULE_OF = {_Verdict.denied: DENIED, _Verdict.not_allowed: NOT_ALLOWED, _Verdict.unknown: UNKNOWN}


def judge_licences(
    checkout: str, components: Iterable[Component], allowed: Sequence[str] = (), denied: Sequence[str] = ()
) -> Looked:
    """Findings about the licences of `components`, and figures of copyleft among them.

    Of a choice (`OR`) one licence must be acceptable, of licences that hold together (`AND`) each. A licence and its
    `-or-later` form count as one. An exception (`WITH`) only permits more, so what is allowed without it is allowed
    with it; what is denied stays so, unless `allowed` names it with the exception.

    Args:
        checkout: what findings call it.
        components: what it depends on. The same package may be there several times: the place that tells counts.
        allowed: SPDX identifiers or globs of them; empty: all that are not denied.
        denied: SPDX identifiers or globs of them. They win over `allowed`.
    """
    rules = _Rules(allowed, denied)
    findings: list[Finding] = []
    unknown: list[Package] = []
    figures: dict[str, int] = defaultdict(int)
    for package, held in sorted(_by_package(components).items()):
        texts = sorted({one.licence.strip() for one in held if one.licence.strip()})
        if not texts and package.family in _WITHOUT:
            continue
        figures["security_licences_total"] += 1
        licences = {text: read_licence(text) for text in texts}
        strongest = max((_copyleft(licence) for licence in licences.values()), default=-1)
        if strongest >= 0:
            figures[_FIGURES[strongest]] += 1
        verdict = max((rules.judge(licence) for licence in licences.values()), default=_Verdict.unknown)
        if verdict is _Verdict.unknown:
            figures["security_licences_unknown_total"] += 1
            if not allowed:
                unknown.append(package)
                continue
        if verdict is not _Verdict.fine:
            findings.append(_finding(checkout, package, held, licences, _RULE_OF[verdict], rules))
    if unknown:
        findings.append(_summary(checkout, unknown))
    names = ("security_licences_total", "security_licences_unknown_total", *_FIGURES)
    return Looked(
        tuple(findings),
        tuple(_misnamed(checkout, entry) for entry in denied if not names_licences(entry)),
        metrics={name: float(figures[name]) for name in names},
        engines={"licences": f"{figures['security_licences_total']} packages"},
    )


class _Rules:
    """What is allowed and what is denied."""

    def __init__(self, allowed: Sequence[str], denied: Sequence[str]) -> None:
        self._allowed = tuple(_pattern(name) for entry in allowed for name in names_licences(entry))
        self._denied = tuple(_pattern(name) for entry in denied for name in names_licences(entry))
        self._closed = bool(allowed)

    def judge(self, licence: Licence | None) -> _Verdict:
        return _Verdict.unknown if licence is None else _Verdict(grade(licence, self.of_one))

    def of_one(self, one: One) -> _Verdict:
        whole, base = _pattern(str(one)), _pattern(one.key)
        if _matches(self._denied, whole) or (
            _matches(self._denied, base) and not (one.exception and _matches(self._allowed, whole))
        ):
            return _Verdict.denied
        if self._closed and (_matches(self._allowed, whole) or _matches(self._allowed, base)):
            return _Verdict.fine
        if not one.known:
            return _Verdict.unknown
        return _Verdict.not_allowed if self._closed else _Verdict.fine


_FIGURES = (
    "security_licences_permissive_total",
    "security_licences_weak_copyleft_total",
    "security_licences_strong_copyleft_total",
)


def _copyleft(licence: Licence | None) -> int:
    if licence is None or not any(one.known for one in each(licence)):
        return -1
    return grade(licence, copyleft)


def _pattern(text: str) -> str:
    base, sign, exception = text.strip().lower().partition(" with ")
    return f"{family_of(base)}{sign}{exception}"


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _by_package(components: Iterable[Component]) -> dict[Package, list[Component]]:
    packages: dict[Package, list[Component]] = defaultdict(list)
    for component in components:
        if component.origin is not Origin.folder:  # what lies in the checkout has its owner's licence
            packages[component.package].append(component)
    return packages


def _finding(
    checkout: str,
    package: Package,
    held: Sequence[Component],
    licences: Mapping[str, Licence | None],
    rule: BuiltInRule,
    rules: _Rules,
) -> Finding:
    severity = rule.severity
    if rule is not UNKNOWN and all(one.scope in {Scope.dev, Scope.build} for one in held):
        # What only builds and tests is not handed on, and most terms are about that.
        severity = Severity.medium if rule is DENIED else Severity.low
    bad = [text for text, licence in licences.items() if rules.judge(licence) is not _Verdict.fine]
    shown = printable(bad[0])[:200] if bad else ""
    place = min(held, key=lambda one: (not one.licence, one.place.file)).place
    told = f"It declares `{shown}`." if shown else "It declares none."
    via = next((one.via for one in held if one.via), ())
    path = f" It comes in by {' > '.join(via[:10])}." if via else ""
    return Finding(
        key=f"security.{KIND}:{checkout}/{package.path}/{rule.id}",
        severity=severity,
        component=package.name,
        title=f"{package.name}: {rule.what}",
        detail=f"{told}{path} {rule.id}. {rule.why}",
        remedy=rule.remedy,
        evidence={
            "file": place.file,
            "lines": [place.line] if place.line else [],
            "rule": rule.id,
            "package": package.name,
            "ecosystem": package.ecosystem,
            "licence": shown,
        },
    )


def _misnamed(checkout: str, entry: str) -> Skip:
    return Skip(
        area="security",
        component=checkout,
        reason=f"licences_denied names `{printable(entry)[:100]}`, which is no SPDX licence: nothing was denied by it.",
        hides=(f"security.{KIND}:{checkout}/",),
    )


def _summary(checkout: str, packages: Sequence[Package]) -> Finding:
    names = [package.path for package in packages]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return Finding(
        key=f"security.{KIND}:{checkout}/{UNKNOWN.id}",
        severity=Severity.info,  # nobody has said what is allowed, so it could not break that
        component=checkout,
        title=f"Of {len(names)} dependencies no licence is known.",
        detail=f"{', '.join(names[:10])}{more}. {UNKNOWN.id}. {UNKNOWN.why}",
        remedy="Look into the environment in which they are installed, which tells most licences; look up the others.",
        evidence={"rule": UNKNOWN.id, "packages": list(names[:_SHOWN])},
    )

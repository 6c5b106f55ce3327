"""Findings that somebody has set aside in `lama.toml`: until a day, with a reason, and never without a trace. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from fnmatch import fnmatchcase
from typing import NamedTuple

from models.report import Finding, Severity, Skip
from models.risk import Suppressed, Suppression

LAMA_TOML = "lama.toml"
SOON = timedelta(days=14)
"""How long before its last day a suppression is told to end."""

_IDENTITIES = ("id", "names", "rule", "test", "test_id", "type", "ids")
"""Evidence that names what was found: ids and aliases of advisories, rules, tests and detectors."""
_RANGE = "dependencies.range:"
_GLOB = re.compile(r"[*?\[]")


class SetAside(NamedTuple):
    """Findings after what is set aside was taken out."""

    kept: tuple[Finding, ...]
    """The findings that remain, and what is to be said about the suppressions themselves."""
    suppressed: tuple[Suppressed, ...]


def suppress(
    findings: Sequence[Finding], suppressions: Sequence[Suppression], *, today: date, skipped: Iterable[Skip] = ()
) -> SetAside:
    """Take out of `findings` what `suppressions` set aside on `today`.

    An expired suppression sets nothing aside: its findings come back, and say so in their detail. One that fits no
    finding is told, unless what it is for may be among the `skipped`; and so is one that ends within `SOON`.
    """
    left_out = tuple(skipped)
    used: set[int] = set()
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    for finding in findings:
        fitting = [place for place, suppression in enumerate(suppressions) if fits(suppression, finding)]
        used.update(fitting)
        active = [suppressions[place] for place in fitting if today <= suppressions[place].expires]
        if active:
            longest = max(active, key=lambda suppression: suppression.expires)
            suppressed.append(Suppressed(finding=finding, reason=longest.reason, by=LAMA_TOML, expires=longest.expires))
        elif fitting:
            last = max((suppressions[place] for place in fitting), key=lambda suppression: suppression.expires)
            kept.append(_returned(finding, last))
        else:
            kept.append(finding)
    for place, suppression in enumerate(suppressions):
        if place not in used:
            if not any(_may_be_for(suppression, skip) for skip in left_out):
                kept.append(unused(suppression, today))
        elif today <= suppression.expires <= today + SOON:
            kept.append(ending(suppression, today))
    return SetAside(tuple(kept), tuple(suppressed))


def fits(suppression: Suppression, finding: Finding) -> bool:
    """Whether `suppression` is about `finding`, whatever the day."""
    if suppression.package is not None and not _is_package(finding, suppression.package):
        return False
    if suppression.target is not None and not is_target(finding, suppression.target):
        return False
    return _is_called(finding, suppression.id)


def is_target(finding: Finding, target: str) -> bool:
    """Whether `finding` is about `target` or something in it."""
    return finding.component == target or finding.key.partition(":")[2].startswith(f"{target}/")


def folded(name: str) -> str:
    """One spelling for names of packages that registries hold to be equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(finding: Finding) -> frozenset[str]:
    """Everything that the evidence of `finding` calls it, in lower case."""
    told: set[str] = set()
    for word in _IDENTITIES:
        value = finding.evidence.get(word)
        texts = value if isinstance(value, list) else [value]
        told.update(text.lower() for text in texts if isinstance(text, str) and text)
    return frozenset(told)


def _is_called(finding: Finding, id_: str) -> bool:
    if id_ == finding.key:
        return True
    kind, colon, _ = id_.partition(":")
    if colon and not _GLOB.search(kind):  # a glob of keys says what kind it is about: `*` alone would hide everything
        return fnmatchcase(finding.key, id_)
    # A loose requirement has many ids, and is set aside by none of them: each says something of other versions.
    return not finding.key.startswith(_RANGE) and id_.lower() in names_of(finding)


def _is_package(finding: Finding, package: str) -> bool:
    told = finding.evidence.get("package")
    if not isinstance(told, str):
        return False
    ecosystem = finding.evidence.get("ecosystem")
    family = str(ecosystem).partition(":")[0].lower().replace(" ", "-") if ecosystem else ""
    return folded(package) in {folded(told), folded(f"{family}/{told}")}


def _returned(finding: Finding, suppression: Suppression) -> Finding:
    said = f"It was set aside until {suppression.expires} ({suppression.reason.rstrip('.')}); that has expired."
    return finding.model_copy(update={"detail": f"{finding.detail} {said}".strip()})


def _may_be_for(suppression: Suppression, skip: Skip) -> bool:
    """Whether the finding that `suppression` is for may have gone unseen because of `skip`."""
    if ":" not in suppression.id:
        return True
    literal = _GLOB.split(suppression.id, maxsplit=1)[0]
    prefixes = skip.hides or (f"{skip.area}.",)
    return any(literal.startswith(prefix) or prefix.startswith(literal) for prefix in prefixes)


def unused(suppression: Suppression, today: date) -> Finding:
    """That `suppression` fits nothing."""
    expired = " It has expired as well." if suppression.expires < today else ""
    return Finding(
        key=f"risk.suppression_unused:{_identity(suppression)}",
        severity=Severity.info,
        component=LAMA_TOML,
        title=f"The suppression of {suppression.id} fits nothing.",
        detail=f"Its reason: {suppression.reason.rstrip('.')}.{expired}",
        remedy="Take it out of lama.toml, so that it cannot hide what comes later.",
        evidence={"suppression": suppression.id, "expires": suppression.expires.isoformat()},
    )


def ending(suppression: Suppression, today: date) -> Finding:
    """That `suppression` ends soon."""
    days = (suppression.expires - today).days
    left = "today is its last day" if days == 0 else f"{days} more {'day' if days == 1 else 'days'}"
    return Finding(
        key=f"risk.suppression_expiring:{_identity(suppression)}",
        severity=Severity.info,
        component=LAMA_TOML,
        title=f"The suppression of {suppression.id} ends on {suppression.expires} ({left}).",
        detail=f"Its reason: {suppression.reason.rstrip('.')}.",
        remedy="Mend what it sets aside, or look at it again and give it another day.",
        evidence={"suppression": suppression.id, "expires": suppression.expires.isoformat()},
    )


def _identity(suppression: Suppression) -> str:
    parts = (suppression.target, suppression.package, suppression.id)
    return "/".join(part for part in parts if part)

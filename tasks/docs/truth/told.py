"""Findings as a report tells them: with keys that can be stored, and not thousands of one kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from models.health_check import Checkout
from models.report import Finding

_MOST = 200
"""Findings of one kind in one checkout that are told one by one."""


def short_key(key: str) -> str:
    """`key`, its end replaced by a hash where it is too long to be stored and compared at ease."""
    if len(key) <= 300:
        return key
    return f"{key[:260]}~{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def bounded(findings: Iterable[Finding], checkout: Checkout) -> list[Finding]:
    """The findings, one a key, at most a few hundred of a kind; how many more there are is a finding, too."""
    kinds: dict[str, dict[str, Finding]] = {}
    for one in findings:
        kinds.setdefault(one.key.partition(":")[0], {}).setdefault(one.key, one)
    told: list[Finding] = []
    for kind, found in sorted(kinds.items()):
        every = list(found.values())
        told += every[:_MOST]
        if len(every) > _MOST:
            told.append(
                Finding(
                    key=f"{kind}:{checkout.name}/more",
                    severity=max((one.severity for one in every[_MOST:]), key=lambda severity: severity.rank),
                    component=checkout.name,
                    title=f"{len(every) - _MOST} more findings of this kind",
                    remedy="Mend those that are listed first; the rest is listed then.",
                )
            )
    return told

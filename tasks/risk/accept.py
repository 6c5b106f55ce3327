"""What could not be looked at and somebody has accepted in `lama.toml`: until a day, with a reason, and still told.

Only what lies in the nature of a thing can be accepted (`Skip.key`): packages of apt in a Dockerfile, a `setup.py`. A
source that did not answer cannot. An exit code that is the same every day is one that nobody reads. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import NamedTuple

from models.report import Finding, Severity, Skip
from models.risk import Suppression
from tasks.risk.suppress import LAMA_TOML, SOON, ending, unused

GAP = "gap."
"""What the ids of such suppressions begin with: `gap.apt:shop/*`."""


class Accepted(NamedTuple):
    """What could not be looked at, after what is accepted was taken out."""

    skipped: tuple[Skip, ...]
    """What remains, and makes the report incomplete."""
    findings: tuple[Finding, ...]
    """What is accepted, one remark each, and what is to be said about the suppressions themselves."""


def accept(skipped: Iterable[Skip], suppressions: Sequence[Suppression], *, today: date, whole: bool) -> Accepted:
    """Take out of `skipped` what `suppressions` accept on `today`.

    Args:
        skipped: what could not be looked at.
        suppressions: those of `lama.toml`; only those with an id that begins with `gap.` are about what was not seen.
        today: an expired one accepts nothing: what it was for comes back, and says so.
        whole: whether everything was looked at, so that one that fits nothing is told.
    """
    about = [suppression for suppression in suppressions if suppression.id.startswith(GAP)]
    kept: list[Skip] = []
    findings: list[Finding] = []
    used: set[int] = set()
    for skip in skipped:
        fitting = [place for place, suppression in enumerate(about) if _fits(suppression, skip)]
        used.update(fitting)
        last = max((about[place] for place in fitting), key=lambda one: one.expires, default=None)
        if last is None:
            kept.append(skip)
        elif today <= last.expires:
            findings.append(_remark(skip, last))
        else:
            said = f"It was accepted until {last.expires} ({last.reason.rstrip('.')}); that has expired."
            kept.append(skip.model_copy(update={"reason": f"{skip.reason} {said}"}))
    for place, suppression in enumerate(about):
        if place not in used and whole:
            findings.append(unused(suppression, today))
        elif place in used and today <= suppression.expires <= today + SOON:
            findings.append(ending(suppression, today))
    return Accepted(tuple(kept), tuple(findings))


def _fits(suppression: Suppression, skip: Skip) -> bool:
    if not skip.key or suppression.package is not None:
        return False
    kind, _, subject = suppression.id.partition(":")
    named, _, about = skip.key.partition(":")
    if (
        suppression.target is not None
        and about != suppression.target
        and not about.startswith(f"{suppression.target}/")
    ):
        return False
    return kind == named and fnmatchcase(about, subject)  # a glob says what kind it is about: `*` would hide everything


def _remark(skip: Skip, suppression: Suppression) -> Finding:
    return Finding(
        key=skip.key,
        severity=Severity.info,
        component=skip.component,
        title=f"It was not looked at, and {LAMA_TOML} accepts that until {suppression.expires}.",
        detail=f"{skip.reason} Accepted: {suppression.reason.rstrip('.')}.",
        evidence={"suppression": suppression.id, "expires": suppression.expires.isoformat()},
    )

"""What is set aside, by VEX documents and by `lama.toml`: one order for every capability that finds risks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from models.report import Finding, Skip
from models.risk import Suppression
from tasks.risk.accept import GAP
from tasks.risk.suppress import SetAside, suppress
from tasks.risk.vex import Statement, believe

_UNUSED = "risk.suppression_unused:"
_ABOUT_SUPPRESSIONS = "risk.suppression_"
_ADVISORY = re.compile(r"(?:CVE|GHSA|PYSEC|MAL|OSV|GO|RUSTSEC|DSA|DLA|USN|LAMA)-", re.IGNORECASE)
"""What ids of advisories begin with; others are those of rules."""


def set_aside(
    found: Sequence[Finding],
    suppressions: Sequence[Suppression],
    *,
    statements: Sequence[Statement] = (),
    skipped: Sequence[Skip] = (),
    today: date,
    area: str = "",
) -> SetAside:
    """What remains of `found`, and what is set aside by whom. What was not looked at is accepted by `accept`.

    With the `area` of a run that looked at everything (`dependencies`, `security`), suppressions for it that fit
    nothing are told as well; what is meant for another capability, or for what was not looked at, is none of its
    business.
    """
    believed = believe(found, statements)
    about = [suppression for suppression in suppressions if not suppression.id.startswith(GAP)]
    kept, suppressed = suppress(believed.kept, about, today=today, skipped=skipped)
    told = tuple(finding for finding in kept if _is_said(finding, area))
    return SetAside(told, (*believed.suppressed, *suppressed))


def _is_said(finding: Finding, area: str) -> bool:
    if not finding.key.startswith(_ABOUT_SUPPRESSIONS):
        return True
    if not area:
        return False
    return not finding.key.startswith(_UNUSED) or _area_of(str(finding.evidence.get("suppression", ""))) == area


def _area_of(id_: str) -> str:
    """The area of findings that a suppression with this id is for."""
    if ":" in id_:
        return id_.partition(".")[0]
    return "dependencies" if _ADVISORY.match(id_) else "security"

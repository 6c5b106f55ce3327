"""Groups findings by what explains them, so that a reader mends causes and not symptoms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from models.health_check import Cause
from models.report import Finding


def causes_of(findings: Sequence[Finding]) -> tuple[Cause, ...]:
    """Every finding in exactly one cause, the worst cause first."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        area, _, rest = finding.key.partition(".")
        kind = f"{area}.{rest.partition(':')[0]}"
        groups[(kind, finding.component)].append(finding)
    causes = [_cause(members) for members in groups.values()]
    return tuple(sorted(causes, key=lambda cause: (-cause.severity.rank, -len(cause.findings), cause.findings[0])))


def _cause(members: list[Finding]) -> Cause:
    members = sorted(members, key=lambda finding: (-finding.severity.rank, finding.key))
    worst = members[0]
    return Cause(
        title=worst.title,
        severity=worst.severity,
        findings=tuple(finding.key for finding in members),
        remedy=worst.remedy,
    )

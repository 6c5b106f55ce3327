"""What changed between two reports of one capability."""

from __future__ import annotations

from pydantic import Field

from models.report import Changes, Finding, Report, Value


class ReportDiff(Value):
    """The findings of two runs against each other, by key."""

    before: str | None = Field(description="Run id of the earlier report; None when there is none.")
    after: str = Field(description="Run id of the later report.")
    opened: tuple[Finding, ...] = Field(default=(), description="In the later report only.")
    closed: tuple[Finding, ...] = Field(default=(), description="Gone, and the later report looked.")
    persisting: tuple[Finding, ...] = Field(default=(), description="In both, as the later one says it.")
    unseen: tuple[Finding, ...] = Field(
        default=(), description="Gone, but only because the later report could not look: not closed."
    )

    @property
    def changed(self) -> bool:
        """Whether anything opened or closed."""
        return bool(self.opened or self.closed)


def diff(before: Report | None, after: Report) -> ReportDiff:
    """`after` against `before`; against nothing, every finding has just opened.

    What `before` itself could not look for, and carries along, was there before: it is neither new when it is seen
    again, nor forgotten when it is gone.
    """
    earlier = {finding.key: finding for finding in (*before.unseen, *before.findings)} if before else {}
    later = {finding.key: finding for finding in after.findings}
    gone = [finding for key, finding in earlier.items() if key not in later]
    hidden = {f.key for f in gone if any(skip.may_hide(f.key) for skip in after.skipped)}
    return ReportDiff(
        before=before.run_id if before else None,
        after=after.run_id,
        opened=tuple(finding for key, finding in later.items() if key not in earlier),
        closed=tuple(finding for finding in gone if finding.key not in hidden),
        persisting=tuple(finding for key, finding in later.items() if key in earlier),
        unseen=tuple(finding for finding in gone if finding.key in hidden),
    )


def changes_of(change: ReportDiff) -> Changes:
    """`change` by keys alone, as it is kept inside the report."""
    return Changes(
        since=change.before,
        opened=tuple(finding.key for finding in change.opened),
        closed=tuple(finding.key for finding in change.closed),
        persisting=tuple(finding.key for finding in change.persisting),
        unseen=tuple(finding.key for finding in change.unseen),
    )

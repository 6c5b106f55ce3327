"""What a Report promises, whatever a capability puts into it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.report import Finding, Report, Severity, Skip, Status, compose, unique_findings
from tasks.reports.diff import diff

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_KEYS = st.sampled_from([f"{area}.{kind}:{n}" for area in ("a", "b") for kind in ("x", "y") for n in range(3)])
_FINDINGS = st.lists(
    st.builds(Finding, key=_KEYS, severity=st.sampled_from(Severity), component=st.just("c"), title=st.text())
)
_SKIPS = st.lists(
    st.builds(
        Skip, area=st.sampled_from(["a", "b"]), component=st.text(), reason=st.text(),
        hides=st.sampled_from([(), ("a.x:",), ("b.",)]),
    )
)  # fmt: skip


def _report(findings: list[Finding], skipped: list[Skip], run_id: str = "r") -> Report:
    return compose(
        Report, capability="test", summary="", started_at=_NOW, finished_at=_NOW, run_id=run_id,
        findings=findings, skipped=skipped,
    )  # fmt: skip


@given(_FINDINGS, _SKIPS)
def test_a_report_is_never_ok_about_what_was_not_seen(findings: list[Finding], skipped: list[Skip]) -> None:
    report = _report(findings, skipped)
    assert (report.status is Status.incomplete) == bool(skipped)
    if any(finding.severity.rank >= Severity.high.rank for finding in findings):
        assert report.status in {Status.failing, Status.incomplete}


def test_a_report_that_claims_ok_beside_a_skip_is_refused() -> None:
    with pytest.raises(ValidationError, match="incomplete"):
        Report(
            capability="t", status=Status.ok, summary="", started_at=_NOW, finished_at=_NOW, run_id="r",
            skipped=(Skip(area="a", component="c", reason="down"),),
        )  # fmt: skip


@given(_FINDINGS)
def test_of_findings_with_one_key_the_most_severe_stays(findings: list[Finding]) -> None:
    kept = unique_findings(findings)
    assert {f.key for f in kept} == {f.key for f in findings}
    for finding in kept:
        assert finding.severity.rank == max(f.severity.rank for f in findings if f.key == finding.key)
    assert [f.severity.rank for f in kept] == sorted((f.severity.rank for f in kept), reverse=True)


@given(_FINDINGS, st.lists(st.tuples(_FINDINGS, _SKIPS), max_size=4))
def test_over_any_number_of_runs_what_opened_closes_once_and_before_it_opens_again(
    first: list[Finding], runs: list[tuple[list[Finding], list[Skip]]]
) -> None:
    report, standing = _report(first, []), {finding.key for finding in first}
    for findings, skipped in runs:
        after = _report(findings, skipped)
        change = diff(report, after)
        opened, closed = {f.key for f in change.opened}, {f.key for f in change.closed}
        assert not opened & standing, "open already"
        assert closed <= standing, "nothing closes that was not open"
        standing = (standing | opened) - closed
        report = after.model_copy(update={"unseen": change.unseen})
    assert standing == {finding.key for finding in (*report.findings, *report.unseen)}


@given(_FINDINGS, _FINDINGS, _SKIPS)
def test_a_diff_accounts_for_every_finding_once_and_closes_nothing_unseen(
    old: list[Finding], new: list[Finding], skipped: list[Skip]
) -> None:
    before, after = _report(old, [], "before"), _report(new, skipped, "after")
    change = diff(before, after)
    keys = [f.key for part in (change.opened, change.closed, change.persisting, change.unseen) for f in part]
    assert sorted(keys) == sorted({f.key for f in old} | {f.key for f in new})
    for finding in change.closed:
        assert not any(skip.may_hide(finding.key) for skip in skipped)


@given(_FINDINGS, _SKIPS)
def test_a_report_survives_its_json(findings: list[Finding], skipped: list[Skip]) -> None:
    report = _report(findings, skipped)
    assert Report.model_validate_json(report.model_dump_json()) == report

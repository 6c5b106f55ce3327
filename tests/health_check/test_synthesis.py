"""The synthesis: every finding is explained once, the worst comes first, and the words follow from the findings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.gemini import tokens
from models.health_check import HealthReport, ReportLevel
from models.report import Finding, Report, Severity, Skip, Status, compose, unique_findings
from tasks.health_check.synthesis.assemble import assemble, finish
from tasks.health_check.synthesis.brief import brief_of
from tasks.health_check.synthesis.causes import causes_of

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_KINDS = ("down", "hanging", "platform_off", "outdated", "mode", "name")
_FINDINGS = st.lists(
    st.builds(
        Finding,
        key=st.builds(
            "{}.{}:{}".format,
            st.sampled_from(["architecture", "security", "dependencies"]),
            st.sampled_from(_KINDS),
            st.integers(0, 9),
        ),
        severity=st.sampled_from(Severity),
        component=st.sampled_from(["crm", "Prefect", "host", "lama"]),
        title=st.text(min_size=1, max_size=30),
        remedy=st.sampled_from(["", "Start it.", "start  it.", "Upgrade."]),
        evidence=st.sampled_from([{}, {"package": "a"}, {"package": "a", "fixed": "2.0"}, {"package": 3}]),
    ),
    unique_by=lambda finding: finding.key,
    max_size=25,
)


def _finding(key: str, severity: Severity = Severity.medium, **more: object) -> Finding:
    return Finding.model_validate(
        {"key": key, "severity": severity, "component": "part", "title": f"About {key}"} | more
    )


def _module(name: str, *findings: Finding, skipped: tuple[Skip, ...] = ()) -> Report:
    return compose(
        Report, capability=f"health_check.{name}", summary="", findings=findings, skipped=skipped,
        metrics={"things_total": 3.0}, started_at=_NOW, finished_at=_NOW, run_id="run",
    )  # fmt: skip


def _assembled(*modules: Report, before: HealthReport | None = None, run_id: str = "run") -> HealthReport:
    report, _ = assemble(
        modules, before=before, skipped=[], scope="here", report_level=ReportLevel.standard, started_at=_NOW,
        finished_at=_NOW, run_id=run_id,
    )  # fmt: skip
    return report


@settings(deadline=None)
@given(_FINDINGS)
def test_every_finding_has_exactly_one_cause(findings: list[Finding]) -> None:
    explained = [key for cause in causes_of(findings) for key in cause.findings]
    assert sorted(explained) == sorted(finding.key for finding in findings)


@settings(deadline=None)
@given(_FINDINGS)
def test_a_cause_is_as_severe_as_its_worst_finding_and_the_worst_comes_first(findings: list[Finding]) -> None:
    severity = {finding.key: finding.severity for finding in findings}
    causes = causes_of(findings)
    for cause in causes:
        assert cause.severity is max((severity[key] for key in cause.findings), key=lambda level: level.rank)
    ranks = [cause.severity.rank for cause in causes]
    assert ranks == sorted(ranks, reverse=True)


@settings(deadline=None)
@given(_FINDINGS, st.randoms())
def test_the_order_of_findings_does_not_matter(findings: list[Finding], random: st.DataObject) -> None:
    shuffled = list(findings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert causes_of(shuffled) == causes_of(findings)


def test_a_platform_that_is_off_explains_its_parts() -> None:
    causes = causes_of(
        [
            _finding("architecture.platform_off:host", Severity.low, title="The platform is off.", remedy="lama up"),
            _finding("performance.unreachable:prefect", Severity.high, component="Prefect"),
            _finding("performance.unreachable:postgresql", Severity.high, component="PostgreSQL"),
            _finding("architecture.down:crm", Severity.high, component="crm"),
        ]
    )
    assert causes[0].title == "The platform is off."
    assert causes[0].severity is Severity.high
    assert causes[0].remedy == "lama up"
    assert len(causes[0].findings) == 3
    assert causes[1].findings == ("architecture.down:crm",)


def test_of_one_severity_what_is_furthest_over_its_threshold_comes_first() -> None:
    findings = [
        Finding(
            key=f"performance.{kind}", severity=Severity.medium, component=kind, title=kind, remedy=kind,
            evidence={"pressure": pressure},
        )
        for kind, pressure in (("a:x", 1.1), ("b:x", 7.0), ("c:x", 3.0))
    ]  # fmt: skip
    expected = ["performance.b:x", "performance.c:x", "performance.a:x"]
    assert [finding.key for finding in unique_findings(findings)] == expected
    assert [cause.findings[0] for cause in causes_of(findings)] == expected


def test_findings_about_one_package_are_one_cause_with_the_version_that_mends_all() -> None:
    (cause,) = causes_of(
        [
            _finding(
                f"dependencies.vulnerability:{n}", remedy=f"Upgrade to {fixed}.",
                evidence={"package": "requests", "fixed": fixed},
            )
            for n, fixed in enumerate(["2.9.0", "2.31.0", "2.20.0"])
        ]
    )  # fmt: skip
    assert len(cause.findings) == 3
    assert cause.remedy == "Upgrade to 2.31.0."


def test_modules_add_up_to_one_report() -> None:
    skip = Skip(area="security", component="here", reason="No.")
    report = _assembled(_module("security", skipped=(skip,)), _module("performance", _finding("performance.disk:/")))
    assert report.status is Status.incomplete
    assert report.skipped == (skip,)
    assert report.metrics["performance_things_total"] == 3.0
    assert report.summary == "Incomplete: 1 finding (1 medium); 1 thing could not be looked at (security)."
    assert "Not seen, so not known: security of here. No." in report.narrative.text
    assert report.narrative.author == "ranking"


def test_nothing_found_is_said_so_only_when_all_was_seen() -> None:
    assert _assembled(_module("security")).narrative.text == "Nothing to mend."
    unseen = _assembled(_module("security", skipped=(Skip(area="security", component="x", reason="y"),)))
    assert "Nothing to mend in what was looked at." in unseen.narrative.text


def test_what_a_module_could_not_see_is_not_called_gone() -> None:
    before = _assembled(_module("security", _finding("security.a:1")), run_id="before")
    skip = Skip(area="security", component="here", reason="down")
    after = _assembled(_module("security", skipped=(skip,)), before=before, run_id="after")
    assert after.changes.closed == ()
    assert after.changes.unseen == ("security.a:1",)
    assert "1 not looked for this time" in after.narrative.text


def test_a_late_skip_makes_the_report_incomplete() -> None:
    report = finish(
        _assembled(_module("security")), finished_at=_NOW, skipped=[Skip(area="history", component="d", reason="r")]
    )
    assert HealthReport.model_validate(report.model_dump()).status is Status.incomplete
    assert report.summary.startswith("Incomplete")


@settings(deadline=None)
@given(_FINDINGS, st.integers(300, 3_000))
def test_what_is_sent_keeps_to_the_budget_and_takes_the_worst(findings: list[Finding], budget: int) -> None:
    report = _assembled(_module("security", *findings))
    text, told = brief_of(report, token_budget=budget, tokens=tokens, homes=[])
    assert tokens(text) <= budget
    assert text.count("\n") == told
    assert told == len(report.causes) or tokens(text) > budget - 700


def test_neither_evidence_nor_paths_of_the_home_are_sent() -> None:
    report = _assembled(
        _module(
            "security",
            _finding(
                "security.mode:x", title="/home/ann/.lama/secrets/key.pem is readable (/home/annabel is not)",
                component="/home/ann/.lama", detail="detail-word", remedy="remedy-word", evidence={"w": "secret-word"},
            ),
        )
    )  # fmt: skip
    text, _ = brief_of(report, token_budget=5_000, tokens=tokens, homes=[Path("/home/ann/.lama"), Path("/home/ann")])
    assert "<home> is readable (/home/annabel is not)" in text
    for secret in ("/home/ann/", "key.pem", "detail-word", "secret-word", "remedy-word"):
        assert secret not in text

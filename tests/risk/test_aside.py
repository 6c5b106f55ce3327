"""A suppression is spoken of by the capability that it is for, and by no other."""

from __future__ import annotations

from datetime import date

from models.report import Finding, Severity
from models.risk import Suppression
from tasks.risk.aside import set_aside

TODAY = date(2026, 11, 1)


def suppression(id_: str) -> Suppression:
    return Suppression(id=id_, reason="looked at", expires=date(2027, 11, 1))


def test_only_what_is_meant_for_it_is_called_unused() -> None:
    given = [suppression(id_) for id_ in ("CVE-1", "security.secret:web/*", "DF001", "dependencies.range:web/pypi/a")]
    for area, unused in (
        ("dependencies", {"CVE-1", "dependencies.range:web/pypi/a"}),
        ("security", {"security.secret:web/*", "DF001"}),
        ("", set()),
    ):
        kept, aside = set_aside([], given, today=TODAY, area=area)
        assert {finding.evidence["suppression"] for finding in kept} == unused
        assert aside == ()


def test_what_fits_is_set_aside_whoever_looks() -> None:
    finding = Finding(
        key="security.x:web/a", severity=Severity.high, component="web", title="A.", evidence={"rule": "DF001"}
    )
    for area in ("security", "dependencies", ""):
        kept, aside = set_aside([finding], [suppression("DF001")], today=TODAY, area=area)
        assert kept == ()
        assert [one.finding for one in aside] == [finding]

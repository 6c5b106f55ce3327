"""What could not be looked at can be accepted where that lies in its nature: told, until a day, never by accident."""

from __future__ import annotations

from datetime import date

import pytest

from models.gap import Gap
from models.report import Severity, Skip
from models.risk import Suppression
from tasks.risk.accept import accept
from tasks.risk.aside import set_aside

TODAY = date(2026, 11, 1)
APT = Skip(area="dependencies", component="shop/Dockerfile", reason="names apt's.", key="gap.apt:shop/Dockerfile")
FAILED = Skip(area="dependencies", component="osv", reason="gave no answer.")


def suppression(id_: str, expires: date = date(2027, 11, 1), **more: str) -> Suppression:
    return Suppression(id=id_, reason="audited as shop-image", expires=expires, **more)


@pytest.mark.parametrize("id_", ["gap.apt:shop/Dockerfile", "gap.apt:shop/*", "gap.apt:*"])
def test_what_is_accepted_is_a_remark_with_its_reason(id_: str) -> None:
    skipped, (remark,) = accept([APT, FAILED], [suppression(id_)], today=TODAY, whole=True)
    assert skipped == (FAILED,)
    assert (remark.key, remark.severity) == (APT.key, Severity.info)
    assert "audited as shop-image" in remark.detail
    assert APT.reason in remark.detail


@pytest.mark.parametrize("id_", ["gap.*:shop/Dockerfile", "gap.image:shop/*", "gap.:*", "gap.apt", "gap.apt:web/*"])
def test_what_does_not_name_it_accepts_nothing_and_is_told(id_: str) -> None:
    skipped, told = accept([APT, FAILED], [suppression(id_)], today=TODAY, whole=True)
    assert skipped == (APT, FAILED)
    assert [finding.key for finding in told] == [f"risk.suppression_unused:{id_}"]
    assert accept([APT], [suppression(id_)], today=TODAY, whole=False).findings == ()


def test_after_its_last_day_it_comes_back() -> None:
    expired = suppression("gap.apt:*", date(2026, 10, 31))
    (skip,), told = accept([APT], [expired], today=TODAY, whole=True)
    assert "that has expired" in skip.reason
    assert told == ()


def test_only_in_the_target_that_it_names() -> None:
    assert accept([APT], [suppression("gap.apt:*", target="web")], today=TODAY, whole=False).skipped == (APT,)
    assert accept([APT], [suppression("gap.apt:*", target="shop")], today=TODAY, whole=False).skipped == ()


def test_it_is_no_business_of_findings() -> None:
    kept, aside = set_aside([], [suppression("gap.apt:*")], today=TODAY, area="dependencies")
    assert (kept, aside) == ((), ())


def test_what_was_seen_all_the_same_is_not_hidden() -> None:
    gap = Gap(
        "dependencies",
        "shop",
        "because.",
        ("dependencies.vulnerability:shop/",),
        ("dependencies.vulnerability:shop/pypi/a/",),
    )
    skip = Skip.of(gap)
    assert skip.may_hide("dependencies.vulnerability:shop/pypi/b/CVE-1")
    assert not skip.may_hide("dependencies.vulnerability:shop/pypi/a/CVE-1")

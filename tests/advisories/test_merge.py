"""Records about one weakness become one, in whatever order they come, with a fix that holds for all of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.severity import Severity
from tasks.advisories.merge import merge, newest_of
from tasks.advisories.package import NPM, PYPI, Package
from tasks.advisories.record import Advisory, Verdict, read_advisory

PACKAGE = Package(PYPI, "some-package")
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
NAMES = ["CVE-2026-1", "CVE-2026-2", "GHSA-a", "GHSA-b", "PYSEC-1", "PYSEC-2", "OSV-1", "MAL-1"]


def advisory(id_: str, *spans: tuple[str, str | None], package: Package = PACKAGE, **more: Any) -> Advisory:
    """A record that is about the versions from each span's first to before its second."""
    ranges = [
        {"type": "ECOSYSTEM", "events": [{"introduced": low}, *([{"fixed": high}] if high else [])]}
        for low, high in spans
    ]
    described = {"name": package.name, "ecosystem": package.ecosystem}
    return read_advisory({"id": id_, "affected": [{"package": described, "ranges": ranges}], **more})


@given(st.permutations(range(5)), st.randoms(use_true_random=False))
def test_merging_by_alias_does_not_depend_on_order(order: list[int], chance: random.Random) -> None:
    chain = [
        ("PYSEC-1", ["CVE-2026-1"], "1.5"),
        ("GHSA-a", ["CVE-2026-1", "GHSA-b"], "1.6"),
        ("GHSA-b", [], "1.6"),
        ("PYSEC-2", ["CVE-2026-2"], "3.0"),
        ("SNYK-9", ["CVE-2026-2"], "2.5"),
    ]
    advisories = [
        advisory(id_, ("0", fixed), aliases=chance.sample(aliases, len(aliases)), summary=f"of {id_}")
        for id_, aliases, fixed in (chain[place] for place in order)
    ]
    merged = merge(PACKAGE, "1.0", advisories)
    assert [(one.id, one.names, one.fixed, one.summary) for one in merged] == [
        ("CVE-2026-1", ("CVE-2026-1", "GHSA-a", "GHSA-b", "PYSEC-1"), "1.6", "of GHSA-a"),
        ("CVE-2026-2", ("CVE-2026-2", "PYSEC-2", "SNYK-9"), "3.0", "of PYSEC-2"),
    ]
    assert merged == merge(PACKAGE, "1.0", advisories[::-1])


@given(st.data())
def test_any_records_that_share_names_are_one_and_the_groups_share_none(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8))
    told = [
        advisory(
            id_,
            ("0", data.draw(st.sampled_from(["1.5", "2.0rc1", "2.0", "0.5", None]))),
            aliases=data.draw(st.lists(st.sampled_from(NAMES), max_size=2)),
            summary=data.draw(st.sampled_from(["", "one", "two"])),
            database_specific={"severity": data.draw(st.sampled_from(["low", "high", "?"]))},
        )
        for id_ in ids
    ]
    merged = merge(PACKAGE, "1.0", told)
    assert merged == merge(PACKAGE, "1.0", data.draw(st.permutations(told)))
    affecting = [one for one in told if one.verdict(PACKAGE, "1.0") is Verdict.affected]
    groups = [set(one.names) for one in merged]
    for one in affecting:
        assert sum(one.names <= group for group in groups) == 1
        assert sum(not one.names.isdisjoint(group) for group in groups) == 1
    assert set().union(*groups) == set().union(*(one.names for one in affecting))
    for one in merged:
        assert one.id == one.names[0]
        assert one.id.startswith("CVE-") or not any(name.startswith("CVE-") for name in one.names)
        if one.fixed is not None:
            group = [record for record in affecting if record.names <= set(one.names)]
            assert {record.verdict(PACKAGE, one.fixed) for record in group} == {Verdict.clean}


def test_the_remedy_is_the_smallest_release_that_is_itself_clean() -> None:
    again = advisory("X-1", ("0", "1.2"), ("1.1", "1.10"), ("2.0", "2.1"))  # 1.2 mends the first and has the second
    assert merge(PACKAGE, "1.0", [again])[0].fixed == "1.10"
    assert merge(PACKAGE, "2.0", [again])[0].fixed == "2.1"
    assert merge(PACKAGE, "1.0", [advisory("X-1", ("0", None))])[0].fixed is None
    assert merge(PACKAGE, "1.0", [advisory("X-1", ("0", "2.0rc1"), ("2.0rc2", "2.1"))])[0].fixed == "2.1"
    assert merge(PACKAGE, "1.0", [advisory("X-1", ("0", "2.0rc1"))])[0].fixed == "2.0rc1"


def test_the_remedy_is_later_than_the_version_by_the_order_of_the_ecosystem() -> None:
    both = advisory("X-1", ("0", "1.9"), ("1.10", "1.11"))
    assert merge(PACKAGE, "1.10", [both])[0].fixed == "1.11"
    npm = Package(NPM, "some")
    found = merge(npm, "2.0.0-alpha.2", [advisory("X-1", ("2.0.0-alpha.1", "2.0.0-alpha.10"), package=npm)])
    assert found[0].fixed == "2.0.0-alpha.10"


def test_a_remedy_that_has_the_same_weakness_by_another_record_is_none() -> None:
    first = advisory("GHSA-a", ("0", "2.0"), aliases=["CVE-2026-1"])
    later = advisory("PYSEC-1", ("2.0", "2.3"), aliases=["CVE-2026-1"])  # not about 1.0 itself
    other = advisory("PYSEC-2", ("2.0", "2.3"))
    assert merge(PACKAGE, "1.0", [first])[0].fixed == "2.0"
    assert merge(PACKAGE, "1.0", [first, other])[0].fixed == "2.0"
    assert [one.fixed for one in merge(PACKAGE, "1.0", [later, first])] == ["2.3"]


def test_what_is_not_about_the_version_is_no_weakness_of_it() -> None:
    told = [
        advisory("X-1", ("0", "1.0")),
        advisory("X-2", ("1.1", None)),
        advisory("X-3", ("0", None), withdrawn="2026-01-01T00:00:00Z"),
        advisory("X-4", ("0", "what")),
        advisory("X-5", ("0", None), package=Package(PYPI, "another")),
    ]
    assert merge(PACKAGE, "1.0", told) == ()
    assert merge(PACKAGE, "1.0", []) == ()


def test_the_highest_severity_and_score_of_the_records_count_and_the_worst_comes_first() -> None:
    told = [
        advisory("PYSEC-1", ("0", None), aliases=["CVE-2026-1"]),
        advisory("GHSA-a", ("0", None), aliases=["CVE-2026-1"], database_specific={"severity": "LOW"}),
        advisory("X-1", ("0", None), aliases=["CVE-2026-2"], severity=[{"type": "CVSS_V3", "score": CRITICAL}]),
        advisory("X-2", ("0", None)),
    ]
    merged = merge(PACKAGE, "1.0", told)
    assert [(one.id, one.severity, one.score, one.vector) for one in merged] == [
        ("CVE-2026-2", Severity.critical, 9.8, CRITICAL),
        ("X-2", Severity.unknown, None, ""),
        ("CVE-2026-1", Severity.low, None, ""),
    ]


def test_a_malicious_package_is_critical_by_whatever_record() -> None:
    told = [advisory("GHSA-a", ("0", None), aliases=["MAL-2026-1"], database_specific={"severity": "LOW"})]
    assert merge(PACKAGE, "1.0", told)[0].severity is Severity.critical


def test_a_bulletin_about_weaknesses_that_are_told_one_by_one_is_not_told_again() -> None:
    debian = Package("Debian:12", "openssl")

    def told(id_: str, *upstream: str) -> Advisory:
        return advisory(id_, ("0", "3.0-2"), package=debian, upstream=list(upstream))

    single = [told("DEBIAN-CVE-2026-1", "CVE-2026-1"), told("DEBIAN-CVE-2026-2", "CVE-2026-2")]
    bulletin = told("DSA-1", "CVE-2026-1", "CVE-2026-2")
    assert [one.id for one in merge(debian, "3.0-1", [bulletin, *single])] == ["CVE-2026-1", "CVE-2026-2"]
    assert [one.id for one in merge(debian, "3.0-1", [bulletin, single[0]])] == ["CVE-2026-1", "DSA-1"]
    assert [one.id for one in merge(debian, "3.0-1", [bulletin])] == ["DSA-1"]


# --- one record an id ------------------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
def test_of_several_records_of_one_id_the_one_modified_last_counts(chance: random.Random) -> None:
    told = [
        advisory("X-1", ("0", "1.0"), modified="2026-01-01T00:00:00Z"),
        advisory("X-1", ("0", "1.2"), modified="2026-03-01T00:00:00+01:00"),
        advisory("X-1", ("0", "1.1"), modified="2026-02-28T23:30:00Z"),
        advisory("X-1", ("0", "1.3")),
        advisory("X-2", ("0", "1.4")),
    ]
    chance.shuffle(told)
    assert [(one.id, one.fixes(PACKAGE)) for one in newest_of(told)] == [("X-1", {"1.1"}), ("X-2", {"1.4"})]


@pytest.mark.parametrize(
    ("withdrawn_at", "left"), [("2026-02-01T00:00:00Z", 0), ("2026-01-01T00:00:00Z", 0), ("2025-01-01T00:00:00Z", 1)]
)
def test_a_withdrawal_retracts_older_copies_of_other_sources(withdrawn_at: str, left: int) -> None:
    live = advisory("X-1", ("0", None), modified="2026-01-01T00:00:00Z")
    retracted = advisory("X-1", ("0", None), modified=withdrawn_at, withdrawn=withdrawn_at)
    for told in ([live, retracted], [retracted, live]):
        assert len(newest_of(told)) == left
    assert len(newest_of([retracted, advisory("X-2", ("0", None), aliases=["X-1"])])) == 1


@given(st.data())
def test_which_record_counts_does_not_depend_on_the_order_of_the_sources(data: st.DataObject) -> None:
    told = [
        advisory(
            data.draw(st.sampled_from(["X-1", "X-2"])),
            ("0", data.draw(st.sampled_from(["1.0", "2.0"]))),
            modified=data.draw(st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])),
            summary=data.draw(st.sampled_from(["", "some"])),
            aliases=data.draw(st.lists(st.sampled_from(NAMES), max_size=1)),
            withdrawn=data.draw(st.sampled_from([None, "2026-01-01T00:00:00Z"])),
        )
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    assert newest_of(told) == newest_of(data.draw(st.permutations(told)))

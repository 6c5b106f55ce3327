"""An advisory is judged as OSV's schema says: by PEP 440 order, with lists and ranges that agree."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from models.severity import Severity
from tasks.advisories.merge import merge
from tasks.advisories.package import PYPI, Package
from tasks.advisories.record import (
    AdvisoryError,
    Verdict,
    read_advisory,
)

RELEASES = [
    *("0.9", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1", "1.2", "1.9", "1.10", "1.11.dev1", "1.11", "2.0b1", "2.0"),
    *("2.0.1", "2.2", "2.10", "10.0", "2020.1", "1!0.1"),
]

PACKAGE = Package(PYPI, "some-package")


def record(id_: str = "X-1", *, events: list[dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"package": {"name": "Some.Package", "ecosystem": "PyPI"}}
    if events is not None:
        entry["ranges"] = [{"type": "ECOSYSTEM", "events": events}]
    for key in ("versions", "ranges"):
        if key in more:
            entry[key] = more.pop(key)
    return {"id": id_, "affected": [entry], **more}


def verdict(data: dict[str, Any], version: str) -> Verdict:
    return read_advisory(data).verdict(PACKAGE, version)


@given(st.data())
def test_a_list_of_versions_and_the_ranges_it_was_made_of_agree(data: st.DataObject) -> None:
    order = sorted(RELEASES, key=Version)
    turns = sorted(data.draw(st.sets(st.integers(0, len(order) - 1), min_size=1, max_size=6)))
    events: list[dict[str, str]] = []
    affected: set[int] = set()
    for start, end in itertools.zip_longest(turns[::2], turns[1::2]):
        events.append({"introduced": "0" if start == 0 and data.draw(st.booleans()) else order[start]})
        if end is None:
            affected |= set(range(start, len(order)))
        elif data.draw(st.booleans()):
            events.append({"fixed": order[end]})
            affected |= set(range(start, end))
        else:
            events.append({"last_affected": order[end]})
            affected |= set(range(start, end + 1))
    ranged = record(events=data.draw(st.permutations(events)))  # the schema promises no order
    listed = record(versions=[order[place] for place in sorted(affected)])
    for place, version in enumerate(order):
        expected = Verdict.affected if place in affected else Verdict.clean
        assert verdict(ranged, version) is expected, (version, events)
        if affected:
            assert verdict(listed, version) is expected


def test_order_is_that_of_pep_440_and_not_of_the_alphabet() -> None:
    fixed_late = record(events=[{"introduced": "1.9"}, {"fixed": "1.11"}])
    assert verdict(fixed_late, "1.10") is Verdict.affected
    assert verdict(fixed_late, "1.9.1") is Verdict.affected
    assert verdict(fixed_late, "1.2") is Verdict.clean
    assert verdict(fixed_late, "1.11rc1") is Verdict.affected
    assert verdict(fixed_late, "1.11") is Verdict.clean


@pytest.mark.parametrize("spelling", ["1.0", "1.0.0", "v1.0", "1", "1.0+cpu"])
def test_one_version_has_many_spellings(spelling: str) -> None:
    assert verdict(record(versions=["1.0"]), spelling) is Verdict.affected
    assert verdict(record(events=[{"introduced": "0"}, {"last_affected": "1.0.0"}]), spelling) is Verdict.affected


def test_a_withdrawn_advisory_is_about_nothing() -> None:
    withdrawn = record(events=[{"introduced": "0"}], withdrawn="2026-01-01T00:00:00Z")
    assert verdict(withdrawn, "1.0") is Verdict.clean


@pytest.mark.parametrize(
    "entry",
    [
        {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}, {"fixed": "c0ffee"}]}]},
        {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "the beginning"}]}]},
        {"ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "2.0"}]}]},
        {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"mended": "2.0"}]}]},
        {},
    ],
)
def test_what_cannot_be_evaluated_is_undecidable_and_not_clean(entry: dict[str, Any]) -> None:
    assert verdict(record(**entry), "1.0") is Verdict.undecidable


def test_a_version_from_before_pep_440_is_clean_only_where_that_is_known() -> None:
    assert verdict(record(events=[{"introduced": "0"}, {"fixed": "1.0"}]), "2004d-final") is Verdict.undecidable
    assert verdict(record(events=[{"introduced": "0"}]), "2004d-final") is Verdict.affected
    assert verdict(record(versions=["2004d-final"]), "2004d-final") is Verdict.affected


def test_other_packages_and_ecosystems_are_not_meant() -> None:
    data = record(events=[{"introduced": "0"}])
    data["affected"][0]["package"]["ecosystem"] = "npm"
    assert verdict(data, "1.0") is Verdict.clean
    assert read_advisory(record(events=[{"introduced": "0"}])).verdict(Package(PYPI, "another"), "1.0") is Verdict.clean


@pytest.mark.parametrize("data", [None, [], {}, {"id": 7}, {"id": "X", "affected": [1]}, {"id": "X", "aliases": 5}])
def test_what_is_no_record_is_refused(data: Any) -> None:
    with pytest.raises(AdvisoryError):
        read_advisory(data)


@given(st.permutations(range(5)), st.randoms(use_true_random=False))
def test_merging_by_alias_does_not_depend_on_order(order: list[int], chance: random.Random) -> None:
    chain = [
        ("PYSEC-1", ["CVE-2026-1"], "1.5"),
        ("GHSA-a", ["CVE-2026-1", "GHSA-b"], "1.6"),
        ("GHSA-b", [], "1.6"),
        ("PYSEC-2", ["CVE-2026-2"], "3.0"),
        ("SNYK-9", ["CVE-2026-2"], "2.5"),
    ]
    advisories = []
    for place in order:
        id_, aliases, fixed = chain[place]
        mixed = chance.sample(aliases, len(aliases))
        events = [{"introduced": "0"}, {"fixed": fixed}]
        advisories.append(read_advisory(record(id_, events=events, aliases=mixed, summary=f"of {id_}")))
    merged = merge(PACKAGE, "1.0", advisories)
    assert [(one.id, one.names, one.fixed) for one in merged] == [
        ("CVE-2026-1", ("CVE-2026-1", "GHSA-a", "GHSA-b", "PYSEC-1"), "1.6"),
        ("CVE-2026-2", ("CVE-2026-2", "PYSEC-2", "SNYK-9"), "3.0"),
    ]
    assert merged == merge(PACKAGE, "1.0", advisories[::-1])


def test_the_remedy_is_the_smallest_release_that_is_itself_clean() -> None:
    spans = [("0", "1.2"), ("1.1", "1.10"), ("2.0", "2.1")]  # 1.2 mends the first and has the second
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": start}, {"fixed": end}]} for start, end in spans]
    reintroduced = record(ranges=ranges)
    advisory = read_advisory(reintroduced)
    assert merge(PACKAGE, "1.0", [advisory])[0].fixed == "1.10"
    assert merge(PACKAGE, "2.0", [advisory])[0].fixed == "2.1"
    assert merge(PACKAGE, "1.0", [read_advisory(record(events=[{"introduced": "0"}]))])[0].fixed is None


def test_severity_without_a_vector_is_the_word_of_the_database_or_unknown() -> None:
    assert read_advisory(record(database_specific={"severity": "MODERATE"})).severity is Severity.medium
    assert read_advisory(record(severity=[{"type": "CVSS_V3", "score": "garbage"}])).severity is Severity.unknown
    assert read_advisory(record()).severity is Severity.unknown

"""An advisory is judged as OSV's schema says: by its ecosystem's own order, with lists and ranges that agree."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.severity import Severity
from tasks.advisories.package import ACTIONS, DEBIAN, NPM, PYPI, Package
from tasks.advisories.record import AdvisoryError, Verdict, read_advisory
from tasks.advisories.severity import grade

UNIVERSES = {
    PYPI: [
        *("0.9.dev1", "0.9", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1", "1.2", "1.9", "1.10", "1.11.dev1", "1.11"),
        *("2.0b1", "2.0", "2.0.1", "2.2", "2.10", "10.0", "2020.1", "1!0.1"),
    ],
    NPM: [
        *("0.0.0-0", "0.0.1", "0.9.0", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0"),
        *("1.2.0", "1.9.0", "1.10.0-rc", "1.10.0", "2.0.0", "10.0.0"),
    ],
    ACTIONS: ["v0.9.0", "v1.0.0-beta", "v1.0.0", "1.2.0", "v1.10.0", "v2.0.0", "v10.0.0"],
    "Debian:12": [
        *("0.9~rc1-1", "0.9-1", "1.0~beta1-1", "1.0-1~bpo11+1", "1.0-1", "1.0-1+deb12u1", "1.0-1+deb12u2", "1.0-2"),
        *("1.0-10", "1.0.1-1", "1.2-1", "1.10-1", "1.10+dfsg-1", "2:0.1-1"),
    ],
}
UNDECIDED = Verdict.undecidable
PACKAGE = Package(PYPI, "some-package")


def record(id_: str = "X-1", *, events: list[dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    """A record about one package; `ecosystem`, `name`, `versions` and `ranges` are those of its entry."""
    package = {"name": more.pop("name", "Some.Package"), "ecosystem": more.pop("ecosystem", PYPI)}
    entry: dict[str, Any] = {"package": package}
    if events is not None:
        entry["ranges"] = [{"type": more.pop("type", "ECOSYSTEM"), "events": events}]
    for key in ("versions", "ranges"):
        if key in more:
            entry[key] = more.pop(key)
    return {"id": id_, "affected": [entry], **more}


def verdict(data: dict[str, Any], version: str, package: Package | None = None) -> Verdict:
    named = data["affected"][0]["package"]
    asked = package or Package(named["ecosystem"], named["name"])
    return read_advisory(data).verdict(asked, version)


@pytest.mark.parametrize("ecosystem", UNIVERSES)
@given(data=st.data())
def test_a_list_of_versions_and_the_ranges_it_was_made_of_agree(ecosystem: str, data: st.DataObject) -> None:
    order = UNIVERSES[ecosystem]
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
    mixed = data.draw(st.permutations(events))  # the schema promises no order
    kind = "SEMVER" if ecosystem in (NPM, ACTIONS) and data.draw(st.booleans()) else "ECOSYSTEM"
    ranged = record(events=mixed, ecosystem=ecosystem, type=kind)
    split = record(ranges=[{"type": kind, "events": part} for part in pairs(events)], ecosystem=ecosystem)
    listed = record(versions=[order[place] for place in sorted(affected)], ecosystem=ecosystem)
    for place, version in enumerate(order):
        expected = Verdict.affected if place in affected else Verdict.clean
        assert verdict(ranged, version) is expected, (version, events)
        assert verdict(split, version) is expected, (version, events)
        if affected:
            assert verdict(listed, version) is expected, (version, events)


def pairs(events: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """The same events in several ranges."""
    return [events[start : start + 2] for start in range(0, len(events), 2)]


def test_order_is_that_of_the_ecosystem_and_not_of_the_alphabet() -> None:
    fixed_late = record(events=[{"introduced": "1.9"}, {"fixed": "1.11"}])
    assert verdict(fixed_late, "1.10") is Verdict.affected
    assert verdict(fixed_late, "1.9.1") is Verdict.affected
    assert verdict(fixed_late, "1.2") is Verdict.clean
    assert verdict(fixed_late, "1.11") is Verdict.clean
    for ecosystem, inside in ((NPM, "1.10.0"), ("Debian:12", "1.10-1")):
        late = record(events=[{"introduced": "1.9.0"}, {"fixed": "1.11.0"}], ecosystem=ecosystem)
        assert verdict(late, inside) is Verdict.affected


@pytest.mark.parametrize(
    ("ecosystem", "fixed", "before", "after"),
    [
        (PYPI, "1.11", ["1.11rc1", "1.11.dev0", "1.10.post9", "0!1.10"], ["1.11", "1.11.0", "1.11.post1", "1!0.1"]),
        (NPM, "1.11.0", ["1.11.0-rc.1", "1.11.0-0", "1.10.99"], ["1.11.0", "v1.11.0", "1.11.0+build", "1.12.0-a"]),
        ("Debian:12", "1.11-1", ["1.11~rc1-1", "1.11-1~deb12u1", "1.2-1"], ["1.11-1", "1.11-1+b1", "1:0.1-1"]),
        (ACTIONS, "1.11.0", ["v1.2.0", "1.11.0-beta", "v1.2"], ["v1.11.0", "v2", "v1.11", "v1.11.1"]),
    ],
)
def test_what_comes_before_a_fix_is_affected_and_the_fix_is_not(
    ecosystem: str, fixed: str, before: list[str], after: list[str]
) -> None:
    data = record(events=[{"introduced": "0"}, {"fixed": fixed}], ecosystem=ecosystem)
    assert {version: verdict(data, version) for version in before} == dict.fromkeys(before, Verdict.affected)
    assert {version: verdict(data, version) for version in after} == dict.fromkeys(after, Verdict.clean)


@pytest.mark.parametrize("spelling", ["1.0", "1.0.0", "v1.0", "1", "1.0+cpu", " 1.0", "01.0", "0!1.0", "1.00"])
def test_one_version_has_many_spellings(spelling: str) -> None:
    assert verdict(record(versions=["0.9", "1.0"]), spelling) is Verdict.affected
    assert verdict(record(versions=["0.9", spelling.replace("+cpu", "")]), "1.0") is Verdict.affected
    assert verdict(record(versions=["0.9", spelling.replace("+cpu", "")]), "1.0.1") is Verdict.clean
    assert verdict(record(events=[{"introduced": "0"}, {"last_affected": "1.0.0"}]), spelling) is Verdict.affected


@pytest.mark.parametrize(
    ("ecosystem", "listed", "asked"),
    [(NPM, "1.0.0", "v1.0.0+b"), (NPM, "v1.0.0", "1.0.0"), ("Debian:12", "1.2-1", "0:1.02-1"), (DEBIAN, "0:7", "7-0")],
)
def test_a_listed_version_is_found_by_its_other_spellings(ecosystem: str, listed: str, asked: str) -> None:
    assert verdict(record(versions=["0.1.0", listed], ecosystem=ecosystem), asked) is Verdict.affected


def test_a_limit_ends_what_is_known_to_be_affected() -> None:
    data = record(events=[{"introduced": "1.0"}, {"limit": "2.0"}])
    assert [verdict(data, version) for version in ("0.9", "1.0", "1.9", "2.0")] == [
        *(Verdict.clean, Verdict.affected, Verdict.affected, Verdict.clean)
    ]
    assert (
        verdict(record(events=[{"introduced": "1.0"}, {"limit": "2.0"}, {"limit": "3.0"}]), "2.5") is Verdict.affected
    )
    assert verdict(record(events=[{"introduced": "1.0"}, {"limit": "*"}]), "9.0") is Verdict.affected


def test_what_is_introduced_again_where_it_was_fixed_stays_affected() -> None:
    events = [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.0"}, {"fixed": "2.0"}]
    for mixed in itertools.permutations(events):
        data = record(events=list(mixed))
        assert verdict(data, "1.0") is Verdict.affected
        assert verdict(data, "2.0") is Verdict.clean
    nothing = record(events=[{"introduced": "1.0"}, {"fixed": "1.0"}])
    assert verdict(nothing, "1.0") is Verdict.clean
    one = record(events=[{"last_affected": "1.0"}, {"introduced": "1.0"}])
    assert verdict(one, "1.0") is Verdict.affected
    assert verdict(one, "1.0.1") is Verdict.clean


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
        {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"limit": "some day"}]}]},
        {"ranges": [{"type": "ECOSYSTEM", "events": []}]},
        {"ranges": [{"type": "FUTURE", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}]},
        {"ranges": [{"events": [{"introduced": "0"}, {"fixed": "2.0"}]}]},
        {},
    ],
)
def test_what_cannot_be_evaluated_is_undecidable_and_not_clean(entry: dict[str, Any]) -> None:
    assert verdict(record(**entry), "1.0") is UNDECIDED


@pytest.mark.parametrize("ecosystem", [PYPI, NPM, ACTIONS, "Debian:12"])
@pytest.mark.parametrize("version", [">=1.0", "^1.0.0", "latest", "main", "<2", "", "1.0 || 2.0"])
def test_a_requirement_is_not_taken_for_a_version(ecosystem: str, version: str) -> None:
    data = record(events=[{"introduced": "0.5.0"}, {"fixed": "2.0.0"}], ecosystem=ecosystem)
    assert verdict(data, version) is UNDECIDED
    assert verdict(record(versions=["1.0.0"], ecosystem=ecosystem), version) is UNDECIDED


def test_a_version_from_before_pep_440_is_clean_only_where_that_is_known() -> None:
    assert verdict(record(events=[{"introduced": "0"}, {"fixed": "1.0"}]), "2004d-final") is UNDECIDED
    assert verdict(record(events=[{"introduced": "0"}]), "2004d-final") is Verdict.affected
    assert verdict(record(versions=["2004d-final"]), "2004d-final") is Verdict.affected


def test_a_tag_that_moves_is_only_judged_where_its_whole_generation_is_the_same() -> None:
    data = record(events=[{"introduced": "0"}, {"fixed": "4.1.3"}], ecosystem=ACTIONS, name="Owner/Action")
    asked = Package(ACTIONS, "owner/action")
    said = {tag: verdict(data, tag, asked) for tag in ("v3", "v4", "v4.0", "v4.1", "v4.2", "v5", "main")}
    assert said == {
        **dict.fromkeys(("v3", "v4.0"), Verdict.affected),
        **dict.fromkeys(("v4", "v4.1", "main"), UNDECIDED),
        **dict.fromkeys(("v4.2", "v5"), Verdict.clean),
    }
    listed = record(versions=["4.1.0"], ecosystem=ACTIONS, name="owner/action")
    assert [verdict(listed, tag) for tag in ("v4", "v4.1", "v4.2", "v4.1.0")] == [
        *(UNDECIDED, UNDECIDED, Verdict.clean, Verdict.affected)
    ]


def test_other_packages_and_ecosystems_are_not_meant() -> None:
    data = record(events=[{"introduced": "0"}], ecosystem=NPM, name="some-package")
    assert verdict(data, "1.0.0", PACKAGE) is Verdict.clean
    assert verdict(data, "1.0.0", Package(NPM, "some.package")) is Verdict.clean
    assert verdict(data, "1.0.0", Package(NPM, "some-package")) is Verdict.affected
    assert verdict(record(events=[{"introduced": "0"}]), "1.0", Package(PYPI, "another")) is Verdict.clean


def test_debian_is_judged_by_its_release() -> None:
    data = record()
    data["affected"] = [
        record(events=[{"introduced": "0"}, {"fixed": fixed}], ecosystem=release, name="openssl")["affected"][0]
        for release, fixed in (("Debian:11", "1.1.1-1+deb11u5"), ("Debian:12", "3.0-1"))
    ]
    asked = {release: Package(release, "openssl") for release in ("Debian:11", "Debian:12", "Debian:13", "Debian")}
    said = {release: verdict(data, "1.1.1-2", package) for release, package in asked.items()}
    assert said == {
        "Debian:11": Verdict.clean,
        "Debian:12": Verdict.affected,
        "Debian:13": Verdict.clean,
        "Debian": UNDECIDED,  # nobody says which one it is
    }
    assert verdict(data, "1.1.0-1", asked["Debian"]) is Verdict.affected
    assert verdict(data, "3.1-1", asked["Debian"]) is Verdict.clean
    everywhere = record(events=[{"introduced": "0"}, {"fixed": "2"}], ecosystem=DEBIAN, name="openssl")
    assert {verdict(everywhere, "1-1", package) for package in asked.values()} == {Verdict.affected}
    assert read_advisory(data).fixes(asked["Debian:12"]) == {"3.0-1"}


def test_of_an_ecosystem_whose_order_is_not_known_only_what_is_listed_or_semantic_is_decided() -> None:
    ranged = record(events=[{"introduced": "0"}, {"fixed": "2.0.0"}], ecosystem="CRAN")
    assert verdict(ranged, "1.0.0") is UNDECIDED
    assert verdict(ranged, "3.0.0") is UNDECIDED
    listed = record(versions=["1.0.0"], ecosystem="CRAN")
    assert verdict(listed, "1.0.0") is Verdict.affected
    assert verdict(listed, "1.0") is UNDECIDED
    semantic = record(events=[{"introduced": "0"}, {"fixed": "2.0.0"}], ecosystem="crates.io", type="SEMVER")
    assert verdict(semantic, "1.10.0") is Verdict.affected
    assert verdict(semantic, "2.0.0") is Verdict.clean
    assert verdict(record(events=[{"introduced": "0"}], ecosystem="CRAN"), "what ever") is Verdict.affected


@pytest.mark.parametrize(
    "data",
    [
        *(None, [], {}, {"id": 7}, {"id": ""}, {"id": "X\n1"}, {"id": "X" * 999}, {"id": "X", "affected": [1]}),
        *({"id": "X", "aliases": 5}, {"id": "X", "aliases": "CVE-1"}, {"id": "X", "affected": {"package": 1}}),
        {"id": "X", "affected": [{"package": {"ecosystem": "npm"}}]},
        record(ranges=[1]),
        record(ranges=[{"type": "ECOSYSTEM", "events": ["introduced"]}]),
        record(versions="1.0"),
        record(severity=[7]),
        record(references={"url": 1}),
        record(database_specific=[1]),
    ],
)
def test_what_is_no_record_is_refused(data: Any) -> None:
    with pytest.raises(AdvisoryError):
        read_advisory(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "0", "1.0", "X", "PyPI", "fixed", "\ud800"]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "events", "introduced", "fixed", "score", "url", "name"]), below)
    ),
    max_leaves=6,
)


@given(st.data())
def test_a_damaged_record_is_refused_or_judged_but_never_breaks_the_audit(data: st.DataObject) -> None:
    whole = record(
        events=[{"introduced": "0"}, {"fixed": "2.0"}],
        versions=["1.0"],
        aliases=["CVE-1"],
        severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        references=[{"type": "WEB", "url": "https://example.com/"}],
        database_specific={"severity": "HIGH", "cwe_ids": ["CWE-79"]},
        modified="2026-01-01T00:00:00Z",
        _lama={"severity": "high", "score": 1.0, "vector": ""},
    )
    spot: Any = whole if data.draw(st.booleans()) else whole["affected"][0]
    if data.draw(st.booleans()) and "ranges" in spot:
        spot = spot["ranges"][0]
    spot[data.draw(st.sampled_from(sorted(spot)))] = data.draw(JSON)
    try:
        advisory = read_advisory(whole)
    except AdvisoryError:
        return
    assert advisory.verdict(PACKAGE, "1.0") in Verdict
    assert advisory.severity in Severity
    assert advisory.url.startswith("http")


def test_what_a_record_says_beside_its_versions() -> None:
    advisory = read_advisory(
        record(
            "GHSA-1",
            events=[{"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"fixed": "2.3"}],
            aliases=["CVE-2026-1", "PYSEC-9"],
            details="\n  What it is.\nAnd more of it.",
            modified="2026-03-04T05:06:07.123456789Z",
            published="2026-03-01T00:00:00+02:00",
            references=[
                {"type": "FIX", "url": "https://example.com/fix"},
                {"type": "WEB", "url": "https://example.com/web"},
                {"type": "ADVISORY", "url": "javascript:alert(1)"},
                {"type": "ADVISORY", "url": "https://example.com/advisory"},
            ],
            database_specific={"cwe_ids": ["CWE-79"]},
        )
    )
    assert advisory.names == {"GHSA-1", "CVE-2026-1", "PYSEC-9"}
    assert advisory.packages == {PACKAGE}
    assert advisory.fixes(PACKAGE) == {"1.5", "2.3"}
    assert advisory.summary == "What it is."
    assert advisory.modified == datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=UTC)
    assert advisory.published == datetime(2026, 2, 28, 22, tzinfo=UTC)
    assert advisory.url == "https://example.com/advisory"
    assert advisory.cwe == ("CWE-79",)
    bare = read_advisory({"id": "OSV-2026-1", "modified": "yesterday"})
    assert (bare.modified, bare.url) == (None, "https://osv.dev/vulnerability/OSV-2026-1")


# --- severity --------------------------------------------------------------------------------------------------------

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
MEDIUM = "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"


@pytest.mark.parametrize(
    ("vector", "severity", "score"),
    [
        (CRITICAL, Severity.critical, 9.8),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", Severity.critical, 9.3),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", Severity.medium, 6.1),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", Severity.info, 0.0),
        ("AV:N/AC:L/Au:N/C:P/I:P/A:P", Severity.high, 7.5),
        ("CVSS:3.1/AV:N", Severity.unknown, None),
        ("CVSS:9.9/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Severity.unknown, None),
        ("9.8", Severity.unknown, None),
        ("", Severity.unknown, None),
        ("/" * 5000, Severity.unknown, None),
    ],
)
def test_severity_and_score_come_from_the_vector(vector: str, severity: Severity, score: float | None) -> None:
    found = grade((vector,))
    assert (found.severity, found.score, found.vector) == (severity, score, "" if score is None else vector)


@given(st.text(alphabet="CVSS:3.14/AVNLHPRUIC\ud800é ", max_size=60))
def test_what_is_no_vector_is_no_severity_and_no_error(text: str) -> None:
    assert grade((text, MEDIUM)).severity.rank >= Severity.medium.rank


@given(st.permutations([CRITICAL, MEDIUM, "garbage", "AV:N/AC:L/Au:N/C:P/I:P/A:P"]))
def test_the_highest_of_several_wins(vectors: list[str]) -> None:
    assert grade(tuple(vectors)) == (Severity.critical, 9.8, CRITICAL)


def test_severity_without_a_vector_is_the_word_of_the_database_or_unknown() -> None:
    assert read_advisory(record(database_specific={"severity": "MODERATE"})).severity is Severity.medium
    assert read_advisory(record(severity=[{"type": "CVSS_V3", "score": "garbage"}])).severity is Severity.unknown
    assert read_advisory(record(severity=[{"type": "Ubuntu", "score": "high"}])).severity is Severity.high
    assert read_advisory(record()).severity is Severity.unknown
    assert (read_advisory(record()).score, read_advisory(record()).vector) == (None, "")
    of_entry = record()
    of_entry["affected"][0]["ecosystem_specific"] = {"urgency": "unimportant"}
    assert read_advisory(of_entry).severity is Severity.info


def test_a_malicious_package_is_critical() -> None:
    assert read_advisory(record("MAL-2026-1", events=[{"introduced": "0"}])).severity is Severity.critical


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({"severity": "low", "score": 3.1, "vector": "V"}, (Severity.low, 3.1, "V")),
        ({"severity": "unknown", "score": None, "vector": ""}, (Severity.unknown, None, "")),
        ({"severity": "terrible"}, (Severity.critical, 9.8, CRITICAL)),
        ("damaged", (Severity.critical, 9.8, CRITICAL)),
    ],
)
def test_a_grade_that_was_kept_is_not_computed_again(kept: Any, expected: tuple[Severity, float | None, str]) -> None:
    advisory = read_advisory(record(severity=[{"type": "CVSS_V3", "score": CRITICAL}], _lama=kept))
    assert (advisory.severity, advisory.score, advisory.vector) == expected


def test_to_judge_advisories_nothing_heavy_is_imported() -> None:
    heavy = {"pydantic", "prefect", "cvss", "httpx", "packaging.specifiers", "packaging.utils"}
    code = f"import sys, tasks.advisories.merge; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""

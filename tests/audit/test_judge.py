"""What is in use is judged as what it is: versions as versions, ranges as ranges, and nothing undecided as clean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.audit import AuditSettings
from models.severity import Severity
from tasks.advisories.package import NPM, PYPI
from tasks.audit.component import Component, Evidence, Inventory, Origin
from tasks.audit.examine import Examination
from tasks.audit.inventory.take import wanted
from tasks.audit.judge import judge
from tasks.audit.loose import loose_packages
from tasks.audit.report import summary_of
from tasks.audit.unseen import unseen_gaps
from tasks.audit.weakness import Judged
from tests.audit.making import advisory, component, constraint, installed, inventory, known, locked, package

ALPHA = package("alpha")
OLD = advisory("CVE-2020-1", "alpha", ("0", "1.9"), severity="HIGH")
RELEASED = ("1.0", "1.9", "1.10", "2.0", "3.0")


def weak(judged: Judged) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.package.name, one.id, one.versions) for one in judged.weaknesses]


def test_versions_are_ordered_as_versions_and_not_as_text() -> None:
    taken = inventory(component("alpha", "1.10"), installed("alpha", "1.9"), locked("alpha", "1.8"))
    assert weak(judge(taken, known(OLD), offered={})) == [("alpha", "CVE-2020-1", ("1.8",))]


def test_one_vulnerability_is_told_once_however_many_records_versions_and_places_there_are() -> None:
    ghsa = advisory("GHSA-1", "alpha", ("0", "1.9"), aliases=["CVE-2020-1"], severity="CRITICAL")
    branch = advisory("PYSEC-1", "alpha", ("2.0", "2.4"), aliases=["GHSA-1"])
    taken = inventory(locked("alpha", "2.1"), component("alpha", "1.0"), installed("alpha", "1.0"))
    (one,) = judge(taken, known(OLD, ghsa, branch), offered={}).weaknesses
    assert one.id == "CVE-2020-1"
    assert one.names == ("CVE-2020-1", "GHSA-1", "PYSEC-1")
    assert one.versions == ("1.0", "2.1")
    assert one.severity is Severity.critical
    assert one.fixed == "2.4"
    assert len(one.places) == 3


def test_what_is_fixed_counts_from_the_newest_version_that_is_affected() -> None:
    two = advisory("CVE-2021-2", "alpha", ("0", "1.4"))
    taken = inventory(locked("alpha", "1.2"), installed("alpha", "2.0"))
    (one,) = judge(taken, known(two), offered={}).weaknesses
    assert (one.versions, one.fixed) == (("1.2",), "1.4")


def test_a_fixed_version_is_not_flagged_and_a_package_without_advisories_is_clean() -> None:
    taken = inventory(component("alpha", "1.9"), component("beta", "1.0"))
    assert judge(taken, known(OLD), offered={}) == Judged()


def test_what_cannot_be_decided_is_a_gap_unless_another_record_of_the_same_decides_it() -> None:
    commits = advisory("OSV-1", "alpha", ("0", "abcdef"), kind="GIT")
    taken = inventory(component("alpha", "1.0"))
    judged = judge(taken, known(commits), offered={})
    assert not judged.weaknesses
    assert [gap.hides for gap in judged.gaps] == [("dependencies.vulnerability:web/pypi/alpha/",)]
    clean = advisory("CVE-2022-3", "alpha", ("0", "0.5"), aliases=["OSV-1"])
    assert judge(taken, known(commits, clean), offered={}) == Judged()
    affected = advisory("CVE-2022-3", "alpha", ("0", "2"), aliases=["OSV-1"])
    assert weak(judge(taken, known(commits, affected), offered={})) == [("alpha", "CVE-2022-3", ("1.0",))]
    assert not judge(taken, known(commits, affected), offered={}).gaps


def test_a_version_that_is_none_is_a_gap() -> None:
    judged = judge(inventory(installed("alpha", "unknown")), known(OLD), offered={})
    assert not judged.weaknesses
    assert judged.gaps


@pytest.mark.parametrize(
    ("marker", "python", "counts"),
    [
        ("python_version < '3.9'", {"python_version": "3.11", "python_full_version": "3.11.2"}, False),
        ("python_version < '3.12'", {"python_version": "3.11", "python_full_version": "3.11.2"}, True),
        ("python_version < '3.9'", {}, True),  # nobody says for which Python it is meant
        ("sys_platform == 'win32'", {}, True),
        ("python_version < '2.7'", {}, False),
        ("extra == 'fast'", {}, True),
        ("extra == 'fast'", {"python_version": "3.11", "python_full_version": "3.11.2"}, True),
        ("'fast' in extras", {}, True),
        ("no marker at all", {}, True),
        ("python_version == '3.7'", {}, True),
        ("python_full_version == '3.11.4'", {}, True),
        ("'3.10' <= python_version", {}, True),
        ("platform_machine == 'aarch64' and sys_platform == 'linux'", {}, True),
        ("sys_platform == 'freebsd14'", {}, True),
        ("os_name != 'posix' and os_name != 'nt'", {}, True),
        ("implementation_name == 'pypy'", {}, True),
        ("platform_release >= '6.1'", {}, True),
        ("sys_platform == 'win32' and sys_platform == 'linux'", {}, False),
        ("python_version < '3' and platform_machine == 'aarch64'", {}, False),
        ("python_full_version < '3.10'", {"python_version": "3.9"}, True),
        (" or ".join(f"platform_machine == 'm{n}' and sys_platform == 's{n}'" for n in range(60)), {}, True),
    ],
)
def test_what_a_marker_rules_out_does_not_count(marker: str, python: dict[str, str], counts: bool) -> None:
    taken = inventory(component("alpha", "1.0", marker=marker), python=python)
    assert bool(judge(taken, known(OLD), offered={}).weaknesses) is counts


def test_own_packages_and_folders_are_no_releases_of_a_registry() -> None:
    own = inventory(component("alpha", "1.0"), own=frozenset({ALPHA}))
    folder = inventory(component("alpha", "1.0", origin=Origin.folder))
    assert judge(own, known(OLD), offered={}) == judge(folder, known(OLD), offered={}) == Judged()


def test_what_comes_from_a_repository_is_compared_by_its_version_and_is_a_gap_without_one() -> None:
    asked = component("alpha", origin=Origin.repository)
    assert wanted(inventory(asked)) == {ALPHA: frozenset()}
    judged = judge(inventory(asked), known(OLD), offered={ALPHA: RELEASED})
    assert not judged.ranges
    assert [gap.component for gap in judged.gaps] == ["web/alpha"]
    got = locked("alpha", "1.2", origin=Origin.repository)
    assert weak(judge(inventory(asked, got), known(OLD), offered={})) == [("alpha", "CVE-2020-1", ("1.2",))]
    assert not judge(inventory(asked, got), known(OLD), offered={}).gaps


def test_an_address_in_a_lock_file_without_a_version_is_a_gap() -> None:
    got = locked("alpha", None, file="Pipfile.lock", origin=Origin.address)
    assert [gap.component for gap in judge(inventory(got), known(OLD), offered={}).gaps] == ["web/alpha"]
    assert not judge(inventory(got), known(), offered={}).gaps


def test_a_pin_of_a_constraints_file_counts_unless_it_is_known_that_nothing_installs_it() -> None:
    pin = constraint("alpha", "1.0")
    assert judge(inventory(pin), known(OLD), offered={}).weaknesses
    assert judge(inventory(pin, component("alpha", requirement=">=1")), known(OLD), offered={}).weaknesses
    assert not judge(inventory(pin, locked("beta", "1")), known(OLD), offered={}).weaknesses
    other = locked("beta", "1", file="other/uv.lock")
    assert judge(inventory(pin, other), known(OLD), offered={}).weaknesses
    whole = inventory(pin, component("beta", requirement=">=1"), installed("beta", "1"), environment=True)
    assert not judge(whole, known(OLD), offered={}).weaknesses
    lacking = inventory(pin, component("gamma"), installed("beta", "1"), environment=True)
    assert judge(lacking, known(OLD), offered={}).weaknesses


def test_a_range_is_not_read_as_a_version_and_does_not_get_the_worst_severity_ever() -> None:
    """`alpha>=1.0` is not alpha 1.0: today's installation gets 3.0, which is clean."""
    worst = advisory("CVE-2019-9", "alpha", ("0", "1.9"), severity="CRITICAL")
    judged = judge(inventory(component("alpha", requirement=">=1.0")), known(worst), offered={ALPHA: RELEASED})
    assert not judged.weaknesses
    assert not judged.gaps
    (loose,) = judged.ranges
    assert (loose.newest, loose.newest_weaknesses, loose.vulnerable) == ("3.0", (), ("1.0",))
    assert loose.severity is Severity.low


def test_a_range_whose_newest_version_is_vulnerable_is_as_severe_as_that_one() -> None:
    critical = advisory("CVE-2019-9", "alpha", ("0", "1.9"), severity="CRITICAL")
    recent = advisory("CVE-2024-1", "alpha", ("1.10", "3.0"), severity="MODERATE")
    asked = component("alpha", requirement="<3")
    (loose,) = judge(inventory(asked), known(critical, recent), offered={ALPHA: RELEASED}).ranges
    assert (loose.newest, loose.newest_weaknesses) == ("2.0", ("CVE-2024-1",))
    assert loose.vulnerable == ("1.0", "1.10", "2.0")
    assert loose.ids == ("CVE-2019-9", "CVE-2024-1")
    assert loose.severity is Severity.medium


def test_a_constraint_that_is_a_range_limits_what_a_requirement_allows() -> None:
    taken = inventory(component("alpha", requirement=">=1"), constraint("alpha", requirement="<1.5"))
    (loose,) = judge(taken, known(OLD), offered={ALPHA: RELEASED}).ranges
    assert (loose.newest, loose.severity) == ("1.0", Severity.high)


def test_a_range_without_vulnerable_versions_is_nothing_to_tell() -> None:
    assert judge(inventory(component("alpha", requirement=">=2")), known(OLD), offered={ALPHA: RELEASED}) == Judged()


def test_without_a_list_of_versions_the_listed_ones_are_told_and_the_newest_is_a_gap() -> None:
    listing = advisory("CVE-2020-1", "alpha", versions=["1.0", "1.5", "0.9"], severity="CRITICAL")
    judged = judge(inventory(component("alpha", requirement=">=1.0")), known(listing), offered={})
    (loose,) = judged.ranges
    assert (loose.newest, loose.vulnerable, loose.severity) == (None, ("1.0", "1.5"), Severity.unknown)
    assert judged.gaps
    nothing_listed = judge(inventory(component("alpha", requirement=">=1.0")), known(OLD), offered={})
    assert not nothing_listed.ranges
    assert nothing_listed.gaps


@pytest.mark.parametrize("requirement", ["==1.*.bad", "nonsense", ">=99"])
def test_a_requirement_that_cannot_be_evaluated_is_a_gap(requirement: str) -> None:
    judged = judge(inventory(component("alpha", requirement=requirement)), known(OLD), offered={ALPHA: RELEASED})
    assert not judged.ranges
    assert judged.gaps


@pytest.mark.parametrize(
    ("said", "settled"),
    [
        (locked("alpha", "2.0"), True),
        (locked("alpha", "2.0", file="inner/uv.lock"), False),  # another project's
        (locked("alpha", "0.9"), False),  # a lock that the requirement has left behind
        (installed("alpha", "2.0"), True),
        (installed("alpha", "2.0", below="inner/"), False),  # in another project's environment
        (component("alpha", "2.0", evidence=Evidence.installed, file="lib/python3.12/site-packages/x.dist-info"), True),
        (component("alpha", "2.0", file="requirements/base.txt"), True),
        (constraint("alpha", "2.0"), True),
        (constraint("alpha", "2.0", file="elsewhere/constraints.txt"), True),
    ],
)
def test_a_requirement_that_something_settles_is_not_judged_again(said: object, settled: bool) -> None:
    taken = inventory(component("alpha", requirement=">=1.0"), said)  # type: ignore[arg-type]
    judged = judge(taken, known(OLD), offered={ALPHA: RELEASED})
    assert bool(judged.ranges) is not settled
    assert (loose_packages(taken) == frozenset()) is settled


def test_npm_ranges_are_judged_by_npms_rules() -> None:
    bad = advisory("GHSA-x", "left", ("0", "4.17.21"), ecosystem=NPM, kind="SEMVER", severity="HIGH")
    asked = component("left", requirement="~4.17.0", ecosystem=NPM, file="package.json")
    offered = {package("left", NPM): ("4.17.20", "4.17.21", "4.18.0")}
    (loose,) = judge(inventory(asked), known(bad), offered=offered).ranges
    assert (loose.newest, loose.vulnerable, loose.severity) == ("4.17.21", ("4.17.20",), Severity.low)
    lock = locked("left", "4.17.20", file="package-lock.json", ecosystem=NPM)
    assert weak(judge(inventory(asked, lock), known(bad), offered=offered)) == [("left", "GHSA-x", ("4.17.20",))]


versions = st.tuples(st.integers(0, 3), st.integers(0, 12)).map(lambda pair: f"{pair[0]}.{pair[1]}")


@given(st.lists(versions, min_size=1, max_size=6), st.lists(versions, min_size=2, max_size=2, unique=True))
def test_exactly_the_versions_of_the_range_are_affected_in_whatever_order_they_come(
    used: list[str], ends: list[str]
) -> None:
    def key(version: str) -> tuple[int, ...]:
        return tuple(map(int, version.split(".")))

    low, high = sorted(ends, key=key)
    one = advisory("CVE-1", "alpha", (low, high))
    taken: Inventory = inventory(*(component("alpha", version, line=line) for line, version in enumerate(used)))
    expected = sorted({version for version in used if key(low) <= key(version) < key(high)}, key=key)
    found = judge(taken, known(one), offered={}).weaknesses
    assert [one.versions for one in found] == ([tuple(expected)] if expected else [])
    assert all(place.version in expected for one in found for place in one.places)


def test_a_package_of_ones_own_name_hides_none_that_a_registry_gave() -> None:
    own = frozenset({package("alpha")})
    assert weak(judge(inventory(locked("alpha", "1.0"), own=own), known(OLD), offered={}))
    assert weak(judge(inventory(installed("alpha", "1.0"), own=own), known(OLD), offered={}))
    mine = installed("alpha", "1.0", origin=Origin.folder)
    assert judge(inventory(mine, component("alpha", "1.0"), own=own), known(OLD), offered={}) == Judged()


def test_a_folder_deep_inside_hides_no_package_of_its_name_from_those_above() -> None:
    def found(home: str, file: str, ecosystem: str = PYPI) -> bool:
        name = package("alpha", ecosystem)
        bad = advisory("GHSA-1", "alpha", ("0", "2"), ecosystem=ecosystem)
        asked = component("alpha", "1.0.0", file=file, ecosystem=ecosystem)
        taken = inventory(asked, own=frozenset({name}), homes=frozenset({(name, home)}))
        return bool(judge(taken, known(bad), offered={}).weaknesses)

    assert found("tests/data", "requirements.txt")
    assert found("tests/data", "tests/requirements.txt")
    assert not found("", "docs/requirements.txt")
    assert not found("tests/data", "tests/data/requirements.txt")
    assert not found("projects/alpha", "projects/web/requirements.txt")
    assert not found("packages/alpha", "package.json", NPM)


def test_a_vulnerability_that_nobody_has_graded_is_no_all_clear() -> None:
    (weakness,) = judge(
        inventory(component("alpha", "1.0")), known(advisory("PYSEC-1", "alpha", ("0", "2"))), offered={}
    ).weaknesses
    assert Severity.low.rank < AuditSettings().fail_level.rank <= weakness.severity.rank


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        ([component("alpha", "1.0"), component("beta", file="package.json", ecosystem=NPM)], "What 2 of them bring in"),
        ([component("alpha", "1.0"), locked("alpha", "1.0")], ""),
        ([component("alpha", "1.0"), locked("alpha", "1.0", file="inner/uv.lock")], "What 1 of them"),
        ([component("alpha", "1.0"), installed("alpha", "1.0")], ""),
        ([component("alpha"), component("alpha", "1", evidence=Evidence.installed, file="lib/x.dist-info")], "What 1"),
        ([locked("alpha", "1.0")], ""),
    ],
)
def test_the_summary_says_of_how_much_nobody_has_resolved_what_it_brings_in(taken: list[Component], told: str) -> None:
    summary = summary_of(Examination((inventory(*taken),), (Judged(),), known()), [], [])
    assert ("bring in is not known" in summary) is bool(told)
    assert told in summary


def test_a_file_of_which_every_requirement_has_a_hash_brings_nothing_in_unseen() -> None:
    whole = inventory(component("alpha", "1.0", hashed=True), component("beta", "1.0", hashed=True))
    assert unseen_gaps([whole]) == ()
    (gap,) = unseen_gaps([inventory(component("alpha", "1.0", hashed=True), component("beta", "1.0"))])
    assert gap.key == "gap.unresolved:web/pypi"
    assert gap.seen == ("dependencies.vulnerability:web/pypi/alpha/", "dependencies.vulnerability:web/pypi/beta/")

"""The step that is advised is clean, the smallest there is, and honest about who stands in its way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from models.severity import Severity
from tasks.advisories.package import NPM, Package
from tasks.advisories.record import Advisory, Verdict
from tasks.audit.component import Component, Inventory
from tasks.audit.demands import Demand, demands_of
from tasks.audit.judge import judge
from tasks.audit.remedies import Obstacle, Upgrade, recommendations, upgrades
from tests.audit.making import advisory, component, constraint, installed, inventory, known, locked, package

ALPHA = package("alpha")


def advise(
    components: list[Component],
    advisories: list[Advisory],
    offered: Mapping[Package, tuple[str, ...]] | None = None,
    asking: str = "",
) -> tuple[Upgrade, ...]:
    """The advice, where `beta 4.2` asks for the range `asking` of each package."""
    taken, told = inventory(*components), known(*advisories)
    judged = judge(taken, told, offered=offered or {})
    demands = {component.package: (Demand("beta 4.2", asking),) for component in components if asking}
    return upgrades(taken, judged, told, offered=offered or {}, demands=demands)


def test_one_step_clears_everything_and_not_each_thing_on_its_own() -> None:
    first = advisory("CVE-1", "alpha", ("0", "1.5"), severity="LOW")
    second = advisory("CVE-2", "alpha", ("1.0", "1.7"), severity="HIGH")
    third = advisory("CVE-3", "alpha", ("1.6", "1.8"))  # came with what mends the first
    (one,) = advise([component("alpha", "1.2", line=3)], [first, second, third])
    assert (one.to, one.clears, one.remains) == ("1.8", ("CVE-2", "CVE-1"), ())
    assert one.fits
    assert one.severity is Severity.high
    assert recommendations([one]) == ("web: upgrade alpha 1.2 to 1.8 (requirements.txt:3); that clears CVE-2, CVE-1.",)


def test_users_of_an_old_generation_stay_in_it_where_it_is_mended() -> None:
    both = advisory("CVE-1", "alpha", ("0", "1.26.18"), ("2.0", "2.0.7"))
    one, two = advise([locked("alpha", "1.26.5"), locked("alpha", "2.0.1", file="b/uv.lock")], [both])
    assert {(one.from_versions, one.to), (two.from_versions, two.to)} == {
        (("1.26.5",), "1.26.18"),
        (("2.0.1",), "2.0.7"),
    }


def test_where_nothing_is_fixed_it_says_so() -> None:
    (one,) = advise([component("alpha", "1.2", line=3)], [advisory("CVE-1", "alpha", ("0", ""))])
    assert (one.to, one.clears, one.remains, one.fits) == (None, (), ("CVE-1",), False)
    assert recommendations([one]) == (
        "web: replace or shield alpha 1.2 (requirements.txt:3): no fixed version is known of CVE-1.",
    )


def test_a_step_that_clears_a_part_is_advised_and_says_what_remains() -> None:
    open_ = advisory("CVE-1", "alpha", ("0", ""))
    mended = advisory("CVE-2", "alpha", ("0", "1.5"))
    (one,) = advise([component("alpha", "1.2")], [open_, mended])
    assert (one.to, one.clears, one.remains) == ("1.5", ("CVE-2",), ("CVE-1",))
    assert "CVE-1 remains" in recommendations([one])[0]


def test_only_released_versions_are_advised_where_they_are_known() -> None:
    one = advisory("CVE-1", "alpha", ("0", "1.5"))
    (step,) = advise([component("alpha", "1.2")], [one], {ALPHA: ("1.2", "1.4", "1.6", "2.0")})
    assert step.to == "1.6"


def test_who_stands_in_the_way_is_named_and_a_version_that_all_allow_is_preferred() -> None:
    bad = advisory("CVE-1", "alpha", ("0", "1.5"), ("2.0", "2.1"))
    (one,) = advise([installed("alpha", "1.2", via=("beta",), direct=False)], [bad], asking=">=1,<1.4")
    assert one.to == "1.5"
    assert one.blocked_by == (Obstacle("beta 4.2", "alpha>=1,<1.4", own=False),)
    assert not one.fits
    assert recommendations([one])[0].startswith("web: raise alpha 1.2, which comes with beta, to 1.5 (.venv/")
    assert (
        "beta 4.2 stands in the way and has to be upgraded as well: it asks for alpha>=1,<1.4."
        in (recommendations([one])[0])
    )
    offered = {ALPHA: ("1.2", "1.5", "1.6", "2.0", "2.1")}
    (other,) = advise([installed("alpha", "1.2")], [bad], offered, asking="!=1.5")
    assert (other.to, other.blocked_by) == ("1.6", ())


def test_a_requirement_of_ones_own_has_to_be_changed_and_is_no_reason_that_it_does_not_fit() -> None:
    bad = advisory("CVE-1", "alpha", ("0", "2.5"))
    asked = component("alpha", requirement=">=1,<2", file="pyproject.toml")
    cap = constraint("alpha", requirement="<2.4")
    (one,) = advise([asked, cap, locked("alpha", "1.2")], [bad])
    assert one.direct
    assert one.fits
    assert one.blocked_by == (
        Obstacle("pyproject.toml", "alpha>=1,<2", own=True),
        Obstacle("constraints.txt", "alpha<2.4", own=True),
    )


def test_a_parent_of_another_copy_is_no_obstacle() -> None:
    bad = advisory("GHSA-1", "left", ("4.0.0", "4.17.21"), ecosystem=NPM, kind="SEMVER")
    got = locked("left", "4.17.0", ecosystem=NPM, file="package-lock.json")
    (one,) = advise([got], [bad], asking="^3.0.0")
    assert (one.to, one.blocked_by) == ("4.17.21", ())


def test_a_loose_requirement_is_raised_to_where_everything_is_clean() -> None:
    bad = advisory("CVE-1", "alpha", ("0", "1.5"), severity="HIGH")
    offered = {ALPHA: ("1.0", "1.5", "1.6")}
    (one,) = advise([component("alpha", requirement=">=1", line=2)], [bad], offered)
    assert (one.to, one.loose, one.severity) == ("1.5", True, Severity.low)
    assert recommendations([one]) == ("web: require alpha 1.5 or later in requirements.txt:2; that clears CVE-1.",)
    (capped,) = advise([component("alpha", requirement="<1.2")], [bad], offered)
    assert (capped.to, capped.severity) == ("1.5", Severity.high)
    assert capped.blocked_by == (Obstacle("requirements.txt", "alpha<1.2", own=True),)


def test_the_most_severe_comes_first_and_of_equals_what_clears_more() -> None:
    told = [
        advisory("CVE-1", "alpha", ("0", "2"), severity="LOW"),
        advisory("CVE-2", "beta", ("0", "2"), severity="CRITICAL"),
        advisory("CVE-3", "gamma", ("0", "2"), severity="LOW"),
        advisory("CVE-4", "gamma", ("0", "3"), severity="LOW"),
    ]
    steps = advise([component(name, "1") for name in ("alpha", "beta", "gamma")], told)
    assert [step.package.name for step in steps] == ["beta", "gamma", "alpha"]


def test_what_others_ask_is_read_from_metadata_and_lock_files(tmp_path: Path) -> None:
    site = tmp_path / ".venv/lib/python3.11/site-packages/beta-4.2.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text(
        "Name: beta\nVersion: 4.2\nRequires-Dist: Alpha<1.4,>=1\nRequires-Dist: alpha<1; extra == 'old'\n"
        "Requires-Dist: alpha<0; python_version < '3'\n\nRequires-Dist: alpha==0\n"
    )
    (tmp_path / "poetry.lock").write_text(
        '[[package]]\nname = "gamma"\nversion = "1.0"\n[package.dependencies]\nalpha = "^1.2"\n'
    )
    (tmp_path / "package-lock.json").write_text(
        json.dumps({"packages": {"": {}, "node_modules/x": {"version": "1.0.0", "dependencies": {"left": "~4.1.0"}}}})
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/poetry.lock").write_text("[[package]]\nname = ")
    taken = Inventory(
        "web",
        tmp_path,
        (
            installed("beta", "4.2", requires=(("alpha", "1.2"),)),
            installed("gone", "1.0", requires=(("alpha", "1.2"),)),
            locked("gamma", "1.0", file="poetry.lock"),
            locked("gamma", "1.0", file="bad/poetry.lock"),
            locked("x", "1.0.0", file="package-lock.json", ecosystem=NPM),
        ),
    )
    left = package("left", NPM)
    assert demands_of(taken, [ALPHA, left, package("other")]) == {
        ALPHA: (Demand("beta 4.2", "<1.4,>=1"), Demand("gamma 1.0", ">=1.2,<2")),
        left: (Demand("x 1.0.0", "~4.1.0"),),
    }


spans = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda pair: (f"1.{pair[0]}", f"1.{pair[0] + pair[1]}"))


@given(st.lists(spans, min_size=1, max_size=5), st.integers(0, 12), st.booleans())
def test_what_is_advised_is_clean_and_nothing_smaller_is(
    told: list[tuple[str, str]], used: int, is_listed: bool
) -> None:
    advisories = [advisory(f"CVE-{number}", "alpha", span) for number, span in enumerate(told)]
    released = tuple(f"1.{minor}" for minor in range(30))
    offered = {ALPHA: released} if is_listed else {}
    for step in advise([component("alpha", f"1.{used}")], advisories, offered):
        clean = [
            version
            for version in released[used + 1 :]
            if all(one.verdict(ALPHA, version) is Verdict.clean for one in advisories)
        ]
        assert step.to == clean[0]
        assert not step.remains

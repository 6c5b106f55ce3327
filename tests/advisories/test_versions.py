"""Versions are ordered, spelled and allowed as the tools of each ecosystem do it: packaging, npm's semver and dpkg."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import Version

from tasks.advisories.package import ACTIONS, DEBIAN, NPM, PYPI
from tasks.advisories.versions import Ordering, ordering

PARTS = st.sampled_from(["0", "1", "2", "9", "10", "00", "01"])
PEP_440 = st.builds(
    "{}{}{}{}{}{}{}".format,
    st.sampled_from(["", "", "v", "0!", "1!", " "]),
    st.lists(PARTS, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["", "", "a1", "b2", "rc1", ".alpha.1", "-c0"]),
    st.sampled_from(["", "", ".post1", "-1", "post"]),
    st.sampled_from(["", "", ".dev0", ".dev2"]),
    st.sampled_from(["", "", "+cpu", "+1.local"]),
    st.sampled_from(["", " "]),
)


def order_of(ecosystem: str) -> Ordering:
    found = ordering(ecosystem)
    assert found is not None
    return found


def compared(order: Ordering, one: str, other: str) -> int:
    first, second = order.parse(one), order.parse(other)
    assert first is not None, one
    assert second is not None, other
    return int(first > second) - int(first < second)


@given(PEP_440, PEP_440)
def test_pypi_is_ordered_as_packaging_does(one: str, other: str) -> None:
    order = order_of(PYPI)
    first, second = (Version(Version(text).public) for text in (one, other))
    assert compared(order, one, other) == int(first > second) - int(first < second)
    assert (order.normal(one) == order.normal(other)) is (first == second)
    assert order.normal(one) == canonicalize_version(first)
    assert order.is_prerelease(one) is first.is_prerelease


@given(PEP_440, st.sampled_from([">=1", "<2,>0.9", "==1.*", "~=1.0", "!=1.0", ">=1.0rc1", "===1.0", "", "==1.0+cpu"]))
def test_a_requirement_of_pypi_allows_what_an_installer_would_take(version: str, requirement: str) -> None:
    order, specifiers = order_of(PYPI), SpecifierSet(requirement)
    everything = specifiers.contains(Version(version), prereleases=True)
    assert order.allows(requirement, version, prereleases=True) is everything
    if Version(version).is_prerelease and "rc" not in requirement:
        assert not order.allows(requirement, version)
    else:
        assert order.allows(requirement, version) is everything


@given(st.text(alphabet="aB1-_.", min_size=1, max_size=12))
def test_names_on_pypi_are_normalised_as_packaging_does(name: str) -> None:
    assert order_of(PYPI).name(name) == canonicalize_name(name)


# --- npm -------------------------------------------------------------------------------------------------------------

IDENTIFIERS = ("0", "1", "2", "10", "alpha", "beta", "rc", "rc1", "x", "a-b", "-")
ASK = """
const semver = require(process.argv[1]);
const asked = JSON.parse(require('fs').readFileSync(0));
const allows = (options) => asked.ranges.map(([range, version]) =>
  semver.validRange(range, options) === null ? null : semver.satisfies(version, range, options));
console.log(JSON.stringify({
  order: asked.pairs.map(([one, other]) => semver.compare(one, other)),
  allowed: allows({loose: true}),
  withPrereleases: allows({loose: true, includePrerelease: true}),
}));
"""


class Chance:
    """Versions and ranges as people write them, and some as they should not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def number(self) -> str:
        return self.pick(["0", "0", "1", "1", "2", "3", "10", "11"])

    def prerelease(self) -> str:
        return ".".join(self.pick(IDENTIFIERS) for _ in range(self.random.randint(1, 3)))

    def version(self) -> str:
        version = ".".join(self.number() for _ in range(3))
        if self.random.random() < 0.35:
            version += "-" + self.prerelease()
        return version + self.pick(["", "", "", "+build", "+1.a-b"])

    def partial(self) -> str:
        any_ = self.pick("xX*")
        one, two, three = self.number(), self.number(), self.number()
        whole = f"{one}.{two}.{three}"
        parts = [one, f"{one}.{two}", f"{one}.{any_}", f"{one}.{two}.{any_}", any_, f"{one}.{any_}.{three}"]
        return self.pick([whole, whole, whole, f"{whole}-{self.prerelease()}", f"{whole}beta", *parts])

    def comparator(self) -> str:
        sign = self.pick(["", "", "^", "^", "~", "~", "~>", ">", ">=", "<", "<=", "="])
        return sign + (self.pick(["", "", " ", "  "]) if sign else "") + self.pick(["", "", "v"]) + self.partial()

    def alternative(self) -> str:
        return self.pick(
            [
                f"{self.partial()} - {self.partial()}",
                self.pick(["", "*", "x", ">=0.0.0", ">=0", "latest", "^", "<0.0.0-0"]),
                *(" ".join(self.comparator() for _ in range(count)) for count in (1, 1, 1, 2, 2, 3)),
            ]
        )

    def range(self) -> str:
        return self.pick(["||", " || "]).join(self.alternative() for _ in range(self.pick([1, 1, 1, 2, 3])))


@pytest.fixture(scope="module")
def npm_semver() -> Callable[[Any], Any]:
    """Asks the `semver` that npm itself uses."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    library = Path(root) / "npm" / "node_modules" / "semver"
    if not library.is_dir():
        pytest.skip("npm does not bring its semver where it is expected")

    def ask(question: Any) -> Any:
        done = subprocess.run(
            [node, "-e", ASK, str(library)],
            check=False,
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def test_npm_is_ordered_and_ranges_allow_as_its_own_semver_says(npm_semver: Callable[[Any], Any]) -> None:
    chance, order = Chance(20_261_121), order_of(NPM)
    pairs = [(chance.version(), chance.version()) for _ in range(4000)]
    ranges = [(chance.range(), chance.version()) for _ in range(6000)]
    said = npm_semver({"pairs": pairs, "ranges": ranges})
    for (one, other), expected in zip(pairs, said["order"], strict=True):
        assert compared(order, one, other) == expected, (one, other)
        assert (order.normal(one) == order.normal(other)) is (expected == 0), (one, other)
    for (text, version), allowed, everything in zip(ranges, said["allowed"], said["withPrereleases"], strict=True):
        assert order.allows(text, version) is allowed, (text, version)
        assert order.allows(text, version, prereleases=True) is everything, (text, version)
    assert sum(allowed is True for allowed in said["allowed"]) > 500


@pytest.mark.parametrize(
    "requirement",
    [
        *("latest", "next", "file:../here", "link:../here", "workspace:*", "workspace:^1.0.0", "npm:other@^1.0.0"),
        *(
            "git+ssh://git@host/owner/name.git#semver:^1.0.0",
            "https://host/1.0.0.tgz",
            "owner/name",
            "owner/name#1.0.0",
        ),
        *("catalog:", "not a range", "1" * 5000),
    ],
)
def test_what_is_no_range_of_npm_decides_nothing(requirement: str) -> None:
    assert order_of(NPM).allows(requirement, "1.0.0") is None


# --- actions ---------------------------------------------------------------------------------------------------------


def test_a_tag_that_moves_stands_for_a_generation() -> None:
    order = order_of(ACTIONS)
    assert compared(order, "v4.1.0", "4.1.0") == 0
    assert order.moving("v4.1.0") is None
    assert order.moving("main") is None
    for tag, inside, outside in (
        ("v4", ("4.0.0", "v4.9.9"), ("3.9.9", "5.0.0", "5.0.0-rc.1")),
        ("v4.1", ("4.1.0", "4.1.7"), ("4.0.9", "4.2.0", "4.2.0-beta")),
    ):
        between = order.moving(tag)
        assert between is not None
        assert all(between[0] <= order.parse(version) < between[1] for version in inside)
        assert not any(between[0] <= order.parse(version) < between[1] for version in outside)
        assert all(order.allows(tag, version) for version in inside)
        assert not any(order.allows(tag, version) for version in outside)
    assert order.allows("v4.1.0", "4.1.0")
    assert order.allows("0123456789abcdef0123456789abcdef01234567", "4.1.0") is None
    assert order.name("Actions/Checkout") == "actions/checkout"


# --- Debian ----------------------------------------------------------------------------------------------------------

COMPARE = """
while read -r one other; do
  if dpkg --compare-versions "$one" lt "$other"; then echo -1
  elif dpkg --compare-versions "$one" gt "$other"; then echo 1
  else echo 0; fi
done
"""


def debian_versions(chance: random.Random) -> tuple[str, str]:
    pieces = ["0", "1", "2", "10", "01", "a", "b", "rc", "~", "+", ".", ".", "~~", "dfsg", "Z"]

    def one() -> str:
        upstream = chance.choice("0129") + "".join(chance.choice(pieces) for _ in range(chance.randint(1, 4)))
        revision = chance.choice(["", "", "-0", "-1", "-1+deb12u1", "-1~bpo12+1", "-2.1", "-1~"])
        return chance.choice(["", "", "", "0:", "1:"]) + upstream + revision

    first = one()
    if chance.random() < 0.5:
        return first, one()
    return first, first + chance.choice(["~", "0", ".", "a", "+b1", "~deb11u1"])


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
def test_debian_is_ordered_as_dpkg_does() -> None:
    chance, order = random.Random(12), order_of("Debian:12")
    pairs = [debian_versions(chance) for _ in range(150)] + [("1.0", "1.0-0"), ("1.0", "0:1.00"), ("1.", "1.0~1")]
    asked = "".join(f"{one} {other}\n" for one, other in pairs)
    done = subprocess.run(["sh", "-c", COMPARE], input=asked, capture_output=True, text=True, check=True, timeout=60)
    for (one, other), expected in zip(pairs, map(int, done.stdout.split()), strict=True):
        assert compared(order, one, other) == expected, (one, other)
        assert (order.normal(one) == order.normal(other)) is (expected == 0), (one, other)


def test_epochs_and_tildes_in_debian() -> None:
    order = order_of(DEBIAN)
    rising = ["1.0~rc1-1", "1.0-1~bpo11+1", "1.0-1", "1.0-1+deb12u1", "1.0-10", "1.0.1-1", "1.10-1", "1:0.5-1"]
    assert sorted(sorted(rising), key=order.parse) == rising
    assert sorted(rising) != rising


@pytest.mark.parametrize(
    ("relation", "allowed"),
    [
        *((">= 1.2", True), (">>1.2-3", False), ("<< 2:1.0", True), ("(= 1.2-3)", True), (">= 1.2, << 1.2-3", False)),
        *(("", True), ("1.2-3", True), ("1.2*", True), ("1.3*", False), ("== what", None), ("1.2-3 | 5", None)),
    ],
)
def test_relations_of_debian(relation: str, allowed: bool | None) -> None:
    assert order_of("Debian:13").allows(relation, "1.2-3") is allowed


# --- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ecosystem", [PYPI, NPM, ACTIONS, "Debian:12"])
def test_a_range_is_no_version(ecosystem: str) -> None:
    order = order_of(ecosystem)
    for text in (">=1.0", "^1.0.0", "~=1.4", "1.0,<2", "1.0 || 2.0", "==1.0", "*", "", "latest", "<2"):
        assert order.parse(text) is None, text


@pytest.mark.parametrize("ecosystem", [PYPI, NPM, ACTIONS, "Debian:12"])
def test_texts_made_to_be_slow_to_read_are_not(ecosystem: str) -> None:
    order = order_of(ecosystem)
    began = time.perf_counter()
    for text in (
        "1" * 5000,
        "1." * 2000,
        "1.0.0-" + "1" * 3000 + "!",
        "v" * 4000,
        " " * 4000 + "!",
        "1-" * 2000,
        "~" * 4000,
    ):
        assert order.parse(text) is None
        order.allows(text, "1.0.0")
        order.allows(" ".join([text] * 20), "1.0.0")
        order.normal(text)
    assert time.perf_counter() - began < 2


def test_of_an_unknown_ecosystem_nothing_is_claimed() -> None:
    assert ordering("CRAN") is None
    assert ordering("") is None

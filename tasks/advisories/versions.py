"""The orders of versions: PEP 440 on PyPI, SemVer 2.0 on npm and for actions, Debian Policy 5.6.12."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

from packaging.version import InvalidVersion, Version

from tasks.advisories import npm_ranges, semver
from tasks.advisories.package import ACTIONS, DEBIAN, NPM, PYPI

UBUNTU = "Ubuntu"
_LONGEST = 256  # characters of a version; what is longer is none

Key = Any
"""Something that compares with the other keys of the same order, and that can be hashed."""


class Ordering(Protocol):
    """How one ecosystem names packages, orders versions and writes ranges."""

    def __hash__(self) -> int: ...

    def name(self, text: str) -> str:
        """The one spelling of a package's name."""
        ...

    def parse(self, version: str) -> Key | None:
        """What compares as the versions do; None for what is no version."""
        ...

    def moving(self, version: str) -> tuple[Key, Key] | None:
        """For a tag that stands for whatever is the newest of many versions: from which key, to before which."""
        ...

    def normal(self, version: str) -> str:
        """One spelling for versions that are equal: `1.0` and `1.0.0` are on PyPI. What is no version stays as it is.
        For comparing, not for showing.
        """
        ...

    def beginnings(self, version: str) -> tuple[str, ...]:
        """What the plain spellings of a version that equals this one begin with: a cheap way to rule most out. Plain
        is one that begins with a digit, without an epoch of 0 and without a 0 before another digit.
        """
        ...

    def is_prerelease(self, version: str) -> bool:
        """Whether it comes before the release that it is named after. False for what is no version."""
        ...

    def allows(self, requirement: str, version: str, *, prereleases: bool = False) -> bool | None:
        """Whether a range, as the ecosystem writes it, allows a version; None when either cannot be understood.

        Without `prereleases` those are only allowed where the range itself names one, as installers do.
        """
        ...


def ordering(ecosystem: str) -> Ordering | None:
    """The order of an ecosystem, by OSV's name with or without a release; None for one whose rules are not known."""
    return _ORDERINGS.get(ecosystem.partition(":")[0])


def semantic() -> Ordering:
    """SemVer 2.0: what ranges of the type `SEMVER` are ordered by, in whatever ecosystem."""
    return _NPM


class _Pep440:
    """PyPI: PEP 440. A local build (`2.13.0+cpu`) counts as what it was built from."""

    def name(self, text: str) -> str:
        return _pypi_name(text)

    def parse(self, version: str) -> Version | None:
        return _pypi_version(version)

    def moving(self, version: str) -> None:
        return None

    def normal(self, version: str) -> str:
        parsed = _pypi_version(version)
        if parsed is None:
            return version
        return str(parsed.__replace__(release=_without_zeros(parsed.release)))

    def beginnings(self, version: str) -> tuple[str, ...]:
        parsed = _pypi_version(version)
        if parsed is None or parsed.epoch:
            return ("",)
        return (".".join(map(str, _without_zeros(parsed.release))),)  # `1.0` is also `1`

    def is_prerelease(self, version: str) -> bool:
        parsed = _pypi_version(version)
        return parsed is not None and parsed.is_prerelease

    def allows(self, requirement: str, version: str, *, prereleases: bool = False) -> bool | None:
        plain = _plainly_allows(requirement, version, prereleases)
        if plain is not None:
            return plain
        from packaging.specifiers import InvalidSpecifier  # noqa: PLC0415 - takes as long to import as a whole audit

        try:
            specifiers = _specifiers(requirement)
            return bool(specifiers.contains(Version(version), prereleases=prereleases or bool(specifiers.prereleases)))
        except (InvalidSpecifier, ValueError):
            return None


class _SemVer:
    """npm: SemVer 2.0, and the ranges of `package.json`."""

    def name(self, text: str) -> str:
        return text.strip()

    def parse(self, version: str) -> semver.Key | None:
        return semver.parse(version)

    def moving(self, version: str) -> tuple[semver.Key, semver.Key] | None:
        return None

    def normal(self, version: str) -> str:
        key = semver.parse(version)
        return version if key is None else semver.written(key)

    def beginnings(self, version: str) -> tuple[str, ...]:
        key = semver.parse(version)
        return ("",) if key is None else (str(key[0]),)

    def is_prerelease(self, version: str) -> bool:
        key = semver.parse(version)
        return key is not None and not semver.is_release(key)

    def allows(self, requirement: str, version: str, *, prereleases: bool = False) -> bool | None:
        return npm_ranges.allows(requirement, version, prereleases=prereleases)


class _Tags(_SemVer):
    """GitHub Actions: tags, of which `v4` and `v4.1` are moved along with each release of that generation."""

    def name(self, text: str) -> str:
        return text.strip().lower()

    def moving(self, version: str) -> tuple[semver.Key, semver.Key] | None:
        return semver.generation(version)

    def allows(self, requirement: str, version: str, *, prereleases: bool = False) -> bool | None:
        between, key = semver.generation(requirement), semver.parse(version)
        if key is None or semver.generation(version) is not None:
            return None
        if between is None:
            exact = semver.parse(requirement)
            return None if exact is None else exact == key
        return between[0] <= key < between[1] and (prereleases or semver.is_release(key))


class _Dpkg:
    """Debian and Ubuntu: epoch, upstream version and revision, with `~` before everything (deb-version(7))."""

    def name(self, text: str) -> str:
        return text.strip().lower()

    def parse(self, version: str) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
        return _debian_version(version)

    def moving(self, version: str) -> None:
        return None

    def normal(self, version: str) -> str:
        split = _debian_parts(version)
        if split is None:
            return version
        return f"{split[0]}:{_debian_normal(split[1])}-{_debian_normal(split[2])}"

    def beginnings(self, version: str) -> tuple[str, ...]:
        split = _debian_parts(version)
        found = None if split is None else _DEBIAN_FIRST.match(split[1])
        if split is None or found is None:
            return ("",)
        return (f"{split[0]}:" if split[0] else f"{int(found[1])}{found[2]}",)

    def is_prerelease(self, version: str) -> bool:
        return False

    def allows(self, requirement: str, version: str, *, prereleases: bool = False) -> bool | None:
        key = _debian_version(version)
        if key is None:
            return None
        verdicts = [_debian_allows(part, version, key) for part in requirement.strip(" ()").split(",")]
        return None if None in verdicts else all(verdicts)


_NPM = _SemVer()
_DPKG = _Dpkg()
_ORDERINGS: dict[str, Ordering] = {PYPI: _Pep440(), NPM: _NPM, ACTIONS: _Tags(), DEBIAN: _DPKG, UBUNTU: _DPKG}


@lru_cache(maxsize=65_536)
def _pypi_name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text.strip()).lower()  # PEP 503; packaging.utils has it too, and takes long to import


@lru_cache(maxsize=262_144)
def _pypi_version(version: str) -> Version | None:
    if len(version) > _LONGEST:
        return None
    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    return parsed if parsed.local is None else parsed.__replace__(local=None)


def _without_zeros(release: tuple[int, ...]) -> tuple[int, ...]:
    """Without those at its end; the first number stays."""
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    return release


_CLAUSE = re.compile(r" *(==|!=|<=|>=|<|>) *([0-9]{1,9}(?:\.[0-9]{1,9}){0,9}) *", re.ASCII)
_LIMIT = re.compile(r" *(<=|>=) *([^\s,+*]+) *", re.ASCII)
_FINAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,9}", re.ASCII)


def _plainly_allows(requirement: str, version: str, prereleases: bool) -> bool | None:  # noqa: FBT001 - its caller's
    """The same for a final release and bounds that are final releases, which nearly all are, and for any others that
    are only compared by `>=` and `<=`; None for the rest.

    Among those the clauses of PEP 440 are what their signs mean.
    """
    if not _FINAL.fullmatch(version):
        return _within_limits(requirement, version) if prereleases else None
    key, allowed = _release(version), True
    for text in requirement.split(",") if requirement else ():
        clause = _CLAUSE.fullmatch(text)
        if clause is None:
            return None
        allowed = allowed and _SIGNS[clause[1]](key, _release(clause[2]))
    return allowed


def _within_limits(requirement: str, version: str) -> bool | None:
    key, allowed = _pypi_version(version), True
    for text in requirement.split(",") if requirement else ():
        clause = _LIMIT.fullmatch(text)
        bound = _pypi_version(clause[2]) if clause is not None else None
        if clause is None or bound is None or key is None:
            return None
        allowed = allowed and (key >= bound if clause[1] == ">=" else key <= bound)
    return allowed if key is not None else None


_SIGNS: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def _release(version: str) -> tuple[int, ...]:
    return _without_zeros(tuple(map(int, version.split("."))))


@lru_cache(maxsize=8192)
def _specifiers(requirement: str) -> Any:
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415

    return SpecifierSet(requirement)


_DEBIAN = re.compile(r"\s*(?:([0-9]{1,9}):)?([0-9][A-Za-z0-9.+~-]*?)(?:-([A-Za-z0-9.+~]+))?\s*", re.ASCII)
_DEBIAN_FIRST = re.compile(r"([0-9]+)([^0-9]*)")
_DEBIAN_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
_DEBIAN_RELATION = re.compile(r"\s*(<<|<=|>=|>>|=|<|>)?\s*([^\s<>=()]+)\s*")


@lru_cache(maxsize=65_536)
def _debian_version(version: str) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
    split = _debian_parts(version)
    return None if split is None else (split[0], _debian_key(split[1]), _debian_key(split[2]))


def _debian_parts(version: str) -> tuple[int, str, str] | None:
    if len(version) > _LONGEST or (found := _DEBIAN.fullmatch(version)) is None:
        return None
    return int(found[1] or 0), found[2], found[3] or "0"


def _debian_key(part: str) -> tuple[int, ...]:
    """Numbers that order like the part of the version: texts and numbers take turns, an absent number is 0, letters
    come before other characters, the end of a text before both, and `~` before that.
    """
    key: list[int] = []
    for text, digits in _DEBIAN_PARTS.findall(part):  # the last match is empty: it marks the end
        key += [-1 if char == "~" else ord(char) + (0 if char.isalpha() else 256) for char in text]
        key += [0, int(digits or 0)]
    return tuple(key)


def _debian_normal(part: str) -> str:
    matches = _DEBIAN_PARTS.findall(part)[:-1]
    return "".join(f"{text}{int(digits or 0)}" for text, digits in matches)


def _debian_allows(relation: str, version: str, key: tuple[int, tuple[int, ...], tuple[int, ...]]) -> bool | None:
    """One relation of a `Depends` field (`>= 1.2`), or the version that apt is asked for (`1.2-3`, `1.2*`)."""
    found = _DEBIAN_RELATION.fullmatch(relation)
    if found is None:
        return None if relation.strip() else True
    sign, text = found[1] or "=", found[2]
    if sign == "=" and text.endswith("*"):
        return None if "*" in text[:-1] else version.startswith(text[:-1])
    bound = _debian_version(text)
    if bound is None:
        return None
    if key == bound:
        return sign not in ("<<", ">>")  # `<` and `>` mean `<=` and `>=` (Policy 7.1)
    return sign[0] == ("<" if key < bound else ">")

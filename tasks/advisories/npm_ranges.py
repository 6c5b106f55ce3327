"""Ranges as `package.json` writes them, read as npm does: `^1.2`, `~1.2.3`, `1.x`, `1.2 - 2`, `>=1 <3 || 5`."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from tasks.advisories import semver

_LONGEST = 4096  # characters of a range
_SPACES = re.compile(r"\s+")
_BUILD = re.compile(semver.BUILD)
_OPERATOR_APART = re.compile(r"(~>?|\^|[<>]=?|=) ")
_PARTIAL = rf"[v=\s]*+([0-9]++|[xX*])(?:\.([0-9]++|[xX*])(?:\.([0-9]++|[xX*])(?:{semver.PRERELEASE})?)?)?"
_HYPHEN = re.compile(rf"{_PARTIAL} - {_PARTIAL}")
_COMPARATOR = re.compile(rf"(~>?|\^|[<>]=?|=)?{_PARTIAL}")


class _Bound(NamedTuple):
    """One side of a range."""

    sign: str
    """`<`, `<=`, `>`, `>=` or `=`."""
    key: semver.Key


class _Partial(NamedTuple):
    """A version of which parts may be absent or `x`; those are None, and so is all that follows them."""

    major: int | None
    minor: int | None
    patch: int | None
    identifiers: str | None


_Bounds = tuple[_Bound, ...]
_NOTHING: _Bounds = (_Bound("<", semver.key(0, 0, 0, "0")),)
_ALL = _Bound(">=", semver.key(0, 0, 0))


def allows(requirement: str, version: str, *, prereleases: bool = False) -> bool | None:
    """Whether a range allows a version. None for what is no range (a tag such as `latest`, an address, a path,
    `workspace:` and other protocols) or no version.

    A pre-release is allowed only where the range names one of the same release, or with `prereleases`.
    """
    key, alternatives = semver.parse(version), _alternatives(requirement, prereleases=prereleases)
    if key is None or alternatives is None:
        return None
    return any(_within(key, bounds, prereleases=prereleases) for bounds in alternatives)


@lru_cache(maxsize=16_384)
def _alternatives(requirement: str, *, prereleases: bool) -> tuple[_Bounds, ...] | None:
    if len(requirement) > _LONGEST or ":" in requirement or "/" in requirement:
        return None
    read = [_bounds(part, prereleases=prereleases) for part in requirement.split("||")]
    known = tuple(bounds for bounds in read if bounds is not None)
    # One alternative that allows everything is the whole range, so that no pre-release gets in by another one.
    return (((),) if () in known else known) or None


def _bounds(alternative: str, *, prereleases: bool) -> _Bounds | None:
    """The bounds that all have to be kept; None when nothing in the text is understood."""
    text = _SPACES.sub(" ", _BUILD.sub("", alternative.strip())).strip()
    if not text:
        return ()
    if found := _HYPHEN.fullmatch(text):
        return _hyphen(_partial(*found.groups()[:4]), _partial(*found.groups()[4:]), prereleases=prereleases)
    understood = False
    bounds: list[_Bound] = []
    for comparator in _OPERATOR_APART.sub(r"\1", text).split(" "):
        found = _COMPARATOR.fullmatch(comparator)
        if found is None or (partial := _comparable(found)) is None:
            continue  # npm passes over what it does not understand, as long as it understands something
        understood = True
        bounds += _desugared(found[1] or "", partial, prereleases=prereleases)
    if _NOTHING[0] in bounds:
        return _NOTHING
    return tuple(bound for bound in bounds if prereleases or bound != _ALL) if understood else None


def _comparable(found: re.Match[str]) -> _Partial | None:
    sign, *parts = found.groups()
    known = [part is not None and part not in "xX*" for part in parts[:3]]
    holed = any(later and not earlier for earlier, later in pairwise(known))
    if holed and sign not in ("~", "~>", "^"):
        return None  # `1.x.3` means nothing
    return _partial(*parts)


def _partial(major: str | None, minor: str | None, patch: str | None, identifiers: str | None) -> _Partial:
    numbers = [None if part is None or part in "xX*" else int(part) for part in (major, minor, patch)]
    if numbers[0] is None:
        return _Partial(None, None, None, None)
    if numbers[1] is None:
        return _Partial(numbers[0], None, None, None)
    return _Partial(numbers[0], numbers[1], numbers[2], None if numbers[2] is None else identifiers)


def _desugared(sign: str, partial: _Partial, *, prereleases: bool) -> _Bounds:
    if partial.major is None:
        return _NOTHING if sign in ("<", ">") else ()
    if sign == "^":
        return _from(partial, prereleases=prereleases), _before(_caret(partial))
    if sign in ("~", "~>"):
        return _from(partial, prereleases=prereleases), _before(partial._replace(patch=None))
    if partial.patch is not None:
        exact = semver.key(partial.major, partial.minor or 0, partial.patch, partial.identifiers)
        return (_Bound(sign or "=", exact),)
    return _of_generation(sign, partial, prereleases=prereleases)


def _of_generation(sign: str, partial: _Partial, *, prereleases: bool) -> _Bounds:
    """`1`, `1.2` or `1.x`, with a sign or none: all of its versions, those after them, or those before."""
    if sign == ">":
        return (_Bound(">=", _lowest(_after(partial)) if prereleases else _after(partial)),)
    if sign == "<":
        return (_Bound("<", semver.key(partial.major or 0, partial.minor or 0, 0, "0")),)
    if sign == "<=":
        return (_before(partial),)
    if sign == ">=":
        return (_from(partial, prereleases=prereleases),)
    return _from(partial, prereleases=prereleases), _before(partial)


def _hyphen(low: _Partial, high: _Partial, *, prereleases: bool) -> _Bounds:
    bounds: list[_Bound] = []
    if low.major is not None:
        bounds.append(_from(low, prereleases=prereleases, whole=True))
    if high.major is not None:
        if high.patch is None:
            bounds.append(_before(high))
        elif high.identifiers is not None or not prereleases:
            bounds.append(_Bound("<=", semver.key(high.major, high.minor or 0, high.patch, high.identifiers)))
        else:
            bounds.append(_Bound("<", semver.key(high.major, high.minor or 0, high.patch + 1, "0")))
    return tuple(bounds)


def _from(partial: _Partial, *, prereleases: bool, whole: bool = False) -> _Bound:
    """At least this; where pre-releases count, also those of the first version that is meant."""
    lowest = "0" if prereleases and (partial.patch is None or whole) else None
    identifiers = partial.identifiers if partial.identifiers is not None else lowest
    return _Bound(">=", semver.key(partial.major or 0, partial.minor or 0, partial.patch or 0, identifiers))


def _before(partial: _Partial) -> _Bound:
    """Before the next version of the last part that is given, and before its pre-releases."""
    return _Bound("<", _lowest(_after(partial)))


def _lowest(release: semver.Key) -> semver.Key:
    """The first pre-release of a release."""
    return (*release[:3], 0, (0, 0, ""))


def _after(partial: _Partial) -> semver.Key:
    if partial.minor is None:
        return semver.key((partial.major or 0) + 1, 0, 0)
    if partial.patch is None:
        return semver.key(partial.major or 0, partial.minor + 1, 0)
    return semver.key(partial.major or 0, partial.minor, partial.patch + 1)


def _caret(partial: _Partial) -> _Partial:
    """The part that a caret lets stand: up to the first number that is not 0, as far as numbers are given."""
    if partial.major or partial.minor is None:
        return partial._replace(minor=None, patch=None)
    if partial.minor or partial.patch is None:
        return partial._replace(patch=None)
    return partial


def _within(key: semver.Key, bounds: _Bounds, *, prereleases: bool) -> bool:
    if not all(_keeps(key, bound) for bound in bounds):
        return False
    if prereleases or semver.is_release(key):
        return True
    return any(not semver.is_release(bound.key) and bound.key[:3] == key[:3] for bound in bounds)


def _keeps(key: semver.Key, bound: _Bound) -> bool:
    if key == bound.key:
        return "=" in bound.sign
    return bound.sign in (">", ">=") if key > bound.key else bound.sign in ("<", "<=")

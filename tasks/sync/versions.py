"""Versions of one path, merged. Pure; the same whatever the order and however often, so that all devices agree."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal

from models.sync_versions import Content, Kind, Policy, Vector, Version

Rank = Callable[[Version], int]
"""Of two changes that knew nothing of each other, the one with the higher rank stays in its place."""


def counted(vector: Vector, device: str, count: int) -> Vector:
    """`vector` after a change of `device`, whose counter is `count` then."""
    return tuple(sorted((dict(vector) | {device: count}).items()))


def joined(one: Vector, other: Vector) -> Vector:
    """The changes of both."""
    if one == other:
        return one
    merged = dict(one)
    for device, count in other:
        merged[device] = max(count, merged.get(device, 0))
    return tuple(sorted(merged.items()))


def compare(one: Vector, other: Vector) -> Literal["same", "newer", "older", "concurrent"]:
    """How `one` stands to `other`."""
    if one == other:
        return "same"
    mine, theirs = dict(one), dict(other)
    ahead = any(count > theirs.get(device, 0) for device, count in one)
    behind = any(count > mine.get(device, 0) for device, count in other)
    if ahead and behind:
        return "concurrent"
    if ahead:
        return "newer"
    return "older" if behind else "same"


def merge(one: Version, other: Version, rank: Rank) -> tuple[Version, Version | None]:
    """`settle` of two."""
    winner, lost = settle([one, other], rank)
    return winner, lost[0] if lost else None


def settle(versions: Sequence[Version], rank: Rank) -> tuple[Version, list[Version]]:
    """What stands at the path when all of `versions` are known, and what lost its place to it.

    What is older than another one is gone; so is a content that whoever made another one knew, whatever else either has
    heard of since (Preguiça et al. 2012, "Dotted Version Vectors"). Of what is left, which knew nothing of each other,
    what lives beats what was deleted, a directory beats what is none, and otherwise `rank` decides. Nothing is lost to
    what says the same, or differs only in permissions.
    """
    left = [one for one in versions if not any(_makes_obsolete(other, one) for other in versions)]
    vector = functools.reduce(joined, (one.vector for one in versions))
    # Devices that merged the same changes differently, because they are told to rank them differently, agree here.
    ranked = rank if len({one.vector for one in left}) == len(left) else _alike
    first, *others = sorted(left, key=lambda version: _precedence(version, ranked), reverse=True)
    winner = first._replace(vector=vector)
    lost: dict[tuple[str, bytes, str], Version] = {}
    for one in others:
        if winner.content is None or one.content is None:
            continue
        if one.content.essence != winner.content.essence:
            lost.setdefault(one.content.essence, one)
        elif one.content.mode > winner.content.mode:
            winner = winner._replace(content=winner.content._replace(mode=one.content.mode))
    return winner, list(lost.values())


def _makes_obsolete(one: Version, other: Version) -> bool:
    order = compare(one.vector, other.vector)
    if order == "concurrent":
        return _knew(one, other) and not _knew(other, one)
    return order == "newer"


def _knew(one: Version, other: Version) -> bool:
    """Whether who made `one` knew the content of `other`: the change that it was made by."""
    made = dict(other.vector).get(other.device)
    return made is not None and dict(one.vector).get(other.device, 0) >= made


def _alike(_version: Version) -> int:
    return 0


def _precedence(version: Version, rank: Rank) -> tuple[bool, bool, int, str, int, tuple[str, bytes, str], int, Vector]:
    content = version.content
    return (
        content is not None,
        content is not None and content.kind is Kind.directory,
        rank(version),
        version.device,
        version.at,
        content.essence if content else ("", b"", ""),
        content.mode if content else 0,
        version.vector,
    )


def rank_of(policy: Policy, prefer: str | None) -> Rank:
    """How a policy ranks versions; `prefer` is the name of a device."""
    if policy is Policy.newest:
        return lambda version: version.at
    if policy is Policy.prefer:
        return lambda version: int(version.device.rpartition("-")[0] == prefer)
    return _alike


def directory(mode: int = 0o755) -> Content:
    """A directory."""
    return Content(Kind.directory, mode=mode)

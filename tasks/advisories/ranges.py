"""Which versions a range of an advisory covers (OSV schema 1.7, section "Evaluation")."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from tasks.advisories.versions import Key, Ordering

SEMVER = "SEMVER"
ECOSYSTEM = "ECOSYSTEM"
GIT = "GIT"
"""Its events are commits: it says nothing about versions."""

_KINDS = frozenset({"introduced", "fixed", "last_affected", "limit"})


class Range(NamedTuple):
    """One entry of `affected[].ranges`, as it is written."""

    type: str
    events: tuple[tuple[str, str], ...]
    """Kind and version of each, in any order."""


class _Span(NamedTuple):
    """Versions that are affected, without a gap."""

    low: Key | None
    """The first one; None: from the very first version on."""
    high: Key | None
    """Where it ends; None: nowhere."""
    closed: bool = False
    """Whether `high` is affected too."""


def covers(within: Range, order: Ordering | None, version: str) -> bool | None:
    """Whether a range covers a version; None when that cannot be told: the range is not understood, the version is
    none, or it is a tag that stands for versions inside and outside of it.
    """
    everything, spans = _understood(order, within.events)
    if everything:
        return True
    if order is None or spans is None:
        return None
    if (between := order.moving(version)) is not None:
        return _holds(spans, *between)
    key = order.parse(version)
    if key is None:
        return None
    for span in spans:  # noqa: SIM110 - hundreds of thousands of times; `any` takes three times as long
        if _inside(span, key):
            return True
    return False


def fixes(within: Range) -> tuple[str, ...]:
    """Versions at which a range ends because it was fixed, as they are written."""
    return tuple(version for kind, version in within.events if kind == "fixed")


def _is_everything(events: tuple[tuple[str, str], ...]) -> bool:
    """Whether it covers whatever there is: then the order of versions does not matter."""
    return bool(events) and all(event in (("introduced", "0"), ("limit", "*")) for event in events)


@lru_cache(maxsize=32_768)
def _understood(order: Ordering | None, events: tuple[tuple[str, str], ...]) -> tuple[bool, tuple[_Span, ...] | None]:
    """Whether it covers whatever there is, and what it covers; None for what is not understood."""
    return _is_everything(events), None if order is None else _spans(order, events)


def _spans(order: Ordering, events: tuple[tuple[str, str], ...]) -> tuple[_Span, ...] | None:
    """What the events add up to; None when one of them is not understood, or nothing is introduced."""
    turns: list[tuple[str, Key | None]] = []
    limits: list[Key] = []
    endless = False
    for kind, text in events:
        key = order.parse(text)
        beginning = kind == "introduced" and text == "0"
        if kind == "limit" and text == "*":
            endless = True
        elif kind not in _KINDS or (key is None and not beginning):
            return None
        elif kind == "limit":
            limits.append(key)
        else:
            turns.append((kind, None if beginning else key))
    if not any(kind == "introduced" for kind, _ in turns):
        return None
    spans = _joined(turns)
    if limits and not endless:  # the last of several limits counts
        spans = [limited for span in spans if (limited := _cut(span, max(limits))) is not None]
    return tuple(spans)


def _joined(turns: list[tuple[str, Key | None]]) -> list[_Span]:
    """Walks through the events by version. Where it both ends and begins at one version, what was affected stays so,
    and what was not is affected in no version, or with `last_affected` in this one.
    """
    if len(turns) == 1:
        return [_Span(turns[0][1], None)]
    if len(turns) == 2 and turns[0][0] == "introduced" != turns[1][0]:  # nearly all are like this
        (_, low), (kind, high) = turns
        if low is None or low < high:
            return [_Span(low, high, closed=kind == "last_affected")]
    spans: list[_Span] = []
    low = None
    affected = any(key is None for _, key in turns)
    ordered = sorted(((key, kind) for kind, key in turns if key is not None), key=lambda turn: turn[0])
    for key, together in groupby(ordered, key=lambda turn: turn[0]):
        kinds = {kind for _, kind in together}
        ends, begins = kinds & {"fixed", "last_affected"}, "introduced" in kinds
        if affected and ends and not begins:
            spans.append(_Span(low, key, closed="fixed" not in ends))
            affected = False
        elif not affected and begins and not ends:
            affected, low = True, key
        elif not affected and begins and "fixed" not in ends:
            spans.append(_Span(key, key, closed=True))
    if affected:
        spans.append(_Span(low, None))
    return spans


def _cut(span: _Span, limit: Key) -> _Span | None:
    if span.low is not None and span.low >= limit:
        return None
    return span if span.high is not None and span.high < limit else _Span(span.low, limit)


def _inside(span: _Span, key: Key) -> bool:
    if span.low is not None and key < span.low:
        return False
    return span.high is None or key < span.high or bool(span.closed and key == span.high)


def _holds(spans: tuple[_Span, ...], start: Key, end: Key) -> bool | None:
    """Whether all of the versions from `start` to before `end` are covered; None for some of them."""
    touched = [span for span in spans if (span.low is None or span.low < end) and not _is_before(span, start)]
    if any((span.low is None or span.low <= start) and (span.high is None or end <= span.high) for span in touched):
        return True
    return None if touched else False


def _is_before(span: _Span, key: Key) -> bool:
    if span.high is None:
        return False
    return bool(span.high < key or (span.high == key and not span.closed))

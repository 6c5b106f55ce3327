"""The rules of both times: what one source says of one fact, as records, and what a new statement does to them.

A record holds in a rectangle: it was true from `valid_from` until `valid_to`, and that was believed from
`recorded_from` until `recorded_to` (Snodgrass, Developing Time-Oriented Database Applications in SQL, chapter 10).
Nothing is ever deleted: what is believed no longer gets an end in recorded time, and what holds instead is added beside
it. Believed records of one fact never overlap in valid time, and two that meet there differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

FOREVER = 253_402_300_799_999_999
"""The end of what has none: the year 9999. Every time here is in microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Record:
    """That `value` was true in [valid_from, valid_to), as was believed in [recorded_from, recorded_to)."""

    value: str
    valid_from: int
    recorded_from: int
    valid_to: int = FOREVER
    recorded_to: int = FOREVER

    @property
    def believed(self) -> bool:
        """Whether it still is believed."""
        return self.recorded_to == FOREVER

    @property
    def live(self) -> bool:
        """Whether it is believed and has no end."""
        return self.believed and self.valid_to == FOREVER

    def holds(self, valid: int, recorded: int) -> bool:
        """Whether it says something about this point of both times."""
        return self.valid_from <= valid < self.valid_to and self.recorded_from <= recorded < self.recorded_to


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done: records that end in recorded time, by what they become, and records that are new."""

    closed: tuple[tuple[Record, Record], ...] = ()
    """Each believed record that is believed no longer, and what it becomes."""
    added: tuple[Record, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.closed or self.added)


def state(
    records: Iterable[Record], value: str | None, valid_from: int, recorded: int, *, valid_to: int = FOREVER
) -> Change:
    """What changes when `value` is said to be true in [valid_from, valid_to); None: that nothing is.

    What is true there already changes nothing, so saying a thing again is free. What was believed of that time and
    differs is closed; what it says of the time before and after stays believed. Pieces of equal value that meet become
    one record.

    Args:
        records: what this source said of this fact; those believed no longer are ignored.
        value: what is true.
        valid_from: since when, inclusive.
        recorded: when it is said. Never before what is closed by it: a clock that lags is taken one microsecond past
            that, for a record has to have been believed for some time.
        valid_to: until when, exclusive.

    Raises:
        ValueError: the time is empty.
    """
    if valid_from >= valid_to:
        raise ValueError("the time for which it is said is empty")
    believed = sorted((one for one in records if one.believed), key=lambda one: one.valid_from)
    hit = [one for one in believed if one.valid_from < valid_to and valid_from < one.valid_to]
    if value is None:
        if not hit:
            return Change()
    elif any(one.value == value and one.valid_from <= valid_from and valid_to <= one.valid_to for one in hit):
        return Change()
    pieces: list[tuple[str, int, int]] = []
    start, end = valid_from, valid_to
    for one in hit:
        # What lies outside of the new time stays, as a piece of its own or as part of the new one.
        if one.valid_from < valid_from:
            start = _keep(pieces, one, value, (one.valid_from, valid_from), joined=one.valid_from, otherwise=start)
        if valid_to < one.valid_to:
            end = _keep(pieces, one, value, (valid_to, one.valid_to), joined=one.valid_to, otherwise=end)
    touching = []
    if value is not None:
        touching = [one for one in believed if one.value == value and (one.valid_to == start or one.valid_from == end)]
        start = min([start, *(one.valid_from for one in touching)])
        end = max([end, *(one.valid_to for one in touching)])
        pieces.append((value, start, end))
    closing = [*hit, *touching]
    recorded = max([recorded, *(one.recorded_from + 1 for one in closing)])
    return Change(
        tuple((one, replace(one, recorded_to=recorded)) for one in closing),
        tuple(Record(text, begin, recorded, until) for text, begin, until in sorted(pieces, key=lambda one: one[1])),
    )


def _keep(
    pieces: list[tuple[str, int, int]],
    one: Record,
    value: str | None,
    outside: tuple[int, int],
    *,
    joined: int,
    otherwise: int,
) -> int:
    """Keep what `one` says outside of the new time; the border of the new piece, which takes it over if it is equal."""
    if one.value == value:
        return joined
    pieces.append((one.value, *outside))
    return otherwise

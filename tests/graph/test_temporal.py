"""The rules of both times, against a truth table over every point of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.graph.temporal import FOREVER, Record, state

SPAN = 12
"""Valid times 0 to 11; the last stands for all that comes after."""

statements = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.integers(0, SPAN - 1),
        st.one_of(st.none(), st.integers(1, SPAN)),
        st.integers(0, 3),
    ),
    max_size=14,
)


def _apply(records: list[Record], change: object) -> list[Record]:
    kept = list(records)
    for before, after in change.closed:
        kept.remove(before)
        kept.append(after)
    return kept + list(change.added)


def _said(records: list[Record], valid: int, recorded: int) -> list[str]:
    return [one.value for one in records if one.holds(valid, recorded)]


@given(statements)
def test_every_point_of_both_times_says_what_was_said_last_of_it(said: list) -> None:
    records: list[Record] = []
    table: list[str | None] = [None] * SPAN
    known: list[tuple[int, list[str | None]]] = []
    recorded = 0
    for value, start, end, later in said:
        if end is not None and end <= start:
            continue
        recorded += 1 + later
        change = state(records, value, start, recorded, valid_to=FOREVER if end is None else end)
        wanted = [value if start <= t < (SPAN if end is None else end) else table[t] for t in range(SPAN)]
        assert bool(change) == (wanted != table or _opens(records, end, value)), "the same again is nothing"
        records = _apply(records, change)
        table = wanted
        known.append((recorded, table))
    for at, (moment, truth) in enumerate(known):
        until = known[at + 1][0] if at + 1 < len(known) else moment + 3
        for point in range(moment, until):
            for valid in range(SPAN):
                expected = [] if truth[valid] is None else [truth[valid]]
                assert _said(records, valid, point) == expected, (valid, point)
    believed = sorted((one for one in records if one.believed), key=lambda one: one.valid_from)
    for one, two in pairwise(believed):
        assert one.valid_to <= two.valid_from
        assert one.valid_to < two.valid_from or one.value != two.value, "what meets and is equal is one record"


def _opens(records: list[Record], end: int | None, value: str | None) -> bool:
    """Whether the statement changes what lies after the last time of the table: nothing else may differ unseen."""
    after = _said(records, SPAN, FOREVER - 1)
    return end is None and after != ([] if value is None else [value])


def test_what_is_said_again_later_or_at_the_same_time_is_nothing() -> None:
    records = list(state([], "a", 10, 10).added)
    assert not state(records, "a", 10, 11)
    assert not state(records, "a", 12, 12)
    assert not state(records, "a", 12, 12, valid_to=20)


def test_a_contradiction_closes_and_never_deletes() -> None:
    records = list(state([], "a", 10, 10).added)
    change = state(records, "b", 20, 20)
    assert [after for _, after in change.closed] == [Record("a", 10, 10, recorded_to=20)]
    assert change.added == (Record("a", 10, 20, valid_to=20), Record("b", 20, 20))


def test_a_late_arrival_with_an_end_leaves_what_came_after_it() -> None:
    records = list(state([], "b", 20, 20).added)
    assert state(records, "a", 10, 30, valid_to=20).added == (Record("a", 10, 30, valid_to=20),)
    assert not state(records, "a", 10, 30, valid_to=20).closed


def test_a_retroactive_correction_widens_what_is_equal() -> None:
    records = list(state([], "b", 20, 20).added)
    change = state(records, "b", 5, 30)
    assert change.added == (Record("b", 5, 30),)
    assert [after.recorded_to for _, after in change.closed] == [30]


def test_a_clock_that_lags_still_closes_after_what_it_closes() -> None:
    records = list(state([], "a", 10, 1000).added)
    change = state(records, "b", 10, 500)
    assert change.added == (Record("b", 10, 1001),)
    assert [after for _, after in change.closed] == [Record("a", 10, 1000, recorded_to=1001)]


def test_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        state([], "a", 5, 5, valid_to=5)

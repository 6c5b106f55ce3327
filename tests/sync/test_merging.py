"""Two changes of a file are joined, the same on every device, where nothing has to be guessed."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.sync.merging import merge_contents, merge_json, merge_text

_LINES = st.lists(st.sampled_from(["a", "b", "c", "", "}", "é"]), max_size=12)
_TEXTS = st.builds(
    lambda lines, newline, end: (newline.join(lines) + end).encode(),
    _LINES,
    st.sampled_from(["\n", "\n", "\r\n"]),
    st.sampled_from(["\n", ""]),
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([1.0, "x", "é", "\ud800"]),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from("abcd"), below, max_size=3),
    max_leaves=8,
)
_DOCUMENTS = st.builds(
    lambda value, indent, end: (json.dumps(value, indent=indent) + end).encode(),
    st.dictionaries(st.sampled_from("abcd"), _VALUES, max_size=4),
    st.sampled_from([None, 2, "\t"]),
    st.sampled_from(["\n", ""]),
)
_ANY = st.one_of(_TEXTS, _DOCUMENTS, st.binary(max_size=30), st.sampled_from([b"[" * 100_000, b'{"a":' * 5000, b"NaN"]))


@given(st.sampled_from(["a.md", "a.JSON"]), _ANY, _ANY, _ANY)
@example("a.json", b"1", b"[" * 100_000, b"2")
def test_the_order_of_two_changes_is_nothing_and_no_content_fails(path, base, one, other) -> None:
    assert merge_contents(path, base, one, other) == merge_contents(path, base, other, one)
    assert merge_contents(path, base, one, base) == one
    assert merge_contents(path, base, one, one) == one


@given(_TEXTS, _TEXTS, _TEXTS)
def test_a_joined_text_is_made_of_lines_of_the_three(base, one, other) -> None:
    merged = merge_text(base, one, other)
    if merged is not None:
        known = {line for text in (base, one, other) for line in text.splitlines(keepends=True)}
        assert set(merged.splitlines(keepends=True)) <= known


@given(st.lists(st.text("abc", max_size=3), min_size=3, max_size=30), st.data())
def test_edits_that_do_not_touch_are_both_there(words, data) -> None:
    lines = [f"{place} {word}\n" for place, word in enumerate(words)]
    here = data.draw(st.integers(0, len(lines) - 3))
    there = data.draw(st.integers(here + 2, len(lines) - 1))
    left = data.draw(st.sampled_from([[], ["left\n"], [lines[here], "left\n"]]))
    right = data.draw(st.sampled_from([[], ["right\n"], ["right\n", lines[there]]]))

    def text(*, first: list[str] | None, last: list[str] | None) -> bytes:
        edited = [[line] for line in lines]
        edited[here] = edited[here] if first is None else first
        edited[there] = edited[there] if last is None else last
        return "".join(line for part in edited for line in part).encode()

    base, one, other = text(first=None, last=None), text(first=left, last=None), text(first=None, last=right)
    assert merge_text(base, one, other) == text(first=left, last=right)


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        (b"a\nb\nc\n", b"a\nX\nc\n", b"a\nY\nc\n"),
        (b"a\n", b"a\nX\n", b"a\nY\n"),  # both added at the end: which comes first is a guess
        (b"a\nb\n", b"a\n", b"a\nB\n"),  # one deleted what the other changed
        (b"a\nb\nc\nd\n", b"a\nX\nc\nd\n", b"a\nb\nc\xff\nd\nY"),  # no UTF-8
        (b"a\nb\nc\nd\n", b"a\nX\nc\nd\n", b"a\nb\nc\nd\x00\n"),  # no text
    ],
)
def test_what_would_be_a_guess_is_not_joined(base, one, other) -> None:
    assert merge_text(base, one, other) is None


def test_a_long_note_changed_at_both_ends_is_joined_at_once() -> None:
    lines = [f"line {place % 50}\n".encode() for place in range(100_000)]
    one = b"".join([b"first\n", *lines[1:]])
    other = b"".join([*lines[:-1], b"last\n"])
    begun = time.process_time()
    assert merge_text(b"".join(lines), one, other) == b"".join([b"first\n", *lines[1:-1], b"last\n"])
    assert time.process_time() - begun < 3


def test_texts_that_have_nothing_in_common_or_repeat_themselves_cost_a_bounded_time() -> None:
    draws = random.Random(1)
    hostile = [b"".join(draws.choice([b"a\n", b"b\n"]) for _ in range(60_000)) for _ in range(3)]
    begun = time.process_time()
    merge_text(*hostile)
    merge_text(b"a\n" * 500_000, b"b\n" * 500_000, b"a\nb\n" * 250_000)
    assert merge_text(b"x\n" * 3_000_000, b"y\n", b"z\n") is None
    assert time.process_time() - begun < 20


@given(_DOCUMENTS, _DOCUMENTS, _DOCUMENTS)
def test_each_key_of_a_joined_document_is_as_one_side_has_it_who_changed_it(base, one, other) -> None:
    merged = merge_json(base, one, other)
    if merged is None:
        return
    was, left, right, found = (json.loads(text) for text in (base, one, other, merged))
    for key in {*was, *left, *right, *found}:
        values = [document.get(key, "absent") for document in (was, left, right, found)]
        before, here, there, now = map(json.dumps, values)
        if here == before:
            assert now == there
        elif there == before:
            assert now == here


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(), min_size=2), st.data())
def test_changes_of_different_keys_are_both_there(document, data) -> None:
    mine, theirs = data.draw(st.permutations(sorted(document)))[:2]
    base, one, other = (json.dumps(document | change) for change in ({}, {mine: "x"}, {theirs: [1], "new": {"a": 1}}))
    merged = merge_json(base.encode(), one.encode(), other.encode())
    assert merged is not None
    assert json.loads(merged) == document | {mine: "x", theirs: [1], "new": {"a": 1}}


def test_objects_are_joined_in_objects_and_the_layout_stays() -> None:
    base = b'{\n    "editor": {\n        "size": 12,\n        "rulers": [80, 100]\n    },\n    "z": 1,\n    "a": 2\n}\n'
    one = base.replace(b"12", b"14").replace(b'"a": 2', b'"a": 2,\n    "mine": true')
    other = base.replace(b'"z": 1', b'"y": 0,\n    "z": 1')
    # The lines cannot be joined: they are neighbours.
    assert merge_json(base, one, other) == (
        b'{\n    "editor": {\n        "size": 14,\n        "rulers": [80, 100]\n    },\n'
        b'    "y": 0,\n    "z": 1,\n    "a": 2,\n    "mine": true\n}\n'
    )
    assert merge_json(b'{"a": 1}', b'{"a": 1, "b": {"x": 1}}', b'{"a": 1, "b": {"y": 2}}') == (
        b'{"a": 1, "b": {"y": 2, "x": 1}}'
    )
    one, other = b'{\n\t"a": 1,\n\t"b": 1\n}\n', b'{\n\t"a": 1,\n\t"c": 2\n}\n'
    for first, second in ((one, other), (other, one)):
        merged = merge_json(b'{\n\t"a": 1\n}\n', first, second)
        assert merged == b'{\n\t"a": 1,\n\t"c": 2,\n\t"b": 1\n}\n'


def test_numbers_and_letters_stay_as_they_are_written() -> None:
    base = b'{"n":0.1000000000000000055511151231257827,"big":123456789012345678901234567890,"e":1E+2,"s":"\xc3\xa9"}'
    one, other = base[:-1] + b',"x":-0.0}', base[:-1] + b',"y":"\\ud800"}'
    merged = merge_json(base, one, other)
    assert merged == base[:-1] + b',"y":"\\ud800","x":-0.0}'


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        (b'{"a": 1}', b'{"a": 2}', b'{"a": 3}'),
        (b'{"a": 1}', b'{"a": 1.0}', b'{"a": "1"}'),
        (b'{"a": [1, 2]}', b'{"a": [0, 1, 2]}', b'{"a": [1, 2, 3]}'),
        (b'{"a": {"b": 1}}', b"{}", b'{"a": {"b": 2}}'),
        (b'{"a": 1}', b'{"a": 1, "b": 1}', b'{"a": 1, "c": 1, "c": 2}'),
        (b'{"a": 1}', b'{"a": 1, "b": 1}', b'{"a": 1, "c": NaN}'),
        (b'{"a": 1}', b'{"a": 1, "b": 1}', b'{"a": 1, "c": 1,} // so'),
        (b"", b'{"a": 1}', b'{"b": 1}'),
        (b"1", b"2", b"3"),
    ],
)
def test_documents_that_disagree_or_are_none_are_not_joined(base, one, other) -> None:
    assert merge_json(base, one, other) is None

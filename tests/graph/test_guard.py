"""Queries that write are refused before they reach the server, and harmless ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.graph.guard import REFUSED, read_only
from tasks.graph.tokens import QueryRefusedError

DATA = Path(__file__).parent / "data"


def cases(name: str) -> list[str]:
    """The queries of one file, one a line; line breaks and rare characters are written as in Python."""
    lines = (DATA / name).read_text(encoding="utf-8").split("\n")
    odd = {r"\n": "\n", r"\r": "\r", r"\u2028": "\u2028", r"\u200b": "\u200b", r"\u00a0": "\u00a0"}
    found = []
    for line in filter(None, lines):
        text = line
        for written, meant in odd.items():
            text = text.replace(written, meant)
        found.append(text)
    return found


WRITES = cases("writes.txt")
READS = cases("reads.txt")


def test_there_are_enough_of_both() -> None:
    assert len(set(WRITES)) >= 80
    assert len(set(READS)) >= 40


@pytest.mark.parametrize("text", WRITES)
def test_what_writes_is_refused(text: str) -> None:
    with pytest.raises(QueryRefusedError):
        read_only(text)


@pytest.mark.parametrize("text", READS)
def test_what_reads_is_let_through(text: str) -> None:
    read_only(text)


@given(st.sampled_from(sorted(REFUSED)), st.text(alphabet=" \t\n/*'\"`\\u0043;.:{}()[]|,x1", max_size=30))
def test_no_prefix_hides_a_write(word: str, prefix: str) -> None:
    """After whatever comes before it, a word that writes is refused, unless it is in a string, a name or a comment."""
    text = f"RETURN 1 AS x {prefix}\n {word} (n)"
    try:
        plain = read_only(text)
    except QueryRefusedError:
        return
    assert word not in plain or _quoted(plain, word), plain


def _quoted(text: str, word: str) -> bool:
    before = text[: text.index(word)]
    return any(before.count(quote) % 2 for quote in "'\"`") or before.rstrip().endswith((":", "."))


@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    """Whatever it is, it is let through or refused with a sentence; nothing else happens."""
    try:
        read_only(text)
    except QueryRefusedError as error:
        assert error.what  # noqa: PT017 - most texts raise nothing

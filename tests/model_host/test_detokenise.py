"""Pieces of an answer, put together, are the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.model_host.detokenise import Detokeniser, StopStrings
from tests.model_host import tiny

_BYTES = tiny.byte_level()
_WORDS = tiny.sentencepiece()
_LETTERS = st.text(alphabet="ab the house fox🙂é\u200d👩東\n", max_size=40)


def _decoder(tokenizer: Any) -> Any:
    def decode(tokens: Sequence[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return decode


def _pieces(tokenizer: Any, tokens: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    detokeniser = Detokeniser(_decoder(tokenizer), before)
    return [*(detokeniser.push(token) for token in tokens), detokeniser.finish()]


@given(st.lists(st.integers(0, tiny.VOCABULARY - 1), max_size=40))
def test_pieces_of_any_bytes_are_the_whole(tokens: list[int]) -> None:
    tokens = [token for token in tokens if token < len(_BYTES)]
    assert "".join(_pieces(_BYTES, tokens)) == _decoder(_BYTES)(tokens)


@pytest.mark.parametrize("tokenizer", [_BYTES, _WORDS], ids=["byte-level", "sentencepiece"])
@given(text=_LETTERS)
def test_pieces_of_a_text_are_the_text_and_no_piece_has_half_a_character(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = _pieces(tokenizer, tokens)
    assert "".join(pieces) == _decoder(tokenizer)(tokens) == text
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.sampled_from([1, 2, 3, *range(260, len(_WORDS))]), max_size=30))
def test_spaces_survive_special_tokens_between_words(tokens: list[int]) -> None:
    assert "".join(_pieces(_WORDS, tokens)) == _decoder(_WORDS)(tokens)


def test_an_answer_that_continues_a_text_keeps_its_first_space() -> None:
    prompt = _WORDS("a house", add_special_tokens=False)["input_ids"]
    fox = _WORDS.convert_tokens_to_ids(["▁fox"])
    assert "".join(_pieces(_WORDS, fox, prompt)) == " fox"
    assert "".join(_pieces(_WORDS, fox)) == "fox"


def test_bytes_that_never_become_a_character_are_told_in_the_end() -> None:
    broken = _BYTES.convert_tokens_to_ids(["Ã"])[:1] * 200
    pieces = _pieces(_BYTES, broken)
    assert "".join(pieces) == "\ufffd" * 200
    assert any(pieces[:150]), "nobody waits for ever"


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The definition: text ends where the first stop string becomes complete."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(
    st.lists(st.text(alphabet="ab\n", max_size=4), max_size=12),
    st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), max_size=4),
)
def test_stop_strings_cut_at_the_same_place_however_the_text_comes(pieces: list[str], stops: list[str]) -> None:
    matcher = StopStrings(stops)
    told = ""
    for piece in pieces:
        told += matcher.push(piece)
        assert _cut("".join(pieces), stops)[0].startswith(told), "what was told is never taken back"
        if matcher.stopped:
            break
    else:
        told += matcher.finish()
    assert (told, matcher.stopped) == _cut("".join(pieces), stops)


def test_text_is_held_back_no_longer_than_a_stop_string_can_begin_in_it() -> None:
    matcher = StopStrings(["###"])
    assert [matcher.push(piece) for piece in ("a#", "b", "##", "c")] == ["a", "#b", "", "##c"]

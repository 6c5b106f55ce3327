"""The next token is chosen as asked, and by its own row and seed alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.model_host.engine import Sampling
from tasks.model_host.errors import RequestError
from tasks.model_host.sampling import Draws, Row, check_sampling, choose


def _logits(rows: int, vocabulary: int = 500, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.01}, "top_p"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_name(given: dict[str, Any], parameter: str) -> None:
    with pytest.raises(RequestError) as error:
        check_sampling(Sampling(**given))
    assert error.value.parameter == parameter


def test_temperature_zero_takes_the_most_likely() -> None:
    logits = _logits(5)
    picks = choose(logits, [Row(Sampling(temperature=0), 0.9)] * 5)
    assert [pick.token for pick in picks] == logits.argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_the_model_says(temperature: float) -> None:
    logits = _logits(1, 6)
    draws = Draws(11)
    count = 6000
    rows = [Row(Sampling(temperature=temperature), draws[at]) for at in range(count)]
    tokens = torch.tensor([pick.token for pick in choose(logits.expand(count, -1), rows)])
    seen = torch.bincount(tokens, minlength=6) / count
    assert torch.allclose(seen, torch.softmax(logits[0] / temperature, -1), atol=0.03)


@given(st.floats(0.05, 0.999), st.floats(0, 1, exclude_max=True), st.integers(0, 50))
def test_nothing_outside_the_nucleus_is_chosen(top_p: float, draw: float, seed: int) -> None:
    logits = _logits(1, 700, seed=seed) / 8  # flat: the nucleus is larger than what is looked at first
    pick = choose(logits, [Row(Sampling(top_p=top_p), draw)])[0]
    order = torch.softmax(logits[0], -1).sort(descending=True)
    before = float(order.values[: order.indices.tolist().index(pick.token)].double().sum())
    assert before < top_p + 1e-6


@given(st.lists(st.sampled_from([(0.0, 1.0), (1.0, 1.0), (0.7, 0.9), (1.5, 0.999), (2.0, 0.2)]), max_size=6))
def test_a_row_is_chosen_alike_whoever_is_beside_it(mates: list[tuple[float, float]]) -> None:
    logits = _logits(3 + len(mates), 700)
    own = [Row(Sampling(1.0), 0.31), Row(Sampling(0.9, 0.95), 0.77), Row(Sampling(0.0), 0.0)]
    rows = [*own, *(Row(Sampling(heat, top_p), 0.5) for heat, top_p in mates)]
    together = [pick.token for pick in choose(logits, rows)][:3]
    assert together == [choose(logits[at : at + 1], [row])[0].token for at, row in enumerate(own)]


def test_logprobs_are_natural_and_of_the_model_itself() -> None:
    logits = _logits(3)
    rows = [Row(Sampling(temperature=2.0, logprobs=4), 0.5), Row(Sampling(), 0.5), Row(Sampling(0.0, logprobs=0), 0)]
    with_four, without, alone = choose(logits, rows)
    logs = torch.log_softmax(logits, -1)
    assert with_four.logprob == pytest.approx(float(logs[0, with_four.token]), abs=1e-5)
    assert [token for token, _ in with_four.top] == logs[0].topk(4).indices.tolist()
    assert [log for _, log in with_four.top] == pytest.approx(logs[0].topk(4).values.tolist(), abs=1e-5)
    assert without.logprob is None
    assert alone.logprob == pytest.approx(float(logs[2].max()), abs=1e-5)
    assert alone.top == ()


def test_a_row_without_numbers_is_told() -> None:
    logits = _logits(2)
    logits[1, 3] = math.nan
    assert [pick.broken for pick in choose(logits, [Row(Sampling(), 0.5)] * 2)] == [False, True]


def test_draws_depend_on_the_seed_and_their_place_alone() -> None:
    assert [Draws(5)[at] for at in (3, 1)] == [Draws(5)[3], Draws(5)[1]]
    assert len({Draws(seed)[0] for seed in (0, 1, -1, 2**63, 5)}) == 5

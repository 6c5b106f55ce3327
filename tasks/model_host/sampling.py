"""How the next token is chosen: greedily or by chance, for all sequences of a step at once.

The same seed gives the same answer whoever else is in the batch: each sequence draws its own numbers, and a row's
choice depends on that row alone. What is left is floating point: a matrix product over more rows may be summed in
another order, so that probabilities differ by some 1e-6 (fp32) or 1e-2 (bf16), and a draw that falls that close to
the border between two tokens, or a greedy choice between two equals, can turn out either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tasks.model_host.engine import Sampling
from tasks.model_host.errors import RequestError

_MOST_LOGPROBS = 20
_NUCLEUS = 256
"""Candidates that are looked at first for a nucleus; only where they hold too little, all are sorted."""


def check_sampling(sampling: Sampling) -> None:
    """Refuse what is outside the ranges of OpenAI's API.

    Raises:
        RequestError: it names the parameter.
    """
    if not (math.isfinite(sampling.temperature) and 0 <= sampling.temperature <= 2):
        raise RequestError(f"temperature is {sampling.temperature}; it is from 0 to 2.", parameter="temperature")
    if not (math.isfinite(sampling.top_p) and 0 < sampling.top_p <= 1):
        raise RequestError(f"top_p is {sampling.top_p}; it is above 0 and at most 1.", parameter="top_p")
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= _MOST_LOGPROBS:
        raise RequestError(f"logprobs is {sampling.logprobs}; it is from 0 to {_MOST_LOGPROBS}.", parameter="logprobs")


class Draws:
    """Numbers of one sequence, uniform in [0, 1): the n-th depends on the seed and n alone (Philox, counter-based).

    Args:
        seed: any integer; its low 64 bits count.
    """

    def __init__(self, seed: int) -> None:
        self._key = seed & (2**64 - 1)

    def __getitem__(self, n: int) -> float:
        """The `n`-th number."""
        return float(np.random.Generator(np.random.Philox(key=self._key, counter=n)).random())


@dataclass(frozen=True)
class Row:
    """How one row of logits is to be used."""

    sampling: Sampling
    draw: float
    """Uniform in [0, 1); not used where the choice is greedy."""


@dataclass(frozen=True)
class Pick:
    """The token that was chosen for a row."""

    token: int
    logprob: float | None = None
    """Natural logarithm of its probability by the model itself, before temperature and nucleus."""
    top: tuple[tuple[int, float], ...] = ()
    broken: bool = False
    """The model gave no numbers for this row; the token means nothing."""


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> list[Pick]:
    """Choose a token for each row.

    Args:
        logits: float32, rows by vocabulary, on any device.
        rows: as many as `logits` has.
    """
    best, greedy = logits.max(dim=-1)  # a NaN anywhere in a row becomes its maximum
    tokens = greedy
    plain = [at for at, row in enumerate(rows) if row.sampling.temperature > 0 and row.sampling.top_p >= 1]
    nucleus = [at for at, row in enumerate(rows) if row.sampling.temperature > 0 and row.sampling.top_p < 1]
    if plain or nucleus:
        tokens = greedy.clone()
    if plain:
        chances = _chances(logits, rows, plain)
        tokens[plain] = _draw(chances, [rows[at].draw for at in plain])
    if nucleus:
        chances = _chances(logits, rows, nucleus)
        tokens[nucleus] = _draw_from_nucleus(chances, [rows[at] for at in nucleus])
    told = [at for at, row in enumerate(rows) if row.sampling.logprobs is not None]
    logprobs = _logprobs(logits, tokens, rows, told) if told else {}
    broken = best.isnan()
    picks = []
    for at, (token, bad) in enumerate(zip(tokens.tolist(), broken.tolist(), strict=True)):
        logprob, top = logprobs.get(at, (None, ()))
        picks.append(Pick(token, logprob, top, bad))
    return picks


def _chances(logits: torch.Tensor, rows: Sequence[Row], which: list[int]) -> torch.Tensor:
    # Below 1e-3 a difference of 0.1 is e^-100: greedy, and no overflow.
    heat = [max(rows[at].sampling.temperature, 1e-3) for at in which]
    picked = logits if len(which) == len(rows) else logits[which]
    return torch.softmax(picked / torch.tensor(heat, device=logits.device)[:, None], dim=-1)


def _draw(chances: torch.Tensor, draws: Sequence[float]) -> torch.Tensor:
    """Inverse of the cumulative distribution. Its end is not exactly 1, so draws are scaled to it."""
    sums = chances.cumsum(dim=-1)
    aim = torch.tensor(draws, dtype=sums.dtype, device=sums.device)[:, None] * sums[:, -1:]
    found = torch.searchsorted(sums, aim, right=True)[:, 0]
    return found.clamp_(max=chances.shape[-1] - 1)


def _draw_from_nucleus(chances: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """The nucleus: the fewest of the most likely tokens that hold at least `top_p` together (Holtzman 2020)."""
    top_p = torch.tensor([row.sampling.top_p for row in rows], device=chances.device)
    draws = torch.tensor([row.draw for row in rows], device=chances.device)
    some, tokens = chances.topk(min(_NUCLEUS, chances.shape[-1]), dim=-1)
    sums = some.cumsum(dim=-1)
    found = _within(sums, top_p, draws, tokens)
    short = (sums[:, -1] < top_p).nonzero()[:, 0]
    if len(short) and chances.shape[-1] > _NUCLEUS:
        every, tokens = chances[short].sort(dim=-1, descending=True, stable=True)
        found[short] = _within(every.cumsum(dim=-1), top_p[short], draws[short], tokens)
    return found


def _within(sums: torch.Tensor, top_p: torch.Tensor, draws: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    last = torch.searchsorted(sums, top_p[:, None]).clamp_(max=sums.shape[-1] - 1)
    aim = draws[:, None] * sums.gather(1, last)
    at = torch.minimum(torch.searchsorted(sums, aim, right=True), last)
    return tokens.gather(1, at)[:, 0]


def _logprobs(
    logits: torch.Tensor, tokens: torch.Tensor, rows: Sequence[Row], told: list[int]
) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
    logs = torch.log_softmax(logits[told], dim=-1)
    own = logs.gather(1, tokens[told][:, None])[:, 0].tolist()
    wanted = [rows[at].sampling.logprobs or 0 for at in told]
    values, indices = logs.topk(min(max(wanted), logs.shape[-1]), dim=-1) if max(wanted) else (logs[:, :0],) * 2
    return {
        at: (own[i], tuple(zip(indices[i, : wanted[i]].long().tolist(), values[i, : wanted[i]].tolist(), strict=True)))
        for i, at in enumerate(told)
    }

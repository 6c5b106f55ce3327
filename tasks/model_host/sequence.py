"""One request that is being answered: what it has said so far, and the pieces that its caller gets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.model_host.attention import Kept
from tasks.model_host.detokenise import Detokeniser, StopStrings
from tasks.model_host.engine import FinishReason, Piece, Sampling, TokenLogprob
from tasks.model_host.errors import EngineError
from tasks.model_host.sampling import Draws, Pick, Row

Deliver = Callable[[Piece | EngineError | None], None]
"""Takes a piece; an error, after which nothing comes; or None: it was cancelled, and its memory is free."""


@dataclass(frozen=True)
class Answering:
    """What turns tokens into an answer. `name` gives a token's own text, for log probabilities."""

    detokeniser: Detokeniser
    stops: StopStrings
    name: Callable[[int], str]
    ends: frozenset[int]
    """Tokens that end an answer."""


@dataclass(eq=False)
class Sequence:
    """Owned by the thread of the batch; others set `cancelled` and nothing else.

    Args:
        prompt: its tokens.
        most_new: tokens that are generated at most.
        deliver: called by the batch's thread; must not block.
    """

    prompt: tuple[int, ...]
    most_new: int
    sampling: Sampling
    draws: Draws
    answering: Answering
    deliver: Deliver
    kv: Kept | None = None
    """Keys and values; allocated once, for the prompt and all that may be generated."""
    past: int = 0
    """Tokens whose keys and values are held."""
    cancelled: bool = False
    finished: bool = False
    _new: int = 0
    _last: int = 0
    _emitted: int = 0
    _certain: int = 0
    _silent: int = 0
    """Tokens since the last piece."""
    _logprobs: deque[tuple[int, TokenLogprob]] = field(default_factory=deque)
    """Log probabilities with the length of the text before their token: they are told once text after it is."""

    @property
    def most_tokens(self) -> int:
        """Tokens of context that it can take."""
        return len(self.prompt) + self.most_new

    @property
    def unread(self) -> int:
        """Tokens of the prompt that the model has not seen."""
        return max(0, len(self.prompt) - self.past)

    def inputs(self, count: int) -> tuple[int, ...]:
        """The next `count` tokens that go into the model."""
        return self.prompt[self.past : self.past + count] if self.unread else (self._last,)

    def row(self) -> Row:
        """How its next token is to be chosen."""
        return Row(self.sampling, self.draws[self._new] if self.sampling.temperature > 0 else 0.0)

    def take(self, pick: Pick) -> Piece | None:
        """Take the token that was chosen; the piece that has become certain, if any."""
        self._new += 1
        self._silent += 1
        self._last = pick.token
        if pick.token in self.answering.ends:
            return self._piece("", finish="stop")
        self._remember(pick)
        text = self.answering.detokeniser.push(pick.token)
        finish: FinishReason | None = "length" if self._new >= self.most_new else None
        return self._piece(text, finish)

    def _remember(self, pick: Pick) -> None:
        if pick.logprob is None:
            return
        name = self.answering.name
        told = TokenLogprob(name(pick.token), pick.logprob, tuple((name(token), log) for token, log in pick.top))
        self._logprobs.append((self._certain, told))

    def _piece(self, text: str, finish: FinishReason | None) -> Piece | None:
        stops = self.answering.stops
        if finish is not None:
            text += self.answering.detokeniser.finish()
        self._certain += len(text)
        certain = stops.push(text)
        if stops.stopped:
            finish = "stop"
        elif finish is not None:
            certain += stops.finish()
        self._emitted += len(certain)
        self.finished = finish is not None
        logprobs = self._ready(everything=self.finished and not stops.stopped)
        if not (certain or logprobs or self.finished):
            return None
        tokens, self._silent = self._silent, 0
        return Piece(certain, tokens, logprobs, finish)

    def _ready(self, *, everything: bool) -> tuple[TokenLogprob, ...]:
        """Those of tokens whose text has begun to be told. What a stop string cut off is never told."""
        ready = []
        while self._logprobs and (everything or self._logprobs[0][0] < self._emitted):
            ready.append(self._logprobs.popleft()[1])
        return tuple(ready)

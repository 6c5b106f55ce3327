"""What runs a loaded model: one Protocol for every engine, and what goes in and comes out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from models.model_host import EngineKind, Footprint, Measured

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Names and ranges are those of OpenAI's API."""

    temperature: float = 1.0
    """0: always the most likely one."""
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int | None = None
    """How many alternatives are told with each token; None: no log probabilities at all."""


@dataclass(frozen=True)
class Ask:
    """A request to generate. Exactly one of `prompt` and `messages` is given."""

    max_tokens: int | None = None
    """None: as many as the context window leaves."""
    prompt: str | tuple[int, ...] | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer has to follow. Only llama.cpp does; others refuse it."""


@dataclass(frozen=True)
class Prepared:
    """A request that was looked at: what it will take is known."""

    ask: Ask
    prompt_tokens: int
    max_tokens: int
    """Tokens that are generated at most."""
    payload: Any = field(repr=False, compare=False)
    """What the engine made of it; its own."""

    @property
    def most_tokens(self) -> int:
        """Tokens of context that it can take."""
        return self.prompt_tokens + self.max_tokens


@dataclass(frozen=True)
class TokenLogprob:
    """A token, how likely it was (natural logarithm), and its alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What was generated since the last piece."""

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None
    """Set on the last piece."""


@dataclass(frozen=True)
class Embedded:
    """Vectors of texts, normalised to length 1, and the tokens that were read."""

    vectors: Sequence[Sequence[float]]
    tokens: int


class Engine(Protocol):
    """A loaded model. Made by a coroutine that raises `LoadError` and then holds no memory."""

    kind: EngineKind
    context_window: int

    @property
    def footprint(self) -> Footprint:
        """What it takes, as counted by the engine after the load (bytes)."""

    @property
    def measured(self) -> Measured | None:
        """What it was seen to take after its load; None: this system does not say."""

    def prepare(self, ask: Ask) -> Prepared:
        """Tokenise `ask`; takes no memory of the device.

        Raises:
            RequestError: it can never be answered: it is longer than the context window, or malformed.
        """

    def generate(self, prepared: Prepared) -> AsyncGenerator[Piece, None]:
        """Generate. Memory for `prepared.most_tokens` must have been leased. Closing it stops at the next step.

        Raises:
            RequestError: the model cannot do what was asked.
            EngineError: the engine failed; other requests may go on.
        """

    async def embed(self, texts: Sequence[str | tuple[int, ...]]) -> Embedded:
        """Vectors of `texts`, each a text or the ids of its tokens.

        Raises:
            RequestError: a text is longer than the context window, or the model does not embed, or not token ids.
        """

    async def park(self) -> None:
        """Move the weights to host memory. Nobody is being served. Does nothing where there is no other memory."""

    async def wake(self) -> None:
        """Bring parked weights back."""

    async def close(self) -> None:
        """Stop, and give all memory back. May be called more than once."""

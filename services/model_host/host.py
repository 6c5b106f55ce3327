"""What the API needs of whoever keeps the models: one Protocol, and the values that pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from models.model_host import Choice, HostStatus, ModelStatus, Priority, Refusal, Requirements, Reserve
from models.report import Value
from tasks.model_host.engine import Ask, FinishReason, TokenLogprob
from tasks.model_host.response_cache import ResponseCache
from tasks.model_host.serving import Served, Vectors


@dataclass(frozen=True)
class Answer:
    """A whole answer, as it is kept to be given again."""

    model: str
    text: str
    prompt_tokens: int
    tokens: int
    logprobs: tuple[TokenLogprob, ...]
    finish: FinishReason
    fallback: tuple[str, ...] = ()
    """Models that could not give it, in that order."""
    reasons: tuple[str, ...] = ()
    """Why they could not."""


class Plan(Value):
    """What loading a model would mean."""

    model: str
    fits: bool
    evicted: tuple[str, ...] = ()
    """Who would have to go, in this order."""
    refusal: Refusal | None = None


class JobRequest(Value):
    """What a run of a flow needs while it runs."""

    models: tuple[str, ...] = Field(default=(), max_length=64)
    """Models that it will ask; they are kept."""
    bytes: int = Field(default=0, ge=0, le=2**50)
    """Memory of the device that it will use itself."""
    exclusive: bool = False
    """Whether it must be alone on the device."""
    only_if_warm: bool = False
    """Grant it only if its models are loaded already: another device may have them."""
    ttl_s: float = Field(default=45.0, gt=0, le=3_600)
    """How long the lease lasts after the latest call."""
    priority: Priority = Priority.normal


class JobLease(Value):
    """What was granted to a run."""

    run_id: str
    bytes: int
    models: tuple[str, ...] = ()
    warm: bool = True
    """Whether the models had been loaded before it asked."""
    expires_s: float
    """Seconds from now."""


class Host(Protocol):
    """Keeps models resident, and knows their memory.

    Every method raises `UnknownModelError` for a name that is not in the catalogue and `NoRoomError` where memory is
    what is missing.
    """

    answers: ResponseCache[Answer]
    """Answers that are given again."""

    left: tuple[str, ...]
    """What had not ended when it was closed; the process takes it along."""

    @property
    def ready(self) -> bool:
        """Whether it has started, and whatever it has to promise is promised."""

    @property
    def unkept(self) -> Mapping[str, str]:
        """Models whose reserve is not made yet, and why; ready or not. It is tried again."""

    async def start(self) -> None:
        """Make the reserves of the catalogue. Requests are taken before, after, and whether they can be made or not."""

    def serve(self, model: str, ask: Ask, priority: Priority | None) -> AbstractAsyncContextManager[Served]:
        """Keep `model` for a request, loaded first if need be; `priority` None: its own.

        Raises:
            RequestError, LoadError, NoRoomError, NobodyAnsweredError: neither it nor a fallback of it can answer.
        """

    async def embed(self, model: str, texts: Sequence[str | tuple[int, ...]], priority: Priority | None) -> Vectors:
        """Vectors of `texts`, by `model` or a fallback of it. Takes and raises what `serve` does."""

    def priority(self, model: str) -> Priority | None:
        """A model's own priority; None: there is no such model."""

    def key(self, model: str, ask: Ask) -> str | None:
        """What `answers` know this request by; None: its answer differs every time."""

    def learn(self, model: str, tokens_per_s: float) -> None:
        """Hear how fast a model has just answered."""

    def status(self) -> HostStatus:
        """How things are; wakes nobody."""

    def changes(self) -> AsyncIterator[HostStatus]:
        """How things are, now and whenever that changes."""

    async def load(self, model: str, priority: Priority | None) -> ModelStatus:
        """Load a model."""

    async def unload(self, model: str) -> ModelStatus:
        """Unload a model, once nobody is served by it."""

    async def reserve(self, reserve: Reserve) -> HostStatus:
        """Promise memory to a model; replaces what was promised to it before."""

    async def release(self, model: str) -> HostStatus:
        """Take a model's reserve back."""

    async def plan(self, model: str, priority: Priority | None) -> Plan:
        """What loading it would mean; does nothing."""

    async def lease_job(self, run_id: str, request: JobRequest) -> JobLease:
        """Grant a run what it needs, or prolong it."""

    async def end_job(self, run_id: str) -> bool:
        """Take back what a run has; False: it has nothing."""

    async def clean(self) -> int:
        """Give back what nobody needs; returns the bytes."""

    def select(self, requirements: Requirements) -> Choice:
        """The model that fits best.

        Raises:
            RequestError: none does.
        """

    async def close(self) -> None:
        """Let work end for a while, and unload everything; what hangs is left to the end of the process."""

"""Continuous batching: one thread, one pass through the model a step, for all sequences that are there.

A step takes one token of each sequence that is being answered and, beside them, chunks of the prompts that are still
being read; so a long prompt stalls nobody for longer than a chunk, and whoever comes joins at the next step.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from tasks.model_host.attention import Geometry, Span, Step
from tasks.model_host.errors import EngineError
from tasks.model_host.sampling import choose
from tasks.model_host.sequence import Sequence

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

Part = tuple[Sequence, int]
"""A sequence and how many of its tokens go into a step."""


@dataclass(frozen=True)
class Limits:
    """How much goes into one step."""

    reads_alone: int = 512
    """Tokens of prompts, while nobody is being answered."""
    reads_beside: int = 512
    """Tokens of prompts, while others are being answered: how long these wait for their next token."""
    most_running: int = 64
    """Sequences at a time; others wait."""


def share(unread: list[int], budget: int) -> list[int]:
    """Divide `budget` tokens among prompts: equally, and what the short ones leave goes to the long ones.

    So a short prompt is not kept behind a long one, and the long one goes on. Everybody gets at least one token.
    """
    shares = [0] * len(unread)
    left = budget
    for served, at in enumerate(sorted(range(len(unread)), key=unread.__getitem__)):
        shares[at] = min(unread[at], max(1, left // (len(unread) - served)))
        left -= shares[at]
    return shares


class Batch:
    """The sequences of one model, and the thread that runs it.

    Args:
        module: a causal language model whose attention is ours, in evaluation mode.
        geometry: of its keys and values.
        limits: of a step.
        name: of the thread.
    """

    def __init__(self, module: Any, geometry: Geometry, limits: Limits, *, name: str) -> None:
        self._module = module
        self._geometry = geometry
        self._limits = limits
        self._running: list[Sequence] = []
        """In the order of their admission."""
        self._arrived: deque[Sequence] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Let `sequence` join at the next step.

        Raises:
            EngineError: the batch was closed.
        """
        with self._news:
            if self._closing:
                raise EngineError("the model was unloaded.")
            self._arrived.append(sequence)
            self._news.notify()

    def cancel(self, sequence: Sequence) -> None:
        """Let `sequence` leave before the next step; it is told None then."""
        with self._news:
            sequence.cancelled = True
            self._news.notify()

    def call(self, work: Callable[[], _T]) -> Future[_T]:
        """Run `work` in the thread of the model, between two steps."""
        done: Future[_T] = Future()
        with self._news:
            if self._closing:
                done.set_exception(EngineError("the model was unloaded."))
            else:
                self._calls.append((work, done))
                self._news.notify()
        return done

    def close(self) -> None:
        """Stop after the step that is running; whoever is still there is told an `EngineError`. Waits for the end."""
        with self._news:
            self._closing = True
            self._news.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        with torch.inference_mode():
            while self._admit():
                if self._running:
                    self._step()
        self._module = None
        for sequence in (*self._running, *self._arrived):
            _end(sequence, EngineError("the model was unloaded while it answered."))
        self._running.clear()
        self._arrived.clear()

    def _admit(self) -> bool:
        """Let sequences leave and join; wait where there is nothing to do. False: it is over."""
        with self._news:
            while not (self._closing or self._running or self._arrived or self._calls):
                self._news.wait()
            calls, self._calls = self._calls, deque()
            if self._closing:
                for _, done in calls:
                    done.set_exception(EngineError("the model was unloaded."))
                return False
            gone = [sequence for sequence in (*self._running, *self._arrived) if sequence.cancelled]
            self._running = [sequence for sequence in self._running if not sequence.cancelled]
            waiting = [sequence for sequence in self._arrived if not sequence.cancelled]
            room = max(0, self._limits.most_running - len(self._running))
            joining, self._arrived = waiting[:room], deque(waiting[room:])
        for sequence in gone:
            _end(sequence, None)
        for work, done in calls:
            _run(work, done)
        for sequence in joining:
            self._join(sequence)
        return True

    def _join(self, sequence: Sequence) -> None:
        try:
            sequence.kv = self._geometry.allocate(sequence.most_tokens)
        except (RuntimeError, MemoryError) as error:  # torch's is a RuntimeError, on a CPU as on a GPU
            _end(sequence, EngineError(f"there is no memory for {sequence.most_tokens} tokens: {_first_line(error)}."))
        else:
            self._running.append(sequence)

    def _step(self) -> None:
        plan = self._plan()
        try:
            picks = self._forward(plan)
        except Exception as error:  # noqa: BLE001 - whatever the model raises, the others of the host go on
            self._failed(plan, error)
            return
        for sequence, pick in picks:
            try:
                if pick.broken:
                    raise EngineError("the model's output is not a number (NaN).")  # noqa: TRY301 - one way to fail
                piece = sequence.take(pick)
            except Exception as error:  # noqa: BLE001 - the text of one must not stop the others
                _end(sequence, error if isinstance(error, EngineError) else EngineError(_first_line(error)))
                continue
            if sequence.finished:
                sequence.kv = None
            if piece is not None:
                sequence.deliver(piece)
        self._running = [sequence for sequence in self._running if sequence.kv is not None]

    def _plan(self) -> list[Part]:
        """Who goes with how many tokens: single ones first, as the attention wants them."""
        answered = [(sequence, 1) for sequence in self._running if not sequence.unread]
        read = [sequence for sequence in self._running if sequence.unread]
        budget = self._limits.reads_beside if answered else self._limits.reads_alone
        shares = share([sequence.unread for sequence in read], budget)
        return sorted([*answered, *zip(read, shares, strict=True)], key=lambda part: part[1] > 1)

    def _forward(self, plan: list[Part]) -> list[tuple[Sequence, Any]]:
        """Run the model. Sequences are advanced only once it is through: a step that failed can be taken again."""
        spans: list[Span] = []
        tokens: list[int] = []
        positions: list[int] = []
        ends: list[Sequence] = []
        last: list[int] = []
        for sequence, count in plan:
            if sequence.kv is None:
                raise EngineError("a sequence without memory is running.")
            spans.append(Span(sequence.kv, sequence.past, count))
            tokens.extend(sequence.inputs(count))
            positions.extend(range(sequence.past, sequence.past + count))
            if sequence.unread <= count:
                ends.append(sequence)
                last.append(len(tokens) - 1)
        device = self._geometry.device
        into = torch.tensor([tokens, positions], device=device)
        output = self._module(
            input_ids=into[:1],
            position_ids=into[1:],
            use_cache=False,
            logits_to_keep=self._geometry.places(last or [len(tokens) - 1]),
            ragged=Step(spans),
        )
        picks = choose(output.logits[0].float(), [sequence.row() for sequence in ends]) if ends else []
        for sequence, count in plan:
            sequence.past += count
        return list(zip(ends, picks, strict=True))

    def _failed(self, plan: list[Part], error: Exception) -> None:
        """Out of memory: the newest goes, and the step is taken again. Anything else: all of the step go."""
        if is_out_of_memory(error):
            _log.warning("The model is out of memory; the newest of %d requests fails.", len(self._running))
            leaving = self._running[-1:]
        else:
            _log.error("A step of the model failed.", exc_info=error)
            leaving = [sequence for sequence, _ in plan]
        what = EngineError(f"the model failed: {_first_line(error)}.")
        for sequence in leaving:
            _end(sequence, what)
        self._running = [sequence for sequence in self._running if sequence.kv is not None]
        error.__traceback__ = None  # its frames hold tensors
        if self._geometry.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing: torch says it with a class of its own on a GPU and in words on a CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(error)


def _end(sequence: Sequence, how: EngineError | None) -> None:
    sequence.kv = None
    sequence.finished = True
    sequence.deliver(how)


def _run(work: Callable[[], Any], done: Future[Any]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 - it is told to whoever asked
        done.set_exception(error)


def _first_line(error: BaseException) -> str:
    words = str(error).strip().splitlines()
    return (words[0][:300] if words else type(error).__name__).rstrip(".")

"""Leads by rules first, and by a model where rules leave something empty.

The model is asked before the messages are understood, outside of any transaction (`ModelLead.prepare`); understanding
them then only looks up what it said. What it does not say, or says wrongly, leaves what the rules found.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, JsonValue

from blocks.errors import LamaError
from blocks.logs import logger
from blocks.model import NoAnswerError
from tasks.handoffs.functions import Context
from tasks.handoffs.lead import find_lead
from tasks.handoffs.quotes import INSTRUCTION, Quotes, Taken, asked_for, question, take, wanted

_log = logger("handoffs")

T = TypeVar("T", bound=BaseModel)

_KEPT = 10_000
"""Answers that are kept: as many as the messages of the largest batch."""
_FAILURES = 3
_REST_S = 30.0


class Answering(Protocol):
    """A model that answers questions; see `blocks.model.LanguageModel`."""

    model: str
    at_once: int

    def get_client(self) -> Any:
        """A client for many questions, as a context manager."""
        ...

    async def answer(self, question: str, schema: type[T], *, instruction: str, client: Any = None) -> T:
        """The answer, or a `LamaError`."""
        ...


class Circuit:
    """Whether to ask a model that did not answer: after three failures in a row not for half a minute, then with one.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._resume_at = 0.0

    @property
    def open(self) -> bool:
        """Whether nothing is to be asked now."""
        return self._failures >= _FAILURES and self._clock() < self._resume_at

    @property
    def on_trial(self) -> bool:
        """Whether one question has to show that the model is back."""
        return self._failures >= _FAILURES and not self.open

    def answered(self) -> None:
        """The model is there."""
        self._failures = 0

    def failed(self) -> None:
        """The model is not there."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self._resume_at = self._clock() + _REST_S


@dataclass
class Asked:
    """What came of asking; added up over a run."""

    questions: int = 0
    fields: int = 0
    """What the model said that was taken."""
    dropped: int = 0
    """What it said that does not stand in the text."""
    unanswered: str = ""
    """Why the last question had no answer; empty: every one had."""


@dataclass(frozen=True)
class Ask:
    """A text, and what the model is asked about it."""

    text: str
    wanted: tuple[str, ...]

    @property
    def key(self) -> bytes:
        """Stands for both."""
        return hashlib.sha256("\0".join((*self.wanted, self.text)).encode("utf-8", "surrogatepass")).digest()


class ModelLead:
    """Finds the lead of a message by rules and by what `model` was asked about it.

    Args:
        model: answers questions; whatever it does, the rules' result stands.
    """

    def __init__(self, model: Answering, context: Context, circuit: Circuit | None = None) -> None:
        self._model = model
        self._context = context
        self._circuit = circuit or Circuit()
        self._kept: OrderedDict[bytes, Taken] = OrderedDict()
        self.asked = Asked()

    @property
    def at_once(self) -> int:
        """Questions that the model takes at a time."""
        return self._model.at_once

    def __call__(self, document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The lead of `document`, as `tasks.handoffs.lead.find_lead` gives it.

        `evidence` of what the model found names it, beside the span: `{"start": 3, "end": 9, "by": "model qwen"}`.
        """
        found = find_lead(document, self._context)
        ask = self._ask_about(found)
        taken = self._kept.get(ask.key) if ask.wanted else None
        evidence = found["evidence"]
        if taken is None or not isinstance(evidence, dict):
            return found
        said: dict[str, JsonValue] = {
            name: {"start": span.start, "end": span.end, "by": f"model {self._model.model}"}
            for name, span in taken.spans.items()
        }
        return {**taken.values, **found, "evidence": {**said, **evidence}}

    def ask_about(self, document: Mapping[str, JsonValue]) -> Ask:
        """What the model would be asked about `document`; nothing `wanted`: the rules say all that can be found."""
        return self._ask_about(find_lead(document, self._context))

    def is_kept(self, ask: Ask) -> bool:
        """Whether it is known what the model says to `ask`."""
        return ask.key in self._kept

    async def prepare(self, asks: Sequence[Ask]) -> set[bytes]:
        """Ask the model, a few questions at a time; the keys of those that it did not answer. Never raises for them."""
        for ask in asks:
            if self.is_kept(ask):
                self._kept.move_to_end(ask.key)  # what this step needs is not the first to go
        pending = list({ask.key: ask for ask in asks if ask.wanted and not self.is_kept(ask)}.values())
        unanswered: set[bytes] = set()
        if not pending:
            return unanswered
        try:
            client = self._model.get_client()
        except LamaError as error:
            self.asked.unanswered = str(error)
            return {ask.key for ask in pending}
        async with client:
            room = asyncio.Semaphore(self._model.at_once)

            async def one(ask: Ask) -> None:
                async with room:
                    if self._circuit.open or await self._ask(ask, client) is None:
                        unanswered.add(ask.key)

            if self._circuit.on_trial:
                await one(pending.pop(0))
            await asyncio.gather(*(one(ask) for ask in pending))
        return unanswered

    async def try_out(self, document: Mapping[str, JsonValue]) -> dict[str, Any]:
        """Ask about one message, and tell every step: for a person who tries a route."""
        ask = self.ask_about(document)
        told: dict[str, Any] = {"name": self._model.model, "asked_for": list(ask.wanted)}
        if not ask.wanted:
            return told | {"note": "The rules found all that the text could have; the model is not asked."}
        async with self._model.get_client() as client:
            answer = await self._ask(ask, client)
        if answer is None:
            return told | {"note": f"Rules alone: {self.asked.unanswered}"}
        taken = self._kept[ask.key]
        shown = {name: ask.text[span.start : span.end] for name, span in taken.spans.items()}
        return told | {"proposed": answer.model_dump(exclude_none=True), "taken": shown, "dropped": dict(taken.dropped)}

    def _ask_about(self, found: Mapping[str, JsonValue]) -> Ask:
        return Ask(str(found.get("text") or ""), wanted(found, self._context))

    async def _ask(self, ask: Ask, client: Any) -> Quotes | None:
        self.asked.questions += 1
        try:
            answer = await self._model.answer(
                question(ask.text, ask.wanted), asked_for(ask.wanted), instruction=INSTRUCTION, client=client
            )
            taken = take(answer.model_dump(), ask.wanted, ask.text, self._context)
        except NoAnswerError as error:  # it is there: a text that confuses it does not turn it off for others
            self._circuit.answered()
            self.asked.unanswered = str(error)
            return None
        except LamaError as error:
            self._circuit.failed()
            self.asked.unanswered = str(error)
            if self._circuit.open:
                _log.warning("%s Leads are found by rules alone for %d s.", error, _REST_S)
            return None
        except Exception as error:  # noqa: BLE001 - it is logged whole; the rules' result stands
            _log.exception("asking the model failed")
            self._circuit.failed()
            self.asked.unanswered = f"asking failed: {type(error).__name__}"
            return None
        self._circuit.answered()
        self.asked.fields += len(taken.values)
        self.asked.dropped += len(taken.dropped)
        self._kept[ask.key] = taken
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return answer

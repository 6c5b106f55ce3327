"""Leads by the rules first, and by a language model for what the rules left open.

The model is asked before the transaction in which a message becomes an effect: nothing is locked while it thinks, and
its answers are remembered by the text they are about. Whatever it does, the rules' lead goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from blocks.errors import LamaError
from blocks.logs import logger
from tasks.handoffs.functions import Context
from tasks.handoffs.lead import find_lead
from tasks.handoffs.quotes import INSTRUCTION, Held, Quotes, hold, open_fields

if TYPE_CHECKING:
    from blocks.model import LanguageModel

_log = logger("handoffs")

_REMEMBERED = 10_000
_LONGEST = 8_000
"""Characters of a message that a model reads."""
_FAILURES = 3
_PAUSE_S = 30.0


@dataclass
class Asked:
    """What came of asking."""

    questions: int = 0
    fields: int = 0
    """Fields that the model added."""
    dropped: int = 0
    """Fields that it quoted and that were not taken."""
    unanswered: int = 0
    """Leads by the rules alone, although something was open: the model did not answer."""
    reason: str = ""
    """Why it did not, the last time."""


class ModelLead:
    """Finds leads; `prepare` asks the model, and calling it uses what it said.

    Args:
        model: who is asked.
        context: the country and currency of what is written without.
        clock: seconds, monotonic.
    """

    def __init__(self, model: LanguageModel, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._context = context
        self._clock = clock
        self._answers: OrderedDict[bytes, Quotes] = OrderedDict()
        self._failures = 0
        self._paused_until = 0.0
        self.asked = Asked()

    def __call__(self, document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The lead of a message; as the rules found it where the model was not asked or did not answer."""
        return self.held(document).lead

    def held(self, document: Mapping[str, JsonValue]) -> Held:
        """The lead of a message, and what of the model's answer was taken."""
        lead = find_lead(document, self._context)
        quotes = self._answers.get(_digest(lead))
        return Held(lead) if quotes is None else hold(lead, quotes, self._context, by=f"model {self._model.model}")

    def quoted(self, document: Mapping[str, JsonValue]) -> dict[str, str]:
        """What the model quoted for a message, by field; nothing where it was not asked or did not answer."""
        quotes = self._answers.get(_digest(find_lead(document, self._context)))
        return {} if quotes is None else {name: said for name, said in quotes.model_dump().items() if said}

    async def prepare(self, documents: Sequence[Mapping[str, JsonValue]]) -> None:
        """Ask about those of `documents` in which something is open. Never raises for the model's sake."""
        texts: dict[bytes, str] = {}
        for document in documents:
            lead = find_lead(document, self._context)
            text = str(lead.get("text") or "")
            if text.strip() and open_fields(lead) and (key := _digest(lead)) not in self._answers:
                texts[key] = text[:_LONGEST]
        if not texts:
            return
        slots = asyncio.Semaphore(self._model.connections)
        async with self._model.get_client() as client:

            async def ask(key: bytes, text: str) -> None:
                async with slots:
                    if self._clock() < self._paused_until:
                        self.asked.unanswered += 1
                        return
                    self.asked.questions += 1
                    try:
                        quotes = await self._model.answer(client, text, Quotes, instruction=INSTRUCTION)
                    except LamaError as error:
                        self._failed(str(error))
                        return
                self._failures = 0
                self._remember(key, quotes)

            await asyncio.gather(*(ask(key, text) for key, text in texts.items()))
        for document in documents:
            held = self.held(document)
            self.asked.fields += len(held.taken)
            self.asked.dropped += len(held.dropped)

    def _failed(self, reason: str) -> None:
        self.asked.unanswered += 1
        self.asked.reason = reason
        self._failures += 1
        if self._failures >= _FAILURES:
            self._paused_until = self._clock() + _PAUSE_S
            self._failures = 0
            _log.warning("%s Leads are found by the rules alone for %d s.", reason, _PAUSE_S)

    def _remember(self, key: bytes, quotes: Quotes) -> None:
        self._answers[key] = quotes
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)


def _digest(lead: Mapping[str, JsonValue]) -> bytes:
    return hashlib.blake2b(str(lead.get("text") or "").encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""What comes before understanding where a model is asked: the next messages are looked at, and the model is asked.

No transaction is open and no row is held while a model thinks, and what was understood before goes on being delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from blocks.logs import logger
from models.handoff_route import Route
from tasks.handoffs.extract import Ask, ModelLead
from tasks.handoffs.transform import Transformation
from tasks.handoffs.understand import waiting

_log = logger("handoffs")

_MOST_LOOKED_AT = 200
_ROUNDS = 8
"""Times the questions that the model takes at once: so many are asked before what they are about goes on."""


@dataclass(frozen=True)
class Prepared:
    """Messages that can be understood now."""

    seqs: tuple[int, ...]
    """All that were looked at, in order: whatever else waits was not asked about yet."""
    unanswered: frozenset[int] = frozenset()
    """Those of them that the model was to be asked about, and said nothing to."""


class Preparation:
    """Asks the model about the messages that wait, a step at a time.

    Args:
        bell: is set when the model has answered.
    """

    def __init__(
        self, route: Route, transformation: Transformation, model: ModelLead, bell: asyncio.Event, *, batch: int
    ) -> None:
        self._route = route
        self._transformation = transformation
        self._model = model
        self._bell = bell
        self._batch = min(batch, _MOST_LOOKED_AT)
        self._job: asyncio.Task[Prepared] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._job is not None:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)

    @property
    def under_way(self) -> bool:
        """Whether the model is being asked, or has answered and nobody has taken it up."""
        return self._job is not None

    async def ready(self, connection: psycopg.AsyncConnection[Any], *, begin: bool) -> Prepared | None:
        """What can be understood now; None: nothing yet. With `begin`, the next step begins where none is under way.

        Raises:
            psycopg.Error: the database is away.
        """
        if self._job is None:
            if not begin:
                return None
            step = self._step(await waiting(connection, self._route, batch=self._batch))
            if not any(ask for _, ask in step):
                return Prepared(tuple(seq for seq, _ in step)) if step else None
            self._job = asyncio.create_task(self._asked(step))
            self._job.add_done_callback(lambda _: self._bell.set())
            return None
        if not self._job.done():
            return None
        job, self._job = self._job, None
        return job.result()

    def _step(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[tuple[int, Ask | None]]:
        """The first of `rows`, as many as the model is asked about in one go, each with what it is asked."""
        step: list[tuple[int, Ask | None]] = []
        fresh: set[bytes] = set()
        for seq, document in rows:
            ask = question_about(document, self._transformation, self._model)
            if ask is not None and not self._model.is_kept(ask):
                fresh.add(ask.key)
                if len(fresh) > self._model.at_once * _ROUNDS:
                    break
            step.append((seq, ask))
        return step

    async def _asked(self, step: Sequence[tuple[int, Ask | None]]) -> Prepared:
        unanswered = await self._model.prepare([ask for _, ask in step if ask is not None])
        return Prepared(
            tuple(seq for seq, _ in step),
            frozenset(seq for seq, ask in step if ask is not None and ask.key in unanswered),
        )


def question_about(document: Mapping[str, Any], transformation: Transformation, model: ModelLead) -> Ask | None:
    """What `model` is to be asked about `document`; None: nothing, or the filter leaves it out."""
    try:
        ask = model.ask_about(document) if transformation.passes(document) else None
    except Exception:  # noqa: BLE001 - it fails again when it is understood, and is a dead letter then
        _log.exception("a message cannot be looked at for what the model is to be asked")
        return None
    return ask if ask is not None and ask.wanted else None

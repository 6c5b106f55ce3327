"""Messages as tasks of the board. Committed with the outbox, so each message counts exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from pydantic import ValidationError

from models.board import NewTask
from models.handoff import Delivered, Effect, Refused
from tasks.board.tasks import Origin, take_in


class BoardTarget:
    """The tables of `models.board`: a conversation is a task, what follows in it is said about that task."""

    async def apply(
        self, connection: psycopg.AsyncConnection[Any], effects: Sequence[Effect]
    ) -> Sequence[Delivered | Refused]:
        """A task for each conversation, an entry for each message."""
        return [await self._apply(connection, effect) for effect in effects]

    async def _apply(self, connection: psycopg.AsyncConnection[Any], effect: Effect) -> Delivered | Refused:
        try:
            new = NewTask.model_validate(effect.payload)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) or "the payload" for problem in error.errors())
            return Refused(f"is no task: {places}")
        origin = Origin(effect.route, effect.conversation, effect.message_id, effect.idempotency_key)
        return Delivered(f"task {await take_in(connection, new, origin)}")

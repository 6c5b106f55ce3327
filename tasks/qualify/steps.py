"""The parts of a qualification as steps of a flow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from blocks.postgres import Postgres
from models.handoff_route import Route
from models.qualify import LeadGrade, QualifySettings, Weights
from tasks.qualify import contacts, kept_weights
from tasks.qualify.learn import Labelled, Learned, TooFewLabelsError, learn, probability
from tasks.qualify.score import Known, features, grade
from tasks.step import step

_POLL_S = 0.5


@step("find who wrote")
async def find(database: Postgres, messages: Sequence[str], *, wait_s: float) -> tuple[list[int], list[str]]:
    """The contacts of `messages`, and the messages that no contact has after `wait_s` seconds.

    The route that starts a qualification and the one that writes the contact work side by side.
    """
    ends_at = time.monotonic() + wait_s
    async with await database.get_async_client(autocommit=True) as connection:
        while True:
            known = await contacts.of_messages(connection, messages)
            missing = [message for message in messages if message not in known]
            if not missing or time.monotonic() >= ends_at:
                return sorted(set(known.values())), missing
            await asyncio.sleep(_POLL_S)


@step("read leads")
async def read(database: Postgres, *, after: int, only: Sequence[int] | None) -> list[tuple[Known, str | None]]:
    """The next leads, and their grades as they are."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await contacts.read(connection, after=after, only=only)


@step("write grades")
async def write(
    database: Postgres, grades: Sequence[LeadGrade], *, rules: str, as_of: datetime, routes: Sequence[Route]
) -> tuple[list[LeadGrade], list[int]]:
    """Write them back: those that changed, and contacts that stay as they are. Repeated, it changes nothing more."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await contacts.write(connection, grades, rules=rules, as_of=as_of, routes=routes)


@step("read outcomes")
async def labelled(database: Postgres, settings: QualifySettings) -> list[Labelled]:
    """Every lead whose outcome is known, with the points that it had just before."""
    found: list[Labelled] = []
    async with await database.get_async_client(autocommit=True) as connection:
        while True:
            batch = await contacts.outcomes(connection, after=found[-1].contact if found else 0)
            for known, won, at in batch:
                graded = grade(known, settings, at)
                told = features(known, settings, at)
                found.append(Labelled(known.contact, told, graded.fit + graded.engagement, won, at))
            if len(batch) < contacts.BATCH:
                return found


@step("learn weights", retries=0)
async def learn_from(leads: Sequence[Labelled], settings: QualifySettings, *, seed: int) -> Learned | TooFewLabelsError:
    """Weights, or why there are none: that is an answer, and no failure of the step."""
    try:
        return await asyncio.to_thread(learn, leads, settings, seed=seed)
    except TooFewLabelsError as error:
        return error


@step("keep weights")
async def keep(database: Postgres, learned: Learned, *, run_id: str, at: datetime) -> None:
    """Keep them, once a run."""
    async with await database.get_async_client(autocommit=True) as connection:
        await kept_weights.keep(connection, learned, run_id=run_id, at=at)


@step("read weights")
async def weights_in_use(database: Postgres) -> Weights | None:
    """Those that grades are given a probability by."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await kept_weights.in_use(connection)


def graded(
    leads: Sequence[tuple[Known, str | None]], settings: QualifySettings, weights: Weights | None, as_of: datetime
) -> list[LeadGrade]:
    """The grades of `leads`, with probabilities where there are weights."""
    found = []
    for known, before in leads:
        one = grade(known, settings, as_of).model_copy(update={"before": before})
        if weights is not None:
            chance = probability(weights, features(known, settings, as_of))
            one = one.model_copy(update={"probability": round(chance, 6)})
        found.append(one)
    return found

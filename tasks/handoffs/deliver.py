"""The two ways to deliver what is in the outbox: to a target outside, or to one in our own database."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import psycopg

from blocks.logs import logger
from models.handoff import Again, Delivered, Effect, EffectState, Outcome, Refused, Uncertain
from models.handoff_route import Route
from tasks.handoffs import outbox
from tasks.handoffs.outbox import Verdict, judge
from tasks.handoffs.target import CarefulTarget, InsideTarget, Target

_log = logger("handoffs")

_DEEP = 8
"""Effects of one conversation that are taken together; each waits for the one before it."""
_LONGEST_PAUSE_S = 30.0
_NEVER_HEARD = (
    "it is not known whether it was sent: there was no answer, and nothing was heard of it since; "
    "look there before you send it again"
)
_LATELY_S = 5.0
"""Seconds after which a target that took nothing any more may be away."""


@dataclass
class Figures:
    """What one drain did."""

    accepted: int = 0
    ignored: int = 0
    delivered: int = 0
    again: int = 0
    dead: int = 0
    questions: int = 0
    """What the route's model was asked."""
    from_model: int = 0
    """Fields that the model quoted, and that were taken."""
    model_dropped: int = 0
    """Fields that it named, and that do not stand in the text or are none."""
    by_rules: int = 0
    """Leads that were handed on by the rules alone, because the model did not answer."""
    unanswered: str = ""
    """Why it did not, the last time."""
    outage: str = ""
    """Why the target was away when it was last tried; empty: it was there."""
    held_elsewhere: bool = False
    """Whether another run drains this route, so that this one left it alone."""

    def followed_by(self, later: Figures) -> Figures:
        """What this drain and a `later` one did together."""
        return replace(
            later,
            accepted=self.accepted + later.accepted,
            ignored=self.ignored + later.ignored,
            delivered=self.delivered + later.delivered,
            again=self.again + later.again,
            dead=self.dead + later.dead,
            questions=self.questions + later.questions,
            from_model=self.from_model + later.from_model,
            model_dropped=self.model_dropped + later.model_dropped,
            by_rules=self.by_rules + later.by_rules,
            unanswered=later.unanswered or self.unanswered,
            held_elsewhere=later.held_elsewhere and not self.moved,
        )

    @property
    def moved(self) -> bool:
        """Whether anything was done."""
        return any((self.accepted, self.ignored, self.delivered, self.again, self.dead))

    def count(self, verdicts: Sequence[Verdict]) -> None:
        """Add what became of some effects."""
        self.delivered += sum(one.state is EffectState.delivered for one in verdicts)
        self.dead += sum(one.state is EffectState.dead for one in verdicts)
        self.again += sum(one.state is EffectState.pending for one in verdicts)


class Inside:
    """Effects in our own database: brought about and recorded in one transaction, so exactly once by construction."""

    under_way = False
    paused_s = 0.0

    def __init__(self, route: Route, target: InsideTarget, figures: Figures, *, batch: int) -> None:
        self._route = route
        self._target = target
        self._figures = figures
        self._batch = batch

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def step(self, connection: psycopg.AsyncConnection[Any], *, claim: bool = True) -> int:
        """Deliver one batch; how many effects there were.

        Raises:
            psycopg.Error: nothing has changed.
        """
        if not claim:
            return 0
        async with connection.transaction():
            effects = await outbox.claim(connection, self._route, limit=self._batch)
            if self._route.on_dead == "block":
                effects = [group[0] for group in grouped(effects, most=len(effects), batch=1)]
            if not effects:
                return 0
            verdicts = await self._apply(connection, effects)
            await outbox.record(connection, self._route.name, verdicts)
        self._figures.count(verdicts)
        return len(effects)

    async def _apply(self, connection: psycopg.AsyncConnection[Any], effects: list[Effect]) -> list[Verdict]:
        try:
            async with connection.transaction():
                outcomes = await self._target.apply(connection, effects)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(effects) == 1:
                return [judge(self._route, effects[0], Refused(f"the database refuses it: {type(error).__name__}"))]
            # One of them is at fault: each by itself, so that it takes no other with it.
            return [verdict for effect in effects for verdict in await self._apply(connection, [effect])]
        return [judge(self._route, effect, outcome) for effect, outcome in zip(effects, outcomes, strict=True)]


class Outside:
    """Effects in an outside system: several conversations side by side, each of them in order.

    Args:
        route: which one.
        target: where its effects go.
        figures: what is counted.
        bell: is set when something has been finished.
        at_once: calls that are under way at a time, at most.
        jitter: a number between 0 and 1, anew at each call.
    """

    def __init__(
        self,
        route: Route,
        target: Target,
        figures: Figures,
        bell: asyncio.Event,
        *,
        at_once: int,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._route = route
        self._target = target
        self._figures = figures
        self._bell = bell
        self._at_once = min(at_once, target.at_once)
        self._careful = isinstance(target, CarefulTarget)
        self._longer_s = target.heard_within_s if isinstance(target, CarefulTarget) else 0.0
        self._jitter = jitter
        self._jobs: set[asyncio.Task[None]] = set()
        self._finished: list[Verdict] = []
        self._untried: list[Effect] = []
        self._outages = 0
        self._resume_at = 0.0
        self._there_at = -math.inf

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    @property
    def under_way(self) -> bool:
        """Whether anything is under way or not recorded yet."""
        return bool(self._jobs or self._finished or self._untried)

    @property
    def paused_s(self) -> float:
        """Seconds until the target is tried again, when it was away."""
        return max(0.0, self._resume_at - time.monotonic())

    async def step(self, connection: psycopg.AsyncConnection[Any], *, claim: bool = True) -> int:
        """Record what has been finished, and take up as much as there is room for; how many effects moved.

        Raises:
            psycopg.Error: the database is away.
        """
        moved = await self._record(connection)
        room = self._at_once - len(self._jobs)
        if claim and room > 0 and self.paused_s == 0.0:
            moved += await self._take(connection, room if self._outages == 0 else 1)
        return moved

    async def _record(self, connection: psycopg.AsyncConnection[Any]) -> int:
        finished, self._finished = self._finished, []
        untried, self._untried = self._untried, []
        if finished or untried:
            async with connection.transaction():
                if finished:
                    await outbox.record(connection, self._route.name, finished)
                if untried:
                    await outbox.release(connection, self._route.name, untried)
            self._figures.count(finished)
        return len(finished)

    async def _take(self, connection: psycopg.AsyncConnection[Any], room: int) -> int:
        async with connection.transaction():
            limit = room * (self._target.batch if self._target.batch > 1 else _DEEP)
            effects = await outbox.claim(connection, self._route, limit=limit)
            groups = grouped(effects, most=room, batch=self._target.batch, deep=1 if self._careful else _DEEP)
            chosen = [effect for group in groups for effect in group]
            if chosen:
                await outbox.lease(connection, self._route, chosen, longer_s=self._longer_s)
        for group in groups:
            job = asyncio.create_task(self._together(group) if self._target.batch > 1 else self._in_order(group))
            self._jobs.add(job)
            job.add_done_callback(self._done)
        return len(chosen)

    def _done(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._bell.set()

    async def _in_order(self, chain: Sequence[Effect]) -> None:
        for place, effect in enumerate(chain):
            if effect.unsure and self._careful:
                self._finished.append(judge(self._route, effect, Refused(_NEVER_HEARD)))
                return
            began = time.monotonic()
            (outcome,) = await call(self._route, self._target, [effect])
            stops = isinstance(outcome, Again | Uncertain) or (
                isinstance(outcome, Refused) and self._route.on_dead == "block"
            )
            if stops:
                self._untried.extend(chain[place + 1 :])
            self._note([effect], [outcome], began)
            if stops:
                return

    async def _together(self, group: Sequence[Effect]) -> None:
        began = time.monotonic()
        self._note(group, await call(self._route, self._target, group), began)

    def _note(self, effects: Sequence[Effect], outcomes: Sequence[Outcome], began: float) -> None:
        now = time.monotonic()
        taken = any(isinstance(one, Delivered | Refused) for one in outcomes)
        if taken:
            self._there_at = now
        outcomes = with_outages(outcomes, began=began, there_at=self._there_at)
        self._finished += [
            judge(self._route, effect, outcome, self._jitter) for effect, outcome in zip(effects, outcomes, strict=True)
        ]
        away = [one for one in outcomes if isinstance(one, Again) and one.outage]
        if away and len(away) == len(outcomes):
            self._figures.outage = away[0].reason
            self._outages = min(self._outages + 1, 10)
            self._resume_at = now + min(_LONGEST_PAUSE_S, self._route.retry.first_s * 2.0**self._outages)
        elif taken:
            self._figures.outage, self._outages, self._resume_at = "", 0, 0.0
        self._bell.set()


async def call(route: Route, target: Target, effects: Sequence[Effect]) -> Sequence[Outcome]:
    """What becomes of `effects` at `target`, within the time of one try; whatever goes wrong is an outcome."""
    careful = isinstance(target, CarefulTarget)

    def lost(reason: str, *, unclear: bool = False) -> Sequence[Outcome]:
        """Nobody knows whether it happened."""
        return [Uncertain(reason) if careful else Again(reason, unclear=unclear)] * len(effects)

    try:
        async with asyncio.timeout(route.retry.timeout_s):
            outcomes = await target.deliver(effects)
    except TimeoutError:
        return lost(f"no answer within {route.retry.timeout_s:g} s", unclear=True)
    except Exception as error:  # noqa: BLE001 - it is logged whole, counted as a try, and shown with the effect
        _log.exception("route %s: the target failed", route.name)
        return lost(f"the target failed: {type(error).__name__}")
    if len(outcomes) != len(effects):
        return lost("the target did not say what became of it")
    return outcomes


def with_outages(outcomes: Sequence[Outcome], *, began: float, there_at: float) -> Sequence[Outcome]:
    """`outcomes` of a call at `began`, where what is unclear is an outage if nothing got through lately before it.

    `there_at` is when something was last taken by the target; both are seconds of the monotonic clock.
    """
    if there_at >= began - _LATELY_S:
        return outcomes
    return [replace(one, outage=True) if isinstance(one, Again) and one.unclear else one for one in outcomes]


def grouped(effects: Sequence[Effect], *, most: int, batch: int, deep: int = _DEEP) -> list[list[Effect]]:
    """`effects`, in order of arrival, as calls that may be made side by side, `most` of them.

    With a `batch` of 1 a group is what one conversation has, up to `deep`, to be delivered one after the other.
    Otherwise it is up to `batch` effects of as many conversations, the first of each.
    """
    chains: dict[str, list[Effect]] = {}
    for effect in effects:
        chains.setdefault(effect.conversation, []).append(effect)
    if batch == 1:
        return [chain[:deep] for chain in list(chains.values())[:most]]
    heads = [chain[0] for chain in chains.values()][: most * batch]
    return [heads[start : start + batch] for start in range(0, len(heads), batch)]

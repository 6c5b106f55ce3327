"""Effects as flow runs: each starts one, known by its idempotency key."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.prefect_starter import NotYetError, OutageError, PrefectStarter, RefusedError
from models.handoff import Again, Delivered, Effect, Outcome, Refused


class FlowTarget:
    """A deployment; the payload is the parameters of its run."""

    batch = 1
    at_once = 4

    def __init__(self, starter: PrefectStarter, deployment: str) -> None:
        self._starter = starter
        self._deployment = deployment

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """Start a run for each of `effects`."""
        return [await self._deliver(effect) for effect in effects]

    async def close(self) -> None:
        """Close the connections."""
        await self._starter.close()

    async def _deliver(self, effect: Effect) -> Outcome:
        try:
            run_id = await self._starter.start(
                self._deployment, effect.payload, f"handoff {effect.idempotency_key}", ("handoffs", effect.route)
            )
        except OutageError as error:
            return Again(str(error), outage=True)
        except NotYetError as error:
            return Again(str(error))
        except RefusedError as error:
            return Refused(str(error))
        return Delivered(run_id)

"""Leases of flow runs: asked for again and again by the worker that runs them, ended when it falls silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.model_host import Refusal
from tasks.model_host.errors import NoRoomError
from tasks.model_host.holdings import Phase, Want
from tasks.model_host.occupancy import Occupancy

JOB_TTL_S = 45.0
"""How long a job's lease lasts after its worker was last heard of; workers speak every ten seconds."""
_SOON_S = 1.0


@dataclass(frozen=True)
class JobLease:
    """Memory of a job's run."""

    run_id: str
    warm: bool
    """Whether its models had been loaded already when it first asked."""
    ttl_s: float
    """Seconds within which the lease has to be asked for again."""


@dataclass
class _Job:
    want: Want
    warm: bool
    silent_at: float


class Jobs:
    """The runs that have a lease or wait for one.

    Args:
        occupancy: who grants it.
        clock: seconds that only go forward.
    """

    def __init__(self, occupancy: Occupancy, clock: Callable[[], float]) -> None:
        self._occupancy = occupancy
        self._clock = clock
        self._jobs: dict[str, _Job] = {}

    def lease(self, run_id: str, want: Want, ttl_s: float, *, only_if_warm: bool) -> JobLease:
        """Grant or renew the lease of a run; what it first asked for is what counts. See `Residency.job_lease`."""
        occupancy, ledger, now = self._occupancy, self._occupancy.ledger, self._clock()
        warm = all(self._is_ready(account) for account in want.accounts)
        job = self._jobs.get(run_id)
        if job is None:
            if only_if_warm and not warm:
                refusal = Refusal(reason="its models are not loaded here", needed_bytes=0, free_bytes=0)
                raise NoRoomError("its models are not loaded here.", refusal, retry_after_s=_SOON_S, component=want.key)
            job = self._jobs[run_id] = _Job(want, warm, now)
        job.silent_at = now + ttl_s
        want = job.want
        if want.key not in ledger.leases:
            failure = next((found for account in want.accounts if (found := occupancy.failure(account))), None)
            if failure:
                self.end(run_id)
                raise failure
            occupancy.announce(want)
            occupancy.decide()
        if want.key not in ledger.leases:
            raise occupancy.no_room(want)
        ledger.renew(want.key, now + ttl_s)
        return JobLease(run_id, job.warm, ttl_s)

    def end(self, run_id: str) -> bool:
        """Take a lease back, or a place in the queue. False: it had none."""
        job = self._jobs.pop(run_id, None)
        if job is None:
            return False
        self._occupancy.end(job.want.key)
        return True

    def end_all(self) -> None:
        """Take every lease back."""
        for run_id in list(self._jobs):
            self.end(run_id)

    def forget_silent(self) -> None:
        """End those that were not heard of, granted or waiting."""
        for run_id, job in list(self._jobs.items()):
            if job.silent_at <= self._clock():
                self.end(run_id)

    def _is_ready(self, account: str) -> bool:
        resident = self._occupancy.ledger.resident(account)
        return resident is not None and resident.phase is Phase.ready

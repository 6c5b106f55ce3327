"""What the host tells of itself: values made of the ledger."""

from __future__ import annotations

from models.model_host import CatalogueEntry, EngineKind, Footprint, HostStatus, Measured, ModelState, ModelStatus
from tasks.model_host.accounts import Account
from tasks.model_host.engine import Engine
from tasks.model_host.errors import LoadError
from tasks.model_host.holdings import Phase
from tasks.model_host.ledger import Ledger


def host_status(
    ledger: Ledger, models: tuple[ModelStatus, ...], device: str, device_uuid: str, fragmentation: float
) -> HostStatus:
    """The device as a whole."""
    return HostStatus(
        device=device,
        device_uuid=device_uuid,
        capacity_bytes=ledger.capacity,
        used_bytes=ledger.held,
        leased_bytes=ledger.leased,
        reserved_bytes=ledger.reserved,
        parked_bytes=sum(ledger.parked.values()),
        fragmentation=fragmentation,
        models=models,
        jobs=len(ledger.jobs),
    )


def model_status(
    entry: CatalogueEntry,
    account: Account,
    ledger: Ledger,
    *,
    engine: Engine | None,
    context_window: int,
    predicted: Footprint | None,
    measured: Measured | None,
    waiting: int,
    failure: LoadError | None,
) -> ModelStatus:
    """One name. What its weights take is told for every name that shares them, what its requests take for itself."""
    reserve = ledger.reserve_of(entry.name)
    resident = ledger.resident(account.key)
    leases = [one for one in ledger.leases.values() if not one.want.job and one.want.model == entry.name]
    return ModelStatus(
        name=entry.name,
        state=_state(ledger, account.key, failed=failure is not None),
        kind=entry.kind,
        engine=engine.kind if engine else entry.engine or _by_files(entry),
        quantisation=entry.quantisation,
        priority=entry.priority,
        context_window=context_window,
        reserve_bytes=reserve.bytes if reserve else 0,
        predicted=predicted,
        measured=measured,
        held_bytes=resident.footprint.total if resident else None,
        lease_bytes=sum(one.bytes for one in leases),
        running=len(leases),
        waiting=waiting,
        shares_with=tuple(name for name in account.names if name != entry.name),
        error=str(failure) if failure else "",
    )


def _by_files(entry: CatalogueEntry) -> EngineKind:
    return EngineKind.llamacpp if entry.source.endswith(".gguf") else EngineKind.transformers


def _state(ledger: Ledger, account: str, *, failed: bool) -> ModelState:
    resident = ledger.resident(account)
    if resident and resident.phase is Phase.loading:
        return ModelState.loading
    if resident and resident.phase is Phase.ready:
        return ModelState.ready
    if failed:
        return ModelState.failed
    return ModelState.parked if account in ledger.parked else ModelState.absent

"""What the model host's state says should be done, and what a person should know of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.model_host import CatalogueEntry, HostStatus, ModelState, Reserve
from models.report import Finding, Severity

_CAPABILITY = "maintain_models"
_OFF_BY = 0.05
_FRAGMENTED = 0.2


@dataclass(frozen=True)
class Step:
    """One change of a reserve."""

    model: str
    reserve: Reserve | None
    """None: the reserve goes."""
    told: str
    """What it does, for people."""


def due(catalogue: Sequence[CatalogueEntry], status: HostStatus) -> tuple[Step, ...]:
    """What has to change until each model has the reserve that its entry asks for; what goes first makes room."""
    there = {one.name: one for one in status.models}
    goes, comes = [], []
    for entry in catalogue:
        model = there.get(entry.name)
        if model is None:
            continue
        if entry.reserve_bytes is None:
            if model.reserve_bytes:
                goes.append(Step(entry.name, None, f"the reserve of {entry.name} goes"))
        elif model.reserve_bytes != entry.reserve_bytes:
            wanted = Reserve(
                model=entry.name,
                bytes=entry.reserve_bytes,
                priority=entry.priority,
                sharing=entry.sharing,
                context_window=model.context_window,
            )
            comes.append(Step(entry.name, wanted, f"{entry.reserve_bytes:,} bytes are reserved for {entry.name}"))
    return (*goes, *sorted(comes, key=lambda step: step.reserve.priority if step.reserve else 0))


def findings(status: HostStatus) -> list[Finding]:
    """What a person should know."""
    found = []
    for one in status.models:
        if one.state is ModelState.failed or one.error:
            found.append(
                Finding(
                    key=f"{_CAPABILITY}.failed:{one.name}",
                    severity=Severity.high,
                    component=one.name,
                    title="The model cannot be loaded",
                    detail=one.error or "it failed",
                    remedy="Mend its entry in lama.toml or its files; `lama models load` tries again.",
                )
            )
        if one.predicted is not None and one.measured_bytes:
            off = one.measured_bytes / max(1, one.predicted.resident) - 1
            if off > _OFF_BY:
                found.append(
                    Finding(
                        key=f"{_CAPABILITY}.larger:{one.name}",
                        severity=Severity.medium,
                        component=one.name,
                        title="The model takes more memory than was predicted",
                        detail=f"predicted {one.predicted.resident:,} bytes, measured {one.measured_bytes:,}"
                        f" ({off:+.1%})",
                        remedy="Leave more of the device free (`memory_bytes`), and tell the makers of Lama.",
                    )
                )
    if status.fragmentation > _FRAGMENTED:
        found.append(
            Finding(
                key=f"{_CAPABILITY}.fragmented:{status.device}",
                severity=Severity.low,
                component=status.device,
                title="Memory is fragmented",
                detail=f"{status.fragmentation:.0%} of what the allocator holds can be used by nobody",
                remedy="It is given back when nobody is being served; unload and load the largest model otherwise.",
            )
        )
    return found


def metrics(status: HostStatus) -> dict[str, float]:
    """The host's figures."""
    return {
        "capacity_bytes": status.capacity_bytes,
        "used_bytes": status.used_bytes,
        "leased_bytes": status.leased_bytes,
        "reserved_bytes": status.reserved_bytes,
        "parked_bytes": status.parked_bytes,
        "fragmentation_ratio": status.fragmentation,
        "models_ready_total": sum(one.state is ModelState.ready for one in status.models),
        "runs_total": status.jobs,
    }

"""What the model host's state says should be done, and what a person should know of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.model_host import CatalogueEntry, HostStatus, ModelState, ModelStatus, Reserve
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
    """What has to change until each model has the reserve that its entry asks for, and no other has one.

    What becomes less goes before what becomes more, so that no more is promised in between than before or after; of
    what becomes more, the most urgent comes first. Entries that the host does not know are left to `findings`.
    """
    wanted = {entry.name: entry for entry in catalogue}
    less, more = list[Step](), list[Step]()
    for model in status.models:
        entry = wanted.get(model.name)
        if entry is None or entry.reserve_bytes is None:
            if model.reserve_bytes:
                less.append(Step(model.name, None, f"the reserve of {model.name} goes"))
        elif model.reserve_bytes != entry.reserve_bytes:
            reserve = Reserve(
                model=entry.name,
                bytes=entry.reserve_bytes,
                priority=entry.priority,
                sharing=entry.sharing,
                context_window=model.context_window,
            )
            step = Step(entry.name, reserve, f"{entry.reserve_bytes:,} bytes are reserved for {entry.name}")
            (less if entry.reserve_bytes < model.reserve_bytes else more).append(step)
    return (*less, *sorted(more, key=lambda step: step.reserve.priority if step.reserve else 0))


def findings(catalogue: Sequence[CatalogueEntry], status: HostStatus) -> list[Finding]:
    """What a person should know, of each device."""
    if not status.devices:
        return _findings(catalogue, status) if status.each else []
    return [
        one.model_copy(
            update={"key": f"{one.key}@{device.number}", "component": f"{one.component} on device {device.number}"}
        )
        for device in status.devices
        for one in _findings(catalogue, device)
    ]


def _findings(catalogue: Sequence[CatalogueEntry], status: HostStatus) -> list[Finding]:
    found = _outdated(catalogue, status)
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
        if one.predicted is not None and one.measured is not None:
            predicted, measured = one.measured.predicted(one.predicted), one.measured.total
            off = measured / max(1, predicted) - 1
            if off > _OFF_BY:
                found.append(
                    Finding(
                        key=f"{_CAPABILITY}.larger:{one.name}",
                        severity=Severity.medium,
                        component=one.name,
                        title="The model takes more memory than was predicted",
                        detail=f"predicted {predicted:,} bytes, measured {measured:,} ({off:+.1%})",
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


def _outdated(catalogue: Sequence[CatalogueEntry], status: HostStatus) -> list[Finding]:
    """Where the host, which read the catalogue when it started, goes by another one."""
    wanted, known = {entry.name: entry for entry in catalogue}, {one.name: one for one in status.models}
    told = [
        *((name, "lama.toml has it, the running model host does not") for name in wanted if name not in known),
        *((name, "the running model host has it, lama.toml no longer does") for name in known if name not in wanted),
    ]
    for name, entry in wanted.items():
        if name in known and (changed := _changed(entry, known[name])):
            told.append((name, f"lama.toml and the running model host differ in {', '.join(changed)}"))
    return [
        Finding(
            key=f"{_CAPABILITY}.outdated:{name}",
            severity=Severity.medium,
            component=name,
            title="The model host was started with another catalogue",
            detail=detail,
            remedy="`lama down`, then `lama up`: the host reads the catalogue when it starts.",
        )
        for name, detail in told
    ]


def _changed(entry: CatalogueEntry, model: ModelStatus) -> list[str]:
    """What differs, as far as the host tells. Its window is narrower where the model's own is."""
    return [
        word
        for word, differs in (
            ("kind", entry.kind is not model.kind),
            ("engine", entry.engine is not None and entry.engine is not model.engine),
            ("quantisation", entry.quantisation is not model.quantisation),
            ("priority", entry.priority != model.priority),
            ("context_window", entry.context_window is not None and model.context_window > entry.context_window),
        )
        if differs
    ]


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

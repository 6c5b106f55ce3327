"""Several devices told as one: their state, their models, their figures. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from models.model_host import HostStatus, ModelState, ModelStatus, Unseen

_BEST = (ModelState.ready, ModelState.loading, ModelState.parked, ModelState.absent, ModelState.failed)


def merged(devices: Sequence[HostStatus], unseen: Sequence[Unseen]) -> HostStatus:
    """The sums of all `devices`, and each of them; `unseen` are told and are in no sum."""
    count = len(devices) + len(unseen)
    held = sum(one.used_bytes for one in devices)
    return HostStatus(
        device=f"{count} devices",
        capacity_bytes=sum(one.capacity_bytes for one in devices),
        used_bytes=held,
        leased_bytes=sum(one.leased_bytes for one in devices),
        reserved_bytes=sum(one.reserved_bytes for one in devices),
        parked_bytes=sum(one.parked_bytes for one in devices),
        fragmentation=max((one.fragmentation for one in devices), default=0.0),
        models=models_of(devices),
        jobs=sum(one.jobs for one in devices),
        devices=tuple(devices),
        incomplete=tuple(unseen),
    )


def models_of(devices: Sequence[HostStatus]) -> tuple[ModelStatus, ...]:
    """Every model once, in the order of the catalogues."""
    by_name: dict[str, list[ModelStatus]] = {}
    for device in devices:
        for model in device.models:
            by_name.setdefault(model.name, []).append(model)
    return tuple(model_of(models) for models in by_name.values())


def model_of(models: Sequence[ModelStatus]) -> ModelStatus:
    """One model of several devices: its best state, and the sums of what it takes."""
    first = min(models, key=lambda one: _BEST.index(one.state))
    measured = [one.measured_bytes for one in models if one.measured_bytes is not None]
    return first.model_copy(
        update={
            "reserve_bytes": sum(one.reserve_bytes for one in models),
            "measured_bytes": sum(measured) if measured else None,
            "lease_bytes": sum(one.lease_bytes for one in models),
            "running": sum(one.running for one in models),
            "waiting": sum(one.waiting for one in models),
            "error": "; ".join(dict.fromkeys(one.error for one in models if one.error)),
        }
    )


def figures(texts: Mapping[int, str], own: Iterable[Metric]) -> bytes:
    """The figures of every device with its number as the label `device`, and those of the one address itself.

    Args:
        texts: what each device's host answered at `/metrics`, by number.
        own: families of the one address.
    """
    families: dict[str, Metric] = {}
    for number, text in texts.items():
        for family in text_string_to_metric_families(text):
            kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                labels = {"device": str(number), **sample.labels}
                kept.samples.append(sample._replace(labels=labels))
    for family in own:
        kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        kept.samples.extend(family.samples)
    return generate_latest(_Families(families.values()))


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

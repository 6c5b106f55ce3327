"""What the one address counts, beside the figures of the devices."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily

from services.model_host.front.device import Device
from services.model_host.front.merging import figures

_BY = ("device",)


class FrontMeasures:
    """Counters of the one address."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._asked = Counter("lama_front_requests", "Requests that were passed to a device.", _BY, registry=own)
        self._moved = Counter("lama_front_moved", "Those that went on to another one.", _BY, registry=own)
        self._broken = Counter("lama_front_broken_off", "Answers that broke off.", _BY, registry=own)

    def asked(self, number: int) -> None:
        """A request went to a device."""
        self._asked.labels(str(number)).inc()

    def moved(self, number: int) -> None:
        """It went on to another one."""
        self._moved.labels(str(number)).inc()

    def broken(self, number: int) -> None:
        """An answer of a device broke off."""
        self._broken.labels(str(number)).inc()

    def text(self, devices: list[Device], texts: Mapping[int, str]) -> bytes:
        """The exposition of everything."""
        up = GaugeMetricFamily("lama_device_up", "Whether a device's host answers.", labels=("device", "uuid"))
        for device in devices:
            up.add_metric((str(device.number), device.name), float(device.status is not None))
        return figures(texts, [*self._registry.collect(), up])

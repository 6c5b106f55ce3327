"""What the gateway counts about itself."""

from __future__ import annotations

from prometheus_client import (
    Counter,
    Histogram,
)

from services.figures import process_registry

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Measures:
    """Counters of one gateway. No label comes from a sender: paths are templates, sources those that exist."""

    def __init__(self) -> None:
        self.registry = process_registry()
        self._requests = Counter(
            "lama_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "lama_http_request_duration_seconds", "Seconds from a request to the end of its answer.", ("route",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._deliveries = Counter(
            "lama_webhook_deliveries", "Deliveries by what became of them.", ("source", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self._commits = Counter(
            "lama_webhook_commits", "Transactions that wrote deliveries; each writes all that had come by then.",
            registry=self.registry,
        )  # fmt: skip
        self._runs = Counter(
            "lama_webhook_dispatches", "Tries to start what deliveries ask for.", ("source", "outcome"),
            registry=self.registry,
        )  # fmt: skip

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def delivery(self, source: str, outcome: str) -> None:
        """A delivery was answered."""
        self._deliveries.labels(source, outcome).inc()

    def commit(self) -> None:
        """A group of deliveries became durable."""
        self._commits.inc()

    def dispatch(self, source: str, outcome: str) -> None:
        """A stored delivery was tried."""
        self._runs.labels(source, outcome).inc()

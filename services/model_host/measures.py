"""What the model host counts. Names are vLLM's, with `lama_` for `vllm:`, so that its dashboards need one change.

https://docs.vllm.ai/en/stable/usage/metrics/. `model_name` is a name of the catalogue, never what a caller sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from prometheus_client import (
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.model_host import HostStatus, ModelState
from services.figures import process_registry

_FIRST_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_WHOLE_S = (0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 240.0, 600.0)
_BY = ("model_name",)


class Measures:
    """Counters of one model host."""

    def __init__(self) -> None:
        own = self._registry = process_registry()
        self._prompt = Counter("lama_prompt_tokens", "Tokens of prompts that were read.", _BY, registry=own)
        self._generated = Counter("lama_generation_tokens", "Tokens that were generated.", _BY, registry=own)
        self._done = Counter(
            "lama_request_success", "Requests that were answered.", (*_BY, "finished_reason"), registry=own
        )
        self._failed = Counter("lama_request_failure", "Requests that were not, by status.", ("status",), registry=own)
        self._first = Histogram(
            "lama_time_to_first_token_seconds", "From a request to its first token.", _BY, buckets=_FIRST_S,
            registry=own,
        )  # fmt: skip
        self._between = Histogram(
            "lama_inter_token_latency_seconds", "Between one token and the next.", _BY, buckets=_TOKEN_S, registry=own
        )
        self._whole = Histogram(
            "lama_e2e_request_latency_seconds", "From a request to the end of its answer.", _BY, buckets=_WHOLE_S,
            registry=own,
        )  # fmt: skip
        self._queries = Counter("lama_response_cache_queries", "Requests that may be given again.", registry=own)
        self._hits = Counter("lama_response_cache_hits", "Those that were.", registry=own)
        self.of = cache(lambda model: ModelMeasures(self, model))

    def recalled(self, *, hit: bool) -> None:
        """A request was looked up among earlier answers."""
        self._queries.inc()
        if hit:
            self._hits.inc()

    def failed(self, status: int) -> None:
        """A request was answered with an error; 499: the client hung up."""
        self._failed.labels(str(status)).inc()

    def text(self, status: HostStatus) -> bytes:
        """The exposition: what was counted, and how things are."""
        return generate_latest(_Both(self._registry, _families(status)))


class ModelMeasures:
    """The counters of one model, looked up once."""

    def __init__(self, measures: Measures, model: str) -> None:
        # ruff: noqa: SLF001 - both are one subject, and this one exists for speed
        self._prompt = measures._prompt.labels(model)
        self._generated = measures._generated.labels(model)
        self._first = measures._first.labels(model)
        self._between = measures._between.labels(model)
        self._whole = measures._whole.labels(model)
        self._done = cache(lambda reason: measures._done.labels(model, reason))

    def first(self, prompt_tokens: int, seconds: float) -> None:
        """A prompt was read, and the first token came."""
        self._prompt.inc(prompt_tokens)
        self._first.observe(seconds)

    def between(self, tokens: int, seconds: float) -> None:
        """`tokens` came after `seconds` since the ones before."""
        if tokens:
            self._generated.inc(tokens)
            self._between.observe(seconds / tokens)

    def generated(self, tokens: int) -> None:
        """The first tokens of an answer came."""
        self._generated.inc(tokens)

    def done(self, reason: str, seconds: float) -> None:
        """An answer ended."""
        self._done(reason).inc()
        self._whole.observe(seconds)

    def read(self, tokens: int) -> None:
        """Texts were embedded."""
        self._prompt.inc(tokens)


class _Both(Collector):
    """What is counted, and the figures of this scrape."""

    def __init__(self, counted: Collector, families: Iterable[Metric]) -> None:
        self._counted = counted
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._counted.collect()
        yield from self._families


def _families(status: HostStatus) -> list[Metric]:
    memory = GaugeMetricFamily("lama_memory_bytes", "Memory of the device by what it is for.", labels=("kind",))
    for kind, size in (
        ("capacity", status.capacity_bytes),
        ("used", status.used_bytes),
        ("leased", status.leased_bytes),
        ("reserved", status.reserved_bytes),
        ("parked", status.parked_bytes),
    ):
        memory.add_metric((kind,), size)
    fragmentation = GaugeMetricFamily(
        "lama_memory_fragmentation_perc", "Share of the memory that is held and of no use; 1 is all.",
        value=status.fragmentation,
    )  # fmt: skip
    jobs = GaugeMetricFamily("lama_job_leases", "Runs of flows that hold memory.", value=status.jobs)
    running = GaugeMetricFamily("lama_num_requests_running", "Requests that are computed.", labels=_BY)
    waiting = GaugeMetricFamily("lama_num_requests_waiting", "Requests that wait.", labels=_BY)
    usage = GaugeMetricFamily(
        "lama_kv_cache_usage_perc", "Share of a model's keys and values that is leased; 1 is all.", labels=_BY
    )
    state = GaugeMetricFamily("lama_model_state", "1 for the state that a model is in.", labels=(*_BY, "state"))
    sizes = GaugeMetricFamily(
        "lama_model_bytes", "What a model takes: predicted, measured, leased, reserved.", labels=(*_BY, "kind")
    )
    difference = GaugeMetricFamily(
        "lama_model_difference_bytes", "Measured less predicted memory of a loaded model; above zero: more.", labels=_BY
    )
    for model in status.models:
        by = (model.name,)
        running.add_metric(by, model.running)
        waiting.add_metric(by, model.waiting)
        for one in ModelState:
            state.add_metric((*by, one.value), float(one is model.state))
        given = {"leased": model.lease_bytes, "reserved": model.reserve_bytes}
        if model.predicted is not None:
            given["predicted"] = model.predicted.resident
            room = model.predicted.kv_fixed or model.predicted.kv_per_token * model.context_window
            if room:
                usage.add_metric(by, min(1.0, model.lease_bytes / room))
        if model.measured is not None and model.predicted is not None:
            given["measured"] = model.measured.total
            given["measured_weights"] = model.measured.weights
            given["predicted_of_measured"] = model.measured.predicted(model.predicted)
            difference.add_metric(by, float(model.difference_bytes or 0))
        if model.held_bytes is not None:
            given["held"] = model.held_bytes
        for kind, size in given.items():
            sizes.add_metric((*by, kind), size)
    return [memory, fragmentation, jobs, running, waiting, usage, state, sizes, difference]

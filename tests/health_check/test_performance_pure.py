"""Trends, percentiles, rankings and masking, by properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.health_check import PerformanceSettings
from models.report import Finding, Severity
from tasks.health_check.performance import bottlenecks, flows
from tasks.health_check.performance.look import _metric_names
from tasks.health_check.performance.postgresql import without_literals
from tasks.health_check.performance.samples import DatabaseSample, HostSample, LiveRun, Pool, PrefectSample, Run, Volume
from tasks.health_check.performance.trend import LEAST_POINTS, regressions

_LIMITS = PerformanceSettings()
_NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
_SECONDS = st.floats(0.001, 1000)


@given(st.lists(_SECONDS, min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_with_the_right_share_at_or_below_it(values: list[float], share: float) -> None:
    found = flows.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


@given(st.lists(_SECONDS, min_size=LEAST_POINTS, max_size=20), st.floats(1.1, 5))
def test_the_median_of_its_history_is_never_a_regression(history: list[float], ratio: float) -> None:
    middle = sorted(history)[len(history) // 2]
    past = [{"a_seconds": value} for value in history]
    assert regressions({"a_seconds": min(middle, sorted(history)[(len(history) - 1) // 2])}, past, ratio) == []


@given(st.lists(_SECONDS, max_size=20), _SECONDS, st.floats(1.1, 5), st.floats(1, 10))
def test_slower_is_never_less_of_a_regression(history: list[float], value: float, ratio: float, more: float) -> None:
    past = [{"a_seconds": point} for point in history]
    if regressions({"a_seconds": value}, past, ratio):
        assert regressions({"a_seconds": value * more}, past, ratio)


@given(st.floats(0.2, 100), st.floats(0.2, 100), st.integers(0, 3))
def test_one_odd_check_in_the_past_hides_nothing(usual: float, odd: float, place: int) -> None:
    past = [{"a_seconds": usual}] * 8
    past[place] = {"a_seconds": odd}
    assert regressions({"a_seconds": usual * 2}, past, 1.5)


@pytest.mark.parametrize(
    ("current", "history", "expected"),
    [
        ({"a_seconds": 9.0}, [1.0] * (LEAST_POINTS - 1), False),
        ({"a_seconds": 9.0}, [1.0] * LEAST_POINTS, True),
        ({"a_seconds": 0.04}, [0.01] * 9, False),
        ({"a_seconds": 3.0}, [0.5, 1.0, 1.5, 2.0, 2.5], False),
        ({"a_bytes": 9.0}, [1.0] * 9, False),
        ({"a_seconds": 9.0}, [0.0] * 9, True),
    ],
    ids=["too few", "clear", "noise", "scatter", "no duration", "from nothing"],
)
def test_what_counts_as_growth(current: dict[str, float], history: list[float], expected: bool) -> None:
    name = next(iter(current))
    assert bool(regressions(current, [{name: point} for point in history], 1.5)) is expected


@given(st.lists(st.sampled_from(["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])))
def test_every_run_counts_once_and_cancelled_ones_neither_way(states: list[str]) -> None:
    (item, *_) = [*flows.figures(Run(flow="f", state=state, seconds=1) for state in states), None]
    if item is None:
        assert not states
        return
    assert item.ended == len(states) - states.count("CANCELLED")
    assert item.failed == states.count("FAILED") + states.count("CRASHED")
    assert 0 <= item.failure_ratio <= 1


def _live(state: str, minutes: float, heartbeat_s: float | None = None) -> LiveRun:
    beat = None if heartbeat_s is None else _NOW - timedelta(seconds=heartbeat_s)
    return LiveRun(flow="f", pool="p", state=state, since=_NOW - timedelta(minutes=minutes), heartbeat=beat)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (_live("RUNNING", 30), None),
        (_live("RUNNING", 30, heartbeat_s=20), None),
        (_live("RUNNING", 30, heartbeat_s=100), "zombie"),
        (_live("RUNNING", 600, heartbeat_s=20), None),
        (_live("RUNNING", 600), "long_run"),
        (_live("PENDING", 1), None),
        (_live("PENDING", 10), "stuck"),
        (_live("CANCELLING", 10), "stuck"),
    ],
)
def test_a_run_is_dead_when_its_signs_of_life_stopped(run: LiveRun, expected: str | None) -> None:
    found = flows.findings_of(PrefectSample(live=(run,)), _LIMITS, _NOW, 90)
    assert [finding.key for finding in found] == ([f"performance.{expected}:f"] if expected else [])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "no_worker"),
        ({"workers_online": 1}, None),
        ({"scheduled": 0}, None),
        ({"paused": True}, "paused"),
        ({"type": "ecs:push"}, None),
        ({"type": "prefect:managed"}, None),
    ],
)
def test_a_pool_with_work_and_no_worker_is_reported(changes: dict[str, object], expected: str | None) -> None:
    pool = Pool(name="p", type="process", paused=False, workers_online=0, workers=1, scheduled=3, queues={"q": 2})
    found = flows.findings_of(PrefectSample(pools=(pool.model_copy(update=changes),)), _LIMITS, _NOW, 90)
    assert [finding.key for finding in found] == ([f"performance.{expected}:p"] if expected else [])


_RATIO = st.floats(0, 1)
_HOSTS = st.builds(
    HostSample, cores=st.integers(1, 64), cpu_ratio=_RATIO, iowait_ratio=_RATIO, load=st.floats(0, 500),
    memory_total_bytes=st.just(1 << 30), memory_used_ratio=_RATIO, swap_total_bytes=st.sampled_from([0, 1 << 30]),
    swap_used_ratio=_RATIO, disk_latency_s=st.none() | st.floats(0, 5),
    volumes=st.lists(
        st.builds(Volume, mount=st.sampled_from(["/", "/home"]), holds=st.just(("home",)), used_ratio=_RATIO,
                  total_bytes=st.just(1 << 40), free_bytes=st.integers(0, 1 << 40),
                  inodes_used_ratio=st.none() | _RATIO),
        max_size=2, unique_by=lambda volume: volume.mount,
    ).map(tuple),
)  # fmt: skip


@given(_HOSTS)
def test_what_is_over_its_threshold_is_reported_with_a_remedy_and_only_that(sample: HostSample) -> None:
    found = {finding.key: finding for finding in bottlenecks.host_findings("h", sample, _LIMITS)}
    assert ("performance.memory:h" in found) == (sample.memory_used_ratio > _LIMITS.memory_ratio)
    assert ("performance.load:h" in found) == (sample.load / sample.cores > _LIMITS.load_per_core)
    assert ("performance.swap:h" in found) == (sample.swap_total_bytes > 0 and sample.swap_used_ratio > 0.5)
    for volume in sample.volumes:
        assert (f"performance.disk:{volume.mount}" in found) == (volume.used_ratio > _LIMITS.disk_ratio)
    assert all(finding.remedy and finding.pressure >= 0.999 for finding in found.values())


@given(st.lists(st.tuples(st.sampled_from(Severity), st.none() | st.floats(1, 50)), max_size=8))
def test_the_ranking_is_by_severity_and_then_by_pressure(given_: list[tuple[Severity, float | None]]) -> None:
    findings = [
        Finding(key=f"performance.k:{n}", severity=severity, component="c", title="t",
                evidence={} if pressure is None else {"pressure": pressure})
        for n, (severity, pressure) in enumerate(given_)
    ]  # fmt: skip
    ranked = [(finding.severity.rank, finding.pressure) for finding in bottlenecks.ranked(findings)]
    assert ranked == sorted(ranked, reverse=True)
    assert len(ranked) == sum(pressure is not None for _, pressure in given_)


def test_a_cache_that_was_hardly_asked_says_nothing() -> None:
    sample = DatabaseSample(connections=1, connection_limit=100, hits=10, reads=90, deadlocks=0, has_statements=True)
    assert bottlenecks.database_findings(sample, _LIMITS, statements_expected=True) == []
    busy = sample.model_copy(update={"hits": 100_000, "reads": 900_000})
    (finding,) = bottlenecks.database_findings(busy, _LIMITS, statements_expected=True)
    assert finding.key == "performance.cache_hit:postgresql"


_SECRET = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=10, max_size=20)


@given(_SECRET, st.sampled_from(["'{}'", "E'{}'", "e'\\'{}'", "'it''s {}'", "$${}$$", "$x$ {} $x$", "'{}", "$${}"]))
def test_no_literal_of_a_statement_is_shown(secret: str, quoted: str) -> None:
    shown = without_literals(f"ALTER ROLE lama PASSWORD {quoted.format(secret)}")
    assert secret not in shown
    assert shown.startswith("ALTER ROLE lama PASSWORD ?")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT *\n  FROM t2 WHERE a = $1 AND b > 17.5e3", "SELECT * FROM t2 WHERE a = $1 AND b > ?"),
        ("SELECT 1 -- for hunter2\nFROM t", "SELECT ? ? FROM t"),
        ('SELECT /* hunter2 */ "Col1" FROM t', 'SELECT ? "Col1" FROM t'),
    ],
)
def test_a_statement_stays_recognisable(query: str, shown: str) -> None:
    assert without_literals(query) == shown


@given(st.text())
def test_any_statement_can_be_shown_in_one_short_line(query: str) -> None:
    shown = without_literals(query)
    assert len(shown) <= 300
    assert "\n" not in shown


@given(st.sets(st.text(max_size=8), max_size=8))
def test_metric_names_stay_apart(names: set[str]) -> None:
    found = _metric_names(names)
    assert found.keys() == names
    assert len(set(found.values())) == len(names)
    assert all(name.isascii() and name for name in found.values())

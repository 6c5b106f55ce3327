"""What is tight on the host and in PostgreSQL, with a remedy for each. Pure.

Every finding's evidence holds its `pressure`: how many times over its threshold the figure is. It ranks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from models.health_check import PerformanceSettings
from models.report import Finding, Severity, urgency
from tasks.health_check.performance.samples import DatabaseSample, HostSample, Process, Volume

AREA = "performance"
SERVER = "postgresql"

_LEAST_BLOCKS = 100_000  # looked for before a hit ratio says something: a server just started has everything to read
_FULL = 0.97
_LEAST_FREE = 1 << 30
_OLD_TRANSACTIONS = 1_500_000_000  # of the two thousand million after which the server refuses to write


def host_findings(host: str, sample: HostSample, limits: PerformanceSettings) -> list[Finding]:
    """What is tight on the host."""
    found = [*_memory(host, sample, limits), *_cpu(host, sample, limits)]
    for volume in sample.volumes:
        found += _volume(volume, limits)
    if sample.unwritable:
        found.append(
            _finding(
                "disk_unwritable:home",
                Severity.critical,
                host,
                f"The Lama home cannot be written: {sample.unwritable}.",
                "Free some space, or mount it writable; nothing is stored until then.",
                1.0,
            )
        )
    elif sample.disk_latency_s is not None and sample.disk_latency_s > limits.disk_latency_s:
        found.append(
            _finding(
                "disk_latency:home",
                Severity.medium,
                host,
                f"A small write to the disk of the Lama home takes {sample.disk_latency_s:.3f} s.",
                "See what else writes to that disk, or move LAMA_HOME to a faster one.",
                sample.disk_latency_s / limits.disk_latency_s,
                seconds=round(sample.disk_latency_s, 4),
                iowait_ratio=round(sample.iowait_ratio, 3),
            )
        )
    return found


def processes_of(host: str, sample: HostSample) -> Finding:
    """Who uses the host most, by name."""
    return Finding(
        key=f"{AREA}.processes:{host}",
        severity=Severity.info,
        component=host,
        title="The processes with the most CPU or memory.",
        evidence={"processes": [process.model_dump(mode="json") for process in sample.processes]},
    )


def database_findings(
    sample: DatabaseSample, limits: PerformanceSettings, *, statements_expected: bool
) -> list[Finding]:
    """What is tight in PostgreSQL."""
    found = [*_server(sample, limits), *_statements(sample, limits), *_tables(sample, limits)]
    if not sample.has_statements and not statements_expected:
        found.append(
            Finding(
                key=f"{AREA}.no_statement_statistics:{SERVER}",
                severity=Severity.info,
                component=SERVER,
                title="Slow statements are not watched: the database has no pg_stat_statements.",
                remedy="Add it to shared_preload_libraries and run CREATE EXTENSION pg_stat_statements.",
            )
        )
    return found


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Those with a pressure: the worst severity first, and of one severity the highest pressure."""
    tight = [finding for finding in findings if isinstance(finding.evidence.get("pressure"), (int, float))]
    return sorted(tight, key=urgency)


def _memory(host: str, sample: HostSample, limits: PerformanceSettings) -> Iterable[Finding]:
    if sample.memory_used_ratio > limits.memory_ratio:
        largest = sorted(sample.processes, key=lambda process: -process.memory_bytes)[:3]
        yield _finding(
            f"memory:{host}",
            Severity.high if sample.memory_used_ratio >= _FULL else Severity.medium,
            host,
            f"{sample.memory_used_ratio:.0%} of the memory is in use.",
            f"The largest are {_named(largest)}: limit or move one, or add memory.",
            sample.memory_used_ratio / limits.memory_ratio,
            used_ratio=round(sample.memory_used_ratio, 3),
            total_bytes=sample.memory_total_bytes,
        )
    if sample.swap_total_bytes and sample.swap_used_ratio > limits.swap_ratio:
        yield _finding(
            f"swap:{host}",
            Severity.medium,
            host,
            f"{sample.swap_used_ratio:.0%} of the swap is in use: memory was too small at some time.",
            "Lower what runs at once, or add memory.",
            sample.swap_used_ratio / limits.swap_ratio,
            used_ratio=round(sample.swap_used_ratio, 3),
        )


def _cpu(host: str, sample: HostSample, limits: PerformanceSettings) -> Iterable[Finding]:
    per_core = sample.load / sample.cores
    if per_core > limits.load_per_core:
        busiest = sorted(sample.processes, key=lambda process: -process.cpu_ratio)[:3]
        yield _finding(
            f"load:{host}",
            Severity.medium,
            host,
            f"{sample.load:.1f} processes want to run on {sample.cores} cores.",
            f"The busiest are {_named(busiest)}: lower the pool's concurrency limit, or add cores.",
            per_core / limits.load_per_core,
            load=round(sample.load, 2),
            cores=sample.cores,
            cpu_ratio=round(sample.cpu_ratio, 3),
        )


def _volume(volume: Volume, limits: PerformanceSettings) -> Iterable[Finding]:
    holds = ", ".join(volume.holds)
    if volume.used_ratio > limits.disk_ratio:
        full = volume.used_ratio > _FULL or volume.free_bytes < _LEAST_FREE
        yield _finding(
            f"disk:{volume.mount}",
            Severity.high if full else Severity.medium,
            volume.mount,
            f"{volume.used_ratio:.0%} of the disk at {volume.mount} is used; it holds {holds}.",
            "Free some space or enlarge it before it is full.",
            volume.used_ratio / limits.disk_ratio,
            used_ratio=round(volume.used_ratio, 4),
            free_bytes=volume.free_bytes,
        )
    if volume.inodes_used_ratio is not None and volume.inodes_used_ratio > limits.disk_ratio:
        yield _finding(
            f"inodes:{volume.mount}",
            Severity.high,
            volume.mount,
            f"{volume.inodes_used_ratio:.0%} of the files that {volume.mount} can hold are there; it holds {holds}.",
            "Find the folder with the many small files and clear it.",
            volume.inodes_used_ratio / limits.disk_ratio,
            used_ratio=round(volume.inodes_used_ratio, 4),
        )


def _server(sample: DatabaseSample, limits: PerformanceSettings) -> Iterable[Finding]:
    used = sample.connections / max(1, sample.connection_limit)
    if used > limits.connections_ratio:
        yield _finding(
            f"connections:{SERVER}",
            Severity.high,
            SERVER,
            f"{sample.connections} of {sample.connection_limit} connections are taken.",
            "Put a pooler in between, lower the pools of its clients, or raise max_connections.",
            used / limits.connections_ratio,
            connections=sample.connections,
            limit=sample.connection_limit,
        )
    blocks = sample.hits + sample.reads
    if blocks >= _LEAST_BLOCKS and sample.hits / blocks < limits.cache_hit_ratio:
        missed = sample.reads / blocks
        yield _finding(
            f"cache_hit:{SERVER}",
            Severity.medium,
            SERVER,
            f"PostgreSQL finds {sample.hits / blocks:.1%} of its blocks in memory.",
            "Raise shared_buffers, or find what reads whole tables among the slow statements.",
            missed / max(1e-9, 1 - limits.cache_hit_ratio),
            hit_ratio=round(sample.hits / blocks, 4),
        )
    for transaction in sample.transactions:
        kind, words = ("blocked", "waits for a lock") if transaction.blocked else ("long_transaction", "is open")
        yield _finding(
            f"{kind}:{transaction.database}:{transaction.application}",
            Severity.high if transaction.blocked else Severity.medium,
            SERVER,
            f"A transaction of {transaction.application} in {transaction.database} {words} "
            f"for {transaction.seconds:.0f} s.",
            "Find its session in pg_stat_activity and end it, or what it waits for.",
            max(1.0, transaction.seconds / 300),
            state=transaction.state,
            seconds=round(transaction.seconds),
        )
    for database in sample.databases:
        if database.transaction_age > _OLD_TRANSACTIONS:
            yield _finding(
                f"wraparound:{database.name}",
                Severity.high,
                SERVER,
                f"{database.name} runs out of transaction numbers; then it takes no more writes.",
                "Run VACUUM FREEZE in it, and see what keeps autovacuum from it.",
                database.transaction_age / _OLD_TRANSACTIONS,
                transaction_age=database.transaction_age,
            )


def _statements(sample: DatabaseSample, limits: PerformanceSettings) -> Iterable[Finding]:
    for statement in sample.statements:
        yield _finding(
            f"slow_statement:{statement.database}:{statement.id}",
            Severity.medium,
            SERVER,
            f"A statement in {statement.database} takes {statement.mean_seconds:.2f} s on average.",
            "Look at its plan with EXPLAIN (ANALYZE, BUFFERS); an index may be missing.",
            statement.mean_seconds / limits.slow_statement_s,
            detail=statement.query,
            calls=statement.calls,
            mean_seconds=round(statement.mean_seconds, 4),
            total_seconds=round(statement.total_seconds, 3),
        )


def _tables(sample: DatabaseSample, limits: PerformanceSettings) -> Iterable[Finding]:
    for table in sample.tables:
        ratio = table.dead / max(1, table.live + table.dead)
        yield _finding(
            f"bloat:{table.database}.{table.name}",
            Severity.medium if ratio > 0.5 else Severity.low,
            SERVER,
            f"{ratio:.0%} of the rows of {table.name} in {table.database} are dead.",
            "Run VACUUM (ANALYZE) on it; see whether a long transaction keeps autovacuum from it.",
            ratio / limits.bloat_ratio,
            dead=table.dead,
            live=table.live,
            bytes=table.bytes,
        )


def _finding(
    key: str,
    severity: Severity,
    component: str,
    title: str,
    remedy: str,
    pressure: float,
    *,
    detail: str = "",
    **evidence: JsonValue,
) -> Finding:
    return Finding(
        key=f"{AREA}.{key}",
        severity=severity,
        component=component,
        title=title,
        detail=detail,
        remedy=remedy,
        evidence={**evidence, "pressure": round(pressure, 3)},
    )


def _named(processes: Sequence[Process]) -> str:
    return ", ".join(f"{process.name} (pid {process.pid})" for process in processes) or "not known"

"""What was measured, as values: the host, PostgreSQL, and what Prefect ran."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from models.report import Value


class Volume(Value):
    """A file system that something of ours is on."""

    mount: str = Field(description="Where it is mounted.")
    holds: tuple[str, ...] = Field(description="What of ours is on it.")
    total_bytes: int
    free_bytes: int = Field(description="Free for this user.")
    used_ratio: float
    inodes_used_ratio: float | None = Field(default=None, description="None where the file system counts none.")


class Process(Value):
    """A process by its name; its command line may hold secrets and is never read."""

    pid: int
    name: str
    cpu_ratio: float = Field(description="Share of one core.")
    memory_bytes: int


class HostSample(Value):
    """The host over half a second."""

    cores: int
    cpu_ratio: float
    iowait_ratio: float
    load: float = Field(description="Average over five minutes.")
    memory_total_bytes: int = Field(description="Of the machine, or the limit of the container that we are in.")
    memory_used_ratio: float
    swap_total_bytes: int
    swap_used_ratio: float
    volumes: tuple[Volume, ...] = ()
    disk_latency_s: float | None = Field(default=None, description="Median time of a small write with fsync.")
    unwritable: str = Field(default="", description="Why the home could not be written, when it could not.")
    processes: tuple[Process, ...] = Field(default=(), description="Those with the most CPU or memory.")
    unseen: tuple[tuple[str, str], ...] = Field(default=(), description="What could not be measured, and why.")


class Database(Value):
    """One database of the server."""

    name: str
    bytes: int | None = Field(description="None where we may not look.")
    transaction_age: int


class Statement(Value):
    """A kind of statement, its literals taken out."""

    database: str
    id: str
    query: str
    calls: int
    mean_seconds: float
    total_seconds: float


class Table(Value):
    """A table with many dead rows."""

    database: str
    name: str
    live: int
    dead: int
    bytes: int


class Transaction(Value):
    """A transaction that is open for long, or waits for a lock."""

    database: str
    application: str
    state: str
    seconds: float
    blocked: bool


class DatabaseSample(Value):
    """The PostgreSQL server."""

    connections: int
    connection_limit: int
    hits: int
    reads: int
    deadlocks: int
    has_statements: bool = Field(description="Whether pg_stat_statements is there.")
    databases: tuple[Database, ...] = ()
    statements: tuple[Statement, ...] = ()
    tables: tuple[Table, ...] = ()
    transactions: tuple[Transaction, ...] = ()
    unseen: tuple[tuple[str, str], ...] = Field(default=(), description="What could not be measured, and why.")


class Run(Value):
    """A flow run that ended."""

    flow: str
    state: str
    seconds: float


class LiveRun(Value):
    """A flow run that is pending, running, or late."""

    flow: str
    pool: str
    state: str
    since: AwareDatetime = Field(description="When it started, or should have.")
    heartbeat: AwareDatetime | None = Field(default=None, description="Its last sign of life, when it ever gave one.")


class Pool(Value):
    """A work pool and who works on it."""

    name: str
    type: str
    paused: bool
    workers_online: int
    workers: int
    scheduled: int = Field(description="Runs that wait for it, also those of later.")
    queues: dict[str, int] = Field(default_factory=dict, description="Runs that are due, by queue.")

    @property
    def needs_worker(self) -> bool:
        """Whether runs of this pool are started by a worker; push and managed pools start them elsewhere."""
        return not (self.type.endswith(":push") or self.type.endswith(":managed"))


class PrefectSample(Value):
    """What Prefect ran in the window, and what it has to do."""

    runs: tuple[Run, ...] = ()
    live: tuple[LiveRun, ...] = ()
    late: tuple[LiveRun, ...] = ()
    late_total: int = 0
    pools: tuple[Pool, ...] = ()
    unseen: tuple[tuple[str, str], ...] = Field(default=(), description="What was cut off, and why.")

"""What the health check is asked, what it may be told in `lama.toml`, and what it answers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator

from models.report import Changes, Report, Severity, Value


class Module(StrEnum):
    """The five areas that the health check looks at, side by side."""

    architecture = "architecture"
    dependencies = "dependencies"
    performance = "performance"
    security = "security"
    documentation = "documentation"


class ReportLevel(StrEnum):
    """How much of a report is shown; what is looked at does not depend on it."""

    summary = "summary"
    standard = "standard"
    comprehensive = "comprehensive"


class ServiceKind(StrEnum):
    """How a service is probed."""

    http = "http"
    tcp = "tcp"
    postgresql = "postgresql"
    bolt = "bolt"
    prefect = "prefect"
    letta = "letta"


OWN_SERVICES = ("lama-postgresql", "lama-prefect", "lama-gateway", "lama-graph")
"""What Lama's own parts are called among the services."""


class Checkout(Value):
    """A folder with source code that is watched."""

    name: str = Field(min_length=1, description="What findings call it.")
    path: Path = Field(description="Where it is; `~` is expanded.")
    packages: tuple[str, ...] = Field(
        default=(), description="Top-level packages to look at; otherwise those that are found in it."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Globs, relative to the path, that are left out.")
    environment: Path | None = Field(
        default=None, description="Python environment to take installed packages from; otherwise `.venv` inside it."
    )

    @field_validator("path", "environment", mode="after")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        if not path.expanduser().is_absolute():  # relative to what? the worker stands elsewhere than whoever wrote it
            raise ValueError("it is not an absolute path; begin it with / or ~/")
        return path.expanduser()


class Service(Value):
    """Something that answers on a network address and should be up."""

    name: str = Field(min_length=1, description="What findings call it.")
    kind: ServiceKind = Field(description="How to probe it.")
    url: str = Field(description="Where it is, such as `http://127.0.0.1:8284` or `tcp://127.0.0.1:6379`.")
    timeout_s: float = Field(default=5.0, gt=0, le=120, description="Seconds to wait for an answer.")
    slow_s: float = Field(default=1.0, gt=0, description="Seconds above which an answer is reported as slow.")
    secret: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Name of a file in the home's `secrets` folder with its password or token.",
    )
    checkout: str | None = Field(
        default=None, description="Name of the checkout whose code it runs, so that the graph knows what it hangs on."
    )
    needs: tuple[str, ...] = Field(default=(), description="Names of services that it does not work without.")


class ArchitectureSettings(Value):
    """`[architecture]`."""

    layers: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="For a checkout's name, its packages from the highest layer to the lowest."
    )
    max_fan_out: int = Field(default=40, ge=1, description="Imports of one module above which it is reported.")


class PerformanceSettings(Value):
    """`[performance]`."""

    memory_ratio: float = Field(default=0.90, gt=0, le=1, description="Used memory above which it is reported.")
    swap_ratio: float = Field(default=0.50, gt=0, le=1, description="Used swap above which it is reported.")
    disk_ratio: float = Field(default=0.90, gt=0, le=1, description="Used disk above which it is reported.")
    disk_latency_s: float = Field(default=0.10, gt=0, description="fsync time above which the disk is slow.")
    load_per_core: float = Field(default=2.0, gt=0, description="Load average a core above which it is reported.")
    cache_hit_ratio: float = Field(
        default=0.95, gt=0, le=1, description="PostgreSQL cache hits below this are reported."
    )
    connections_ratio: float = Field(default=0.80, gt=0, le=1, description="Used connections above this are reported.")
    slow_statement_s: float = Field(default=1.0, gt=0, description="Mean time above which a statement is slow.")
    bloat_ratio: float = Field(default=0.30, gt=0, le=1, description="Dead rows above which a table is reported.")
    failure_ratio: float = Field(default=0.10, gt=0, le=1, description="Failed runs of a flow above this are reported.")
    late_after_s: float = Field(default=60.0, gt=0, description="Seconds after which a scheduled run counts as late.")
    window_hours: float = Field(default=24.0, gt=0, description="How far back flow runs are looked at.")
    regression_ratio: float = Field(default=1.5, gt=1, description="Growth over the history's median that is reported.")


class DocumentationSettings(Value):
    """`[documentation]`."""

    docstring_coverage: float = Field(default=0.80, ge=0, le=1, description="Share of public objects with a docstring.")
    paths: tuple[str, ...] = Field(default=("README.md", "docs"), description="Documents, relative to a checkout.")


class GeminiSettings(Value):
    """`[gemini]`."""

    model: str = Field(default="gemini-2.5-flash", description="The model that writes the narrative.")
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds for one answer.")
    attempts: int = Field(default=3, ge=1, le=10, description="Tries in all.")
    input_token_budget: int = Field(default=20_000, ge=500, description="Tokens of findings that are sent at most.")
    output_token_budget: int = Field(
        default=2_000, ge=100, description="Tokens of narrative that are asked for at most."
    )


class HealthCheckSettings(Value):
    """`[health_check]`."""

    modules: tuple[Module, ...] = Field(default=tuple(Module), description="What is looked at.")
    report_level: ReportLevel = Field(default=ReportLevel.standard, description="How much is shown by default.")
    fail_level: Severity = Field(
        default=Severity.high, description="Findings from this severity on make the exit code 1."
    )
    module_timeout_s: float = Field(default=300.0, gt=0, description="Seconds for one module; then it is incomplete.")


class Narrative(Value):
    """The report in prose, and who wrote it."""

    author: str = Field(description="`ranking` for the deterministic one, or the model that wrote it.")
    text: str = Field(description="A few sentences.")
    note: str = Field(default="", description="Why it is not the author that was hoped for.")


class Cause(Value):
    """Findings that one thing explains."""

    title: str = Field(description="What they have in common.")
    severity: Severity = Field(description="The worst among them.")
    findings: tuple[str, ...] = Field(description="Keys of the findings, worst first.")
    remedy: str = Field(default="", description="What would mend most of them.")


class HealthReport(Report):
    """The report of the health check: one report a module, and what they add up to."""

    modules: tuple[Report, ...] = Field(default=(), description="One report a module.")
    causes: tuple[Cause, ...] = Field(default=(), description="Findings grouped by what explains them, worst first.")
    narrative: Narrative = Field(description="The report in prose.")
    changes: Changes = Field(default=Changes(), description="What changed since the last run.")
    report_level: ReportLevel = Field(default=ReportLevel.standard, description="How much of it is shown.")

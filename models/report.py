"""The one shape that every capability speaks: a Report made of Findings and Skips.

A report that could not look at something is ``incomplete``; it can never call itself ``ok`` about what
was not seen. The validator of `Report` holds that promise for every capability at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from models.gap import Gap
from models.severity import Severity

__all__ = ["Changes", "Finding", "Grid", "Report", "Severity", "Skip", "Status", "Value", "compose", "status_of"]

R = TypeVar("R", bound="Report")


class Status(StrEnum):
    """What a report says as a whole."""

    ok = "ok"
    degraded = "degraded"
    failing = "failing"
    incomplete = "incomplete"


class Value(BaseModel):
    """Base of the values that flow through Lama: frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(Value):
    """One thing that somebody should know."""

    key: str = Field(
        min_length=1,
        description="Stable identity, `area.kind:subject`, so that two runs can be compared.",
    )
    severity: Severity = Field(description="How much it matters.")
    component: str = Field(description="What it is about: a host, a service, a checkout, a package.")
    title: str = Field(description="One sentence that says what was found.")
    detail: str = Field(default="", description="What a reader needs beyond the title.")
    remedy: str = Field(default="", description="What to do about it.")
    evidence: dict[str, JsonValue] = Field(
        default_factory=dict, description="Figures and places that prove it; never a secret."
    )

    @property
    def pressure(self) -> float:
        """How many times over its threshold the figure is that its evidence tells of; 0 without one."""
        told = self.evidence.get("pressure")
        return float(told) if isinstance(told, int | float) else 0.0


class Skip(Value):
    """Something that was not looked at, and why. Its presence makes a report `incomplete`."""

    area: str = Field(description="The module or step that could not look, such as `dependencies`.")
    component: str = Field(description="What was not looked at.")
    reason: str = Field(description="Why not, and what would make it possible.")
    hides: tuple[str, ...] = Field(
        default=(),
        description="Prefixes of finding keys that this skip may hide; empty: everything in `area`.",
    )
    seen: tuple[str, ...] = Field(
        default=(), description="Prefixes of finding keys that were looked for all the same, although `hides` has them."
    )
    key: str = Field(
        default="",
        description="What `[[suppressions]]` may accept it by, `gap.kind:subject`; empty for what failed this time.",
    )

    @classmethod
    def of(cls, gap: Gap) -> Skip:
        """The skip that tells of `gap`."""
        return cls(
            area=gap.area, component=gap.component, reason=gap.reason, hides=gap.hides, seen=gap.seen, key=gap.key
        )

    def may_hide(self, key: str) -> bool:
        """Whether a finding of this `key` could have gone unseen because of this skip."""
        prefixes = self.hides or (f"{self.area}.",)
        return any(key.startswith(prefix) for prefix in prefixes) and not key.startswith(self.seen)


def status_of(findings: Iterable[Finding], skipped: Iterable[Skip] = ()) -> Status:
    """The status that `findings` and `skipped` add up to.

    Anything skipped makes it `incomplete`; otherwise a finding of `high` or more makes it `failing`, one of
    `unknown` or more `degraded`; `low` and `info` leave it `ok`.
    """
    if any(True for _ in skipped):
        return Status.incomplete
    worst = max((finding.severity.rank for finding in findings), default=-1)
    if worst >= Severity.high.rank:
        return Status.failing
    if worst >= Severity.unknown.rank:
        return Status.degraded
    return Status.ok


@dataclass(frozen=True)
class Grid:
    """A table that a kind of report shows beside its findings."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """What a reader has to know about it."""


class Report(Value):
    """The result of every flow.

    Raises:
        pydantic.ValidationError: also when `skipped` and `status` contradict each other, or keys repeat.
    """

    capability: str = Field(description="The word that names the capability on every floor.")
    status: Status = Field(description="What it adds up to.")
    summary: str = Field(description="One or two sentences for a person.")
    scope: str = Field(
        default="", description="What was looked at. Only runs of one scope are compared with each other."
    )
    findings: tuple[Finding, ...] = Field(default=(), description="Worst first.")
    skipped: tuple[Skip, ...] = Field(default=(), description="What was not looked at, and why.")
    unseen: tuple[Finding, ...] = Field(
        default=(),
        description="Findings of earlier runs that nobody could look for since: for the next run they were there.",
    )
    metrics: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="Figures by name; the name ends in its unit: `_seconds`, `_bytes`, `_total`, `_ratio`.",
    )
    started_at: AwareDatetime = Field(description="When the looking began.")
    finished_at: AwareDatetime = Field(description="When the looking ended.")
    run_id: str = Field(description="The flow run's id, or one made up outside of Prefect.")

    @model_validator(mode="after")
    def _never_ok_about_the_unseen(self) -> Report:
        if bool(self.skipped) != (self.status is Status.incomplete):
            raise ValueError(
                "status must be 'incomplete' exactly when something was skipped; "
                f"it is {self.status.value!r} with {len(self.skipped)} skipped"
            )
        seen: set[str] = set()
        for finding in self.findings:
            if finding.key in seen:
                raise ValueError(f"finding key {finding.key!r} is there twice; keys identify findings")
            seen.add(finding.key)
        return self

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Tables that are shown beside the findings; kinds of reports that have some say which."""
        return ()

    @property
    def duration_s(self) -> float:
        """Seconds from start to finish."""
        return (self.finished_at - self.started_at).total_seconds()

    def at_or_above(self, level: Severity) -> tuple[Finding, ...]:
        """The findings at least as severe as `level`."""
        return tuple(finding for finding in self.findings if finding.severity.rank >= level.rank)


class Changes(Value):
    """Keys of findings against the previous run of the same scope."""

    since: str | None = Field(default=None, description="Run id of that run; None when this is the first.")
    opened: tuple[str, ...] = Field(default=(), description="Not there before.")
    closed: tuple[str, ...] = Field(default=(), description="Gone, and looked for.")
    persisting: tuple[str, ...] = Field(default=(), description="There before and now.")
    unseen: tuple[str, ...] = Field(default=(), description="There before; this run could not look.")


def unique_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """`findings` worst first, one a key: of equal keys the most severe stays, ties keep the first."""
    best: dict[str, Finding] = {}
    for finding in findings:
        held = best.get(finding.key)
        if held is None or finding.severity.rank > held.severity.rank:
            best[finding.key] = finding
    return tuple(sorted(best.values(), key=urgency))


def urgency(finding: Finding) -> tuple[int, str, float, str]:
    """Sorts the worst first; of one severity, by area, and there what is furthest over its threshold."""
    return -finding.severity.rank, finding.key.partition(".")[0], -finding.pressure, finding.key


def compose(
    cls: type[R],
    *,
    capability: str,
    summary: str,
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
    scope: str = "",
    findings: Iterable[Finding] = (),
    skipped: Iterable[Skip] = (),
    metrics: Mapping[str, float] | None = None,
    **detail: Any,
) -> R:
    """A report whose order, uniqueness and status follow from its findings and skips.

    `cls` is `Report` or a subclass; `detail` fills the fields that the subclass adds.
    """
    ordered = unique_findings(findings)
    left_out = tuple(dict.fromkeys(skipped))
    return cls(
        capability=capability,
        status=status_of(ordered, left_out),
        summary=summary,
        scope=scope,
        findings=ordered,
        skipped=left_out,
        metrics=dict(metrics or {}),
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
        **detail,
    )

"""What the reports about risks share: counts, what comes first, what was set aside, and the way it goes."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field, JsonValue, model_validator

from models.report import Changes, Finding, Report, Value


class Suppression(Value):
    """`[[suppressions]]`: a finding that somebody has looked at and set aside, until a day."""

    id: str = Field(
        min_length=1,
        description="What is set aside: the id of an advisory (or an alias), the id of a rule, or a glob of finding "
        "keys such as `security.secret:web/tests/*`; or what was not looked at, such as `gap.apt:shop/Dockerfile`.",
    )
    package: str | None = Field(default=None, description="Only in this package.")
    target: str | None = Field(default=None, description="Only in this checkout, by its name.")
    reason: str = Field(min_length=3, description="Why, for those who read it in a year.")
    expires: date = Field(description="The last day on which it holds; after it the finding comes back.")


class Suppressed(Value):
    """A finding that is set aside, and by what."""

    finding: Finding = Field(description="The finding, as it would be told.")
    reason: str = Field(description="Why it is set aside.")
    by: str = Field(description="`lama.toml` or the VEX document that says so.")
    expires: date | None = Field(default=None, description="The last day on which that holds.")


class TrendPoint(Value):
    """An earlier run of the same scope."""

    finished_at: datetime = Field(description="When it ended.")
    run_id: str = Field(description="Its run.")
    severity_counts: dict[str, int] = Field(description="Findings by severity.")
    skipped: int = Field(description="How much it could not look at.")


class RiskReport(Report):
    """A report about risks, with the lists that people ask for first."""

    severity_counts: dict[str, int] = Field(default_factory=dict, description="Findings by severity, worst first.")
    critical_vulnerabilities: tuple[str, ...] = Field(
        default=(), description="Keys of the findings that are critical or high, worst first."
    )
    moderate_risks: tuple[str, ...] = Field(
        default=(), description="Keys of those that are medium or of unknown severity."
    )
    recommendations: tuple[str, ...] = Field(default=(), description="What to do, in the order of what it mends.")
    suppressed: tuple[Suppressed, ...] = Field(default=(), description="What was found and is set aside.")
    commits: dict[str, str] = Field(
        default_factory=dict,
        description="By checkout, the commit that was looked at; ` with changes` behind it where files differed.",
    )
    changes: Changes = Field(default=Changes(), description="What changed since the last run.")
    trend: tuple[TrendPoint, ...] = Field(default=(), description="Earlier runs of the same scope, oldest first.")

    @model_validator(mode="after")
    def _lists_name_findings(self) -> RiskReport:
        keys = {finding.key for finding in self.findings}
        unknown = sorted({*self.critical_vulnerabilities, *self.moderate_risks} - keys)
        if unknown:
            raise ValueError(f"{unknown[0]!r} is listed and is no finding")
        return self


class ComponentRecord(Value):
    """One component of an inventory, as reports and bills of materials carry it."""

    target: str = Field(description="The target that has it.")
    ecosystem: str = Field(description="OSV's name of the ecosystem.")
    name: str = Field(description="Its name there.")
    version: str | None = Field(default=None, description="Its version; None where several are allowed.")
    requirement: str = Field(default="", description="The range that is asked for.")
    file: str = Field(description="Where that is said.")
    line: int | None = Field(default=None, description="The line.")
    evidence: str = Field(description="How it is known: declared, locked, installed ...")
    scope: str = Field(default="runtime", description="When it is needed.")
    direct: bool | None = Field(default=None, description="Whether the project itself asks for it.")
    via: tuple[str, ...] = Field(default=(), description="What brings it in, from a direct requirement on.")
    licence: str = Field(default="", description="As it declares.")


class AuditReport(RiskReport):
    """The report of an audit."""

    components: tuple[ComponentRecord, ...] = Field(default=(), description="Everything that was found to be used.")
    weaknesses: tuple[dict[str, JsonValue], ...] = Field(
        default=(), description="Every vulnerability with all that is known about it, worst first."
    )
    patch: str = Field(default="", description="A unified diff of the requirement files that mends what can be mended.")


class ScanReport(RiskReport):
    """The report of a scan."""

    engines: dict[str, str] = Field(
        default_factory=dict, description="Each engine and how it ended: its version, or why it did not run."
    )

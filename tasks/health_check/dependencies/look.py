"""The dependencies module of the health check: what is declared, installed, outdated, and known to be vulnerable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.package_index import PackageIndex
from models.report import Finding, Report, Skip, compose
from tasks.advisories.known import mirror_of, sources_of
from tasks.advisories.package import Package
from tasks.advisories.source import VULNERABILITY
from tasks.audit import report as words
from tasks.audit import steps
from tasks.audit.component import Evidence, Inventory
from tasks.audit.examine import Examination, Offered, Subject, together
from tasks.audit.in_use import in_use
from tasks.audit.judge import judge
from tasks.audit.loose import loose_packages
from tasks.audit.releases import Releases, look_up
from tasks.health_check.dependencies import judgement
from tasks.result_cache import ResultCache
from tasks.risk.accept import accept
from tasks.risk.aside import set_aside
from tasks.risk.vex import load_vex
from tasks.step import step
from tasks.target import Target


async def look(target: Target) -> Report:
    """The report of this module. A source that cannot be reached becomes a skip, never a clean answer."""
    started = datetime.now(UTC)
    configuration = target.configuration
    cache = ResultCache(Home(target.settings).cache / "looked.sqlite")
    statements = await asyncio.to_thread(load_vex, configuration.audit.vex)
    sources = sources_of(configuration.advisories, mirror_of(configuration.advisories, target.settings.home))
    inventories = await asyncio.gather(
        *(
            steps.look(Subject(c.name, c.path, c.environment, c.exclude), cache=cache, environments=True)
            for c in target.checkouts
        )
    )
    known, (releases, unasked) = await asyncio.gather(
        steps.ask(sources, together(inventories)), newer_versions(inventories, target)
    )
    offered = dict(judgement.versions_of(releases))
    open_ = {package for taken in inventories for package in loose_packages(taken)} & known.advisories.keys()
    more = await steps.offered(sorted(open_ - offered.keys()), configuration.audit) if open_ else Offered({})
    offered |= more.versions
    judged = tuple(judge(taken, known, offered=offered) for taken in inventories)
    examination = Examination(tuple(inventories), judged, known, offered, more.gaps)
    findings: list[Finding] = words.findings_of(examination)
    skipped: list[Skip] = [*words.skips_of(examination), *unasked, *judgement.unreleased(releases)]
    for taken in inventories:
        findings += [
            *judgement.declared_against_installed(taken),
            *judgement.outdated(taken, in_use(taken), releases),
        ]
        skipped += judgement.not_compared(taken)
    today = started.date()
    kept = set_aside(findings, configuration.suppressions, statements=statements, skipped=skipped, today=today).kept
    left_out, accepted = accept(skipped, configuration.suppressions, today=today, whole=False)
    findings, skipped = [*kept, *accepted], [*left_out]
    return compose(
        Report,
        capability="health_check.dependencies",
        summary=_summary(inventories, findings, skipped),
        started_at=started,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
        findings=findings,
        skipped=skipped,
        metrics=_metrics(inventories, findings, skipped, releases),
    )


# The index is asked twice request by request (answers.ask), so this step needs no tries of its own: a source that is
# gone must become a skip within seconds.
@step("look up newer versions", retries=0)
async def newer_versions(inventories: Sequence[Inventory], target: Target) -> tuple[Releases, tuple[Skip, ...]]:
    """What the package index offers of the packages that the checkouts require."""
    chosen = target.configuration.audit
    nothing = Releases({}, frozenset(), {})
    names = {package.name for taken in inventories for package in judgement.direct(taken) - taken.own}
    if not names:
        return nothing, ()
    # With several checkouts on different Pythons, the oldest decides: a version that it cannot have is no advice.
    pythons = [taken.python["python_full_version"] for taken in inventories if "python_full_version" in taken.python]
    try:
        index = PackageIndex.of(chosen.index_url, config=target.settings, timeout_s=chosen.timeout_s)
    except ConfigurationError as error:
        reason = f"{error.what} {error.remedy}"
        return nothing, (
            Skip(area="dependencies", component="package index", reason=reason, hides=(judgement.OUTDATED,)),
        )
    return await look_up(
        index, names, python=min(pythons, key=_numbers, default=_this_python()), budget_s=chosen.budget_s
    ), ()


def _this_python() -> str:
    import platform  # noqa: PLC0415

    return platform.python_version()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _metrics(
    inventories: Sequence[Inventory], findings: Sequence[Finding], skipped: Sequence[Skip], releases: Releases
) -> dict[str, float]:
    installed = [c for taken in inventories for c in taken.components if c.evidence is Evidence.installed]
    metrics = {
        "dependencies_declared_total": float(sum(len(judgement.direct(taken)) for taken in inventories)),
        "dependencies_installed_total": float(len(installed)),
        "dependencies_looked_up_total": float(len(releases.versions)),
    }
    for name, prefix in (("outdated", judgement.OUTDATED), ("vulnerabilities", VULNERABILITY)):
        # A zero on a dashboard reads as all clear: what was not looked up has no figure.
        if not _blind(skipped, prefix):
            metrics[f"dependencies_{name}_total"] = float(sum(found.key.startswith(prefix) for found in findings))
    return metrics


def _blind(skipped: Sequence[Skip], prefix: str) -> bool:
    """Whether any finding whose key begins with `prefix` may have gone unseen."""
    hidden = (part for skip in skipped for part in skip.hides or (f"{skip.area}.",))
    return any(part.startswith(prefix) or prefix.startswith(part) for part in hidden)


def _summary(inventories: Sequence[Inventory], findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    packages: set[Package] = {component.package for taken in inventories for component in taken.components}
    weak = sum(finding.key.startswith(VULNERABILITY) for finding in findings)
    behind = sum(finding.key.startswith(judgement.OUTDATED) for finding in findings)
    blind = _blind(skipped, VULNERABILITY)
    told = "known vulnerabilities were not all looked up" if blind else f"{weak} known vulnerabilities"
    if blind and weak:
        told = f"at least {weak} known vulnerabilities (not everything could be looked up)"
    return (
        f"{len(packages)} packages in {len(inventories)} checkouts: {told}, {behind} requirements with newer versions."
    )

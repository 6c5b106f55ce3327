"""The dependencies module of the health check: what is declared, installed, outdated, and known to be vulnerable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocks.errors import ConfigurationError
from blocks.package_index import PackageIndex
from models.advisories import AdvisoriesSettings
from models.health_check import Checkout
from models.report import Finding, Report, Skip, compose
from tasks.advisories import package
from tasks.advisories.known import ask_all, mirror_of, sources_of
from tasks.advisories.record import Advisory
from tasks.audit.releases import Releases, look_up
from tasks.health_check.dependencies import judgement
from tasks.health_check.dependencies.installed import take_inventory
from tasks.health_check.dependencies.inventory import Inventory
from tasks.step import step
from tasks.target import Target

Package = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """What the source of advisories said."""

    advisories: dict[Package, tuple[Advisory, ...]]
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skip, ...] = ()


async def look(target: Target) -> Report:
    """The report of this module. A source that cannot be reached becomes a skip, never a clean answer."""
    started = datetime.now(UTC)
    chosen = target.configuration.advisories
    inventories = await asyncio.gather(*(inventory(checkout) for checkout in target.checkouts))
    known, offered = await asyncio.gather(
        known_vulnerabilities(inventories, chosen, mirror_of(chosen, target.settings.home)),
        newer_versions(inventories, target),
    )
    releases, unasked = offered
    findings: list[Finding] = [*known.findings]
    skipped: list[Skip] = [*known.skipped, *unasked, *judgement.unreleased(releases)]
    for taken in inventories:
        weaknesses, undecided = judgement.vulnerable(taken, known.advisories)
        findings += [*weaknesses, *judgement.declared_against_installed(taken), *judgement.outdated(taken, releases)]
        skipped += [*taken.skipped, *undecided, *judgement.undetermined(taken)]
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


@step("take the inventory of a checkout", retries=1)
async def inventory(checkout: Checkout) -> Inventory:
    """What a checkout declares, and what its environment holds."""
    return await asyncio.to_thread(take_inventory, checkout)


# The two sources are asked twice request by request (answers.ask), so their steps need no tries of their own:
# a source that is gone must become a skip within seconds.
@step("look up known vulnerabilities", retries=0)
async def known_vulnerabilities(inventories: Sequence[Inventory], chosen: AdvisoriesSettings, mirror: Path) -> Known:
    """The advisories about all versions in use."""
    wanted: dict[package.Package, frozenset[str]] = {}
    for taken in inventories:
        for name, used in taken.versions().items():
            known = package.Package(package.PYPI, name)
            wanted[known] = wanted.get(known, frozenset()) | frozenset(used)
    told = await ask_all(sources_of(chosen, mirror), wanted)
    now = datetime.now(UTC)
    aged = [judgement.stale(state.newest, now, chosen.max_age_days) for state in told.states if state.stale]
    return Known(
        {(one.name, version): told.advisories.get(one, ()) for one, used in wanted.items() for version in used},
        tuple(found[0] for found in aged if found is not None),
        tuple(Skip.of(gap) for gap in told.gaps),
    )


@step("look up newer versions", retries=0)
async def newer_versions(inventories: Sequence[Inventory], target: Target) -> tuple[Releases, tuple[Skip, ...]]:
    """What the package index offers of the packages that the checkouts require."""
    chosen = target.configuration.audit
    nothing = Releases({}, frozenset(), {})
    names = {name for taken in inventories for name in taken.versions().keys() & taken.direct()}
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
    metrics = {
        "dependencies_declared_total": float(sum(len(taken.direct()) for taken in inventories)),
        "dependencies_installed_total": float(sum(len(taken.installed) for taken in inventories)),
        "dependencies_looked_up_total": float(len(releases.versions)),
    }
    for name, prefix in (("outdated", judgement.OUTDATED), ("vulnerabilities", judgement.VULNERABILITY)):
        # A zero on a dashboard reads as all clear: what was not looked up has no figure.
        if not _blind(skipped, prefix):
            metrics[f"dependencies_{name}_total"] = float(sum(found.key.startswith(prefix) for found in findings))
    return metrics


def _blind(skipped: Sequence[Skip], prefix: str) -> bool:
    """Whether any finding whose key begins with `prefix` may have gone unseen."""
    hidden = (part for skip in skipped for part in skip.hides or (f"{skip.area}.",))
    return any(part.startswith(prefix) or prefix.startswith(part) for part in hidden)


def _summary(inventories: Sequence[Inventory], findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    packages = len({name for taken in inventories for name in taken.versions()})
    weak = sum(finding.key.startswith(judgement.VULNERABILITY) for finding in findings)
    behind = sum(finding.key.startswith(judgement.OUTDATED) for finding in findings)
    blind = _blind(skipped, judgement.VULNERABILITY)
    told = "known vulnerabilities were not all looked up" if blind else f"{weak} known vulnerabilities"
    if blind and weak:
        told = f"at least {weak} known vulnerabilities (not everything could be looked up)"
    return f"{packages} packages in {len(inventories)} checkouts: {told}, {behind} requirements with newer versions."

"""An audit as a report: examined, what is set aside taken out, and with what to do about the rest."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from blocks.home import Home
from models.audit import AuditSettings, Remedy
from models.risk import AuditReport
from tasks.advisories.exploited import EPSS_FILE, KEV_FILE, Exploited, default_or, load
from tasks.advisories.known import ask_all, mirror_of, sources_of
from tasks.advisories.package import Package
from tasks.advisories.source import AREA, Known, Source, Wanted
from tasks.audit import report as words
from tasks.audit.component import Inventory
from tasks.audit.demands import demands_of
from tasks.audit.examine import Examination, Offered, Subject, examine, look_into
from tasks.audit.mend import Mended, mend
from tasks.audit.offered import offered
from tasks.audit.remedies import Upgrade, recommendations, upgrades
from tasks.audit.unseen import few
from tasks.commits import commits_of, not_at
from tasks.result_cache import ResultCache
from tasks.risk.accept import accept
from tasks.risk.aside import set_aside
from tasks.risk.report import Advice, compose_risk
from tasks.risk.vex import load_vex
from tasks.target import Target

CAPABILITY = "audit"


@dataclass(frozen=True)
class Parts:
    """How the parts of an audit are called: as they are, or as steps of a flow."""

    look: Callable[..., Awaitable[Inventory]] = look_into
    ask: Callable[[Sequence[Source], Wanted], Awaitable[Known]] = ask_all
    offered: Callable[[Sequence[Package], AuditSettings], Awaitable[Offered]] = offered
    mend: Callable[..., Awaitable[Mended]] = mend


PLAIN = Parts()


async def audit(
    target: Target,
    *,
    remedy: Remedy = Remedy.advise,
    cache: bool = True,
    parts: Parts = PLAIN,
    done: Callable[[str], Awaitable[None]] | None = None,
) -> AuditReport:
    """Audit the checkouts of `target`.

    Args:
        target: what to look at, and the configuration that says how.
        remedy: what to do about what is found.
        cache: whether what was read before may be taken from the cache in the home.
        parts: how the parts are called.
        done: is told after each part, in a few words.

    Raises:
        ConfigurationError: a source, a rule file or a VEX document cannot be used; nothing was looked at.
    """
    started_at = datetime.now(UTC)
    configuration = target.configuration
    home = Home(target.settings)
    mirror = mirror_of(configuration.advisories, home.path)
    sources = sources_of(configuration.advisories, mirror)
    statements = await asyncio.to_thread(load_vex, configuration.audit.vex)

    async def of_registries(packages: Sequence[Package]) -> Offered:
        return await parts.offered(packages, configuration.audit)

    def exploited(names: set[str]) -> Exploited:
        chosen = configuration.advisories
        epss, kev = default_or(chosen.epss, mirror, EPSS_FILE), default_or(chosen.kev, mirror, KEV_FILE)
        return load(epss, kev, names, oldest=started_at - timedelta(days=chosen.max_age_days), mirror=mirror)

    examination = await examine(
        [Subject(c.name, c.path, c.environment, c.exclude) for c in target.checkouts],
        sources,
        cache=ResultCache(home.cache / "looked.sqlite" if cache else None),
        environments=configuration.audit.environments,
        offered=of_registries,
        exploited=exploited,
        look=parts.look,
        ask=parts.ask,
        done=done,
    )
    commits = await commits_of(target.checkouts)
    unseen = [
        *words.skips_of(examination),
        *not_at(target.commit, commits, area=AREA, component=target.host),
    ]
    found, aside = set_aside(
        words.findings_of(examination),
        configuration.suppressions,
        statements=statements,
        skipped=unseen,
        today=started_at.date(),
        area=AREA if target.whole else "",
    )
    skipped, accepted = accept(unseen, configuration.suppressions, today=started_at.date(), whole=target.whole)
    steps = await asyncio.to_thread(_upgrades, examination, {finding.key for finding in found})
    mended = Mended()
    if remedy is not Remedy.advise:
        mended = await parts.mend(target, examination.inventories, steps, remedy=remedy)
    return compose_risk(
        AuditReport,
        capability=CAPABILITY,
        summary=words.summary_of(examination, found, skipped),
        scope=target.scope,
        findings=[*found, *accepted, *mended.findings],
        skipped=[*skipped, *mended.skipped],
        suppressed=aside,
        advice=[*mended.done, *_advice(steps), *mended.advice, *_untried(steps, examination.offered, remedy)],
        metrics=words.metrics_of(examination, found, skipped),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
        components=words.components_of(examination.inventories),
        weaknesses=tuple(words.record_of(weakness, examination.known) for weakness in examination.weaknesses),
        patch=mended.diff,
        commits=commits,
    )


def _upgrades(examination: Examination, told: Collection[str]) -> tuple[Upgrade, ...]:
    """What mends the findings with the keys `told`: nothing is done about what is set aside."""
    steps: list[Upgrade] = []
    for taken, judged in zip(examination.inventories, examination.judged, strict=True):
        open_ = dataclasses.replace(
            judged,
            weaknesses=tuple(one for one in judged.weaknesses if words.key_of(one) in told),
            ranges=tuple(one for one in judged.ranges if words.key_of_range(one) in told),
        )
        demands = demands_of(taken, {one.package for one in open_.weaknesses})
        steps += upgrades(taken, open_, examination.known, offered=examination.offered, demands=demands)
    return tuple(steps)


def _advice(steps: Sequence[Upgrade]) -> list[Advice]:
    """The upgrades in words, each for the findings that it clears."""
    return [
        Advice(text, frozenset(words.keys_about(step.target, step.package, (*step.clears, *step.remains))))
        for step in steps
        for text in recommendations([step])
    ]


def _untried(steps: Sequence[Upgrade], offered: Collection[Package], remedy: Remedy) -> list[Advice]:
    """How sure the upgrades are: what nobody has looked up or tried is said, and not left to be believed."""
    told = []
    raised = [step for step in steps if step.to is not None]
    names = sorted({step.package.name for step in raised if step.package not in offered})
    if names:
        told.append(Advice(f"Whether these versions are still offered was not looked up: {few(names)}."))
    if raised and remedy is Remedy.advise:
        told.append(Advice("Whether the upgrades fit together was not tried: `lama audit --fix --dry-run` tries it."))
    return told

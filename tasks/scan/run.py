"""A scan as a report: the checkouts and this node, what is set aside taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.errors import ConfigurationError
from blocks.home import Home
from models.health_check import Checkout
from models.report import Finding, Skip
from models.risk import ScanReport
from models.scan import Engine
from tasks.commits import commits_of, not_at
from tasks.result_cache import ResultCache
from tasks.risk.aside import set_aside
from tasks.risk.report import compose_risk, counted, severity_counts
from tasks.scan import listeners, services
from tasks.scan.look import look_at_home, scan_checkout
from tasks.scan.looked import Looked, together
from tasks.target import Target

CAPABILITY = "scan"


async def look_at_checkout(
    target: Target, checkout: Checkout, engines: Collection[Engine], cache: ResultCache
) -> Looked:
    """What `engines` find in one checkout."""
    return await scan_checkout(
        checkout, settings=target.settings, chosen=target.configuration.scan, cache=cache, engines=engines
    )


async def look_at_node(target: Target, engines: Collection[Engine]) -> Looked:
    """What `engines` find on this node: the home, what listens, how the configured services are set up."""
    chosen = target.configuration.scan
    parts: list[Looked] = []
    if Engine.modes in engines:
        parts.append(await look_at_home(target.settings))
    if Engine.services in engines:
        parts.append(await asyncio.to_thread(listeners.look_at_listeners, target.host, chosen.allowed_listeners))
        parts.append(await services.look_at_services(target.settings, target.configuration.services, chosen))
    return together(parts)


@dataclass(frozen=True)
class Parts:
    """How the parts of a scan are called: as they are, or as steps of a flow."""

    checkout: Callable[[Target, Checkout, Collection[Engine], ResultCache], Awaitable[Looked]] = look_at_checkout
    node: Callable[[Target, Collection[Engine]], Awaitable[Looked]] = look_at_node


PLAIN = Parts()


async def scan(
    target: Target,
    *,
    engines: Sequence[Engine] | None = None,
    cache: bool = True,
    parts: Parts = PLAIN,
    done: Callable[[str], Awaitable[None]] | None = None,
) -> ScanReport:
    """Scan the checkouts of `target`; when they are all that is configured, this node as well.

    Args:
        target: what to look at, and the configuration that says how.
        engines: what to look with; None: those that are configured.
        cache: whether what was found in unchanged files before may be taken from the cache in the home.
        parts: how the parts are called.
        done: is told after each part, in a few words.

    Raises:
        ConfigurationError: there is nothing to look with.
    """
    started_at = datetime.now(UTC)
    asked = frozenset(target.configuration.scan.engines if engines is None else engines)
    chosen = asked if target.whole else asked - {Engine.services}  # services are this node's, and no checkout's
    if asked and not chosen:
        raise ConfigurationError(
            f"{Engine.services.value} looks at this node and not at checkouts, so nothing would be looked at.",
            component=CAPABILITY,
            remedy="Name no checkouts, or another engine.",
        )
    if not chosen:
        raise ConfigurationError(
            "engines is an empty list, so nothing would be looked at.",
            component=CAPABILITY,
            remedy=f"Leave it out, or name some of {', '.join(Engine)}.",
        )
    results = ResultCache(Home(target.settings).cache / "looked.sqlite" if cache else None)

    async def told(words: str) -> None:
        if done is not None:
            await done(words)

    looked: list[Looked] = []
    if target.whole:
        # The node first, and alone: looking at a checkout may create the home, with the right modes.
        looked.append(await parts.node(target, chosen))
        await told("this node")
    for checkout in target.checkouts:
        looked.append(await parts.checkout(target, checkout, chosen, results))
        await told(checkout.name)
    commits = await commits_of(target.checkouts)
    not_there = not_at(target.commit, commits, area="security", component=target.host)
    whole = together([*looked, Looked(skipped=not_there)])
    found, aside = set_aside(
        whole.findings,
        target.configuration.suppressions,
        skipped=whole.skipped,
        today=started_at.date(),
        area="security" if target.whole and chosen == frozenset(Engine) else "",
    )
    return compose_risk(
        ScanReport,
        capability=CAPABILITY,
        summary=_summary(target, found, whole.skipped),
        scope=f"{target.scope}; engines: {', '.join(engine for engine in Engine if engine in chosen)}",
        findings=found,
        skipped=whole.skipped,
        suppressed=aside,
        metrics=whole.metrics or {},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
        engines=dict(whole.engines),
        commits=commits,
    )


def _summary(target: Target, findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    count = len(target.checkouts)
    where = f"{count} {'checkout' if count == 1 else 'checkouts'}{' and this node' if target.whole else ''}"
    told = f"{where}: {counted(severity_counts(findings))}"
    return f"{told}; {len(skipped)} parts could not be looked at." if skipped else f"{told}."

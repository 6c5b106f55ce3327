"""The security module of the health check: modes, listeners, secrets, risky code, open servers, rules of your own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from blocks.home import Home
from blocks.settings import Settings
from models.health_check import Checkout, Service
from models.report import Finding, Report, Skip, compose
from models.scan import Engine, ScanSettings
from tasks.result_cache import ResultCache
from tasks.scan import listeners, open_servers
from tasks.scan.look import look_at_home, scan_checkout
from tasks.scan.looked import Looked, together
from tasks.step import step
from tasks.target import Target

_ENGINES = {Engine.secrets, Engine.code, Engine.rules, Engine.modes}
"""Those that are quick; the whole of the scan is `lama scan`'s."""


async def look(target: Target) -> Report:
    """The report of this module. What an engine or a server did not let us see becomes a skip."""
    started = datetime.now(UTC)
    chosen = target.configuration.scan
    # The modes first, and alone: making the salt below may create the home's folders with the right ones.
    home = await modes_of_home(target.settings)
    looked = [
        home,
        *await asyncio.gather(
            listeners_of_host(target.host, chosen),
            servers(target.settings, target.configuration.services),
            *(checkout_files(checkout, target.settings, chosen) for checkout in target.checkouts),
        ),
    ]
    findings = [finding for part in looked for finding in part.findings]
    skipped = [skip for part in looked for skip in part.skipped]
    return compose(
        Report,
        capability="health_check.security",
        summary=_summary(target, findings, skipped),
        started_at=started,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
        findings=findings,
        skipped=skipped,
        metrics=together(looked).metrics,
    )


@step("look at the modes of the home", retries=1)
async def modes_of_home(settings: Settings) -> Looked:
    """Whether others can enter the home or read its secrets."""
    return await look_at_home(settings)


@step("look at listeners", retries=1)
async def listeners_of_host(host: str, chosen: ScanSettings) -> Looked:
    """What listens beyond loopback."""
    return await asyncio.to_thread(listeners.look_at_listeners, host, chosen.allowed_listeners)


@step("ask servers without a password", retries=0)
async def servers(settings: Settings, services: Sequence[Service]) -> Looked:
    """Which servers answer without authentication. One that is down is a skip at once: it cannot be asked."""
    probes = [open_servers.look_at_service(service) for service in services]
    return together(await asyncio.gather(open_servers.look_at_platform(settings), *probes))


@step("look at the files of a checkout", retries=0)
async def checkout_files(checkout: Checkout, settings: Settings, chosen: ScanSettings) -> Looked:
    """Secrets, risky code, hits of custom rules, and delicate files that others can read, in one checkout."""
    cache = ResultCache(Home(settings).cache / "looked.sqlite")
    engines = _ENGINES & set(chosen.engines)
    return await scan_checkout(checkout, settings=settings, chosen=chosen, cache=cache, engines=engines)


def _summary(target: Target, findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    def count(kind: str) -> int:
        return sum(finding.key.startswith(f"security.{kind}:") for finding in findings)

    told = (
        f"{len(target.checkouts)} checkouts, {len(target.configuration.services)} services and this host: "
        f"{count('secret')} possible secrets, {count('code')} risky places in code, {count('listener')} open ports, "
        f"{count('open_server')} servers without authentication"
    )
    return f"{told}; {len(skipped)} parts could not be looked at." if skipped else f"{told}."

"""The security module of the health check: modes, listeners, secrets, risky code, open servers, rules of your own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import Settings
from models.health_check import Checkout, Service
from models.report import Finding, Report, Skip, compose
from models.scan import Engine, ScanSettings
from tasks.scan import leaks, listeners, modes, open_servers, risky_code, rules
from tasks.scan.looked import Looked, together
from tasks.scan.sources import Sources, list_sources
from tasks.step import step
from tasks.target import Target

_SALT = "fingerprint-salt"


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
    home = Home(settings)
    return await asyncio.to_thread(modes.look_at_home, home.path, home.secrets)


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
    sources = await list_sources(checkout, timeout_s=chosen.timeout_s)
    listed = Looked(skipped=sources.skipped)
    if not checkout.path.is_dir():
        return listed
    book, unusable = await asyncio.to_thread(rules.rules_or_skip, chosen.rules)
    parts = await asyncio.gather(
        _leaks(sources, settings, chosen),
        risky_code.find_risky_code(sources, timeout_s=chosen.timeout_s),
        rules.apply_rules(book, sources, timeout_s=chosen.timeout_s),
        asyncio.to_thread(modes.look_at_checkout, checkout),
    )
    return together((listed, Looked(skipped=unusable), *parts))


async def _leaks(sources: Sources, settings: Settings, chosen: ScanSettings) -> Looked:
    prefixes = (f"security.secret:{sources.checkout}/", f"security.secret_alike:{sources.checkout}")
    history: tuple[Skip, ...] = ()
    if Engine.history in chosen.engines:
        reason = "Secrets in the git history are not looked for yet; set history to false to do without."
        history = (Skip(area="security", component=sources.checkout, reason=reason, hides=prefixes),)
    try:
        salt = await asyncio.to_thread(_salt, settings)
    except (OSError, ConfigurationError) as error:
        reason = f"Secrets were not looked for: the home cannot keep the salt of their fingerprints ({error})."
        return Looked(
            skipped=(*history, Skip(area="security", component=sources.checkout, reason=reason, hides=prefixes))
        )
    return together((Looked(skipped=history), await leaks.find_leaks(sources, salt, timeout_s=chosen.timeout_s)))


def _salt(settings: Settings) -> str:
    home = Home(settings)
    if not home.secrets.is_dir():
        home.prepare()
    return home.secret(_SALT)


def _summary(target: Target, findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    def count(kind: str) -> int:
        return sum(finding.key.startswith(f"security.{kind}:") for finding in findings)

    told = (
        f"{len(target.checkouts)} checkouts, {len(target.configuration.services)} services and this host: "
        f"{count('secret')} possible secrets, {count('code')} risky places in code, {count('listener')} open ports, "
        f"{count('open_server')} servers without authentication"
    )
    return f"{told}; {len(skipped)} parts could not be looked at." if skipped else f"{told}."

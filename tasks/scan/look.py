"""The scan of a checkout and of a host: all engines, side by side; one that could not look says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import Settings
from models.health_check import Checkout
from models.report import Skip
from models.scan import Engine, ScanSettings
from tasks.result_cache import ResultCache
from tasks.scan import containers, contents, history, leaks, licences, modes, risky_code, rules, workflows
from tasks.scan.incremental import turn
from tasks.scan.looked import Looked, together
from tasks.scan.sources import Sources, list_sources

_log = logging.getLogger(__name__)
_SALT = "fingerprint-salt"
_OF_SECRETS = ("secret", "secret_alike", "secret_hidden", "secret_history", "secret_history_alike")

Progress = Callable[[str], Awaitable[None]]
"""Told the name of an engine, and of what it has looked at, when it is done."""


async def scan_checkout(
    checkout: Checkout,
    *,
    settings: Settings,
    chosen: ScanSettings,
    cache: ResultCache,
    engines: Collection[Engine],
    progress: Progress | None = None,
) -> Looked:
    """What `engines` find in one checkout. `Looked.engines` says how each of them ended.

    Args:
        checkout: what to look at.
        settings: where the home is, which keeps the salt of the secrets' fingerprints.
        chosen: `[scan]` of `lama.toml`: rules, limits of time.
        cache: what was said about contents before; with or without it, what is found is the same.
        engines: which of them look; those that look at hosts and services have nothing to do here.
        progress: told of every engine that is done.
    """
    sources = await list_sources(checkout, timeout_s=chosen.timeout_s)
    listed = Looked(skipped=sources.skipped)
    if not checkout.path.is_dir():
        return listed
    digests = await asyncio.to_thread(contents.digests_of, sources.root, sources.files)

    async def followed(engine: Engine, look: Awaitable[Looked]) -> Looked:
        try:
            looked = await look
        except Exception as error:  # noqa: BLE001 - one that breaks must not take the others with it
            _log.exception("%s: the engine %s failed", checkout.name, engine.value)
            looked = _failed(checkout, engine, type(error).__name__)
        if engine.value not in looked.engines:
            looked = replace(looked, engines={**looked.engines, engine.value: "looked"})
        if progress is not None:
            await progress(f"{checkout.name}: {engine.value}")
        return looked

    looks: dict[Engine, Callable[[], Awaitable[Looked]]] = {
        Engine.code: lambda: risky_code.find_risky_code(
            sources, digests=digests, cache=cache, timeout_s=chosen.timeout_s
        ),
        Engine.rules: lambda: _rules(sources, chosen, digests, cache),
        Engine.containers: lambda: asyncio.to_thread(
            containers.look_at_containers, sources, timeout_s=chosen.timeout_s
        ),
        Engine.workflows: lambda: _workflows(sources, chosen, digests, cache),
        Engine.modes: lambda: asyncio.to_thread(modes.look_at_checkout, checkout),
        Engine.licences: lambda: asyncio.to_thread(_licences, checkout, chosen, cache),
    }
    parts = [followed(engine, look()) for engine, look in looks.items() if engine in engines]
    if {Engine.secrets, Engine.history} & set(engines):
        parts.append(_secrets(checkout, sources, settings, chosen, digests, cache, engines, followed))
    return together((listed, *await asyncio.gather(*parts)))


def _failed(checkout: Checkout, engine: Engine, error: str) -> Looked:
    reason = f"{engine.value} failed ({error}); the log has more."
    # Everything in the area: what an engine that broke would have found, nobody knows.
    skip = Skip(area="security", component=checkout.name, reason=f"Not looked at: {reason}")
    return Looked(skipped=(skip,), engines={engine.value: f"did not run: {reason}"})


async def look_at_home(settings: Settings) -> Looked:
    """Whether others can enter the home or read its secrets. Before anything is written there: that creates it."""
    home = Home(settings)
    return await asyncio.to_thread(modes.look_at_home, home.path, home.secrets)


async def _secrets(
    checkout: Checkout,
    sources: Sources,
    settings: Settings,
    chosen: ScanSettings,
    digests: Mapping[str, bytes],
    cache: ResultCache,
    engines: Collection[Engine],
    followed: Callable[[Engine, Awaitable[Looked]], Awaitable[Looked]],
) -> Looked:
    """Secrets in the files, and then in the history: what is in the files need not be told again."""
    try:
        salt = await asyncio.to_thread(_salt, settings)
    except (OSError, ConfigurationError) as error:
        reason = f"Secrets were not looked for: the home cannot keep the salt of their fingerprints ({error})."
        hides = tuple(f"security.{kind}:{checkout.name}" for kind in _OF_SECRETS)
        ended = {engine.value: f"did not run: {reason}" for engine in (Engine.secrets, Engine.history)}
        skip = Skip(area="security", component=checkout.name, reason=reason, hides=hides)
        return Looked(skipped=(skip,), engines={name: how for name, how in ended.items() if name in engines})
    parts: list[Looked] = []
    in_tree: frozenset[str] = frozenset()
    if Engine.secrets in engines:

        async def files() -> Looked:
            nonlocal in_tree
            looked, in_tree = await leaks.find_leaks(
                sources, salt, digests=digests, cache=cache, timeout_s=chosen.timeout_s
            )
            return looked

        parts.append(await followed(Engine.secrets, files()))
    if Engine.history in engines:
        looking = history.find_leaks_in_history(
            checkout, salt, in_tree=in_tree, cache=cache, timeout_s=chosen.history_timeout_s
        )
        parts.append(await followed(Engine.history, looking))
    return together(parts)


async def _rules(sources: Sources, chosen: ScanSettings, digests: Mapping[str, bytes], cache: ResultCache) -> Looked:
    book, unusable = await asyncio.to_thread(rules.rules_or_skip, chosen.rules)
    if unusable:
        return Looked(skipped=unusable, engines={"rules": f"did not run: {unusable[0].reason}"})
    return await rules.apply_rules(book, sources, digests=digests, cache=cache, timeout_s=chosen.timeout_s)


async def _workflows(
    sources: Sources, chosen: ScanSettings, digests: Mapping[str, bytes], cache: ResultCache
) -> Looked:
    async with turn():
        return await workflows.look_at_workflows(sources, digests=digests, cache=cache, timeout_s=chosen.timeout_s)


def _licences(checkout: Checkout, chosen: ScanSettings, cache: ResultCache) -> Looked:
    from tasks.audit.inventory.take import NO_MANIFESTS, take_inventory  # noqa: PLC0415 - only where licences are looked at

    inventory = take_inventory(
        checkout.name,
        checkout.path.resolve(),
        environment=checkout.environment,
        look_into_environment=True,
        cache=cache,
        exclude=checkout.exclude,
    )
    looked = licences.judge_licences(
        checkout.name, inventory.components, chosen.licences_allowed, chosen.licences_denied
    )
    if not (chosen.licences_allowed or chosen.licences_denied):
        return looked  # without a policy, what is unseen cannot break any
    hides = (f"security.licence:{checkout.name}",)
    skipped = tuple(
        Skip(area="security", component=gap.component, reason=f"Licences of what it names: {gap.reason}", hides=hides)
        for gap in inventory.gaps
        if gap.reason != NO_MANIFESTS  # then it depends on nothing: there are no licences to look at
    )
    return replace(looked, skipped=(*looked.skipped, *skipped))


def _salt(settings: Settings) -> str:
    home = Home(settings)
    if not home.secrets.is_dir():
        home.prepare()
    return home.secret(_SALT)

"""Which versions registries offer of packages that are required without an exact version."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from models.gap import Gap
from tasks.advisories.package import NPM, PYPI, Package
from tasks.advisories.source import AREA
from tasks.audit.examine import Offered

if TYPE_CHECKING:
    from blocks.registry_address import NpmAddress
    from blocks.settings import Settings
    from models.audit import AuditSettings

_LARGEST = 60_000_000  # bytes of one abbreviated document; the largest packages' have some 20 MB
_REGISTRY = "npm registry"
_MOST_FAILURES = 3
_MOST_NAMED = 5


async def offered(
    packages: Sequence[Package],
    chosen: AuditSettings,
    *,
    config: Settings | None = None,
    python: str | None = None,
) -> Offered:
    """The released versions of `packages`, oldest first, and what could not be looked up.

    Early, yanked and deprecated releases are left out, on PyPI also those that `python` (a full version; this
    process's without one) may not install. Packages of ecosystems without such a registry are simply not in the
    answer: whoever needs their versions has to say that they are not known.
    """
    pypi = sorted({package.name for package in packages if package.ecosystem == PYPI})
    npm = sorted({package.name for package in packages if package.ecosystem == NPM})
    index, registry = await asyncio.gather(
        _of_index(pypi, chosen, config, python or platform.python_version()), _of_registry(npm, chosen)
    )
    return Offered({**index.versions, **registry.versions}, (*index.gaps, *registry.gaps), index.yanked)


async def _of_index(names: Sequence[str], chosen: AuditSettings, config: Settings | None, python: str) -> Offered:
    if not names:
        return Offered({})
    from blocks.errors import ConfigurationError  # noqa: PLC0415
    from blocks.registry_address import IndexAddress  # noqa: PLC0415
    from tasks.audit.releases import SOURCE, look_up  # noqa: PLC0415

    try:
        index = IndexAddress.of(chosen.index_url, config=config, timeout_s=chosen.timeout_s)
    except ConfigurationError as error:
        return Offered({}, (_gap(SOURCE, names, f"{error.what} {error.remedy}", PYPI),))
    releases = await look_up(index, names, python=python, budget_s=chosen.budget_s)
    found = {Package(PYPI, name): tuple(map(str, versions)) for name, versions in releases.versions.items()}
    gaps = [_gap(SOURCE, of, f"It {why}", PYPI) for why, of in _by_reason(releases.failed).items()]
    if releases.unknown:
        gaps.append(_gap(SOURCE, sorted(releases.unknown), "It does not have them; correct index_url.", PYPI))
    yanked = {Package(PYPI, name): tuple(map(str, versions)) for name, versions in releases.yanked.items() if versions}
    return Offered(found, tuple(gaps), yanked)


async def _of_registry(names: Sequence[str], chosen: AuditSettings) -> Offered:
    if not names:
        return Offered({})
    from pydantic import SecretStr  # noqa: PLC0415

    from blocks.registry_address import NpmAddress  # noqa: PLC0415

    registry = NpmAddress(url=SecretStr(chosen.npm_registry_url), timeout_s=chosen.timeout_s)
    found, failed = await _ask_registry(registry, names, budget_s=chosen.budget_s)
    gaps = [_gap(_REGISTRY, of, f"It {why}", NPM) for why, of in _by_reason(failed).items()]
    return Offered({Package(NPM, name): versions for name, versions in found.items()}, tuple(gaps))


async def _ask_registry(
    registry: NpmAddress, names: Sequence[str], *, budget_s: float
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Versions by name and failures by name; one that cannot be reached stops the others, who would fail as well."""
    from blocks.errors import UnavailableError  # noqa: PLC0415
    from tasks.answers import NotFoundError, ask, decoded  # noqa: PLC0415

    found: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    unknown: dict[str, str] = {}
    queue = list(reversed(names))

    async with registry.get_client() as client:

        async def work() -> None:
            while queue and len(failed) < _MOST_FAILURES:
                name = queue.pop()
                try:
                    answer = await ask(client, quote(name, safe="@"), source=_REGISTRY, largest=_LARGEST)
                    data = await asyncio.to_thread(decoded, answer, source=_REGISTRY)
                    found[name] = read_versions(data)
                except NotFoundError:
                    unknown[name] = "does not have them; correct npm_registry_url."
                except UnavailableError as error:
                    failed[name] = error.what

        try:
            async with asyncio.timeout(budget_s):
                await asyncio.gather(*(work() for _ in range(registry.connections)))
            reason = next(iter(failed.values()), "was not asked.")
        except TimeoutError:
            reason = f"gave no answer within {budget_s:g} s for all."
    for name in names:
        if name not in found and name not in unknown:
            failed.setdefault(name, reason)
    return found, failed | unknown


def read_versions(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The released versions in a package's document, oldest first; deprecated ones only where all of them are.

    Raises:
        UnavailableError: the document has another shape.
    """
    from blocks.errors import UnavailableError  # noqa: PLC0415
    from tasks.advisories.versions import ordering  # noqa: PLC0415

    entries = data.get("versions")
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UnavailableError("answered JSON of another shape.", component=_REGISTRY)
    order = ordering(NPM)
    assert order is not None  # noqa: S101 - npm is the ecosystem whose order everybody knows
    keyed = [(key, text) for text in entries if "-" not in text and (key := order.parse(text)) is not None]
    keyed.sort(key=lambda pair: pair[0])
    released = [text for _, text in keyed]
    return tuple([text for text in released if not entries[text].get("deprecated")] or released)


def _by_reason(failed: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(failed.items()):
        reasons.setdefault(reason, []).append(name)
    return reasons


def _gap(source: str, names: Sequence[str], reason: str, ecosystem: str) -> Gap:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    listed = ", ".join(names[:_MOST_NAMED])
    return Gap(
        area=AREA,
        component=source,
        reason=f"The versions of {listed}{more} are not known, so what their requirements allow is not: {reason}",
        hides=(f"{AREA}.range:",),
    )

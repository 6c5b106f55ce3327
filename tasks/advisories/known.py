"""What all sources together know: asked side by side, merged by id, and nothing that was wanted left without a word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError, UnavailableError
from models.gap import Gap
from tasks.advisories.archives import INDEX, archives_in
from tasks.advisories.local_copy import gap
from tasks.advisories.merge import newest_of
from tasks.advisories.mirror import UPDATE, Mirror
from tasks.advisories.package import DOCKER, Package
from tasks.advisories.record import Advisory
from tasks.advisories.source import Known, Source, Told, Wanted

if TYPE_CHECKING:
    from models.advisories import AdvisoriesSettings

FOLDER = "advisories"
"""The mirror's folder in the home, unless settings name another."""


def mirror_of(settings: AdvisoriesSettings, home: Path) -> Path:
    """The folder of the mirror: the one that settings name, otherwise the one in the home."""
    return settings.mirror if settings.mirror is not None else home / FOLDER


def sources_of(settings: AdvisoriesSettings, mirror_folder: Path) -> tuple[Source, ...]:
    """The sources that settings name; where they name none, those that there are.

    That is the mirror, when settings name its folder or there is anything in it, else OSV's API; and the GitHub
    database and rules when their paths are set. What comes with Lama is always among them.

    Args:
        settings: `[advisories]`.
        mirror_folder: where the mirror is, see `mirror_of`.
    """
    chosen = [name.value for name in settings.sources]
    if not chosen:
        local = settings.mirror is not None or _holds_anything(mirror_folder)
        chosen = ["mirror" if local else "osv"]
        chosen += ["github"] if settings.github_database is not None else []
        chosen += ["rules"] if settings.rules is not None else []
    from tasks.advisories.custom import BUILT_IN, OwnRules  # noqa: PLC0415

    return (
        *(_source(name, settings, mirror_folder) for name in dict.fromkeys(chosen)),
        OwnRules(BUILT_IN, name="lama"),
    )


async def ask_all(sources: Sequence[Source], wanted: Wanted) -> Known:
    """What `sources` know about `wanted`: of each id the newest record, and none that it withdraws.

    One gap for each ecosystem that was wanted and that no source covers. Docker's images have no advisories as such.
    """
    if not wanted:
        return Known({})
    told = await _all_told(sources, wanted)
    advisories: dict[Package, tuple[Advisory, ...]] = {}
    for package in wanted:
        merged = newest_of(advisory for part in told for advisory in part.advisories.get(package, ()))
        if merged:
            advisories[package] = merged
    gaps = [found for part in told for found in part.gaps]
    gaps += _uncovered(wanted, told)
    return Known(advisories, tuple(part.state for part in told), tuple(dict.fromkeys(gaps)), tuple(told))


async def _all_told(sources: Sequence[Source], wanted: Wanted) -> list[Told]:
    if len(sources) == 1:
        return [await sources[0].tell(wanted)]
    import asyncio  # noqa: PLC0415 - to import it takes as long as to ask a mirror

    return list(await asyncio.gather(*(source.tell(wanted) for source in sources)))


def _uncovered(wanted: Wanted, told: Iterable[Told]) -> list[Gap]:
    parts = tuple(told)
    covers = frozenset[str]().union(*(part.covers for part in parts))
    missing: dict[str, set[str]] = {}
    for package in wanted:
        if package.family != DOCKER and not covers & {package.family, package.ecosystem}:
            missing.setdefault(package.family, set()).add(package.ecosystem)
    names = ", ".join(part.state.name for part in parts) or "none"
    return [
        gap(
            ", ".join(sorted(ecosystems)),
            f"no source knows all of this ecosystem (asked: {names}). Name it in ecosystems of [advisories] in "
            f"lama.toml; {UPDATE}",
        )
        for _, ecosystems in sorted(missing.items())
    ]


def _source(name: str, settings: AdvisoriesSettings, folder: Path) -> Source:
    days, answer_s, all_s = settings.max_age_days, settings.timeout_s, settings.budget_s
    if name == "mirror":
        return Mirror(folder, max_age_days=days, budget_s=all_s)
    if name == "osv":
        from tasks.advisories.osv_api import OsvApi  # noqa: PLC0415 - each is only loaded where it is asked

        return OsvApi(settings.osv_url, timeout_s=answer_s, budget_s=all_s)
    if name == "pypi":
        from tasks.advisories.pypi_json import PypiJson  # noqa: PLC0415

        return PypiJson(settings.pypi_url, timeout_s=answer_s, budget_s=all_s)
    if name == "github":
        from tasks.advisories.github_database import GithubDatabase  # noqa: PLC0415

        checkout = settings.github_database or _nowhere("github_database", name)
        return GithubDatabase(checkout, folder, max_age_days=days, budget_s=all_s)
    from tasks.advisories.custom import OwnRules  # noqa: PLC0415

    return OwnRules(settings.rules or _nowhere("rules", name))


def _nowhere(key: str, name: str) -> Path:
    raise ConfigurationError(
        f"the source {name!r} is chosen, and {key} is not set.",
        component="[advisories] of lama.toml",
        remedy=f"Set {key}, or leave {name!r} out of sources.",
    )


def _holds_anything(folder: Path) -> bool:
    try:
        return (folder / INDEX).exists() or bool(archives_in(folder))
    except UnavailableError:
        return True  # there is something that cannot be read: the mirror says so

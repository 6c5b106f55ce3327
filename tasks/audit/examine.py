"""An audit from beginning to end, without a word about how it is told: inventory, advisories, judgement.

Free of Prefect and of pydantic: `python -m tasks.audit` runs it as a process of its own, the flow runs it with its
parts wrapped as steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models.gap import Gap
from models.severity import Severity
from tasks.advisories.known import ask_all
from tasks.advisories.package import Package
from tasks.advisories.source import Known, Source, Wanted
from tasks.audit.component import Inventory
from tasks.audit.in_use import InUse, in_use
from tasks.audit.inventory.take import take_inventory
from tasks.audit.judge import judge
from tasks.audit.weakness import Judged, Weakness
from tasks.event_loop import in_thread
from tasks.result_cache import ResultCache

if TYPE_CHECKING:
    from tasks.advisories.exploited import Exploited


class Offered(NamedTuple):
    """What registries say."""

    versions: Mapping[Package, tuple[str, ...]]
    """Released versions by package, oldest first."""
    gaps: tuple[Gap, ...] = ()
    """What could not be looked up."""
    yanked: Mapping[Package, tuple[str, ...]] = {}
    """Released versions that their authors have withdrawn."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to audit: a checkout, an environment, an image's file system, one file."""

    name: str
    root: Path
    environment: Path | None = None
    """Named environment; None: the `.venv` inside the root, if there is one."""
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that an audit knows at its end."""

    inventories: tuple[Inventory, ...]
    judged: tuple[Judged, ...]
    """One for each inventory."""
    known: Known
    offered: Mapping[Package, tuple[str, ...]] = field(default_factory=dict)
    """Released versions of the packages that were looked up."""
    gaps: tuple[Gap, ...] = ()
    """What could not be looked at beside what inventories, sources and judgement say themselves."""
    yanked: Mapping[Package, tuple[str, ...]] = field(default_factory=dict)
    """Versions of those packages that their authors have withdrawn."""

    @property
    def weaknesses(self) -> tuple[Weakness, ...]:
        """Those of all targets, worst first; of equals those that are exploited, then likelier ones, first."""
        return tuple(sorted((one for part in self.judged for one in part.weaknesses), key=_order))

    @property
    def all_gaps(self) -> tuple[Gap, ...]:
        """Every gap, each once."""
        told = [*(gap for taken in self.inventories for gap in taken.gaps), *self.known.gaps]
        told += [*(gap for part in self.judged for gap in part.gaps), *self.gaps]
        return tuple(dict.fromkeys(told))


async def look_into(subject: Subject, *, cache: ResultCache, environments: bool) -> Inventory:
    """The inventory of one subject."""
    return await in_thread(
        take_inventory,
        subject.name,
        subject.root,
        environment=subject.environment,
        look_into_environment=environments,
        cache=cache,
        exclude=subject.exclude,
    )


async def nothing_offered(packages: Sequence[Package]) -> Offered:
    """Stands where no registry is to be asked: every version list is unknown then, and the judgement says so."""
    return Offered({})


async def examine(
    subjects: Sequence[Subject],
    sources: Sequence[Source],
    *,
    cache: ResultCache,
    environments: bool = True,
    offered: Callable[[Sequence[Package]], Awaitable[Offered]] = nothing_offered,
    exploited: Callable[[set[str]], Exploited] | None = None,
    look: Callable[..., Awaitable[Inventory]] = look_into,
    ask: Callable[[Sequence[Source], Wanted], Awaitable[Known]] = ask_all,
    done: Callable[[str], Awaitable[None]] | None = None,
) -> Examination:
    """Audit `subjects` against what `sources` know.

    Args:
        subjects: what to look at; names identify them.
        sources: where vulnerabilities are looked up.
        cache: of what was read before.
        environments: whether the environments of checkouts are looked into as well.
        offered: asks registries for the versions of packages that are vulnerable, or required without an exact one.
        exploited: gives EPSS scores and known exploitation for ids of vulnerabilities.
        look: takes one inventory; the flow's is a step.
        ask: asks all sources; the flow's is a step.
        done: is told after each part, in a few words.
    """

    async def told(words: str) -> None:
        if done is not None:
            await done(words)

    async def follow(subject: Subject) -> Inventory:
        taken = await look(subject, cache=cache, environments=environments)
        await told(f"{subject.name}: {len(taken.components)} components")
        return taken

    inventories = tuple([await follow(subject) for subject in subjects])
    used = tuple(in_use(taken) for taken in inventories)
    known = await ask(sources, together(inventories, used))
    await told(f"{sum(map(len, known.advisories.values()))} advisories")
    loose = sorted({one.package for part in used for one in part.loose if one.package in known.advisories})
    versions, gaps, yanked = await offered(loose) if loose else Offered({})
    judged = tuple(judge(taken, known, offered=versions, used=of) for taken, of in zip(inventories, used, strict=True))
    weak = sorted({one.package for part in judged for one in part.weaknesses} - versions.keys())
    if weak:  # What to upgrade to, and whether that is still there; not to know it leaves nothing unseen.
        more = await offered(weak)
        versions, yanked = {**versions, **more.versions}, {**yanked, **more.yanked}
    if exploited is not None:
        names = {name for part in judged for weakness in part.weaknesses for name in weakness.names}
        data = exploited(names)
        judged = tuple(_graded(part, data) for part in judged)
        gaps = (*gaps, *data.gaps)
    await told(f"{sum(len(part.weaknesses) for part in judged)} vulnerabilities")
    return Examination(inventories, judged, known, versions, tuple(gaps), yanked)


def together(inventories: Sequence[Inventory], used: Sequence[InUse] = ()) -> dict[Package, frozenset[str]]:
    """What all inventories want to know about; `used` is what `in_use` says of each, if that is known already."""
    all_wanted: dict[Package, frozenset[str]] = {}
    for part in used or map(in_use, inventories):
        for package, versions in part.wanted.items():
            all_wanted[package] = all_wanted.get(package, frozenset()) | versions
    return all_wanted


def _graded(judged: Judged, data: Exploited) -> Judged:
    """With what is known of exploitation: what is exploited already is at least `high`, whatever its score says."""
    weaknesses = []
    for weakness in judged.weaknesses:
        scores = [data.scores[name] for name in weakness.names if name in data.scores]
        exploited = any(name in data.known for name in weakness.names)
        severity = weakness.severity
        if exploited and severity.rank < Severity.high.rank:
            severity = Severity.high
        weaknesses.append(
            dataclasses.replace(weakness, epss=max(scores, default=None), exploited=exploited, severity=severity)
        )
    return dataclasses.replace(judged, weaknesses=tuple(weaknesses))


def _order(weakness: Weakness) -> tuple[object, ...]:
    likely = -(weakness.epss or 0.0)
    return (-weakness.severity.rank, not weakness.exploited, likely, weakness.target, weakness.package, weakness.id)

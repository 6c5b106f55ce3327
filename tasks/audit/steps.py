"""The parts of an audit as steps of a flow: seen in its graph, bounded, retried where a moment may help."""

from __future__ import annotations

from collections.abc import Sequence

from models.audit import AuditSettings, Remedy
from tasks.advisories.known import ask_all
from tasks.advisories.package import Package
from tasks.advisories.source import Known, Source, Wanted
from tasks.audit import mend as mending
from tasks.audit import offered as registries
from tasks.audit.component import Inventory
from tasks.audit.examine import Offered, Subject, look_into
from tasks.audit.remedies import Upgrade
from tasks.audit.run import Parts
from tasks.result_cache import ResultCache
from tasks.step import step
from tasks.target import Target


@step("take the inventory", retries=1)
async def look(subject: Subject, *, cache: ResultCache, environments: bool) -> Inventory:
    """What one target is made of."""
    return await look_into(subject, cache=cache, environments=environments)


# Sources and registries are asked twice request by request, so these steps need no tries of their own: what is gone
# must become a gap within seconds.
@step("look up advisories", retries=0)
async def ask(sources: Sequence[Source], wanted: Wanted) -> Known:
    """What all sources know about everything that is used."""
    return await ask_all(sources, wanted)


@step("look up released versions", retries=0)
async def offered(packages: Sequence[Package], chosen: AuditSettings) -> Offered:
    """Which versions there are of what is required without an exact one."""
    return await registries.offered(packages, chosen)


@step("mend", retries=0)
async def mend(
    target: Target, inventories: Sequence[Inventory], steps: Sequence[Upgrade], *, remedy: Remedy
) -> mending.Mended:
    """Change requirement files, or propose the change. Not repeated: what it did it tells."""
    return await mending.mend(target, inventories, steps, remedy=remedy)


PARTS = Parts(look=look, ask=ask, offered=offered, mend=mend)

"""The documentation of one checkout: read, generated, checked. Nothing here needs Prefect.

A flow has it done by a process of its own (`python -m tasks.docs`), a command does it here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from blocks.errors import ConfigurationError
from models.docs import DocsSettings, Site
from models.health_check import Checkout
from models.report import Finding, Severity, Skip, Value
from tasks.code.read import read
from tasks.code.unread import listed
from tasks.collector import collector_paused
from tasks.docs.site.build import Built, Wanted, build
from tasks.plural import plural

if TYPE_CHECKING:
    from models.code import Codebase

AREA = "docs"
_MOST = 20
_SHOWN = 3


class Job(Value):
    """What is to be done for one checkout."""

    checkout: Checkout = Field(description="The checkout.")
    chosen: DocsSettings = Field(description="How its documentation is to be.")
    output: Path = Field(description="The folder of its site.")
    cache: Path | None = Field(default=None, description="What was read before; None: everything is read again.")
    build: bool = Field(default=True, description="Whether its site is generated.")
    check: bool = Field(default=True, description="Whether what people wrote is checked against the code.")
    jobs: int | None = Field(default=None, description="Processes that work on it; None: one a core.")


class Answer(Value):
    """What became of it."""

    site: Site | None = Field(default=None, description="What was generated.")
    findings: tuple[Finding, ...] = Field(default=(), description="What somebody should know.")
    skipped: tuple[Skip, ...] = Field(default=(), description="What could not be looked at.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Figures by name.")


def perform(job: Job, *, done: Callable[[str], None] = lambda _: None) -> Answer:
    """Do what `job` says; `done` is told after each part, in a few words.

    Raises:
        ConfigurationError: the checkout, the folder or a template cannot be used; nothing was written.
        UnavailableError: the site cannot be written.
    """
    with collector_paused():
        return _performed(job, done)


def _performed(job: Job, done: Callable[[str], None]) -> Answer:
    codebase = codebase_of(job)
    done(f"{plural(len(codebase.files), 'module')} read")
    findings: list[Finding] = []
    skipped = list(skips_of(job.checkout, codebase, _consequence(job)))
    metrics: dict[str, float] = {}
    site = None
    if job.build:
        site, built = site_of(job, codebase)
        findings += built_findings(job.checkout, built, job.chosen.coverage)
        skipped += [
            Skip(area=AREA, component=job.checkout.name, reason=f"{place} could not be read: {reason}")
            for place, reason in built.unread
        ]
        metrics |= {"docs_objects_total": float(site.objects), "docs_documented_total": float(site.documented)}
        done(f"{site.written} of {plural(site.pages, 'file')} written")
    if job.check:
        from tasks.docs.truth import check  # noqa: PLC0415 - a build needs none of it

        found, unseen, figures = check(job.checkout, codebase, job.chosen, cache=job.cache)
        findings += found
        skipped += unseen
        metrics |= figures
        done("checked")
    return Answer(site=site, findings=tuple(findings), skipped=tuple(skipped), metrics=metrics)


def codebase_of(job: Job) -> Codebase:
    """What the source of the checkout says.

    Raises:
        ConfigurationError: there is no such folder.
    """
    checkout = job.checkout
    try:
        return read(checkout.path, checkout.packages or None, exclude=checkout.exclude, cache=job.cache, jobs=job.jobs)
    except OSError as error:
        raise ConfigurationError(
            f"{checkout.path} cannot be read: {error.strerror or error}.", component=checkout.name
        ) from error


def site_of(job: Job, codebase: Codebase) -> tuple[Site, Built]:
    """Generate the site.

    Raises:
        ConfigurationError: the folder, a template or an inventory cannot be used; nothing was written.
        UnavailableError: it cannot be written.
    """
    begun = time.perf_counter()
    chosen = job.chosen
    wanted = Wanted(
        title=job.checkout.name,
        forms=tuple(dict.fromkeys(chosen.formats)),
        private=chosen.private,
        templates=chosen.templates,
        inventories=tuple((one.path, one.url) for one in chosen.inventories),
    )
    built = build(codebase, wanted, job.output, jobs=job.jobs, packages=folders_of(codebase))
    return (
        Site(
            checkout=job.checkout.name,
            output=str(built.folder),
            modules=built.modules,
            pages=built.pages,
            written=built.written,
            removed=built.removed,
            objects=built.objects,
            documented=built.documented,
            seconds=round(time.perf_counter() - begun, 3),
        ),
        built,
    )


def folders_of(codebase: Codebase) -> tuple[Path, ...]:
    """The folders of the packages, where no page may be."""
    found = {
        Path(codebase.root) / above / package
        for package in codebase.packages
        for above in ("", "src")
        if (Path(codebase.root) / above / package).is_dir()
    }
    return tuple(sorted(found))


def built_findings(checkout: Checkout, built: Built, gate: float) -> list[Finding]:
    """What a build has to tell: too few docstrings, files of others in its way."""
    findings = []
    name = checkout.name
    if built.objects and built.documented / built.objects < gate:
        worst = sorted(built.missing.items(), key=lambda one: (-len(one[1]), one[0]))
        findings.append(
            Finding(
                key=f"docs.coverage:{name}",
                severity=Severity.medium,
                component=name,
                title=f"{built.documented / built.objects:.1%} of its public objects have a docstring; "
                f"{gate:.0%} are wanted.",
                detail=f"{built.objects - built.documented} of {built.objects} have none, most in "
                f"{', '.join(module for module, _ in worst[:_SHOWN])}.",
                remedy="Write docstrings where the most are missing, or set coverage in [docs] of lama.toml.",
                evidence={
                    "documented": built.documented,
                    "total": built.objects,
                    "missing": [f"{module}: {len(names)}" for module, names in worst[:_MOST]],
                },
            )
        )
    for relative, why in sorted(built.kept.items())[:_MOST]:
        findings.append(
            Finding(
                key=f"docs.file:{name}/{relative}",
                severity=Severity.low,
                component=name,
                title=f"{relative} of the site is somebody's own, and was left as it is.",
                detail=f"It is in {built.folder}. What the page would say now is not in it: it was {why}.",
                remedy="Move it, or change the templates instead of pages.",
            )
        )
    if len(built.kept) > _MOST:
        findings.append(
            Finding(
                key=f"docs.file:{name}/*",
                severity=Severity.low,
                component=name,
                title=f"{len(built.kept) - _MOST} more files of the site are somebody's own.",
                remedy="Choose a folder of its own for the site.",
                evidence={"folder": str(built.folder)},
            )
        )
    return findings


def _consequence(job: Job) -> str:
    if job.build:
        return "has no page and was not judged" if job.check else "has no page"
    return "was not judged"


def skips_of(checkout: Checkout, codebase: Codebase, consequence: str) -> tuple[Skip, ...]:
    """What of the source could not be read: any finding about the checkout may be hidden by it.

    Args:
        checkout: whose source it is.
        codebase: what could be read of it.
        consequence: what became of the rest, as the end of a sentence.
    """
    unread = codebase.unread
    if not unread:
        return ()
    what = "1 file or folder" if len(unread) == 1 else f"{len(unread)} files or folders"
    return (
        Skip(
            area=AREA,
            component=checkout.name,
            reason=f"{what} of its source could not be read ({listed(unread)}). What is in them {consequence}.",
        ),
    )


def described_briefly(site: Site) -> str:
    """A sentence about what was generated."""
    return (
        f"{site.checkout}: {plural(site.modules, 'module')}, {plural(site.pages, 'file')}, "
        f"{site.written} written, {site.removed} removed; "
        f"{site.documented} of {site.objects} public objects have a docstring."
    )

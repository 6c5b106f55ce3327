"""The documentation of all checkouts of a run, as a report."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.errors import LamaError, UnavailableError
from blocks.home import Home
from blocks.settings import CHECKOUT
from models.docs import DocsReport, DocsSettings, Form, Site
from models.health_check import Checkout
from models.report import Finding, Skip
from tasks.commits import commits_of, not_at
from tasks.docs.job import AREA, Answer, Job
from tasks.docs.places import cache_of, output_of
from tasks.engine import run_engine
from tasks.risk.aside import set_aside
from tasks.risk.report import compose_risk, counted, severity_counts
from tasks.target import Target

CAPABILITY = "docs"
_MOST_OUTPUT = 64 * 1024 * 1024


async def document(job: Job, timeout_s: float) -> Answer:
    """Have `job` done by a process of its own.

    Raises:
        UnavailableError: it took too long, or failed; the message says why.
    """
    outcome = await run_engine(
        [sys.executable, "-m", "tasks.docs"],
        cwd=CHECKOUT,
        stdin=job.model_dump_json().encode(),
        timeout_s=timeout_s,
        max_output=_MOST_OUTPUT,
    )
    if outcome.code != 0:
        words = outcome.stderr.strip().splitlines()
        raise UnavailableError(
            words[-1] if words else f"its process ended with {outcome.code}.", component=job.checkout.name
        )
    return Answer.model_validate_json(outcome.stdout)


@dataclass(frozen=True)
class Parts:
    """How the parts are called: as they are, or as steps of a flow."""

    document: Callable[[Job, float], Awaitable[Answer]] = document


PLAIN = Parts()


async def document_all(
    target: Target,
    chosen: DocsSettings,
    *,
    build: bool = True,
    check: bool = True,
    cache: bool = True,
    parts: Parts = PLAIN,
    done: Callable[[str], Awaitable[None]] | None = None,
) -> DocsReport:
    """Generate the sites of the checkouts of `target`, and check what people wrote against the code.

    Args:
        target: which checkouts.
        chosen: how their documentation is to be.
        build: whether sites are generated.
        check: whether documents and docstrings are checked.
        cache: whether what was read of unchanged files before is taken from the cache. The result is the same.
        parts: how the parts are called.
        done: is told after each checkout, in a few words.
    """
    started_at = datetime.now(UTC)
    home = Home(target.settings)
    await asyncio.to_thread(home.prepare)
    findings: list[Finding] = []
    skipped: list[Skip] = []
    sites: list[Site] = []
    metrics: dict[str, float] = {}
    for checkout in target.checkouts:
        job = Job(
            checkout=checkout,
            chosen=chosen,
            output=output_of(home, chosen, checkout, target.configuration.checkouts),
            cache=cache_of(home, checkout) if cache else None,
            build=build,
            check=check,
        )
        try:
            answer = await parts.document(job, chosen.timeout_s)
        except LamaError as error:
            skipped.append(_not_done(checkout, error))
        else:
            findings += answer.findings
            skipped += answer.skipped
            sites += [answer.site] if answer.site is not None else []
            for name, value in answer.metrics.items():
                metrics[name] = metrics.get(name, 0.0) + value
        if done is not None:
            await done(checkout.name)
    commits = await commits_of(target.checkouts)
    skipped += not_at(target.commit, commits, area=AREA, component=target.host)
    kept, aside = set_aside(
        findings,
        target.configuration.suppressions,
        skipped=skipped,
        today=started_at.date(),
        area=AREA if target.whole and check and build else "",
    )
    total = metrics.get("docs_objects_total", 0.0)
    if total:
        metrics["docs_coverage_ratio"] = metrics.get("docs_documented_total", 0.0) / total
    return compose_risk(
        DocsReport,
        capability=CAPABILITY,
        summary=_summary(sites, kept, skipped, len(target.checkouts)),
        scope=_scope(target, chosen.formats, build=build, check=check),
        findings=kept,
        skipped=skipped,
        suppressed=aside,
        metrics=metrics,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
        commits=commits,
        sites=tuple(sites),
    )


def _not_done(checkout: Checkout, error: LamaError) -> Skip:
    return Skip(area=AREA, component=checkout.name, reason=str(error))


def _summary(sites: Sequence[Site], findings: Sequence[Finding], skipped: Sequence[Skip], count: int) -> str:
    where = f"{count} {'checkout' if count == 1 else 'checkouts'}"
    written = sum(site.written for site in sites)
    pages = sum(site.pages for site in sites)
    told = f"{where}: {written} of {pages} files written; {counted(severity_counts(findings))}"
    return f"{told}; {len(skipped)} parts could not be looked at." if skipped else f"{told}."


def _scope(target: Target, forms: Sequence[Form], *, build: bool, check: bool) -> str:
    """What is looked at, in words; runs of equal scope are compared with each other."""
    parts = [*(["check"] if check else []), *(sorted(forms) if build else [])]
    return f"{target.scope}; {', '.join(parts)}"

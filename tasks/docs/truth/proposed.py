"""Sure repairs of documents as a patch, and as a pull request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError, LamaError
from models.docs import DocsReport, DocsSettings, Writer
from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.code.read import read
from tasks.docs.truth.judge import AREA, Material, gather
from tasks.docs.truth.repair import Repair, changes_of
from tasks.proposals.change import Change
from tasks.risk.report import compose_risk
from tasks.target import Target

if TYPE_CHECKING:
    from blocks.settings import Settings

PREFIX = "lama/docs-"
"""What the names of its branches begin with."""
_MOST = 100
_BOM = b"\xef\xbb\xbf"


def patch_of(checkout: Checkout, chosen: DocsSettings) -> tuple[tuple[Change, ...], tuple[Repair, ...]]:
    """The repairs of the documents of `checkout` that are sure.

    Raises:
        OSError: it cannot be read.
    """
    return changes_of(_material(checkout, chosen))


def _material(checkout: Checkout, chosen: DocsSettings) -> Material:
    codebase = read(checkout.path, checkout.packages or None, exclude=checkout.exclude)
    return gather(checkout, codebase, chosen)


async def with_prose(
    config: Settings, checkout: Checkout, chosen: DocsSettings, changes: Sequence[Change]
) -> tuple[tuple[Change, ...], list[Skip]]:
    """`changes`, and on top of them the regions of the documents that a model writes.

    Raises:
        ConfigurationError: nobody is named who writes, or cannot be asked.
    """
    from blocks.home import Home  # noqa: PLC0415
    from tasks.docs.prose.write import cache_at, merged, model_of, write_regions  # noqa: PLC0415

    model = await model_of(chosen, config)
    material = await asyncio.to_thread(_material, checkout, chosen)
    texts = dict(material.documents.texts)
    texts |= {change.file: change.new.decode("utf-8-sig") for change in changes}
    written = await write_regions(texts, material.resolver, model, cache_at(Home(config).cache), checkout=checkout.name)
    marked = [one for one in written.changes if checkout.path.joinpath(one.file).read_bytes().startswith(_BOM)]
    written.changes = [
        Change(one.file, _BOM + one.old, _BOM + one.new) if one in marked else one for one in written.changes
    ]
    return merged(changes, written.changes), written.skips


async def propose(target: Target, report: DocsReport) -> DocsReport:
    """`report` with the patch of all sure repairs, and with what became of their pull requests."""
    findings, skipped, diffs = list(report.findings), list(report.skipped), []
    chosen = target.configuration.docs
    for checkout in target.checkouts:
        try:
            changes, repairs = await asyncio.to_thread(patch_of, checkout, chosen)
            if chosen.prose is not Writer.nobody:
                changes, unwritten = await with_prose(target.settings, checkout, chosen, changes)
                skipped += unwritten
            if not changes:
                continue
            diffs.append("".join(change.diff for change in changes))
            findings.append(await proposed(target, checkout, changes, repairs))
        except (LamaError, OSError) as error:
            reason = f"The repairs of its documents were not proposed: {error}"
            hides = (f"docs.done:{checkout.name}",)
            skipped.append(Skip(area=AREA, component=checkout.name, reason=reason, hides=hides))
    return compose_risk(
        DocsReport,
        capability=report.capability,
        summary=report.summary,
        scope=report.scope,
        findings=findings,
        skipped=skipped,
        suppressed=report.suppressed,
        metrics=report.metrics,
        started_at=report.started_at,
        finished_at=datetime.now(UTC),
        run_id=report.run_id,
        commits=report.commits,
        sites=report.sites,
        patch="".join(diffs),
    )


async def proposed(target: Target, checkout: Checkout, changes: Sequence[Change], repairs: Sequence[Repair]) -> Finding:
    """Make a pull request of `changes`, and say where it is.

    Raises:
        ConfigurationError: there is no token, or no repository that it may be made in.
        LamaError: it was not made, and why.
    """
    from blocks.github import GitHub  # noqa: PLC0415 - only who proposes needs it
    from tasks.proposals.origin import repository_of  # noqa: PLC0415
    from tasks.proposals.pull_request import propose as propose_changes  # noqa: PLC0415

    token = target.settings.github_token
    if token is None:
        raise ConfigurationError(
            "there is no token to make a pull request with.", component="github", remedy="Set LAMA_GITHUB_TOKEN."
        )
    github = GitHub(url=target.configuration.audit.github_url, token=token)
    title, body = describe(repairs, changes)
    repository = await repository_of(checkout.path)
    made = await propose_changes(github, repository, changes, title=title, body=body, prefix=PREFIX)
    files = [change.file for change in changes]
    return Finding(
        key=f"docs.done:{checkout.name}",
        severity=Severity.low,
        component=checkout.name,
        title=f"Repairs of {len(files)} {'document' if len(files) == 1 else 'documents'} were proposed "
        f"({made.state.value}): {made.url}",
        remedy="Review and merge it.",
        evidence={"places": list(files[:_MOST])},
    )


def describe(repairs: Sequence[Repair], changes: Sequence[Change]) -> tuple[str, str]:
    """Title and Markdown body of a pull request."""
    from tasks.proposals.pull_request import in_code  # noqa: PLC0415

    if not repairs:
        files = "".join(f"- {in_code(change.file)}\n" for change in changes[:_MOST])
        return "Describe the source anew", f"Regions that a machine writes tell of the source as it is:\n\n{files}"
    count = f"{len(repairs)} {'reference' if len(repairs) == 1 else 'references'}"
    lines = [f"{count} of the documents led to what has moved. Each has one place where it can be now:", ""]
    lines += [
        f"- {in_code(f'{one.file}:{one.line}')}: {in_code(one.old)} is {in_code(one.new)}" for one in repairs[:_MOST]
    ]
    if len(repairs) > _MOST:
        lines.append(f"- and {len(repairs) - _MOST} more")
    return f"Correct {count} of the documents", "\n".join(lines) + "\n"

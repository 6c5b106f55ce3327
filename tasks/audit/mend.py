"""What an audit does about what it found: a patch of requirement files, tried, and applied or proposed if asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from blocks.errors import ConfigurationError, LamaError
from models.audit import Remedy
from models.report import Finding, Severity, Skip
from tasks.advisories.package import NPM, PYPI
from tasks.audit.component import Inventory
from tasks.audit.patch import Patch, manifests, plan, read_manifests
from tasks.audit.remedies import Upgrade
from tasks.audit.resolve import Fit, Resolution, resolve, trials_of
from tasks.audit.unseen import few
from tasks.proposals.change import apply
from tasks.risk.report import Advice
from tasks.target import Target

_AREA = "remedy"
_DONE = "dependencies.patch:"


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done, and what was not."""

    diff: str = ""
    """All patches as one unified diff; paths are relative to their checkouts."""
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skip, ...] = ()
    done: tuple[Advice, ...] = ()
    """What was done: told before everything that is still to do."""
    advice: tuple[Advice, ...] = ()
    """What people still have to do: commands that refresh lock files, places that could not be changed."""


async def mend(target: Target, inventories: Sequence[Inventory], steps: Sequence[Upgrade], *, remedy: Remedy) -> Mended:
    """Patch what `steps` say, checkout by checkout; `apply` writes, `propose` makes pull requests.

    A patch that pip's resolver refuses is shown and neither applied nor proposed; one that could not be tried is, and
    says so.
    """
    parts = [
        await _mend(target, taken, [step for step in steps if step.target == taken.target], remedy)
        for taken in inventories
    ]
    return Mended(
        diff="".join(part.diff for part in parts),
        findings=tuple(finding for part in parts for finding in part.findings),
        skipped=tuple(skip for part in parts for skip in part.skipped),
        done=tuple(one for part in parts for one in part.done),
        advice=tuple(one for part in parts for one in part.advice),
    )


async def _mend(target: Target, taken: Inventory, steps: Sequence[Upgrade], remedy: Remedy) -> Mended:
    contents = await asyncio.to_thread(read_manifests, taken.root, manifests(taken, steps))
    patch = plan(steps, taken, contents)
    advice = [Advice(f"{taken.target}: run `{command}`.") for command in patch.commands]
    advice += [
        Advice(f"{taken.target}: change {one.package.name} in {one.file} by hand: {one.reason}")
        for one in patch.untouched
    ]
    if not patch.changes:
        return Mended(advice=tuple(advice))
    findings: list[Finding] = []
    skipped: list[Skip] = []
    conflicts = False
    tried = await _tried(target, taken, steps)
    skipped += _untried(taken, steps, tried)
    for resolution in tried:
        if resolution.fit is Fit.conflicts:
            conflicts = True
            findings.append(_conflict(taken, resolution))
        elif resolution.fit is Fit.not_checked:
            skipped.append(_skip(taken, f"Whether the upgrades fit together was not tried: {resolution.reason}"))
    try:
        if conflicts or remedy is Remedy.patch:
            pass
        elif remedy is Remedy.apply:
            await asyncio.to_thread(apply, taken.root, patch.changes)
            findings.append(_done(taken, patch, "applied", "Look at the change, refresh the locks, and test."))
        elif remedy is Remedy.propose:
            findings.append(await _proposed(target, taken, steps, patch))
    except LamaError as error:
        skipped.append(_skip(taken, f"The patch was not brought in: {error}"))
    told = tuple(
        Advice(f"{taken.target}: done: {finding.title} {finding.remedy}")
        for finding in findings
        if finding.key.startswith(_DONE)
    )
    return Mended(patch.diff, tuple(findings), tuple(skipped), told, tuple(advice))


def _untried(taken: Inventory, steps: Sequence[Upgrade], tried: Sequence[Resolution]) -> list[Skip]:
    """What the resolver was not asked about: npm's upgrades, those without a trial, requirements that no index has."""
    skips = []
    npm = sorted({step.package.name for step in steps if step.to is not None and step.package.ecosystem == NPM})
    if npm:
        reason = f"Whether the upgrades of npm fit together was not tried: {few(npm)}. `npm install` says so."
        skips.append(_skip(taken, reason))
    pypi = sorted({step.package.name for step in steps if step.to is not None and step.package.ecosystem == PYPI})
    if pypi and not tried:
        skips.append(_skip(taken, f"Whether the upgrades fit was not tried: nothing declared asks for {few(pypi)}."))
    left_out = sorted({name for resolution in tried for name in resolution.left_out})
    if left_out:
        reason = f"Whether the upgrades fit was tried without {few(left_out)}, which no index has: look at them."
        skips.append(_skip(taken, reason))
    return skips


async def _tried(target: Target, taken: Inventory, steps: Sequence[Upgrade]) -> list[Resolution]:
    trials = trials_of(taken, steps)
    chosen = target.configuration.audit
    if not trials:
        return []
    from blocks.registry_address import IndexAddress  # noqa: PLC0415 - blocks bring Prefect, which not every audit needs

    try:
        index = IndexAddress.of(chosen.index_url, config=target.settings, timeout_s=chosen.timeout_s)
    except ConfigurationError as error:
        return [Resolution(Fit.not_checked, error.what)]
    python = taken.python.get("python_version")
    return [await resolve(trial, index, timeout_s=chosen.resolve_timeout_s, python=python) for trial in trials]


async def _proposed(target: Target, taken: Inventory, steps: Sequence[Upgrade], patch: Patch) -> Finding:
    from blocks.github import GitHub  # noqa: PLC0415 - only who proposes needs it
    from tasks.audit.describe import PREFIX, describe  # noqa: PLC0415
    from tasks.proposals.origin import repository_of  # noqa: PLC0415
    from tasks.proposals.pull_request import propose  # noqa: PLC0415

    token = target.settings.github_token
    if token is None:
        raise ConfigurationError(
            "there is no token to make a pull request with.", component="github", remedy="Set LAMA_GITHUB_TOKEN."
        )
    github = GitHub(url=target.configuration.audit.github_url, token=token)
    title, body = describe(steps, patch)
    repository = await repository_of(taken.root)
    proposal = await propose(github, repository, patch.changes, title=title, body=body, prefix=PREFIX)
    return _done(taken, patch, f"proposed ({proposal.state.value}): {proposal.url}", "Review and merge it.")


def _done(taken: Inventory, patch: Patch, what: str, remedy: str) -> Finding:
    files = [change.file for change in patch.changes]
    return Finding(
        key=f"{_DONE}{taken.target}",
        severity=Severity.low,  # shown in every report but the shortest: something was changed
        component=taken.target,
        title=f"A patch of {len(files)} {'file' if len(files) == 1 else 'files'} was {what}.",
        detail=f"Changed: {', '.join(files[:20])}.",
        remedy=remedy,
        evidence={"places": list(files[:100])},
    )


def _conflict(taken: Inventory, resolution: Resolution) -> Finding:
    return Finding(
        key=f"dependencies.conflict:{taken.target}",
        severity=Severity.medium,
        component=taken.target,
        title="The upgrades do not fit together.",
        detail=resolution.reason,
        remedy="Change the requirement that stands in the way, and audit again; the patch is in the report.",
    )


def _skip(taken: Inventory, reason: str) -> Skip:
    return Skip(area=_AREA, component=taken.target, reason=reason, hides=(f"dependencies.conflict:{taken.target}",))

"""Lead qualification: who of the contacts is worth a call now, and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import settings
from models.handoff_route import Route
from models.qualify import SOURCE, Comparison, LeadGrade, QualifyReport, QualifySettings, Weights
from models.report import Finding, Severity, Skip, compose
from tasks.handoffs.route_set import load_routes
from tasks.qualify import steps
from tasks.qualify.learn import TooFewLabelsError
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress

CAPABILITY = "qualify"
_MOST = 200
"""Leads that the report has, and findings about them."""


@flow(name="qualify", persist_result=False)
async def qualify(
    contacts: list[int] | None = None,
    messages: list[str] | None = None,
    learn: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    as_of: datetime | None = None,
    seed: int = 0,
    wait_s: float = 20.0,
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> QualifyReport:
    """Grades leads by fit and engagement, says why, and writes the grades to the contacts.

    Args:
        contacts: Ids of contacts. Otherwise all of them, unless messages are named.
        messages: Ids of messages, as their senders gave them: whoever wrote them is graded. A route of the handoffs
            whose target is this flow names them.
        learn: Whether weights are learned first from the leads whose outcome is known. They are used when they are
            better than the rules beyond noise.
        as_of: The time that engagement is decayed to, with its zone, and not in the future; messages after it do
            not count. Otherwise now.
        seed: Decides the folds and draws of learning; the same seed gives the same weights.
        wait_s: Seconds to wait for messages that no contact has yet.
        dry_run: Only say what the grades would be; nothing is written.

    Returns:
        The report: the best leads with reasons, how many have each grade, and how learned weights compare. It is
        `incomplete` when a message has no contact, or weights were asked for and there are too few outcomes.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was done.
    """
    started_at = datetime.now(UTC)
    config = settings()
    rules = load_configuration(config).qualify
    at = _time(as_of, started_at)
    if not 0 <= wait_s <= 600:
        raise ConfigurationError("wait_s is between 0 and 600 seconds.", component=CAPABILITY)
    database, run_id = Postgres.of(config), str(flow_run.id or uuid4())
    progress = await Progress.start("qualify-progress", total=3, what="Qualification")
    skipped: list[Skip] = []
    only = contacts
    if messages is not None:
        found, missing = await steps.find(database, messages, wait_s=wait_s)
        only = sorted({*(contacts or ()), *found})
        skipped += [_nobody(message) for message in missing]
    await progress.advance("leads found")
    comparison = None
    if learn:
        comparison, too_few = await _learn(database, rules, seed=seed, run_id=run_id, dry_run=dry_run)
        skipped += too_few
    weights = await steps.weights_in_use(database)
    findings = _of_other_rules(weights, rules)
    weights = None if findings else weights
    await progress.advance("weights read")
    routes = () if dry_run else (await asyncio.to_thread(load_routes, config)).settings.of_source(SOURCE)
    grades, changed, later = await _grade(database, rules, weights, at, only=only, routes=routes, dry_run=dry_run)
    skipped += _not_there(contacts, grades)
    findings += _of_later(later)
    await progress.advance("leads graded")
    best = sorted(grades, key=lambda one: (one.grade, -(one.probability or 0), -one.engagement, one.contact))
    report = compose(
        QualifyReport,
        capability=CAPABILITY,
        summary=_summary(grades, changed, dry_run=dry_run),
        scope=f"{config.node}; contacts: {'all' if only is None else ', '.join(map(str, only[:50])) or 'none'}"
        + ("; dry run" if dry_run else ""),
        findings=[*findings, *(_notable(one) for one in best[:_MOST] if one.grade in rules.notable)],
        skipped=skipped,
        metrics={"graded_total": len(grades), "changed_total": changed},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=run_id,
        leads=tuple(best[:_MOST]),
        grades=dict(sorted(Counter(one.grade for one in grades).items())),
        comparison=comparison,
        as_of=at,
    )
    report = await conclude(report, database=database, key="qualify")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


async def _grade(
    database: Postgres,
    rules: QualifySettings,
    weights: Weights | None,
    at: datetime,
    *,
    only: Sequence[int] | None,
    routes: Sequence[Route],
    dry_run: bool,
) -> tuple[list[LeadGrade], int, list[int]]:
    """The grades of everybody who is asked about, how many changed, and who has one of a later time."""
    grades: list[LeadGrade] = []
    later: list[int] = []
    changed = 0
    while batch := await steps.read(database, after=grades[-1].contact if grades else 0, only=only):
        graded = steps.graded(batch, rules, weights, at)
        if dry_run:
            changed += sum(one.grade != one.before for one in graded)
        else:
            other, stay = await steps.write(database, graded, rules=rules.digest, as_of=at, routes=routes)
            changed += len(other)
            later += stay
        grades += graded
    return grades, changed, later


async def _learn(
    database: Postgres, rules: QualifySettings, *, seed: int, run_id: str, dry_run: bool
) -> tuple[Comparison | None, list[Skip]]:
    leads = await steps.labelled(database, rules)
    learned = await steps.learn_from(leads, rules, seed=seed)
    if isinstance(learned, TooFewLabelsError):
        told = str(learned)
        reason = f"{told[:1].upper()}{told[1:]}. Say what became of leads with `lama qualify outcome`."
        return None, [Skip(area=CAPABILITY, component="weights", reason=reason, hides=("qualify.weights",))]
    if not dry_run:
        await steps.keep(database, learned, run_id=run_id, at=datetime.now(UTC))
    return learned.comparison, []


def _time(as_of: datetime | None, now: datetime) -> datetime:
    if as_of is None:
        return now
    if as_of.tzinfo is None:
        raise ConfigurationError("as_of needs a zone, such as 2026-12-01T09:00:00Z.", component=CAPABILITY)
    if as_of > now:
        raise ConfigurationError(
            "as_of lies in the future: until then, no other grade could be written.", component=CAPABILITY
        )
    return as_of


def _nobody(message: str) -> Skip:
    reason = "No contact has it: the route to the contacts has not handed it on, or refused it."
    return Skip(area=CAPABILITY, component=f"message {message[:80]}", reason=reason)


def _not_there(asked: Sequence[int] | None, grades: Sequence[LeadGrade]) -> list[Skip]:
    missing = sorted({*(asked or ())} - {one.contact for one in grades})
    return [Skip(area=CAPABILITY, component=f"contact {one}", reason="There is no such contact.") for one in missing]


def _of_other_rules(weights: Weights | None, rules: QualifySettings) -> list[Finding]:
    if weights is None or weights.rules == rules.digest:
        return []
    return [
        Finding(
            key="qualify.weights:outdated",
            severity=Severity.low,
            component="weights",
            title="The learned weights are for other rules, so leads have no probability.",
            remedy="Learn them again: lama qualify run --learn.",
        )
    ]


def _of_later(contacts: Sequence[int]) -> list[Finding]:
    if not contacts:
        return []
    shown = ", ".join(map(str, contacts[:50])) + (f" and {len(contacts) - 50} more" if len(contacts) > 50 else "")
    leads = "1 lead has" if len(contacts) == 1 else f"{len(contacts)} leads have"
    return [
        Finding(
            key="qualify.later",
            severity=Severity.info,
            component="grades",
            title=f"{leads} a grade of a later time, which was not overwritten.",
            detail=f"Contacts: {shown}.",
            remedy="Run it without as_of.",
        )
    ]


def _notable(one: LeadGrade) -> Finding:
    because = "; ".join(f"{reason.rule} {reason.points:+g} ({reason.because})" for reason in one.reasons[:6])
    return Finding(
        key=f"qualify.lead:{one.contact}",
        severity=Severity.info,
        component=f"contact {one.contact}",
        title=f"Contact {one.contact} is {one.grade}: fit {one.fit:.0f}, engagement {one.engagement:.0f}.",
        detail=because,
        remedy="Somebody should answer.",
    )


def _summary(grades: Sequence[LeadGrade], changed: int, *, dry_run: bool) -> str:
    leads = "1 lead" if len(grades) == 1 else f"{len(grades)} leads"
    best = Counter(one.grade for one in grades)
    told = ", ".join(f"{count} {grade}" for grade, count in sorted(best.items())[:4])
    would = "would change" if dry_run else "changed"
    return f"{leads} graded{f': {told}' if told else ''}; {changed} grades {would}."

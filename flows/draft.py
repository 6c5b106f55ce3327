"""Client communication: drafts whose every figure comes from the record, sent only when somebody has approved them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.configuration import load_configuration
from blocks.postgres import Postgres
from blocks.settings import Settings, settings
from models.draft import SOURCE, Draft, DraftReport, DraftSettings
from models.report import Finding, Severity, compose
from tasks.choose import choose
from tasks.draft import steps
from tasks.handoffs.route_set import load_routes
from tasks.reports.conclude import conclude

CAPABILITY = "draft"


class Approval(RunInput):
    """What somebody says about a draft that they have read."""

    approve: bool = Field(default=False, description="Whether it may be sent.")
    by: str = Field(default="", description="Who says so.")
    digest: str = Field(default="", description="The digest that `lama draft show` printed with it.")


@flow(name="draft", persist_result=False)
async def draft(
    contact: int,
    template: str,
    valuation: str | None = None,
    market: str | None = None,
    suspend: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
) -> DraftReport:
    """Drafts a message to a client from the record, checks every figure, date and name, and waits for approval.

    Args:
        contact: Id of the contact that it is for.
        template: Name of a template of `[[draft.templates]]`.
        valuation: Id of the run of `value` whose report is told of.
        market: Id of the run of `market` whose report is told of.
        suspend: Whether this run is suspended until somebody has decided in the Prefect UI. Otherwise it ends, and the
            draft waits for `lama draft approve`.

    Returns:
        The report: where the draft is, and what is wrong with it. Its text is not in it.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used, or the template needs what the record does not
            have; nothing was kept.
    """
    started_at = datetime.now(UTC)
    config = settings()
    rules = load_configuration(config).draft
    chosen = choose(rules.templates, [template], one="template", many="templates", component=CAPABILITY)[0]
    database, run_id = Postgres.of(config), str(flow_run.id or uuid4())
    made = await steps.known(database, run_id)
    if made is None:
        model = await steps.model_of(chosen, rules)
        facts = await steps.read_record(database, contact, valuation, market)
        made = await steps.write(database, chosen, rules, facts, contact=contact, run_id=run_id, model=model)
    if suspend and made.state == "waiting":
        made = await _approved(made, rules, database, config)
    report = compose(
        DraftReport,
        capability=CAPABILITY,
        summary=_summary(made),
        scope=f"{config.node}; contact: {contact}; {template}",
        findings=_findings(made),
        metrics={"problems_total": len(made.problems)},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=run_id,
        contact=contact,
        draft=made.id,
        state=made.state,
        problems=len(made.problems),
    )
    report = await conclude(report, database=database, key="draft")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


async def _approved(made: Draft, rules: DraftSettings, database: Postgres, config: Settings) -> Draft:
    """The draft when somebody has decided: the run gives its place away until then, and begins anew when it goes on."""
    asked = Approval.with_initial_data(
        description=f"Read draft {made.id} with `lama draft show {made.id}`, which also prints its digest.",
        approve=False,
    )
    said = await asuspend_flow_run(
        wait_for_input=asked, timeout=int(rules.approval_days * 86_400), key=f"draft-{made.id}"
    )
    if said is None:
        return made
    routes = (await asyncio.to_thread(load_routes, config)).settings.of_source(SOURCE)
    return await steps.decide(database, made.id, approve=said.approve, by=said.by, digest=said.digest, routes=routes)


def _findings(made: Draft) -> list[Finding]:
    if made.state == "refused":
        reasons = sorted({problem.why for problem in made.problems})
        return [
            Finding(
                key=f"draft.refused:{made.id}",
                severity=Severity.medium,
                component=f"draft {made.id}",
                title=f"Draft {made.id} says {len(made.problems)} things that the record does not.",
                detail="; ".join(reasons),
                remedy=f"Look at them with `lama draft show {made.id}`, and correct the template or the record.",
            )
        ]
    if made.state == "waiting":
        return [
            Finding(
                key=f"draft.waiting:{made.id}",
                severity=Severity.info,
                component=f"draft {made.id}",
                title=f"Draft {made.id} waits for approval.",
                remedy=f"lama draft show {made.id}, then lama draft approve {made.id}.",
            )
        ]
    return []


def _summary(made: Draft) -> str:
    told = {
        "refused": f"it was refused: it says {len(made.problems)} things that the record does not",
        "waiting": "every figure, date and name is the record's; it waits for approval",
        "approved": "it was approved and handed on",
        "rejected": "it was rejected",
    }
    return f"Draft {made.id} by the template {made.template} for contact {made.contact}: {told[made.state]}."

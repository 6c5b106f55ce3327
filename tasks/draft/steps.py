"""The parts of drafting as steps of a flow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import cast

from blocks.errors import ConfigurationError
from blocks.model import LanguageModel
from blocks.postgres import Postgres
from models.draft import Draft, DraftSettings, DraftTemplate, Fact, Problem
from models.handoff_route import Route
from models.market import MarketReport
from models.valuation import ValuationReport
from tasks.draft import kept
from tasks.draft.check import check
from tasks.draft.record import of_contact, of_market, of_valuation
from tasks.draft.writing import INSTRUCTION, LONGEST, Prose, question, render, shown, words_of
from tasks.reports import store
from tasks.step import step


@step("read the record")
async def read_record(database: Postgres, contact: int, valuation: str | None, market: str | None) -> list[Fact]:
    """What is known: of the contact, and of the reports of the runs that are named.

    Raises:
        ConfigurationError: there is no such contact or report.
    """
    async with await database.get_async_client(autocommit=True) as connection:
        facts = of_contact(await kept.contact(connection, contact))
    if valuation is not None:
        facts += of_valuation(await asyncio.to_thread(_report, database, valuation, "value", ValuationReport))
    if market is not None:
        facts += of_market(await asyncio.to_thread(_report, database, market, "market", MarketReport))
    return facts


def _report(database: Postgres, run_id: str, capability: str, cls: type[store.R]) -> store.R:
    record = store.find(database, run_id)
    found = store.load(database, record.run_id, cls) if record is not None and record.capability == capability else None
    if found is None:
        raise ConfigurationError(
            f"there is no report of {capability!r} of the run {run_id[:100]!r}.",
            component="draft",
            remedy="`lama reports` lists them.",
        )
    return found


@step("find the draft of this run")
async def known(database: Postgres, run_id: str) -> Draft | None:
    """The draft that this run made before it was suspended or killed."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await kept.of_run(connection, run_id)


@step("write the draft", retries=1)
async def write(
    database: Postgres,
    template: DraftTemplate,
    settings: DraftSettings,
    facts: Sequence[Fact],
    *,
    contact: int,
    run_id: str,
    model: LanguageModel | None,
) -> Draft:
    """A draft that was checked, and kept with what is wrong with it."""
    subject, text, written = render(template, facts)
    problems: list[Problem] = []
    if template.prose and model is not None:
        asked = text
        written += [shown(fact, template) for fact in facts]
        for _ in range(settings.attempts):
            answer = await model.answer(question(template, asked, facts, problems), Prose, instruction=INSTRUCTION)
            text = answer.text.strip()[: LONGEST[template.channel]]
            problems = _checked(template, settings, facts, subject, text, written)
            if not problems:
                break
    else:
        problems = _checked(template, settings, facts, subject, text, written)
    written_by = model.model if template.prose and model is not None else "template"
    async with await database.get_async_client(autocommit=True) as connection:
        return await kept.keep(
            connection, template, run_id=run_id, contact=contact, subject=subject, text=text, facts=facts,
            problems=problems, written_by=written_by,
        )  # fmt: skip


def _checked(
    template: DraftTemplate,
    settings: DraftSettings,
    facts: Sequence[Fact],
    subject: str,
    text: str,
    written: Sequence[str],
) -> list[Problem]:
    """What is wrong with subject and text; places count from the beginning of the subject, a line above the text."""
    told = f"{subject}\n\n{text}" if subject else text
    return check(
        told,
        facts,
        language=template.language,
        rounding=settings.rounding,
        allowed=settings.allowed,
        words=words_of(template),
        written=written,
    )


@step("decide")
async def decide(
    database: Postgres, draft: int, *, approve: bool, by: str, digest: str, routes: Sequence[Route]
) -> Draft:
    """What somebody has said about it; approved, it is handed on, once."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await kept.decide(connection, draft, approve=approve, by=by, digest=digest, routes=routes)


async def model_of(template: DraftTemplate, settings: DraftSettings) -> LanguageModel | None:
    """Who writes prose; None: the template itself is the draft.

    Raises:
        ConfigurationError: there is no such block.
    """
    if not template.prose:
        return None
    if settings.model is None:
        raise ConfigurationError(f"the template {template.name!r} is prose: name draft.model.", component="draft")
    try:
        return await cast("Awaitable[LanguageModel]", LanguageModel.aload(settings.model))
    except ValueError as error:
        raise ConfigurationError(
            f"draft.model names the block {settings.model!r} of the type Lama Model, which is not there.",
            component="draft",
            remedy="Make it in the Prefect UI, under Blocks.",
        ) from error

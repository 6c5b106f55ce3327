"""Generate: one answer of the language model that fits best, with what it took and why it was that one."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.errors import ConfigurationError
from blocks.model_host import ModelHost
from blocks.postgres import Postgres
from blocks.settings import settings
from models.conversation import CONVERSATION
from models.generation import GenerationReport
from models.health_check import ReportLevel
from models.model_host import Choice, Priority, Requirements
from models.report import compose
from tasks.model_host import asking, conversations
from tasks.reports.diff import diff
from tasks.reports.publish import Progress, publish
from tasks.step import step

CAPABILITY = "generate"

_LETTERS_A_TOKEN = 8
"""More than a token has of nearly any text: a model is not left out for a prompt that it could read."""

# Prefect's API checks parameters by their schema, and its database takes neither NUL nor halves of surrogate pairs.
_STORABLE: Mapping[str, str] = {"pattern": r"^[^\u0000\ud800-\udfff]*$"}
_Words = Annotated[str, Field(max_length=100_000, json_schema_extra=dict(_STORABLE))]
_Name = Annotated[str, Field(max_length=128, json_schema_extra=dict(_STORABLE))]


@flow(name="generate", persist_result=True)
async def generate(  # noqa: PLR0917 - a flow's parameters are given by name
    prompt: Annotated[str, Field(min_length=1, max_length=500_000, json_schema_extra=dict(_STORABLE))],
    use_case: Annotated[str, Field(max_length=100, json_schema_extra=dict(_STORABLE))] = "",
    model: _Name | None = None,
    system: _Words | None = None,
    conversation_id: _Name | None = None,
    max_tokens: Annotated[int, Field(ge=1)] = 512,
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7,
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0,
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None,
    priority: Literal["high", "normal", "low"] = "normal",
    prefer: Literal["balanced", "speed", "quality", "memory"] = "balanced",
    least_quality: Annotated[float, Field(ge=0, le=1)] = 0.0,
    cache: bool = True,  # noqa: FBT001, FBT002
) -> GenerationReport:
    """Asks a language model of the model host.

    Prefect keeps the parameters of a run and the report's page, and shows them: no secret belongs into a prompt.

    Args:
        prompt: What is asked.
        use_case: What it is for, such as `chat` or `real_estate`; the catalogue says who is good for what.
        model: A model of the catalogue. Otherwise the one that fits best.
        system: What the model is told first.
        conversation_id: Goes on with this conversation: the model is shown what was said before, and both question
            and answer are kept.
        max_tokens: Longest answer, in tokens.
        temperature: 0 for the most likely answer, always the same; up to 2.
        top_p: Only the most likely words that together have this probability.
        seed: The same seed gives the same answer.
        priority: Whose turn it is when there is not enough memory for all: high, normal or low.
        prefer: What counts most in the choice of the model.
        least_quality: Models that the catalogue gives less are not chosen, 0 to 1.
        cache: Whether an answer to the very same question may be given again.

    Returns:
        The report: the answer, the model and the reasons for it, tokens, seconds.

    Raises:
        ConfigurationError: a parameter cannot be used; nothing was done.
        LamaError: it cannot be answered: no model fits, the prompt is too long, there is no room; the message says why.
        UnavailableError: the model host does not answer.
    """
    started_at = datetime.now(UTC)
    if conversation_id is not None and not re.fullmatch(CONVERSATION, conversation_id):
        raise ConfigurationError(
            "it begins with a letter or digit, and has up to 128 letters, digits and ._:@/-",
            component="conversation_id",
        )
    run_id = str(flow_run.id or uuid4())
    config = settings()
    host, database = ModelHost.of(config), Postgres.of(config)
    progress = await Progress.start("generate-progress", total=2, what="Generate")
    choice = Choice(model=model, score=1.0, reasons=("it was asked for",)) if model else None
    if choice is None:
        wanted = Requirements(
            use_case=use_case, priority=Priority[priority], prefer=prefer, least_quality=least_quality,
            context_tokens=max_tokens + (len(prompt) + len(system or "")) // _LETTERS_A_TOKEN,
        )  # fmt: skip
        choice = await _choose(host, wanted)
    await progress.advance(f"{choice.model} is asked")
    history = await _recall(database, conversation_id, run_id) if conversation_id else []
    asked_at = time.monotonic()
    sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p} | (
        {} if seed is None else {"seed": seed}
    )
    said = await _ask(host, choice.model, history, prompt, system, priority, cache, sampling)
    took_s = time.monotonic() - asked_at
    await progress.advance("answered")
    if conversation_id:
        await _keep(database, conversation_id, run_id, prompt, said)
    fallback = f" instead of {', '.join(said.fallback)}" if said.fallback else ""
    report = compose(
        GenerationReport,
        capability=CAPABILITY,
        summary=f"{said.model}{fallback} answered with {said.tokens} tokens in {took_s:.1f} s.",
        scope=said.model,
        findings=[],
        skipped=[],
        metrics={
            "answer_seconds": took_s,
            "prompt_tokens_total": said.prompt_tokens,
            "answer_tokens_total": said.tokens,
        },
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=run_id,
        text=said.text,
        model=said.model,
        reasons=(*choice.reasons, *said.reasons),
        fallback=said.fallback,
        cache=said.cache,
        prompt_tokens=said.prompt_tokens,
        tokens=said.tokens,
        finish=said.finish,
        conversation_id=conversation_id,
        turns=said.turns,
    )
    await publish(report, diff(None, report), key="generate", level=ReportLevel.standard)
    get_run_logger(component=CAPABILITY).info("%s", report.summary)
    return report


@step("choose a model")
async def _choose(host: ModelHost, wanted: Requirements) -> Choice:
    async with host.get_client() as client:
        return await asking.choose(client, wanted)


@step("recall the conversation")
async def _recall(database: Postgres, conversation: str, run_id: str) -> list[dict[str, str]]:
    async with await database.get_async_client(autocommit=True) as connection:
        return await conversations.turns(connection, conversation, run_id=run_id)


@step("ask the model")
async def _ask(
    host: ModelHost,
    model: str,
    history: list[dict[str, str]],
    prompt: str,
    system: str | None,
    priority: str,
    cache: bool,  # noqa: FBT001 - a step's parameters
    sampling: dict[str, float],
) -> asking.Said:
    async with host.get_client() as client:
        return await asking.chat(
            client, model, history, prompt, system=system, priority=priority, cache=cache, **sampling
        )


@step("keep the conversation")
async def _keep(database: Postgres, conversation: str, run_id: str, question: str, said: asking.Said) -> None:
    async with await database.get_async_client(autocommit=True) as connection:
        await conversations.add(
            connection, conversation, run_id=run_id, question=question, answer=said.text, model=said.model,
            now=datetime.now(UTC),
        )  # fmt: skip

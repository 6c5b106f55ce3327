"""The documentation module: docstrings, documents that name what is gone, settings and parameters nobody described."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from blocks.errors import LamaError, UnavailableError
from blocks.home import Home
from blocks.settings import CHECKOUT
from models.health_check import Checkout
from models.report import Finding, Report, Skip, compose
from tasks.engine import run_engine
from tasks.health_check.documentation.findings import findings_of, hidden_by, metrics_of, skips_of
from tasks.health_check.documentation.surveyed import Request, Survey
from tasks.step import step
from tasks.target import Target

_SURVEY_TIMEOUT_S = 120.0
_MOST_OUTPUT = 64 * 1024 * 1024


async def look(target: Target) -> Report:
    """What is undocumented, or documented wrongly, in the checkouts of `target`."""
    started_at = datetime.now(UTC)
    limits = target.configuration.documentation
    cache = Home(target.settings).cache / "code.sqlite"
    results = await asyncio.gather(*(_survey_or_skip(checkout, limits.paths, cache) for checkout in target.checkouts))
    findings: list[Finding] = []
    skipped: list[Skip] = []
    surveys: list[Survey] = []
    for checkout, result in zip(target.checkouts, results, strict=True):
        if isinstance(result, Skip):
            skipped.append(result)
            continue
        surveys.append(result)
        findings += findings_of(checkout, result, limits)
        skipped += skips_of(checkout, result, checkout.packages)
    objects = sum(module.total for survey in surveys for module in survey.code.coverage)
    return compose(
        Report,
        capability="health_check.documentation",
        summary=f"{objects} public objects and {sum(s.documents_total for s in surveys)} documents in "
        f"{len(surveys)} of {len(target.checkouts)} checkouts were read; {len(findings)} findings.",
        findings=findings,
        skipped=skipped,
        metrics=metrics_of(surveys),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
    )


async def _survey_or_skip(checkout: Checkout, documents: tuple[str, ...], cache: Path) -> Survey | Skip:
    try:
        return await survey_checkout(checkout, documents, cache)
    except (LamaError, OSError) as error:
        return Skip(area="documentation", component=checkout.name, reason=str(error), hides=hidden_by(checkout))


@step("survey the documentation", retries=1)
async def survey_checkout(checkout: Checkout, documents: tuple[str, ...], cache: Path) -> Survey:
    """Read the code and the documents of `checkout` in a process of its own; `cache` is as that of `tasks.code.read`.

    Raises:
        LamaError: it is not there.
        UnavailableError: the survey failed or took too long.
    """
    if not checkout.path.is_dir():
        raise LamaError(
            f"there is no folder {checkout.path}.", component=checkout.name, remedy="Correct its path in lama.toml."
        )
    request = Request(
        root=checkout.path.resolve(),
        packages=checkout.packages,
        exclude=checkout.exclude,
        documents=documents,
        cache=cache,
    )
    outcome = await run_engine(
        [sys.executable, "-m", "tasks.health_check.documentation.survey"],
        timeout_s=_SURVEY_TIMEOUT_S,
        cwd=CHECKOUT,
        stdin=request.model_dump_json().encode(),
        max_output=_MOST_OUTPUT,
    )
    if outcome.code != 0:
        last = outcome.stderr.strip().rpartition("\n")[2][:300]
        raise UnavailableError(f"its survey ended with {outcome.code}: {last}", component=checkout.name)
    try:
        return Survey.model_validate_json(outcome.stdout)
    except ValidationError as error:
        raise UnavailableError("its survey gave no answer that can be read.", component=checkout.name) from error

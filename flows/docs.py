"""Documentation: generated from the source, and checked against it."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import settings
from models.docs import DocsReport, DocsSettings, Form
from tasks.docs.run import document_all
from tasks.docs.steps import PARTS
from tasks.reports.publish import Progress
from tasks.risk.conclude import conclude
from tasks.target import target_of

CAPABILITY = "docs"


@flow(name="docs", persist_result=False)
async def docs(
    checkouts: list[str] | None = None,
    formats: list[Form] | None = None,
    gate: Annotated[float | None, Field(ge=0, le=1)] = None,
    check: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    propose: bool = False,  # noqa: FBT001, FBT002
    cache: bool = True,  # noqa: FBT001, FBT002
    commit: str | None = None,
) -> DocsReport:
    """Generates documentation from the source, and says what in documents and docstrings is not true of it.

    Args:
        checkouts: What to document: names from `lama.toml`, or absolute paths. Otherwise everything that is configured.
        formats: What is generated: `md`, `html`, `json`, `inv`. Otherwise as configured; an empty list: nothing.
        gate: Share of public objects with a docstring, from 0 to 1, below which it is a finding. Otherwise as
            configured.
        check: Whether documents and docstrings are checked against the code.
        propose: Whether repairs that are sure are proposed as a pull request. What is configured decides about the
            rest.
        cache: Whether what was read of unchanged files before may be taken from the cache. The result is the same.
        commit: The commit that one of the checkouts should be at, such as that of a push. When none of them is, without
            changes of its own, the report is incomplete.

    Returns:
        The report. It is `incomplete` when something could not be read or generated.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was done.
    """
    config = settings()
    configuration = load_configuration(config)
    run_id = str(flow_run.id) if flow_run.id else None
    target = target_of(config, configuration, checkouts, component=CAPABILITY, run_id=run_id, commit=commit)
    chosen = _chosen(configuration.docs, formats, gate)
    build = formats is None or bool(formats)
    if not (build or check):
        raise ConfigurationError(
            "formats is an empty list and check is off, so nothing would be done.",
            component=CAPABILITY,
            remedy="Leave formats out, or leave check on.",
        )
    progress = await Progress.start("docs-progress", total=len(target.checkouts), what="Documentation")
    report = await document_all(
        target, chosen, build=build, check=check, cache=cache, parts=PARTS, done=progress.advance
    )
    if propose:
        from tasks.docs.truth import propose as propose_repairs  # noqa: PLC0415 - only where it is asked for

        report = await propose_repairs(target, report)
    report = await conclude(report, DocsReport, database=Postgres.of(config), key="docs")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


def _chosen(configured: DocsSettings, formats: list[Form] | None, gate: float | None) -> DocsSettings:
    """What is configured, but for what this run is asked."""
    update: dict[str, object] = {}
    if formats:
        update["formats"] = tuple(dict.fromkeys(formats))
    if gate is not None:
        update["coverage"] = gate
    return configured.model_copy(update=update)

"""The health check: five modules look side by side, one synthesis says what it adds up to and what changed."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import settings
from models.configuration import Configuration
from models.health_check import HealthReport, Module, ReportLevel
from models.report import Report, Skip, compose
from tasks.health_check.synthesis.assemble import assemble, finish
from tasks.health_check.synthesis.write import write_narrative
from tasks.reports.publish import Progress, announce, publish, reason_of, recall, remember
from tasks.target import Target, target_of

CAPABILITY = "health_check"


@flow(name="health-check", persist_result=False)
async def health_check(
    checkouts: list[str] | None = None,
    modules: list[Module] | None = None,
    report_level: ReportLevel | None = None,
    narrative: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
) -> HealthReport:
    """Looks at this host, its services and the source code that is watched; changes nothing but Lama's own history.

    Args:
        checkouts: Source code to look at: names from `lama.toml`, or absolute paths. Otherwise all that are configured.
        modules: Areas to look at. Otherwise those that are configured, by default all five.
        report_level: How much of the report is shown. Otherwise as configured; what is looked at is always the same.
        narrative: Whether Gemini may write the narrative, when a key is set. Otherwise the ranking speaks for itself.

    Returns:
        The report. It is `incomplete` when anything could not be looked at, and says what and why.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was looked at.
    """
    started_at = datetime.now(UTC)
    config = settings()
    configuration = load_configuration(config)
    chosen = _modules(modules, configuration)
    target = target_of(
        config, configuration, checkouts, component="health-check", run_id=str(flow_run.id) if flow_run.id else None
    )
    database = Postgres.of(config)
    scope = _scope(target, chosen)

    reports = await _look(target, chosen)
    before, no_history = await recall(database, CAPABILITY, HealthReport, scope=scope, run_id=target.run_id)
    report, change = assemble(
        reports,
        before=before,
        skipped=[no_history] if no_history else [],
        scope=scope,
        report_level=report_level or configuration.health_check.report_level,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
    )
    if narrative and config.gemini_api_key is not None:
        written = await write_narrative(report, config, configuration.gemini)
        report = report.model_copy(update={"narrative": written})
    report = finish(report, finished_at=datetime.now(UTC))
    if no_history is None and (not_stored := await remember(database, report)):
        report = finish(report, finished_at=report.finished_at, skipped=[not_stored])
    await publish(report, change, key="health-check", level=report.report_level)
    announce(report, change, compared=no_history is None)
    return report


async def _look(target: Target, modules: tuple[Module, ...]) -> list[Report]:
    """The report of every module, in the order of `modules`; they look side by side."""
    progress = await Progress.start("health-check-progress", total=len(modules), what="Health check")

    async def follow(module: Module) -> Report:
        report = await _bounded(target, module)
        await progress.advance(f"{module.value}: {report.status.value}")
        return report

    return list(await asyncio.gather(*(follow(module) for module in modules)))


async def _bounded(target: Target, module: Module) -> Report:
    """What `module` reports; that it could not, when it fails or takes too long."""
    started_at = datetime.now(UTC)
    log = get_run_logger(component=CAPABILITY)
    limit = target.configuration.health_check.module_timeout_s
    try:
        async with asyncio.timeout(limit) as scope:
            report = await _looker(module)(target)
    except Exception as error:
        if scope.expired():
            reason = f"took longer than {limit:g} s; raise module_timeout_s in lama.toml if that is how long it needs."
        else:
            reason = f"failed: {reason_of(error)}"
        log.warning("module %s %s", module.value, reason, exc_info=not scope.expired())
        return _blind(target, module, reason, started_at)
    log.info("module %s: %s, %d findings", module.value, report.status.value, len(report.findings))
    return report


def _looker(module: Module) -> Callable[[Target], Awaitable[Report]]:
    """A module's entry; imported only now, so that one that does not import takes no other with it."""
    found = importlib.import_module(f"tasks.health_check.{module.value}.look")
    look: Callable[[Target], Awaitable[Report]] = found.look
    return look


def _blind(target: Target, module: Module, reason: str, started_at: datetime) -> Report:
    return compose(
        Report,
        capability=f"{CAPABILITY}.{module.value}",
        summary=f"Nothing is known about {module.value}: the module {reason}",
        skipped=[Skip(area=module.value, component=target.host, reason=f"The module {reason}")],
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
    )


def _modules(asked: list[Module] | None, configuration: Configuration) -> tuple[Module, ...]:
    if asked is None:
        asked = list(configuration.health_check.modules)
    if not asked:
        raise ConfigurationError(
            "modules is an empty list, so nothing would be looked at.",
            component="health-check",
            remedy=f"Leave it out, or name some of {', '.join(Module)}.",
        )
    return tuple(module for module in Module if module in asked)


def _scope(target: Target, modules: tuple[Module, ...]) -> str:
    """What was looked at, in words; runs of equal scope are compared with each other."""
    return f"{target.scope}; modules: {', '.join(modules)}"

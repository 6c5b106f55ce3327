"""The audit: what the checkouts depend on, what is known to be wrong with it, and what to change."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.postgres import Postgres
from blocks.settings import settings
from models.audit import Remedy
from models.risk import AuditReport
from tasks.audit.run import audit as examine_and_report
from tasks.audit.steps import PARTS
from tasks.graph.exposure import with_exposure
from tasks.graph.ingest.names import package_of
from tasks.reports.publish import Progress
from tasks.risk.conclude import conclude
from tasks.target import target_of

CAPABILITY = "audit"


@flow(name="audit", persist_result=False)
async def audit(
    checkouts: list[str] | None = None,
    remedy: Remedy = Remedy.advise,
    cache: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    commit: str | None = None,
) -> AuditReport:
    """Takes the inventory of what is used, and says what is known to be vulnerable in it and how to mend that.

    Args:
        checkouts: What to audit: names from `lama.toml`, or absolute paths of checkouts, environments, image folders,
            lock files or bills of materials. Otherwise everything that is configured.
        remedy: `advise` only says what to change; `patch` adds the change as a diff; `apply` changes the requirement
            files; `propose` makes a pull request of it.
        cache: Whether what has not changed since an earlier audit may be taken from it. The result is the same.
        commit: The commit that one of the checkouts should be at, such as that of a push. When none of them is, without
            changes of its own, the report is incomplete.

    Returns:
        The report. It is `incomplete` when anything could not be looked at, and says what and why.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was looked at.
    """
    config = settings()
    configuration = load_configuration(config)
    run_id = str(flow_run.id) if flow_run.id else None
    target = target_of(config, configuration, checkouts, component=CAPABILITY, run_id=run_id, commit=commit)
    progress = await Progress.start("audit-progress", total=len(target.checkouts) + 2, what="Audit")
    report = await examine_and_report(target, remedy=remedy, cache=cache, parts=PARTS, done=progress.advance)
    findings = await with_exposure(report.findings, package_of, config)
    report = report.model_copy(update={"findings": findings})
    report = await conclude(report, AuditReport, database=Postgres.of(config), key="audit")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report

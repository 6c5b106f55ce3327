"""The scan: secrets, risky code and configuration in the checkouts, and the services of this node."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.postgres import Postgres
from blocks.settings import settings
from models.risk import ScanReport
from models.scan import Engine
from tasks.reports.publish import Progress
from tasks.risk.conclude import conclude
from tasks.scan.run import scan as look_and_report
from tasks.scan.steps import PARTS
from tasks.target import target_of

CAPABILITY = "scan"


@flow(name="scan", persist_result=False)
async def scan(
    checkouts: list[str] | None = None,
    engines: list[Engine] | None = None,
    cache: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    commit: str | None = None,
) -> ScanReport:
    """Looks for secrets, risky code, unsafe containers and workflows, licences that are not allowed, and open services.

    Args:
        checkouts: What to scan: names from `lama.toml`, or absolute paths. Otherwise everything that is configured, and
            this node with its services.
        engines: What to look with. Otherwise those that are configured, by default all.
        cache: Whether files that have not changed since an earlier scan may be taken from it. The result is the same.
        commit: The commit that one of the checkouts should be at, such as that of a push. When none of them is, without
            changes of its own, the report is incomplete.

    Returns:
        The report. It is `incomplete` when an engine could not run or a file could not be looked at.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was looked at.
    """
    config = settings()
    configuration = load_configuration(config)
    run_id = str(flow_run.id) if flow_run.id else None
    target = target_of(config, configuration, checkouts, component=CAPABILITY, run_id=run_id, commit=commit)
    progress = await Progress.start("scan-progress", total=len(target.checkouts) + target.whole, what="Scan")
    report = await look_and_report(target, engines=engines, cache=cache, parts=PARTS, done=progress.advance)
    report = await conclude(report, ScanReport, database=Postgres.of(config), key="scan")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report

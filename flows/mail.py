"""Mail: what is new in mailboxes is fetched into the inbox of the handoffs."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import LamaError
from blocks.postgres import Postgres
from blocks.settings import Settings, settings
from models.mail import Mailbox
from models.report import Report, Skip
from tasks.mail.fetching import Fetched
from tasks.mail.run import CAPABILITY, chosen, fetch_one, report_of, tidy
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of
from tasks.step import step


@flow(name="mail", persist_result=False)
async def mail(
    mailboxes: list[str] | None = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
) -> Report:
    """Fetches what is new in mailboxes, so that the routes of the handoffs hand it on.

    Args:
        mailboxes: Names of mailboxes of `lama.toml`; otherwise all.
        dry_run: Only count what would be fetched; nothing is changed here or there.

    Returns:
        The report: what was fetched. `incomplete` when a mailbox could not be looked into.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was fetched.
    """
    started_at = datetime.now(UTC)
    config = settings()
    taken = chosen(load_configuration(config).mail, mailboxes)
    database = Postgres.of(config)
    progress = await Progress.start("mail-progress", total=max(1, len(taken)), what="Mail")
    results: dict[str, Fetched] = {}
    skipped: list[Skip] = []
    for mailbox in taken:
        try:
            done = await _fetch(config, database, mailbox, dry_run)
        except (LamaError, psycopg.Error, OSError, TimeoutError) as error:
            done = Skip(area=CAPABILITY, component=mailbox.name, reason=f"It was not fetched: {reason_of(error)}")
        if isinstance(done, Skip):
            skipped.append(done)
        else:
            results[mailbox.name] = done
        await progress.advance(f"{mailbox.name}: {done.reason if isinstance(done, Skip) else f'{done.found} new'}")
    if not dry_run:
        await _tidy(database)
    report = report_of(
        taken,
        results,
        skipped,
        dry_run=dry_run,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    report = await conclude(report, database=database, key="mail")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


@step("fetch a mailbox")
async def _fetch(config: Settings, database: Postgres, mailbox: Mailbox, dry_run: bool) -> Fetched | Skip:  # noqa: FBT001
    return await fetch_one(config, database, mailbox, dry_run=dry_run)


@step("take away files that nobody has")
async def _tidy(database: Postgres) -> int:
    return await tidy(database)

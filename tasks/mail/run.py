"""Fetches mailboxes, and reports on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import cast

from blocks import settings as environment
from blocks.errors import ConfigurationError, UnavailableError
from blocks.mailbox import Mailbox as Account
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.mail import Mailbox, MailSettings
from models.report import Finding, Report, Severity, Skip, compose
from tasks.choose import choose
from tasks.handoffs.route_set import load_routes
from tasks.mail.fetching import Fetched, fetch
from tasks.mail.storing import drop_unused

CAPABILITY = "mail"


def chosen(settings: MailSettings, asked: list[str] | None) -> tuple[Mailbox, ...]:
    """The mailboxes that `asked` names; None: all.

    Raises:
        ConfigurationError: there is no such mailbox, or `asked` is empty.
    """
    return choose(settings.mailboxes, asked, one="mailbox", many="mailboxes", component=CAPABILITY)


async def fetch_one(config: Settings, database: Postgres, mailbox: Mailbox, *, dry_run: bool) -> Fetched | Skip:
    """Fetch one mailbox.

    Raises:
        ConfigurationError: its block is not there.
        UnavailableError, psycopg.Error: the server, the database or Prefect is away; what was stored is stored.
    """
    source = f"email:{mailbox.name}"
    known = await asyncio.to_thread(load_routes, config)
    if known.unseen is not None:  # what is fetched now would never come to a route that is a block
        raise UnavailableError(f"whose mail it is cannot be known: {known.unseen}", component=CAPABILITY)
    for fault in known.faults:
        if fault.source == source and known.settings.route(fault.name) is None:
            reason = f"The block {fault.name}, which is to take it, cannot be used: {fault.reason}."
            return Skip(area=CAPABILITY, component=mailbox.name, reason=reason)
    routes = known.settings.of_source(source)
    if not routes:
        return Skip(area=CAPABILITY, component=mailbox.name, reason=f"No route takes email:{mailbox.name}.")
    account = await _account(mailbox)
    async with await database.get_async_client(autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = on")
        return await fetch(connection, mailbox, account.get_client, routes, dry_run=dry_run)


async def tidy(database: Postgres) -> int:
    """Take away files that no message has any more; how many."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await drop_unused(connection)


def report_of(
    mailboxes: Sequence[Mailbox],
    results: dict[str, Fetched],
    skipped: Sequence[Skip],
    *,
    dry_run: bool,
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
) -> Report:
    """What was fetched, and what was left where it is."""
    findings = [
        Finding(
            key=f"mail.too-large:{mailbox.name}/{one.uid}",
            severity=Severity.medium,
            component=mailbox.name,
            title=f"A mail of {one.size / 1024 / 1024:.1f} MiB is left in {mailbox.folder}.",
            detail=f"It has the UID {one.uid}, and is larger than the {mailbox.largest_mib:g} MiB that are taken.",
            remedy="Raise largest_mib of the mailbox, or deal with it there.",
        )
        for mailbox in mailboxes
        if mailbox.name in results
        for one in results[mailbox.name].too_large
    ]
    stored = sum(done.stored for done in results.values())
    found = sum(done.found for done in results.values())
    where = f"{len(mailboxes)} {'mailbox' if len(mailboxes) == 1 else 'mailboxes'}"
    return compose(
        Report,
        capability=CAPABILITY,
        summary=f"{where}: {found} mails would be fetched. Nothing was done."
        if dry_run
        else f"{where}: {found} new mails, messages stored: {stored}.",
        scope=f"{environment.settings().node}; mailboxes: {', '.join(one.name for one in mailboxes) or 'none'}"
        + ("; dry run" if dry_run else ""),
        findings=findings,
        skipped=list(skipped),
        metrics={f"{name}.new_mails": float(done.found) for name, done in results.items()}
        | {f"{name}.left_too_large": float(len(done.too_large)) for name, done in results.items()},
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
    )


async def _account(mailbox: Mailbox) -> Account:
    try:
        return cast("Account", await Account.aload(mailbox.block))
    except ValueError as error:
        raise ConfigurationError(
            f"the mailbox {mailbox.name!r} needs the block {mailbox.block!r} of the type Lama Mailbox, "
            "which is not there.",
            component=CAPABILITY,
            remedy="Make it in the Prefect UI, under Blocks.",
        ) from error

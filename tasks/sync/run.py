"""Syncs the categories of this device, and reports on them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.report import Finding, Report, Severity, Skip, compose
from models.sync import Category, SyncSettings
from models.sync_store import StoreProblem
from tasks.sync.engine import Direction, Engine, Guard, GuardError, Outcome, Self
from tasks.sync.filters import Filter
from tasks.sync.identity import Identity
from tasks.sync.joining import Merge
from tasks.sync.merging import merge_contents
from tasks.sync.shadow import Shadow
from tasks.sync.states import Counters, PostgresStates
from tasks.sync.trash import expire
from tasks.sync.vault import Vault

CAPABILITY = "sync"
_MOST_TOLD = 50
_COLLECT_DAYS = 1.0
_KEEP_OBJECTS_DAYS = 30.0
_BY_NATURE = re.compile(
    r"it is (?:no file, directory or link|larger than)|the name is one of ours|a name is longer|its name is no UTF-8"
)
"""Reasons that stay until somebody does something about the file itself: told, but not a failure of the run."""


@dataclass(frozen=True)
class Stopped:
    """A category whose run was stopped before any effect."""

    reason: str


@dataclass(frozen=True)
class Absent:
    """A category that there is nothing of anywhere."""

    reason: str


@dataclass(frozen=True)
class Asked:
    """What a run was asked to do."""

    direction: Direction = "both"
    dry_run: bool = False
    confirmed: bool = False


def chosen(settings: SyncSettings, asked: list[str] | None) -> tuple[Category, ...]:
    """The categories that `asked` names; None: all.

    Raises:
        ConfigurationError: there is no such category, or `asked` is empty, or there is no store.
    """
    if settings.store is None:
        raise ConfigurationError(
            "there is no store.",
            component=CAPABILITY,
            remedy='Name the shared folder in lama.toml: [sync] store = "..."',
        )
    if asked is None:
        return settings.categories
    known = {one.name: one for one in settings.categories}
    there = f"There are: {', '.join(known) or 'none in lama.toml'}."
    if not asked:
        raise ConfigurationError("categories is an empty list.", component=CAPABILITY, remedy=there)
    for name in asked:
        if name not in known:
            raise ConfigurationError(f"there is no category {name[:100]!r}.", component=CAPABILITY, remedy=there)
    return tuple(known[name] for name in dict.fromkeys(asked))


def device_name(settings: SyncSettings) -> str:
    """The name of this device: as `lama.toml` says, otherwise the host's."""
    if settings.device:
        return settings.device
    bare = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return bare[:50] or "device"


def identity_of(config: Settings, settings: SyncSettings) -> Identity:
    """Who this device is.

    Raises:
        ConfigurationError: the home was copied from another device.
    """
    home = Home(config)
    home.prepare()
    return Identity.load_or_create(home, device_name(settings))


@contextmanager
def opened(
    config: Settings, settings: SyncSettings, connection: psycopg.Connection[tuple[object, ...]]
) -> Iterator[tuple[Identity, Vault]]:
    """Who this device is, and the store; what it saw of the store is remembered at the end.

    Raises:
        ConfigurationError: the home was copied, or this device takes no part in the vault.
        UnavailableError: the store is away.
    """
    if settings.store is None:
        raise ConfigurationError(
            "there is no store.", component=CAPABILITY, remedy="Name it in lama.toml: [sync] store."
        )
    identity = identity_of(config, settings)
    remembered = Counters(connection, identity.id)
    counters = remembered.load()
    before = dict(counters)
    vault = Vault(settings.store, identity, known_counters=counters)
    try:
        yield identity, vault
    finally:
        if counters != before and not connection.closed:
            remembered.save(counters)


def sync_one(
    config: Settings,
    settings: SyncSettings,
    category: Category,
    asked: Asked,
    *,
    run: str,
    progress: Callable[[str, int], None] = lambda _what, _count: None,
) -> Outcome | Stopped | Absent | Skip:
    """Sync one category. Blocks.

    Raises:
        ConfigurationError, UnavailableError: see `opened`.
        psycopg.Error, OSError: the database or a folder cannot be used; what was done is remembered.
    """
    with (
        Postgres.of(config).get_client(autocommit=True) as connection,
        opened(config, settings, connection) as (
            identity,
            vault,
        ),
    ):
        vault.check()
        if not _only_one(connection, identity.id, category.name):
            return Skip(area=CAPABILITY, component=category.name, reason="Another run is at it.")
        states = PostgresStates(connection, identity.id, run)
        if not category.folder.is_dir() and not states.load(category.name).began and not _told(vault, category.name):
            return Absent(f"{category.folder} is not there, nor has any device told of it.")
        me = Self(identity.id, int(time.time()), run)
        shadow = None
        if category.content == "databases":
            shadow = Shadow(category, config.home / "sync" / category.name, Filter.of(category))
            shadow.gather(me.device, me.at)
        wanted = shadow.synced if shadow else category
        engine = Engine(wanted, vault, states, Filter.of(category), merge=merging(category))
        guard = Guard(settings.most_changed, settings.few, asked.confirmed)
        try:
            outcome = engine.run(me, guard=guard, direction=asked.direction, dry_run=asked.dry_run, progress=progress)
        except GuardError as stopped:
            return Stopped(str(stopped))
        if shadow is not None:
            if not asked.dry_run:
                shadow.spread(run)
                expire(shadow.folder, days=settings.trash_days, now=time.time())
            outcome.skipped.update(shadow.skipped)
        if not asked.dry_run:
            expire(category.folder, days=settings.trash_days, now=time.time())
            if Counters(connection, identity.id).due(days=_COLLECT_DAYS):
                vault.collect(set(), max(_KEEP_OBJECTS_DAYS, settings.trash_days))
        return outcome


def merging(category: Category) -> Merge | None:
    """What joins texts of `category`; None: nothing does."""
    return merge_contents if category.policy == "merge" else None


def report_of(
    results: Mapping[str, Outcome | Stopped | Absent],
    skipped: Sequence[Skip],
    *,
    node: str,
    asked: Asked,
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
) -> Report:
    """What was synced, what disagreed, and what was left alone."""
    findings: list[Finding] = []
    skips = list(skipped)
    metrics: dict[str, float] = {}
    problems: dict[StoreProblem, None] = {}
    for name, result in results.items():
        if isinstance(result, Stopped):
            findings.append(_stopped(name, result))
            continue
        if isinstance(result, Absent):
            findings.append(_absent(name, result))
            continue
        findings += _findings(name, result)
        skips += _skips(name, result)
        metrics |= _metrics(name, result)
        problems |= dict.fromkeys(result.problems)
    findings += [_problem(one) for one in problems]
    done = [one for one in results.values() if isinstance(one, Outcome)]
    told = sum(len(one.changes) for one in done)
    taken = sum(one.plan.size if asked.dry_run else len(one.done) for one in done)
    where = f"{len(results)} {'category' if len(results) == 1 else 'categories'}"
    words = "would be told, {} done here. Nothing was done." if asked.dry_run else "were told, {} done here."
    return compose(
        Report,
        capability=CAPABILITY,
        summary=f"{where}: {told} changes {words.format(taken)}",
        scope=f"{node}; categories: {', '.join(results) or 'none'}; {asked.direction}"
        + ("; dry run" if asked.dry_run else ""),
        findings=findings,
        skipped=skips,
        metrics=metrics,
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
    )


def _told(vault: Vault, category: str) -> bool:
    return any(one.tree for one in vault.others(category))


def _only_one(connection: psycopg.Connection[tuple[object, ...]], device: str, category: str) -> bool:
    """Whether no other run is at the category; held until the connection ends."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"lama.sync/{device}/{category}",)
    ).fetchone()
    return bool(row and row[0])


def _stopped(name: str, result: Stopped) -> Finding:
    return Finding(
        key=f"sync.stopped:{name}",
        severity=Severity.high,
        component=name,
        title="The run was stopped before any effect.",
        detail=result.reason,
        remedy=f"If that is meant: `lama sync run {name} --confirm`.",
    )


def _absent(name: str, result: Absent) -> Finding:
    return Finding(
        key=f"sync.absent:{name}",
        severity=Severity.info,
        component=name,
        title="There is nothing to sync.",
        detail=result.reason,
        remedy="Make the folder, or take the category out of lama.toml.",
    )


def _findings(name: str, result: Outcome) -> list[Finding]:
    found = []
    kept = sorted({one.place for one in result.conflicts if one.place is not None})
    if kept:
        found.append(
            Finding(
                key=f"sync.conflicts:{name}",
                severity=Severity.medium,
                component=name,
                title=f"{len(kept)} conflict {'copy was' if len(kept) == 1 else 'copies were'} made.",
                detail="\n".join(kept[:_MOST_TOLD]),
                remedy=f"`lama sync conflicts {name}` shows them, `lama sync resolve` settles one.",
            )
        )
    nature = sorted(path for path, reason in result.skipped.items() if _BY_NATURE.match(reason))
    if nature:
        found.append(
            Finding(
                key=f"sync.left-out:{name}",
                severity=Severity.low,
                component=name,
                title=f"{len(nature)} {'path is' if len(nature) == 1 else 'paths are'} not synced.",
                detail="\n".join(f"{path}: {result.skipped[path]}" for path in nature[:_MOST_TOLD]),
                remedy="Exclude what need not be synced, raise largest_mib, or rename what other systems cannot take.",
            )
        )
    if result.recovered:
        found.append(
            Finding(
                key=f"sync.recovered:{name}",
                severity=Severity.low,
                component=name,
                title=f"{result.recovered} files that a killed run had in its hands are in the trash.",
                remedy=f"`lama sync trash {name}` shows them.",
            )
        )
    return found


def _skips(name: str, result: Outcome) -> list[Skip]:
    left = {path: reason for path, reason in sorted(result.skipped.items()) if not _BY_NATURE.match(reason)}
    told = [
        Skip(area=CAPABILITY, component=f"{name}/{path}", reason=f"{reason[:1].upper()}{reason[1:]}.")
        for path, reason in list(left.items())[:_MOST_TOLD]
    ]
    if len(left) > _MOST_TOLD:
        told.append(
            Skip(area=CAPABILITY, component=name, reason=f"{len(left) - _MOST_TOLD} further paths were skipped.")
        )
    return told


def _problem(one: StoreProblem) -> Finding:
    return Finding(
        key=f"sync.store:{one.component}",
        severity=Severity.high,
        component=one.component,
        title="Something in the store was not believed or cannot be read.",
        detail=one.what,
        remedy="`lama sync verify` looks at everything; the device that wrote it writes it again when it syncs.",
    )


def _metrics(name: str, result: Outcome) -> dict[str, float]:
    return {
        f"{name}.{what}": float(count)
        for what, count in {
            "paths": len(result.found.contents),
            "told": len(result.changes),
            "done": len(result.done),
            "conflicts": len(result.conflicts),
            "merged": len(result.merged),
            "skipped": len(result.skipped),
            "sent_bytes": result.uploaded_bytes,
            "taken_bytes": result.downloaded_bytes,
            "hashed_bytes": result.found.hashed_bytes,
        }.items()
    }

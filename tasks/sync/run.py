"""Syncs the categories of this device, and reports on them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.report import Finding, Report, Severity, Skip, compose
from models.sync import Category, SyncSettings
from models.sync_store import StoreProblem
from tasks.choose import choose
from tasks.sync.engine import Direction, Engine, Guard, GuardError, Outcome, Self
from tasks.sync.filters import Filter
from tasks.sync.joining import Merge
from tasks.sync.merging import merge_contents
from tasks.sync.opened import identity_of, mirror_of, opened_vault
from tasks.sync.shadow import Shadow
from tasks.sync.state import Store
from tasks.sync.states import Counters, PostgresStates
from tasks.sync.trash import expire, expire_stages

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
    return choose(settings.categories, asked, one="category", many="categories", component=CAPABILITY)


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
        ConfigurationError, UnavailableError: see `opened_vault`.
        psycopg.Error, OSError: the database or a folder cannot be used; what was done is remembered.
    """
    database = Postgres.of(config)
    if settings.kind == "mirror":
        with database.get_client(autocommit=True) as connection:
            device = identity_of(config, settings).id
            states = PostgresStates(connection, device, run)
            mirror = mirror_of(config, settings, synced_as(config, category), device, states, run)
            mirror.check()
            return _Run(config, settings, category, asked, run, progress).go(connection, device, mirror, states)
    with (
        database.get_client(autocommit=True) as connection,
        opened_vault(config, settings, connection) as (identity, vault),
    ):
        vault.check()
        states = PostgresStates(connection, identity.id, run)
        result = _Run(config, settings, category, asked, run, progress).go(connection, identity.id, vault, states)
        if (
            isinstance(result, Outcome)
            and not asked.dry_run
            and Counters(connection, identity.id).due(days=_COLLECT_DAYS)
        ):
            vault.collect(set(), max(_KEEP_OBJECTS_DAYS, settings.trash_days))
        return result


@dataclass(frozen=True)
class _Run:
    """One run of one category, against a store of either kind."""

    config: Settings
    settings: SyncSettings
    category: Category
    asked: Asked
    run: str
    progress: Callable[[str, int], None]

    def go(
        self, connection: psycopg.Connection[Any], device: str, store: Store, states: PostgresStates
    ) -> Outcome | Stopped | Absent | Skip:
        category = self.category
        if not only_one(connection, device, category.name):
            return Skip(area=CAPABILITY, component=category.name, reason="Another run is at it.")
        if not category.folder.is_dir() and not states.load(category.name).began and not _told(store, category.name):
            return Absent(f"{category.folder} is not there, nor has any device told of it.")
        me = Self(device, int(time.time()), self.run)
        try:
            if category.content == "databases":
                return self._databases(me, store, states)
            return self._engine(me, category, store, states)
        except GuardError as stopped:
            return Stopped(str(stopped))

    def _databases(self, me: Self, store: Store, states: PostgresStates) -> Outcome:
        shadow = shadow_of(self.config, self.category)
        shadow.gather(me.device, me.at)
        outcome = self._engine(me, shadow.synced, store, states)
        if not self.asked.dry_run:
            shadow.spread(self.run)
            self._expire(self.category.folder)
        outcome.skipped.update(shadow.skipped)
        return outcome

    def _engine(self, me: Self, category: Category, store: Store, states: PostgresStates) -> Outcome:
        engine = Engine(category, store, states, Filter.of(category), merge=merging(category))
        asked = self.asked
        outcome = engine.run(
            me,
            guard=Guard(self.settings.most_changed, self.settings.few, asked.confirmed),
            direction=asked.direction,
            dry_run=asked.dry_run,
            progress=self.progress,
        )
        if not asked.dry_run:
            self._expire(category.folder)
            if self.settings.kind == "mirror" and self.settings.store is not None:
                self._expire(self.settings.store / category.name)
                expire_stages(
                    self.settings.store / category.name,
                    but=f"stage-{me.device}",
                    days=self.settings.trash_days,
                    now=time.time(),
                )
        return outcome

    def _expire(self, folder: Path) -> None:
        expire(folder, days=self.settings.trash_days, now=time.time())


def shadow_of(config: Settings, category: Category) -> Shadow:
    """The copies of a category of databases."""
    return Shadow(category, config.home / "sync" / category.name, Filter.of(category))


def synced_as(config: Settings, category: Category) -> Category:
    """The category as it is synced: of databases, the folder with their copies."""
    return shadow_of(config, category).synced if category.content == "databases" else category


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


def _told(store: Store, category: str) -> bool:
    return any(one.tree for one in store.others(category, lambda _manifest: False))


def only_one(connection: psycopg.Connection[tuple[object, ...]], device: str, category: str) -> bool:
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
    if result.found.ignored:
        ignored = result.found.ignored
        found.append(
            Finding(
                key=f"sync.ignored:{name}",
                severity=Severity.info,
                component=name,
                title=f"{len(ignored)} {'path was' if len(ignored) == 1 else 'paths were'} synced and "
                f"{'is' if len(ignored) == 1 else 'are'} skipped from now on.",
                detail="\n".join(f"{path}: a .gitignore says so" for path in ignored[:_MOST_TOLD]),
                remedy="Every device keeps what it has of them. They are synced again when no .gitignore names them.",
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

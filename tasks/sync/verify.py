"""Whether the files of a category are what is remembered of them, read again byte for byte."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from blocks.errors import LamaError
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.sync import Category, SyncSettings, Version
from models.sync_store import Progress, StoreProblem
from tasks.sync.apply import Applier, Meanwhile
from tasks.sync.mirror import DEVICE
from tasks.sync.opened import identity_of, mirror_of
from tasks.sync.plain import Local
from tasks.sync.reconcile import Put
from tasks.sync.run import only_one, synced_as
from tasks.sync.scan import Found, clock_of, hash_file
from tasks.sync.state import State, Store
from tasks.sync.states import PostgresStates

_ROTTEN = "its content changed, and its times did not"


def verify_here(config: Settings, device: str, category: Category, store: Store) -> Iterator[StoreProblem]:
    """Read every file again whose times say that nobody changed it; what differs rotted, or was changed in secret.

    A content that is lost in the store and sound here is put there again.
    """
    category = synced_as(config, category)
    if not category.folder.is_dir():
        return
    with Postgres.of(config).get_client(autocommit=True) as connection:
        state = PostgresStates(connection, device, "verify").load(category.name)
    for path, digest, problem in _read_again(category.folder, state):
        if problem is not None:
            yield StoreProblem(problem, f"{category.name}/{path}")
        elif not store.has(digest):
            with (category.folder / path).open("rb") as file:
                store.put(digest, file)
            yield StoreProblem("the store had lost its content; it was put there again", f"{category.name}/{path}")


def verify_mirror(config: Settings, settings: SyncSettings, category: Category) -> Iterator[StoreProblem | Progress]:
    """Read every file again here and in the mirror whose times say that nobody changed it.

    What rotted in the shared folder and is sound here is put there again, and goes into the trash there.

    Raises:
        ConfigurationError, UnavailableError: there is no mirror, it is another one, or it is away.
    """
    device = identity_of(config, settings).id
    synced = synced_as(config, category)
    with Postgres.of(config).get_client(autocommit=True) as connection:
        run = f"verify-{time.time_ns()}"
        states = PostgresStates(connection, device, run)
        mirror = mirror_of(config, settings, synced, device, states, run)
        mirror.check()
        if not only_one(connection, device, category.name):
            yield StoreProblem(
                "a run is at it, so it was not looked at; verify again when that has ended", category.name
            )
            return
        mine = states.load(category.name)
        if synced.folder.is_dir():
            for path, _, problem in _read_again(synced.folder, mine):
                if problem is not None:
                    yield StoreProblem(problem, f"{category.name}/{path}")
        shared = states.load(f"{category.name}@{DEVICE}")
        if not mirror.folder.is_dir():
            return
        count = size = 0
        source = Local(synced.folder, mine.tree)
        for path, _, problem in _read_again(mirror.folder, shared):
            version = shared.tree[path]
            count += 1
            size += version.content.size if version.content else 0
            if problem is None:
                continue
            became = ""
            if problem == _ROTTEN:
                became = _put_again(mirror.folder, shared, path, version, source, device, run)
                states.save(f"{category.name}@{DEVICE}", shared, {path: "put again"})
            yield StoreProblem(f"in the shared folder {problem}{became}", f"{category.name}/{path}")
        yield Progress(count, count, size)


def _put_again(folder: Path, shared: State, path: str, version: Version, source: Local, device: str, run: str) -> str:
    """Put a content in its place again in the shared folder; what came of it."""
    assert version.content is not None  # noqa: S101 - it has a mark
    one = Put(path, version.content, version.content)
    with Applier(folder, Found(marks=shared.marks), run, stage=f"stage-{device}") as applier:
        try:
            applier.stage(one, source.fetch)
            applier.settle()
            applier.put(one)
            applier.settle()
        except (OSError, LamaError, Meanwhile) as error:
            return f"; it could not be put there again: {error}"
        shared.marks[path] = applier.applied.marks[path]
    return "; it was put there again as it is here, and what it had become is in the trash there"


def _read_again(folder: Path, state: State) -> Iterator[tuple[str, bytes, str | None]]:
    """The files that nobody changed since, by their times: what each should be, and what is wrong with it, if so."""
    now_ns = clock_of(folder, "-verify")
    for path, mark in sorted(state.marks.items()):
        version = state.tree.get(path)
        if version is None or version.content is None:
            continue
        place = folder / path
        digest = version.content.digest
        try:
            status = place.lstat()
            if (status.st_size, status.st_mtime_ns) != (mark.size, mark.mtime_ns):
                continue  # somebody changed it: the next run tells
            hashed = hash_file(str(place), now_ns)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield path, digest, f"it cannot be read: {error.strerror}"
            continue
        if hashed is not None:
            yield path, digest, None if hashed[0] == digest else _ROTTEN

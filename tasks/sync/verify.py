"""Whether the files of a category are what is remembered of them, read again byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

from blocks.postgres import Postgres
from blocks.settings import Settings
from models.sync import Category
from models.sync_store import StoreProblem
from tasks.sync.scan import clock_of, hash_file
from tasks.sync.state import Store
from tasks.sync.states import PostgresStates


def verify_here(config: Settings, device: str, category: Category, store: Store) -> Iterator[StoreProblem]:
    """Read every file again whose times say that nobody changed it; what differs rotted, or was changed in secret.

    A content that is lost in the store and sound here is put there again.
    """
    if not category.folder.is_dir():
        return
    with Postgres.of(config).get_client(autocommit=True) as connection:
        state = PostgresStates(connection, device, "verify").load(category.name)
    now_ns = clock_of(category.folder)
    for path, mark in sorted(state.marks.items()):
        version = state.tree.get(path)
        if version is None or version.content is None:
            continue
        place = category.folder / path
        try:
            status = place.lstat()
            if (status.st_size, status.st_mtime_ns) != (mark.size, mark.mtime_ns):
                continue  # somebody changed it: the next run tells
            hashed = hash_file(str(place), now_ns)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield StoreProblem(f"it cannot be read: {error.strerror}", f"{category.name}/{path}")
            continue
        if hashed is None:
            continue
        if hashed[0] != version.content.digest:
            yield StoreProblem("its content changed, and its times did not", f"{category.name}/{path}")
        elif not store.has(version.content.digest):
            with place.open("rb") as file:
                store.put(version.content.digest, file)
            yield StoreProblem("the store had lost its content; it was put there again", f"{category.name}/{path}")

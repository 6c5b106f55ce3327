"""Databases are copied whole and sound while they are written to, and replaced without what was left of the old."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.sync import databases
from tasks.sync.databases import (
    BusyError,
    DatabaseError,
    UnsoundError,
    fingerprint,
    is_database,
    replace,
    replaceable,
    sidecar,
    snapshot,
)

_MODES = pytest.mark.parametrize("mode", ["delete", "wal"])
# Money goes from one account to another, in pages enough that a copy takes more than a moment.
_WRITER = """
import random, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("PRAGMA synchronous=OFF")
print("ready", flush=True)
while True:
    one, other = random.sample(range(2000), 2)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE account SET money = money - 1 WHERE id = ?", (one,))
    connection.execute("UPDATE account SET money = money + 1, note = randomblob(900) WHERE id = ?", (other,))
    connection.execute("COMMIT")
"""
# Holds its connection as it is told, and says so.
_HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size=5")
connection.execute("PRAGMA synchronous=OFF")
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("ready", flush=True)
time.sleep(600)
"""


def made(path: Path, mode: str = "delete", money: int = 100) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER, note BLOB)")
        connection.execute("CREATE INDEX by_note ON account (note)")
        rows = ((place, money, bytes([place % 256]) * 900) for place in range(2000))
        connection.executemany("INSERT INTO account VALUES (?, ?, ?)", rows)
        connection.commit()
    return path


def money_in(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT sum(money) FROM account").fetchone()[0]


def beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if file.name.startswith(f"{path.name}-"))


@contextlib.contextmanager
def process(program: str, path: Path, *statements: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-c", program, str(path), *statements], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    try:
        assert started.stdout.readline() == "ready\n"
        yield started
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


def killed(path: Path, *statements: str) -> None:
    with process(_HOLDER, path, *statements) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()


@_MODES
def test_a_copy_is_of_one_moment_while_somebody_writes(tmp_path, mode) -> None:
    source = made(tmp_path / "a.db", mode)
    copies = [tmp_path / f"copy-{number}" for number in range(8)]
    with process(_WRITER, source):
        for copy in copies:
            snapshot(source, copy)
    assert {money_in(copy) for copy in copies} == {200_000}
    assert len({copy.read_bytes() for copy in copies}) > 1
    assert not any(beside(copy) for copy in copies)


def test_what_is_only_in_the_log_is_copied_and_the_source_is_left_as_it_is(tmp_path) -> None:
    source = made(tmp_path / "a.db", "wal")
    killed(source, "UPDATE account SET money = 7")
    before = source.read_bytes()
    assert source.with_name("a.db-wal").stat().st_size > 100_000
    snapshot(source, tmp_path / "copy")
    assert money_in(tmp_path / "copy") == 14_000
    assert source.read_bytes() == before


def test_what_a_killed_writer_left_half_done_is_not_in_the_copy(tmp_path) -> None:
    source = made(tmp_path / "a.db")
    before = source.read_bytes()
    killed(source, "BEGIN", "UPDATE account SET money = 7, note = randomblob(900)")
    assert source.read_bytes() != before
    assert beside(source) == ["a.db-journal"]
    snapshot(source, tmp_path / "copy")
    assert money_in(tmp_path / "copy") == 200_000


@pytest.mark.parametrize("damage", [b"\xff" * 60_000, b"no database at all" * 20])
def test_a_damaged_database_is_not_copied(tmp_path, damage) -> None:
    source = made(tmp_path / "a.db")
    with source.open("r+b") as file:
        file.seek(0 if damage.startswith(b"no") else 40_000)
        file.write(damage)
    with pytest.raises(UnsoundError) as raised:
        snapshot(source, tmp_path / "copy")
    assert raised.value.component == str(source)
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_a_damaged_index_is_found_though_every_page_can_be_read(tmp_path) -> None:
    source = made(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_note ON account (money)' WHERE name = 'by_note'"
        )
        connection.commit()
    with pytest.raises(UnsoundError, match="missing from index"):
        snapshot(source, tmp_path / "copy")


def test_who_keeps_a_database_to_himself_is_not_waited_for_beyond_patience(tmp_path) -> None:
    source = made(tmp_path / "a.db")
    with process(_HOLDER, source, "BEGIN EXCLUSIVE"):
        begun = time.monotonic()
        with pytest.raises(BusyError):
            snapshot(source, tmp_path / "copy", patience=0.5)
        assert 0.4 < time.monotonic() - begun < 5
    assert not (tmp_path / "copy").exists()
    snapshot(source, tmp_path / "copy")


def test_nothing_that_exists_is_written_over_and_nothing_is_made_of_nothing(tmp_path) -> None:
    source = made(tmp_path / "a.db")
    with pytest.raises(FileExistsError):
        snapshot(source, source)
    assert money_in(source) == 200_000
    with pytest.raises(FileNotFoundError):
        snapshot(tmp_path / "missing.db", tmp_path / "copy")
    assert not (tmp_path / "missing.db").exists()


def test_copies_are_the_same_bytes_as_long_as_the_content_is(tmp_path) -> None:
    source = made(tmp_path / "a.db", "wal")
    with process(_HOLDER, source, "UPDATE account SET money = 7 WHERE id = 3"):
        snapshot(source, tmp_path / "logged")
    with contextlib.closing(sqlite3.connect(source)) as connection:  # the log is written back
        connection.execute("SELECT * FROM account").fetchall()
    assert beside(source) == []
    snapshot(source, tmp_path / "written back")
    shutil.copy(tmp_path / "logged", tmp_path / "elsewhere.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "elsewhere.db")) as connection:
        connection.execute("PRAGMA journal_mode=wal")
    snapshot(tmp_path / "elsewhere.db", tmp_path / "of a copy")
    copies = [tmp_path / name for name in ("logged", "written back", "of a copy")]
    assert len({copy.read_bytes() for copy in copies}) == 1
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("UPDATE account SET money = 8 WHERE id = 3")
        connection.commit()
    snapshot(source, tmp_path / "other")
    other = (tmp_path / "other").read_bytes()
    assert other[24:28] != copies[0].read_bytes()[24:28]


@_MODES
def test_no_transaction_leaves_the_fingerprint_as_it_was(tmp_path, mode) -> None:
    source = made(tmp_path / "a.db", mode)
    assert fingerprint(source) == fingerprint(source)
    seen = {fingerprint(source)}
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA wal_autocheckpoint=4")  # the log is written from its begin again and again
        for number in range(300):
            connection.execute("UPDATE account SET money = ? WHERE id = 3", (number,))
            for file in (source, *tmp_path.glob("*-wal")):
                os.utime(file, (1, 1))  # as where clocks are coarse
            seen.add(fingerprint(source))
    assert len(seen) == 301


@_MODES
def test_the_log_of_the_old_is_not_applied_to_the_new(tmp_path, mode) -> None:
    path, new, keep = made(tmp_path / "a.db", mode), tmp_path / "new", tmp_path / "kept"
    snapshot(made(tmp_path / "b.db", money=50), new)
    if mode == "wal":
        killed(path, "UPDATE account SET money = 7")
    else:
        killed(path, "BEGIN", "UPDATE account SET money = 7, note = randomblob(900)")
    assert beside(path)
    replace(path, new, keep=keep)
    assert (beside(path), new.exists()) == ([], False)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
    assert money_in(path) == 100_000
    assert money_in(keep) == (14_000 if mode == "wal" else 200_000)


@pytest.mark.parametrize(
    ("mode", "statement", "seen"),
    [
        ("delete", "SELECT count(*) FROM account", True),  # who holds no lock is only seen where open files are
        *((mode, "BEGIN IMMEDIATE", seen) for mode in ("delete", "wal") for seen in (True, False)),
        *(("wal", "SELECT count(*) FROM account", seen) for seen in (True, False)),
    ],
)
def test_a_database_that_somebody_has_open_is_not_replaced(tmp_path, mode, statement, seen, monkeypatch) -> None:
    if not seen:
        monkeypatch.setattr(databases, "_holders", lambda path, but=0: set())
    path, new = made(tmp_path / "a.db", mode), tmp_path / "new"
    snapshot(made(tmp_path / "b.db", money=50), new)
    with process(_HOLDER, path, statement):
        assert not replaceable(path)
        with pytest.raises(BusyError):
            replace(path, new, keep=tmp_path / "kept", patience=0.1)
        assert new.exists()
        assert not (tmp_path / "kept").exists()
    assert replaceable(path)
    assert money_in(path) == 200_000


@_MODES
def test_a_replacement_that_was_cut_short_is_done_by_the_next(tmp_path, mode, monkeypatch) -> None:
    path, new, keep = made(tmp_path / "a.db", mode), tmp_path / "new", tmp_path / "kept"
    snapshot(made(tmp_path / "b.db", money=50), new)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            replace(path, new, keep=keep)
    assert money_in(path) == 200_000
    replace(path, new, keep=keep)
    assert money_in(path) == 100_000
    assert money_in(keep) == 200_000


def test_a_database_that_only_its_application_can_check_is_not_called_damaged(tmp_path) -> None:
    source = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.create_collation("OWN", lambda one, other: (one > other) - (one < other))
        connection.execute("CREATE TABLE word (text TEXT COLLATE OWN PRIMARY KEY)")
    with pytest.raises(DatabaseError, match="OWN") as raised:
        snapshot(source, tmp_path / "copy")
    assert not isinstance(raised.value, UnsoundError)


def test_a_connection_of_this_process_counts_too(tmp_path) -> None:
    path = made(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT * FROM account").fetchone()
        assert not replaceable(path)
    assert replaceable(path)


def test_a_damaged_database_is_replaced_and_kept_with_its_log(tmp_path) -> None:
    path, new, keep = tmp_path / "a.db", tmp_path / "new", tmp_path / "kept"
    path.write_bytes(b"damaged" * 1000)
    path.with_name("a.db-wal").write_bytes(b"log")
    snapshot(made(tmp_path / "b.db"), new)
    assert replaceable(path)
    replace(path, new, keep=keep)
    assert money_in(path) == 200_000
    assert keep.read_bytes() == b"damaged" * 1000
    assert (tmp_path / "kept-wal").read_bytes() == b"log"


def test_a_log_without_its_database_is_not_applied_to_a_new_one(tmp_path) -> None:
    path, new = made(tmp_path / "a.db", "wal"), tmp_path / "new"
    killed(path, "UPDATE account SET money = 7")
    path.unlink()
    snapshot(made(tmp_path / "b.db", money=50), new)
    replace(path, new)
    assert money_in(path) == 100_000


def test_only_a_database_of_one_file_takes_the_place_of_another(tmp_path) -> None:
    path = made(tmp_path / "a.db")
    (tmp_path / "text").write_text("text")
    logged = made(tmp_path / "logged.db", "wal")
    killed(logged, "UPDATE account SET money = 7")
    for wrong in (tmp_path / "text", logged):
        with pytest.raises(UnsoundError):
            replace(path, wrong)
    assert money_in(path) == 200_000


def test_databases_are_known_by_their_content_and_their_sidecars_by_name(tmp_path) -> None:
    (tmp_path / "text.db").write_text("SQLite format 3")
    assert is_database(made(tmp_path / "without an ending"))
    assert not is_database(tmp_path / "text.db")
    assert not is_database(tmp_path)
    assert [name for name in ("a.db-wal", "a-shm", "a.db-journal", "-wal", "a.wal") if sidecar(name)] == [
        "a.db-wal", "a-shm", "a.db-journal",
    ]  # fmt: skip

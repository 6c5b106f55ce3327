"""Databases of two devices: copied as they are at one moment, replaced only while nobody has them open."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from models.sync import Category
from tasks.sync.engine import Engine, Guard, GuardError, Outcome, Self
from tasks.sync.filters import Filter
from tasks.sync.mirror import Mirror
from tasks.sync.shadow import Shadow
from tasks.sync.shelf import MARKER
from tasks.sync.state import Store
from tests.sync.world import Cloud, Faulty, Memory, View


class Databases:
    """A device with a folder of databases."""

    def __init__(self, cloud: Cloud, name: str, place: Path, *, mirror: Path | None = None) -> None:
        self.name, self.folder, self.place = name, place / name, place / f"{name}-shadow"
        self.folder.mkdir()
        self.category = Category(name="db", folder=self.folder, content="databases")
        self.view = View(cloud, name, Faulty())
        self.states = Memory()
        self.runs = 0
        self.root = mirror
        self.known_as: str | None = None
        if mirror is not None:
            first = not (mirror / MARKER).exists()
            self.known_as = self.mirror(mirror).create() if first else self.mirror(mirror).join()

    def mirror(self, root: Path) -> Mirror:
        synced = Shadow(self.category, self.place, Filter.of(self.category)).synced
        return Mirror(
            root, synced, self.name, self.states, Filter.of(synced), f"run-{self.runs}", known_as=self.known_as,
            settled_s=0, durable=False,
        )  # fmt: skip

    def store(self) -> Store:
        self.view.deliver(None)
        return self.view if self.root is None else self.mirror(self.root)

    def sync(self) -> tuple[Outcome, dict[str, str]]:
        self.runs += 1
        takes = Filter.of(self.category)
        shadow = Shadow(self.category, self.place, takes)
        shadow.gather(self.name, self.runs)
        engine = Engine(shadow.synced, self.store(), self.states, takes, durable=False)
        outcome = engine.run(Self(self.name, self.runs, f"run-{self.runs}"), guard=Guard(confirmed=True))
        shadow.spread(f"run-{self.runs}")
        return outcome, shadow.skipped

    @contextmanager
    def opened(self, name: str = "a.db") -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / name, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")
            yield connection

    def add(self, word: str, name: str = "a.db") -> None:
        with self.opened(name) as connection:
            connection.execute("INSERT INTO words VALUES (?)", (word,))

    def words(self, name: str = "a.db") -> list[str]:
        with closing(sqlite3.connect(self.folder / name)) as connection:
            return [row[0] for row in connection.execute("SELECT word FROM words ORDER BY rowid")]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.suffix == ".db")


@pytest.fixture(params=["vault", "mirror"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Databases, Databases]:
    cloud = Cloud()
    root = None
    if request.param == "mirror":
        root = tmp_path / "store"
        root.mkdir()
    return Databases(cloud, "anna", tmp_path, mirror=root), Databases(cloud, "bert", tmp_path, mirror=root)


def rounds(pair: tuple[Databases, Databases], count: int = 3) -> None:
    for _ in range(count):
        for device in pair:
            outcome, skipped = device.sync()
            assert (skipped, outcome.problems) == ({}, [])


def test_what_one_writes_the_other_reads(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    rounds(pair)
    assert bert.words() == ["one"]
    bert.add("two")
    rounds(pair)
    assert anna.words() == ["one", "two"]
    for device in pair:
        outcome, _ = device.sync()
        assert not outcome.changes
        assert outcome.plan.nothing


def test_a_log_that_is_not_written_back_is_in_the_copy_and_never_beside_it(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    with anna.opened() as connection:
        connection.execute("INSERT INTO words VALUES ('in the log')")
        assert (anna.folder / "a.db-wal").stat().st_size > 0
        anna.sync()
        bert.sync()
    assert bert.words() == ["in the log"]
    assert list(anna.place.rglob("*-wal")) == []


def test_one_that_is_in_use_is_replaced_later(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    rounds(pair)
    anna.add("two")
    anna.sync()
    with bert.opened() as connection:
        connection.execute("BEGIN IMMEDIATE")
        _, skipped = bert.sync()
        assert list(skipped) == ["a.db"]
        connection.execute("ROLLBACK")
    assert bert.words() == ["one"]
    rounds(pair)
    assert bert.words() == ["one", "two"]


def test_changes_of_both_are_both_kept(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    rounds(pair)
    anna.add("of anna")
    bert.add("of bert")
    rounds(pair)
    assert anna.names() == bert.names()
    assert len(anna.names()) == 2
    assert sorted(word for name in anna.names() for word in anna.words(name)[1:]) == ["of anna", "of bert"]
    assert sorted(word for name in bert.names() for word in bert.words(name)[1:]) == ["of anna", "of bert"]


def test_a_change_while_another_waits_to_come_in_is_kept(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    rounds(pair)
    anna.add("of anna")
    anna.sync()
    with bert.opened() as connection:
        connection.execute("BEGIN IMMEDIATE")
        bert.sync()  # anna's has come, and could not be put in its place
        connection.execute("INSERT INTO words VALUES ('of bert')")
        connection.execute("COMMIT")
    rounds(pair)
    assert anna.names() == bert.names()
    assert sorted(word for name in anna.names() for word in anna.words(name)[1:]) == ["of anna", "of bert"]


def test_a_deletion_comes_to_the_other_and_into_its_trash(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    anna.add("other", "b.db")
    rounds(pair)
    for path in anna.folder.glob("a.db*"):
        path.unlink()
    rounds(pair)
    assert bert.names() == anna.names() == ["b.db"]
    assert list(bert.folder.glob(".lama-sync/trash/*/*a.db"))


def test_a_damaged_one_is_told_and_spoils_nothing(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    rounds(pair)
    with (anna.folder / "a.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    _, skipped = anna.sync()
    assert list(skipped) == ["a.db"]
    bert.sync()
    assert bert.words() == ["one"]


def test_a_folder_that_is_away_deletes_nothing(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    anna.add("one")
    rounds(pair)
    away = anna.folder.rename(anna.folder.with_name("away"))
    with pytest.raises(FileNotFoundError):
        anna.sync()
    anna.folder.mkdir()
    shadow = Shadow(anna.category, anna.place, Filter.of(anna.category))
    shadow.gather("anna", 9)
    engine = Engine(shadow.synced, anna.store(), anna.states, Filter.of(anna.category), durable=False)
    with pytest.raises(GuardError, match="is empty"):
        engine.run(Self("anna", 9, "run-9"), guard=Guard())
    anna.folder.rmdir()
    away.rename(anna.folder)
    rounds(pair)
    assert anna.words() == bert.words() == ["one"]


def test_other_files_of_the_folder_come_along(pair: tuple[Databases, Databases]) -> None:
    anna, bert = pair
    (anna.folder / "notes.txt").write_text("n")
    rounds(pair)
    assert (bert.folder / "notes.txt").read_text() == "n"
    (bert.folder / "notes.txt").write_text("changed")
    rounds(pair)
    assert (anna.folder / "notes.txt").read_text() == "changed"


_WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("PRAGMA journal_mode = " + sys.argv[2])
connection.execute("PRAGMA synchronous = off")
connection.execute("PRAGMA wal_autocheckpoint = 7")
connection.execute("CREATE TABLE IF NOT EXISTS words (word INTEGER PRIMARY KEY, filler BLOB)")
for number in range(1, 1_000_000):
    connection.execute("INSERT INTO words VALUES (?, randomblob(700))", (number,))
    if number == 200:
        print("ready", flush=True)
    if number > 200 and sys.argv[2] == "delete":
        time.sleep(0.02)  # without a log, who writes all the time leaves nobody a moment to read
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_what_is_shared_while_somebody_writes_is_sound_and_has_all_that_was_committed(
    pair: tuple[Databases, Databases], mode: str
) -> None:
    anna, bert = pair
    counts = []
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(anna.folder / "a.db"), mode], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(4):
                with closing(sqlite3.connect(anna.folder / "a.db", timeout=30)) as connection:
                    committed = connection.execute("SELECT max(word) FROM words").fetchone()[0]
                assert anna.sync()[1] == {}
                assert bert.sync()[1] == {}
                places = [bert.folder / "a.db", *([bert.root / "db" / "a.db"] if bert.root else [])]
                for place in places:
                    with closing(sqlite3.connect(f"file:{place}?mode=ro&immutable=1", uri=True)) as connection:
                        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                        count, last = connection.execute("SELECT count(*), max(word) FROM words").fetchone()
                    assert count == last >= committed
                    assert not list(place.parent.glob("a.db-*"))
                counts.append(count)
        finally:
            writer.kill()
    assert counts == sorted(counts)


@pytest.fixture
def shared(tmp_path: Path) -> tuple[Databases, Databases, Path]:
    """Two devices with a mirror, and the database in it."""
    root = tmp_path / "store"
    root.mkdir()
    pair = Databases(Cloud(), "anna", tmp_path, mirror=root), Databases(Cloud(), "bert", tmp_path, mirror=root)
    pair[0].add("one")
    rounds(pair)
    return *pair, root / "db" / "a.db"


def test_one_that_somebody_has_open_in_the_shared_folder_is_neither_taken_nor_replaced(
    shared: tuple[Databases, Databases, Path],
) -> None:
    anna, bert, place = shared
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("INSERT INTO words VALUES ('of a stranger')")
        outcome, _ = anna.sync()
        assert [one.what for one in outcome.problems] == [
            "skipped in the shared folder: somebody has it open: a.db-wal is beside it"
        ]
        anna.add("of anna")
        anna.sync()
        assert connection.execute("SELECT word FROM words").fetchall() == [("one",), ("of a stranger",)]
    rounds((anna, bert))
    assert anna.names() == bert.names()
    assert sorted(word for name in anna.names() for word in anna.words(name)[1:]) == ["of a stranger", "of anna"]


def test_one_that_is_read_in_the_shared_folder_is_replaced_later(shared: tuple[Databases, Databases, Path]) -> None:
    anna, bert, place = shared
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM words").fetchone() == (1,)
        anna.add("two")
        outcome, _ = anna.sync()
        assert {one.what for one in outcome.problems} == {"not put into the shared folder: somebody has it open"}
        connection.execute("COMMIT")
    rounds((anna, bert))
    assert bert.words() == ["one", "two"]


@pytest.mark.parametrize("damage", [b"\xff" * 4096, b"no database"])
def test_one_that_is_damaged_in_the_shared_folder_is_not_taken(
    shared: tuple[Databases, Databases, Path], damage: bytes
) -> None:
    anna, _, place = shared
    with place.open("r+b") as file:
        file.seek(4096 if len(damage) > 100 else 0)
        file.write(damage)
    outcome, skipped = anna.sync()
    assert "a.db" in skipped or [one.component for one in outcome.problems] == ["a.db"]
    assert anna.words() == ["one"]

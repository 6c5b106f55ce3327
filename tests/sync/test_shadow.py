"""Databases of two devices: copied as they are at one moment, replaced only while nobody has them open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from models.sync import Category
from tasks.sync.engine import Engine, Guard, GuardError, Outcome, Self
from tasks.sync.filters import Filter
from tasks.sync.shadow import Shadow
from tests.sync.world import Cloud, Faulty, Memory, View


class Databases:
    """A device with a folder of databases."""

    def __init__(self, cloud: Cloud, name: str, place: Path) -> None:
        self.name, self.folder, self.place = name, place / name, place / f"{name}-shadow"
        self.folder.mkdir()
        self.category = Category(name="db", folder=self.folder, content="databases")
        self.view = View(cloud, name, Faulty())
        self.states = Memory()
        self.runs = 0

    def sync(self) -> tuple[Outcome, dict[str, str]]:
        self.runs += 1
        takes = Filter.of(self.category)
        shadow = Shadow(self.category, self.place, takes)
        shadow.gather(self.name, self.runs)
        self.view.deliver(None)
        engine = Engine(shadow.synced, self.view, self.states, takes, durable=False)
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


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Databases, Databases]:
    cloud = Cloud()
    return Databases(cloud, "anna", tmp_path), Databases(cloud, "bert", tmp_path)


def rounds(pair: tuple[Databases, Databases], count: int = 3) -> None:
    for _ in range(count):
        for device in pair:
            assert device.sync()[1] == {}


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
    engine = Engine(shadow.synced, anna.view, anna.states, Filter.of(anna.category), durable=False)
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

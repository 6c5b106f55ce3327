"""Many contents at once on their way into a vault and out of it."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from blocks.errors import UnavailableError
from models.sync import Category
from tasks.sync import shelf
from tasks.sync.calls import sync_whole
from tasks.sync.engine import Engine, Guard, Outcome, Self
from tasks.sync.filters import Filter
from tasks.sync.upload import LARGE
from tasks.sync.vault import Vault
from tests.sync.devices import Node
from tests.sync.world import Memory


class Folder:
    """A folder of a device that takes part in the vault."""

    def __init__(self, node: Node, place: Path) -> None:
        self.place = place
        self.place.mkdir()
        self._vault = Vault(node.store, node.identity, known_counters=node.counters, durable=True, at_once=3)
        self._device = node.id
        self._states = Memory()
        self._runs = 0

    def sync(self) -> Outcome:
        self._runs += 1
        category = Category(name="notes", folder=self.place)
        engine = Engine(category, self._vault, self._states, Filter.of(category))
        me = Self(self._device, 1_800_000_000 + self._runs, f"run-{self._runs}")
        return engine.run(me, guard=Guard(confirmed=True))

    def tree(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.place).as_posix(): path.read_bytes()
            for path in self.place.rglob("*")
            if path.is_file() and ".lama-sync" not in path.parts
        }


@pytest.fixture
def folders(mac: Node, pc: Node, tmp_path: Path) -> tuple[Folder, Folder]:
    return Folder(mac, tmp_path / "one"), Folder(pc, tmp_path / "two")


def test_large_and_small_ones_come_to_the_other_device(folders: tuple[Folder, Folder]) -> None:
    one, two = folders
    chance = random.Random(1)
    for number in range(8):
        place = one.place / f"folder {number % 3}" / f"{number}"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(chance.randbytes(LARGE + number if number % 2 else number))
        place.chmod(0o640)
    (one.place / "again").write_bytes((one.place / "folder 1" / "1").read_bytes())
    outcome = one.sync()
    assert (outcome.skipped, outcome.problems) == ({}, [])
    assert len(two.sync().done) == len(outcome.changes) == 12
    assert two.tree() == one.tree()
    assert {path.stat().st_mode & 0o777 for path in two.place.glob("folder*/*")} == {0o640}


def test_of_large_ones_those_that_cannot_be_read_are_skipped_and_the_rest_is_stored(
    folders: tuple[Folder, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = folders
    for number in range(5):
        (one.place / f"{number}").write_bytes(bytes([number]) * LARGE)
    put = Vault.put

    def gone(self: Vault, digest: bytes, source: object) -> None:
        if digest == blake3(bytes([2]) * LARGE).digest():
            (one.place / "2").unlink()
        put(self, digest, source)  # type: ignore[arg-type]

    monkeypatch.setattr(Vault, "put", gone)
    assert set(one.sync().skipped) == {"2"}
    two.sync()
    assert set(two.tree()) == {"0", "1", "3", "4"}


def test_what_did_not_reach_the_disk_is_told_and_nobody_is(
    folders: tuple[Folder, Folder], mac: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = folders
    for number in range(600):
        (one.place / f"{number}").write_text(f"{number}")

    def broken(_fd: int) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shelf, "sync_whole", broken)
    with pytest.raises(UnavailableError, match="Input/output error"):
        one.sync()
    assert [path for path in (mac.store / "objects").rglob("*") if path.is_file()] == []
    assert two.sync().done == set()
    monkeypatch.undo()
    one.sync()
    assert len(two.sync().done) == 600


def test_where_one_wait_for_all_is_not_to_be_had_each_is_waited_for(
    folders: tuple[Folder, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = folders
    for number in range(600):
        (one.place / f"{number}").write_text(f"{number}")
    fsync, waited = os.fsync, []
    monkeypatch.setattr(shelf, "sync_whole", lambda _fd: False)
    monkeypatch.setattr(shelf.os, "fsync", lambda fd: (waited.append(fd), fsync(fd))[1])
    one.sync()
    assert len(waited) > 600
    monkeypatch.undo()
    assert len(two.sync().done) == 600


def test_a_folder_that_another_took_the_place_of_is_seen(mac: Node) -> None:
    def replaced() -> None:
        with mac.vault.batch():
            mac.put(b"content")
            (folder,) = (mac.store / "objects").iterdir()
            folder.rename(mac.store / "elsewhere")
            folder.mkdir()

    with pytest.raises((UnavailableError, FileNotFoundError)):
        replaced()


def test_file_systems_of_daemons_are_not_waited_for_as_a_whole() -> None:
    fd = os.open("/proc", os.O_RDONLY)
    try:
        assert sync_whole(fd) is False
    finally:
        os.close(fd)

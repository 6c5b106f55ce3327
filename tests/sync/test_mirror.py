"""A mirror is a plain folder: what is done in it comes to the devices; what is not whole, or not there, does not."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from blocks.errors import ConfigurationError, UnavailableError
from models.sync import Category
from tasks.sync.apply import OURS
from tasks.sync.calls import Calls
from tasks.sync.engine import Guard, GuardError
from tasks.sync.faults import Changed, Missing
from tasks.sync.filters import Filter
from tasks.sync.shelf import MARKER
from tasks.sync.trash import expire, expire_stages
from tests.sync.world import Device, Sharing, quiet, shared_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def pair(root: Path, tmp_path: Path) -> tuple[Sharing, Sharing]:
    return Sharing(root, "anna", tmp_path / "a"), Sharing(root, "bert", tmp_path / "b")


@pytest.fixture
def shared(root: Path, pair: tuple[Sharing, Sharing]) -> Device:
    return shared_tree(root)


def write(device: Device, path: str, content: str) -> None:
    device.path(path).parent.mkdir(parents=True, exist_ok=True)
    device.path(path).write_text(content)


class Interfering(Calls):
    """Does something before the first call of a name."""

    def __init__(self, name: str, does: Callable[[], object]) -> None:
        self.waits_for: str | None = name
        self.does = does

    def __getattribute__(self, name: str) -> Any:
        if name == super().__getattribute__("waits_for"):
            self.waits_for = None
            self.does()
        return super().__getattribute__(name)


class TestTheTree:
    def test_the_shared_folder_holds_the_plain_files(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "notes/ä.txt", "first")
        anna.path("link").symlink_to("notes")
        anna.path("notes/ä.txt").chmod(0o600)
        quiet(pair)
        assert shared.tree() == bert.tree() == {"link": "notes", "notes": None, "notes/ä.txt": b"first"}
        assert shared.path("notes/ä.txt").stat().st_mode & 0o777 == 0o600

    def test_what_others_do_there_comes_to_the_devices(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        write(anna, "gone.txt", "g")
        quiet(pair)
        write(shared, "a.txt", "from a phone")
        write(shared, "new/b.txt", "b")
        shared.path("gone.txt").unlink()
        quiet(pair)
        assert anna.tree() == bert.tree() == {"a.txt": b"from a phone", "new": None, "new/b.txt": b"b"}
        assert sorted(anna.trash()) == [b"a", b"g"]

    def test_an_edit_here_and_one_there_are_both_kept(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "a.txt", "base")
        quiet(pair)
        write(anna, "a.txt", "of anna")
        write(shared, "a.txt", "of a phone")
        quiet(pair)
        assert anna.tree() == bert.tree() == shared.tree()
        assert sorted(map(str, anna.tree().values())) == ["b'of a phone'", "b'of anna'"]

    def test_what_is_replaced_and_deleted_is_in_its_trash(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        write(anna, "a.txt", "one")
        write(anna, "b.txt", "two")
        quiet(pair)
        write(anna, "a.txt", "changed")
        anna.path("b.txt").unlink()
        quiet(pair)
        assert sorted(shared.trash()) == [b"one", b"two"]

    def test_what_a_device_that_does_not_come_back_held_there_is_removed_with_the_trash(
        self, pair: tuple[Sharing, Sharing], shared: Device
    ) -> None:
        anna, bert = pair
        write(anna, "a.txt", "one")
        write(anna, "b.txt", "two")
        quiet(pair)
        anna.path("b.txt").unlink()
        quiet(pair)
        for name in ("anna", "gone"):
            write(shared, f"{OURS}/stage-{name}/held", "held")
        later = time.time() + 31 * 86_400
        assert expire_stages(shared.folder, but="stage-anna", days=40, now=later) == 0
        assert expire_stages(shared.folder, but="stage-anna", days=30, now=later) == 1
        assert [path.parent.name for path in shared.folder.glob(f"{OURS}/stage-*/held")] == ["stage-anna"]
        assert expire(shared.folder, days=30, now=later) == 1
        assert shared.trash() == []
        assert shared.tree() == bert.tree() == {"a.txt": b"one"}

    def test_a_rename_is_one_there_too(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        write(anna, "old/a.txt", "content")
        quiet(pair)
        inode = shared.path("old/a.txt").stat().st_ino
        anna.path("old").rename(anna.path("new"))
        quiet(pair)
        assert shared.path("new/a.txt").stat().st_ino == inode
        assert shared.trash() == []

    def test_nothing_happens_when_nothing_changed(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        quiet(pair)
        before = anna.states.load("notes").counter, bert.states.load("notes").counter
        for device in pair:
            outcome = device.sync()
            assert outcome.plan.nothing
            assert not outcome.changes
        assert (anna.states.load("notes").counter, bert.states.load("notes").counter) == before

    def test_a_join_has_its_base_from_the_trash(self, root: Path, tmp_path: Path) -> None:
        pair = [Sharing(root, name, tmp_path / name, policy="merge") for name in ("anna", "bert")]
        bases: list[bytes] = []

        def merge(_path: str, base: bytes, one: bytes, other: bytes) -> bytes:
            bases.append(base)
            return one + other

        anna, bert = pair
        anna.merge = bert.merge = merge
        write(anna, "a.txt", "base")
        quiet(pair)
        write(anna, "a.txt", "1")
        write(bert, "a.txt", "2")
        quiet(pair)
        assert bases == [b"base"]
        assert anna.tree() == bert.tree()
        assert list(anna.tree()) == ["a.txt"]

    def test_filters_count_on_both_sides(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        write(anna, "b.tmp", "mine")
        quiet([bert])
        shared.path("b.tmp").write_text("theirs")
        category = Category(name="notes", folder=anna.folder, exclude=("*.tmp",))
        anna.takes = bert.takes = Filter.of(category)
        quiet(pair)
        assert anna.tree() == {"a.txt": b"a", "b.tmp": b"mine"}
        assert shared.tree() == {"a.txt": b"a", "b.tmp": b"theirs"}

    def test_a_filter_that_takes_less_is_no_deletion(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        write(anna, "b.tmp", "b")
        quiet(pair)
        anna.takes = Filter.of(Category(name="notes", folder=anna.folder, exclude=("*.tmp",)))
        write(anna, "c.txt", "c")
        quiet(pair)
        assert "b.tmp" in shared.tree()
        assert "b.tmp" in bert.tree()
        assert "c.txt" in bert.tree()


class TestWhatIsNotWhole:
    def test_a_young_file_waits(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        anna.settled_s = 30.0
        write(shared, "a.txt", "half of")
        write(shared, "b.txt", "half of")
        outcome = anna.sync()
        assert anna.tree() == {"a.txt": b"a"}
        assert {one.component for one in outcome.problems} == {"a.txt", "b.txt"}
        assert shared.tree() == {"a.txt": b"half of", "b.txt": b"half of"}
        anna.settled_s = 0.05
        time.sleep(0.1)
        anna.sync()
        assert anna.tree() == {"a.txt": b"half of", "b.txt": b"half of"}

    def test_what_changes_while_a_run_puts_it_stays(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        write(anna, "a.txt", "of anna")
        anna.faulty = Interfering("exchange", lambda: write(shared, "a.txt", "of a phone"))  # type: ignore[assignment]
        outcome = anna.sync()
        assert [one.component for one in outcome.problems] == ["a.txt"]
        assert shared.tree() == {"a.txt": b"of a phone"}
        quiet(pair)
        assert anna.tree() == bert.tree() == shared.tree()
        assert {b"of anna", b"of a phone"} <= set(anna.tree().values())

    def test_what_changes_before_it_is_fetched_is_not_taken(
        self, pair: tuple[Sharing, Sharing], shared: Device
    ) -> None:
        anna, _bert = pair
        write(shared, "a.txt", "first")
        anna.faulty = Interfering("open_new", lambda: write(shared, "a.txt", "later"))  # type: ignore[assignment]
        outcome = anna.sync()
        assert list(outcome.skipped) == ["a.txt"]
        assert anna.tree() == {}
        anna.sync()
        assert anna.tree() == {"a.txt": b"later"}

    def test_a_stand_in_of_icloud_is_no_deletion(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, bert = pair
        write(anna, "d/a.txt", "a")
        quiet(pair)
        anna.takes = bert.takes = Filter.of(anna.category)
        shared.path("d/a.txt").rename(shared.path("d/.a.txt.icloud"))
        write(anna, "b.txt", "b")
        quiet(pair)
        assert anna.tree() == bert.tree() == {"b.txt": b"b", "d": None, "d/a.txt": b"a"}
        assert "d/a.txt" not in shared.tree()

    def test_a_content_is_checked_on_its_way(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        mirror = anna.mirror("test")
        mirror.others("notes")
        content, digest = b"content", blake3(b"content").digest()
        assert not mirror.has(digest)
        with pytest.raises(Missing):
            mirror.fetch(digest, io.BytesIO())
        with pytest.raises(Changed):
            mirror.put(digest, io.BytesIO(b"other"))
        assert not mirror.has(digest)
        mirror.put(digest, io.BytesIO(content))
        assert mirror.has(digest)
        into = io.BytesIO()
        mirror.fetch(digest, into, size=len(content))
        assert into.getvalue() == content
        with pytest.raises(Changed):
            mirror.fetch(digest, io.BytesIO(), size=3)
        assert shared.tree() == {}

    def test_no_link_leads_a_fetch_out_of_the_folder(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        write(shared, "d/a.txt", "a")
        mirror = anna.mirror("test")
        mirror.others("notes")
        outside = shared.folder.parent.parent / "outside"
        shared.path("d").rename(outside)
        shared.path("d").symlink_to(outside)
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            mirror.fetch(blake3(b"a").digest(), io.BytesIO())


class TestWhereItIsNot:
    def test_a_root_that_is_away_stops_the_run(self, pair: tuple[Sharing, Sharing], root: Path) -> None:
        anna, _bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        root.rename(root.with_name("away"))
        with pytest.raises(UnavailableError, match="is not there"):
            anna.sync()
        root.mkdir()  # the empty mount point
        with pytest.raises(UnavailableError, match="is not in it"):
            anna.sync()
        assert anna.tree() == {"a.txt": b"a"}

    def test_another_mirror_is_refused(self, pair: tuple[Sharing, Sharing], root: Path) -> None:
        anna, bert = pair
        shutil.rmtree(root)
        root.mkdir()
        bert.mirror("again").create()
        with pytest.raises(ConfigurationError, match="another mirror"):
            anna.sync()

    def test_a_vault_and_an_unknown_folder_are_refused(self, pair: tuple[Sharing, Sharing], root: Path) -> None:
        anna, _bert = pair
        anna.known_as = None
        with pytest.raises(ConfigurationError, match="has not joined"):
            anna.mirror("test").check()
        with pytest.raises(ConfigurationError, match="a store already"):
            anna.mirror("test").create()
        (root / MARKER).write_text('{"format": 1, "vault": "x"}')
        with pytest.raises(ConfigurationError, match="not that of a mirror"):
            anna.mirror("test").join()

    def test_a_category_that_went_away_stops_the_run(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        shutil.rmtree(shared.folder)
        with pytest.raises(UnavailableError, match="and was"):
            anna.sync()
        shared.folder.mkdir()
        with pytest.raises(UnavailableError, match="and was"):
            anna.sync()
        assert anna.tree() == {"a.txt": b"a"}

    @pytest.mark.parametrize("count", [1, 5, 40])
    def test_a_tree_that_was_emptied_is_asked_about(
        self, pair: tuple[Sharing, Sharing], shared: Device, count: int
    ) -> None:
        anna, bert = pair
        for number in range(count):
            write(anna, f"{number}.txt", str(number))
        quiet(pair)
        for path in shared.folder.glob("*.txt"):
            path.unlink()
        with pytest.raises(GuardError, match=f"all {count} paths of .* would be deleted here"):
            anna.sync(guard=Guard())
        assert len(anna.tree()) == count
        bert.sync(guard=Guard(confirmed=True))
        assert bert.tree() == {}

    def test_a_tree_that_is_much_smaller_is_asked_about(self, pair: tuple[Sharing, Sharing], shared: Device) -> None:
        anna, _bert = pair
        for number in range(60):
            write(anna, f"{number}.txt", str(number))
        quiet(pair)
        for number in range(40):
            shared.path(f"{number}.txt").unlink()
        with pytest.raises(GuardError, match="40 of 60 paths would be deleted here"):
            anna.sync(guard=Guard())
        for number in range(40):  # they were only late
            write(shared, f"{number}.txt", str(number))
        quiet(pair)
        assert len(anna.tree()) == 60


def test_permissions_that_cannot_be_kept_say_nothing(
    pair: tuple[Sharing, Sharing], shared: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = pair
    write(anna, "a.txt", "a")
    anna.path("a.txt").chmod(0o755)
    monkeypatch.setattr("tasks.sync.mirror.keeps_modes", lambda *_: False)
    quiet(pair)
    shared.path("a.txt").chmod(0o777)  # as all files look on a FAT disk
    quiet(pair)
    assert anna.path("a.txt").stat().st_mode & 0o777 == 0o755
    assert bert.path("a.txt").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_holds_what_is_not_synced_stays_there(pair: tuple[Sharing, Sharing], shared: Device) -> None:
    anna, bert = pair
    write(anna, "d/a.txt", "a")
    quiet(pair)
    os.mkfifo(shared.path("d/pipe"))
    shutil.rmtree(anna.path("d"))
    quiet(pair)
    assert anna.tree() == {}
    assert bert.tree() == {"d": None}
    assert shared.path("d/pipe").exists()
    assert not (shared.folder / OURS / "stage").exists()

"""Whatever fails in the middle of a run, the next one completes, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from blocks.errors import LamaError, UnavailableError
from models.sync_store import Manifest
from tasks.sync import scan
from tasks.sync.apply import OURS
from tasks.sync.calls import Calls
from tasks.sync.engine import Self
from tasks.sync.names import LONGEST_NAME
from tasks.sync.state import State, Store
from tests.sync.world import Cloud, Device, Sharing, quiet, shared_tree

_KILLS = int(os.environ.get("LAMA_SYNC_KILLS", "100"))


def write(device: Device, path: str, content: str) -> None:
    device.path(path).parent.mkdir(parents=True, exist_ok=True)
    device.path(path).write_text(content)


class World:
    """Two devices that have something to tell each other: everything that a plan can hold, and a conflict."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.cloud = Cloud()
        self.folder = folder
        self.kind = kind
        if kind == "mirror":
            self.pair: list[Device] = [Sharing(folder / "store", name, folder / name) for name in ("anna", "bert")]
        else:
            self.pair = [Device(self.cloud, name, folder / name) for name in ("anna", "bert")]
        anna, bert = self.pair
        for path in ("both", "edited", "gone", "moved", "file", "folder/in", "emptied/in", "mode"):
            write(anna, path, f"first {path}")
        quiet(self.pair)
        write(anna, "both", "both, of anna")
        write(anna, "edited", "edited, later")
        anna.path("gone").unlink()
        anna.path("moved").rename(anna.path("moved-to"))
        anna.path("file").unlink()
        write(anna, "file/in", "a folder now")
        shutil.rmtree(anna.path("folder"))
        write(anna, "folder", "a file now")
        shutil.rmtree(anna.path("emptied"))
        anna.path("mode").chmod(0o755)
        anna.path("link").symlink_to("mode")
        write(anna, "same-1", "the same")
        write(anna, "deep/er/same-2", "the same")
        anna.sync()
        write(bert, "both", "both, of bert")
        write(bert, "own", "own of bert")

    def everything(self) -> set[bytes]:
        places = [*self.pair]
        if self.kind == "mirror":
            places.append(shared_tree(self.folder / "store"))
        return {content for place in places for content in place.contents()} | set(self.cloud.objects.values())

    def settles(self, before: set[bytes]) -> None:
        anna, bert = self.pair
        quiet(self.pair)
        assert anna.tree() == bert.tree()
        assert {b"both, of anna", b"both, of bert", b"own of bert", b"the same"} <= set(anna.tree().values())
        assert anna.tree()["deep/er/same-2"] == b"the same"
        assert before - {b""} <= self.everything()
        for device in self.pair:
            assert not list((device.folder / OURS).glob("stage/*.part"))


def worlds(folder: Path, kind: str) -> Iterator[tuple[int, World]]:
    for number in range(1, 400):
        yield number, World(folder / str(number), kind)
        shutil.rmtree(folder / str(number))
    raise AssertionError("the run does not come to its end")


def fails(device: Device, number: int, how: Callable[[], BaseException]) -> bool:
    """Sync while everything fails from that call on; whether it came so far."""
    device.faulty.count, device.faulty.ends_at, device.faulty.how = 0, number, how
    with contextlib.suppress(OSError, LamaError):
        device.sync()
    device.faulty.ends_at = None
    return device.faulty.count >= number


@pytest.mark.parametrize("kind", ["objects", "mirror"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_disk_may_be_full_or_refuse_at_any_call(tmp_path: Path, kind: str, code: int) -> None:
    for number, world in worlds(tmp_path, kind):
        before = world.everything()
        came = fails(world.pair[1], number, lambda: OSError(code, os.strerror(code)))
        assert before <= world.everything()
        world.settles(before)
        if not came:
            assert number > 20
            return


class Once(Calls):
    """Fails at one call only."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("_") and name != "left":
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        return value


@pytest.mark.parametrize("kind", ["objects", "mirror"])
def test_one_call_that_fails_hinders_only_its_own_path(tmp_path: Path, kind: str) -> None:
    for number, world in worlds(tmp_path, kind):
        bert = world.pair[1]
        before = world.everything()
        usual, once = bert.faulty, Once(number)
        bert.faulty = once  # type: ignore[assignment]
        with contextlib.suppress(OSError):
            bert.sync()
        bert.faulty = usual
        assert before <= world.everything()
        world.settles(before)
        if once.left > 0:
            return


class Leaving:
    """A store that goes away at the call with that number."""

    at_once = 1

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self.left = number

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left <= 0:
                raise UnavailableError("it went away.", component="store")
            return getattr(self._store, name)(*args, **named)

        return call


@pytest.mark.parametrize("kind", ["objects", "mirror"])
def test_the_store_may_go_away_at_any_call(tmp_path: Path, kind: str) -> None:
    for number, world in worlds(tmp_path, kind):
        bert = world.pair[1]
        before = world.everything()
        usual = bert.store
        leaving: list[Leaving] = []

        def store(me: Self, usual: Any = usual, leaving: Any = leaving, number: int = number) -> Any:
            leaving.append(Leaving(usual(me), number))
            return leaving[-1]

        bert.store = store  # type: ignore[method-assign]
        with contextlib.suppress(UnavailableError):
            bert.sync()
        bert.store = usual  # type: ignore[method-assign]
        assert before <= world.everything()
        world.settles(before)
        if leaving[0].left > 0:
            assert number > 5
            return


@pytest.mark.parametrize("kind", ["objects", "mirror"])
def test_the_memory_may_be_away_at_any_time(tmp_path: Path, kind: str) -> None:
    for number, world in worlds(tmp_path, kind):
        bert = world.pair[1]
        before = world.everything()
        left = [number]
        save = bert.states.save

        def saved(category: str, state: State, done: Mapping[str, str], left: Any = left, save: Any = save) -> None:
            left[0] -= 1
            if left[0] <= 0:
                raise UnavailableError("no answer.", component="PostgreSQL")
            save(category, state, done)

        bert.states.save = saved  # type: ignore[method-assign]
        with contextlib.suppress(UnavailableError):
            bert.sync()
        bert.states.save = save  # type: ignore[method-assign]
        world.settles(before)
        if left[0] > 0:
            return


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Device, Device]:
    cloud = Cloud()
    return Device(cloud, "anna", tmp_path / "a"), Device(cloud, "bert", tmp_path / "b")


class TestWhatCannotBeRead:
    def test_a_folder_that_may_not_be_read_is_no_deletion(
        self, pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        anna, bert = pair
        write(anna, "closed/a.txt", "a")
        quiet(pair)
        opened = os.open

        def closed(place: Any, *args: Any, **named: Any) -> int:
            if str(place) == str(anna.path("closed")):
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(place, *args, **named)

        monkeypatch.setattr(scan.os, "open", closed)
        write(anna, "b.txt", "b")
        assert "Permission denied" in anna.sync().skipped["closed"]
        quiet(pair)
        monkeypatch.undo()
        assert bert.tree() == anna.tree() == {"b.txt": b"b", "closed": None, "closed/a.txt": b"a"}

    def test_a_file_that_may_not_be_read_is_no_deletion_and_is_left_alone(
        self, pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        write(anna, "a.txt", "of anna")
        write(bert, "a.txt", "of bert")
        bert.sync()
        hash_file = scan.hash_file

        def closed(place: str, *args: Any, **named: Any) -> Any:
            if place == "a.txt":
                raise PermissionError(errno.EACCES, "Permission denied")
            return hash_file(place, *args, **named)

        monkeypatch.setattr(scan, "hash_file", closed)
        assert "Permission denied" in anna.sync().skipped["a.txt"]
        assert anna.tree() == {"a.txt": b"of anna"}
        monkeypatch.undo()
        quiet(pair)
        assert sorted(map(str, anna.tree().values())) == ["b'of anna'", "b'of bert'"]
        assert anna.tree() == bert.tree()

    def test_a_file_that_changes_while_it_is_hashed_waits(
        self, pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        write(anna, "a.txt", "half")
        read = os.read

        def writing(fd: int, size: int) -> bytes:
            content = read(fd, size)
            with anna.path("a.txt").open("a") as file:
                file.write(" more")
            return content

        monkeypatch.setattr(scan.os, "read", writing)
        outcome = anna.sync()
        monkeypatch.undo()
        assert outcome.skipped == {"a.txt": "it changed while it was read"}
        assert bert.tree() == {"a.txt": b"a"}
        quiet(pair)
        assert bert.tree() == {"a.txt": b"half more"}

    def test_a_file_that_changes_before_it_is_stored_is_told_by_the_next_run(
        self, pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        anna, bert = pair
        monkeypatch.setattr(scan, "RACY_NS", -(10**15))  # as if all times told everything
        write(anna, "a.txt", "a")
        quiet(pair)
        write(anna, "a.txt", "changed")
        put = anna.view.put

        def failing(digest: bytes, source: BinaryIO) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        anna.view.put = failing  # type: ignore[method-assign]
        assert list(anna.sync().skipped) == ["a.txt"]
        anna.view.put = put  # type: ignore[method-assign]
        quiet(pair)
        assert bert.tree() == {"a.txt": b"changed"}

    def test_what_is_no_file_is_skipped_and_told(self, pair: tuple[Device, Device]) -> None:
        anna, bert = pair
        os.mkfifo(anna.path("pipe"))
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(anna.folder):
            server.bind("socket")
        write(anna, "a.txt", "a")
        assert set(anna.sync().skipped) == {"pipe", "socket"}
        quiet(pair)
        assert bert.tree() == {"a.txt": b"a"}

    def test_what_becomes_a_pipe_before_it_is_stored_holds_nobody_up(self, pair: tuple[Device, Device]) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        put = anna.view.put

        def replaced(digest: bytes, source: BinaryIO) -> None:
            anna.path("a.txt").unlink(missing_ok=True)
            os.mkfifo(anna.path("a.txt"))
            put(digest, source)

        anna.view.put = replaced  # type: ignore[method-assign]
        assert "a.txt" in anna.sync().skipped
        bert.sync()
        assert bert.tree() == {}


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


def interfered(device: Device, name: str, does: Callable[[], object]) -> dict[str, str]:
    usual = device.faulty
    device.faulty = Interfering(name, does)  # type: ignore[assignment]
    try:
        return device.sync().skipped
    finally:
        device.faulty = usual


class TestWhatHappensMeanwhile:
    @pytest.mark.parametrize("call", ["open_new", "exchange", "permit"])
    def test_a_file_becomes_a_folder(self, pair: tuple[Device, Device], call: str) -> None:
        anna, bert = pair
        write(anna, "a.txt", "a")
        quiet(pair)
        write(anna, "a.txt", "of anna")
        anna.sync()

        def replace() -> None:
            bert.path("a.txt").unlink()
            write(bert, "a.txt/in", "of bert")

        assert "a.txt" in interfered(bert, call, replace)
        assert bert.tree() == {"a.txt": None, "a.txt/in": b"of bert"}
        quiet(pair)
        assert anna.tree() == bert.tree()
        assert {b"of anna", b"of bert"} <= set(anna.tree().values())

    @pytest.mark.parametrize("call", ["open_new", "rename_new", "exchange", "mkdir"])
    def test_a_folder_becomes_a_link_to_outside(self, pair: tuple[Device, Device], tmp_path: Path, call: str) -> None:
        anna, bert = pair
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "a.txt").write_text("of nobody here")
        write(anna, "d/a.txt", "a")
        write(anna, "d/gone.txt", "a")
        quiet(pair)
        write(anna, "d/a.txt", "of anna")
        write(anna, "d/new.txt", "new")
        write(anna, "d/e/new.txt", "new")
        anna.path("d/gone.txt").unlink()
        anna.sync()

        def replace() -> None:
            bert.path("d").rename(bert.path("kept"))
            bert.path("d").symlink_to(outside)

        interfered(bert, call, replace)
        assert [path.name for path in outside.iterdir()] == ["a.txt"]
        assert (outside / "a.txt").read_text() == "of nobody here"
        quiet(pair)
        assert [path.name for path in outside.iterdir()] == ["a.txt"]
        assert anna.tree() == bert.tree()
        assert {b"of anna", b"new", str(outside)} <= set(anna.tree().values())

    def test_the_folder_itself_becomes_a_link_to_outside(self, pair: tuple[Device, Device], tmp_path: Path) -> None:
        anna, bert = pair
        outside = tmp_path / "outside"
        outside.mkdir()
        write(anna, "a.txt", "a")
        anna.sync()
        bert.sync()
        write(anna, "b.txt", "b")
        anna.sync()
        usual = bert.view.others

        def replaced(category: str, known: Callable[[Manifest], bool]) -> Any:
            bert.folder.rename(tmp_path / "away")
            bert.folder.symlink_to(outside)
            return usual(category, known)

        bert.view.others = replaced  # type: ignore[method-assign]
        with pytest.raises(OSError, match="another folder has taken its place"):
            bert.sync()
        assert list(outside.iterdir()) == []


class TestExtremes:
    @pytest.mark.parametrize("name", ["x" * 251 + ".txt", "ä" * 125 + ".txt", "y" * 255])
    def test_names_of_255_bytes_have_conflict_copies(self, pair: tuple[Device, Device], name: str) -> None:
        anna, bert = pair
        assert len(name.encode()) > 250
        for turn in range(2):
            write(anna, name, f"of anna {turn}")
            write(bert, name, f"of bert {turn}")
            quiet(pair)
        assert anna.tree() == bert.tree()
        assert len(anna.tree()) == 3
        assert all(len(path.encode()) <= LONGEST_NAME for path in anna.tree())
        anna.path(name).unlink()
        quiet(pair)
        assert len(bert.tree()) == 2

    @pytest.mark.parametrize(("levels", "name"), [(200, "folder-of-them"), (1200, "d")])
    def test_trees_may_be_deep(
        self, pair: tuple[Device, Device], levels: int, name: str, request: pytest.FixtureRequest
    ) -> None:
        anna, bert = pair
        # They are deeper than pytest's own clearing away can follow.
        request.addfinalizer(lambda: subprocess.run(["rm", "-rf", anna.folder, bert.folder], check=True))
        deep = "/".join([name] * levels)
        with contextlib.chdir(anna.folder):
            for _ in range(levels):
                Path(name).mkdir()
                os.chdir(name)
            Path("a.txt").write_text("a")
        quiet(pair)
        assert bert.path(f"{deep}/a.txt").read_text() == "a"
        bert.path(f"{deep}/a.txt").write_text("changed")
        bert.path(f"{deep}/b.txt").write_text("b")
        quiet(pair)
        assert anna.path(f"{deep}/a.txt").read_text() == "changed"
        assert anna.path(f"{deep}/b.txt").read_text() == "b"
        bert.path(f"{deep}/a.txt").rename(bert.path("a.txt"))
        quiet(pair)
        assert anna.path("a.txt").read_text() == "changed"
        assert not anna.path(f"{deep}/a.txt").exists()

    def test_more_folders_than_may_be_open(self, pair: tuple[Device, Device]) -> None:
        anna, bert = pair
        for number in range(500):
            write(anna, f"{number % 250}/{number}.txt", str(number))
        quiet(pair)
        for number in range(250):
            anna.path(f"{number}/{number}.txt").rename(anna.path(f"{249 - number}/moved-{number}.txt"))
        assert anna.sync().skipped == {}
        outcome = bert.sync()
        assert outcome.skipped == {}
        assert len(outcome.plan.moved) == 250
        assert bert.tree() == anna.tree()


@pytest.mark.parametrize("kind", ["vault", "mirror"])
def test_a_killed_process_loses_nothing(tmp_path: Path, kind: str) -> None:
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(script), kind, str(tmp_path), str(_KILLS)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(script.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

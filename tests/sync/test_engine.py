"""Two and three devices: what each of them does comes to the others, and nothing is lost when they disagree."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tasks.sync.apply import OURS
from tasks.sync.engine import Guard, GuardError
from tasks.sync.merging import merge_contents
from tests.sync.world import Cloud, Device, quiet


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def pair(cloud: Cloud, tmp_path: Path) -> tuple[Device, Device]:
    return Device(cloud, "anna", tmp_path / "a"), Device(cloud, "bert", tmp_path / "b")


def write(device: Device, path: str, content: str) -> None:
    device.path(path).parent.mkdir(parents=True, exist_ok=True)
    device.path(path).write_text(content)


def test_what_one_makes_changes_and_deletes_comes_to_the_other(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "notes/one.txt", "first")
    write(anna, "two.txt", "second")
    anna.path("empty").mkdir()
    anna.path("link").symlink_to("two.txt")
    anna.path("two.txt").chmod(0o755)
    quiet(pair)
    assert bert.tree() == anna.tree() == {
        "empty": None, "link": "two.txt", "notes": None, "notes/one.txt": b"first", "two.txt": b"second",
    }  # fmt: skip
    assert bert.path("two.txt").stat().st_mode & 0o777 == 0o755
    write(bert, "notes/one.txt", "first, changed")
    bert.path("two.txt").unlink()
    bert.path("empty").rmdir()
    quiet(pair)
    assert anna.tree() == bert.tree() == {"link": "two.txt", "notes": None, "notes/one.txt": b"first, changed"}
    assert sorted(anna.trash()) == [b"first", b"second"]


def test_nothing_happens_when_nothing_changed(pair: tuple[Device, Device], cloud: Cloud) -> None:
    anna, _bert = pair
    write(anna, "a.txt", "a")
    quiet(pair)
    told = len(cloud.told)
    for device in pair:
        outcome = device.sync()
        assert outcome.plan.nothing
        assert not outcome.changes
    assert len(cloud.told) == told


def test_two_edits_are_both_kept_on_both(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "a.txt", "base")
    quiet(pair)
    write(anna, "a.txt", "of anna")
    write(bert, "a.txt", "of bert")
    quiet(pair)
    assert anna.tree() == bert.tree()
    assert sorted(str(content) for content in anna.tree().values()) == sorted(["b'of anna'", "b'of bert'"])
    (copy,) = [path for path in anna.tree() if path != "a.txt"]
    assert copy.startswith("a (conflict from anna, 2023-11-14 ")
    assert copy.endswith(".txt")


def test_texts_that_two_changed_are_joined_where_the_changes_do_not_touch(cloud: Cloud, tmp_path: Path) -> None:
    both = [Device(cloud, name, tmp_path / name, policy="merge") for name in ("anna", "bert")]
    anna, bert = both
    for device in both:
        device.merge = merge_contents
    write(anna, "a.txt", "one\ntwo\nthree\n")
    write(anna, "b.txt", "one\n")
    write(anna, "c.json", '{"a": 1, "b": 2}')
    quiet(both)
    write(anna, "a.txt", "one\ntwo\nthree, by anna\n")
    write(bert, "a.txt", "one, by bert\ntwo\nthree\n")
    write(anna, "b.txt", "of anna\n")
    write(bert, "b.txt", "of bert\n")
    write(anna, "c.json", '{"a": 10, "b": 2}')
    write(bert, "c.json", '{"a": 1, "b": 20}')
    quiet(both)
    assert anna.tree() == bert.tree()
    assert anna.tree()["a.txt"] == b"one, by bert\ntwo\nthree, by anna\n"
    assert anna.tree()["c.json"] == b'{"a": 10, "b": 20}'
    assert sorted(content for content in anna.tree().values() if content and b"of" in content) == [
        b"of anna\n", b"of bert\n",
    ]  # fmt: skip
    assert len(anna.tree()) == 4
    assert b"one\ntwo\nthree, by anna\n" in anna.trash()


def test_texts_are_joined_also_by_those_who_had_told_already(cloud: Cloud, tmp_path: Path) -> None:
    both = [Device(cloud, name, tmp_path / name, policy="merge") for name in ("anna", "bert")]
    anna, bert = both
    for device in both:
        device.merge = merge_contents
    write(anna, "a.txt", "one\ntwo\nthree\n")
    quiet(both)
    write(anna, "a.txt", "one\ntwo\nthree, by anna\n")
    write(bert, "a.txt", "one, by bert\ntwo\nthree\n")
    anna.run()
    bert.run()  # neither has heard of the other
    quiet(both)
    assert anna.tree() == bert.tree() == {"a.txt": b"one, by bert\ntwo\nthree, by anna\n"}


@pytest.mark.parametrize(
    ("policy", "stays"), [({"policy": "newest"}, b"later"), ({"policy": "prefer", "prefer": "bert"}, b"of bert")]
)
def test_a_policy_says_who_stays_and_the_other_is_in_the_trash(
    cloud: Cloud, tmp_path: Path, policy: dict[str, str], stays: bytes
) -> None:
    both = [Device(cloud, f"{name}-0000000{n}", tmp_path / name, **policy) for n, name in enumerate(("anna", "bert"))]
    anna, bert = both
    write(bert, "a.txt", "of bert")
    bert.run()
    anna.clock += 1000
    write(anna, "a.txt", "later")
    anna.run()
    quiet(both)
    assert anna.tree() == bert.tree() == {"a.txt": stays}
    assert {b"later", b"of bert"} <= {stays, *anna.trash(), *bert.trash()}


def test_a_conflict_copy_that_was_deleted_stays_away(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "a.txt", "of anna")
    write(bert, "a.txt", "of bert")
    quiet(pair)
    (copy,) = [path for path in anna.tree() if path != "a.txt"]
    anna.path(copy).unlink()
    quiet(pair)
    assert list(anna.tree()) == list(bert.tree()) == ["a.txt"]


def test_the_same_made_twice_is_no_conflict(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    for device in pair:
        write(device, "a.txt", "the same")
    quiet(pair)
    assert anna.tree() == bert.tree() == {"a.txt": b"the same"}


def test_an_edit_beats_a_deletion(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "folder/a.txt", "base")
    write(anna, "folder/b.txt", "base")
    quiet(pair)
    write(anna, "folder/a.txt", "edited")
    for path in ("folder/a.txt", "folder/b.txt"):
        bert.path(path).unlink()
    bert.path("folder").rmdir()
    quiet(pair)
    assert anna.tree() == bert.tree() == {"folder": None, "folder/a.txt": b"edited"}


def test_a_rename_is_recognised_and_nothing_is_sent(pair: tuple[Device, Device], cloud: Cloud) -> None:
    anna, bert = pair
    for number in range(20):
        write(anna, f"old/{number}.txt", f"content {number}" * 100)
    quiet(pair)
    inodes = {path.name: path.stat().st_ino for path in bert.path("old").iterdir()}
    anna.path("old").rename(anna.path("new"))
    first = anna.sync()
    assert (first.uploaded_bytes, first.found.hashed_files) == (0, 20)  # young files are hashed once more
    second = bert.sync()
    assert second.downloaded_bytes == 0
    assert len(second.plan.moved) == 20
    assert {path.name: path.stat().st_ino for path in bert.path("new").iterdir()} == inodes
    assert not bert.path("old").exists()


def test_a_run_that_takes_something_hashes_what_it_took_before_once(
    pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = pair
    for number in range(20):
        write(anna, f"{number}.txt", f"content {number}")
    quiet(pair)
    monkeypatch.setattr("tasks.sync.scan.RACY_NS", 0)  # as two seconds later
    hashed = []
    for turn in range(3):
        write(anna, f"new-{turn}.txt", f"more {turn}")
        anna.sync()
        taken = bert.sync()
        assert taken.done == {f"new-{turn}.txt"}
        hashed.append(taken.found.hashed_files)
    assert hashed[0] >= 20
    assert max(hashed[1:]) <= 1, hashed  # at most what came with the run before


def test_files_with_the_same_content_come_at_once(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    for number in range(5):
        write(anna, f"{number}.txt", "the same")
        write(anna, f"empty-{number}.txt", "")
    anna.sync()
    assert bert.sync().skipped == {}
    assert bert.tree() == anna.tree()
    for number in range(5):
        write(anna, f"more-{number}.txt", "the same")
    anna.sync()
    assert bert.sync().skipped == {}
    assert bert.tree() == anna.tree()


def test_two_changes_that_can_be_joined_leave_no_copy(cloud: Cloud, tmp_path: Path) -> None:
    pair = Device(cloud, "anna", tmp_path / "a", policy="merge"), Device(cloud, "bert", tmp_path / "b", policy="merge")
    anna, bert = pair
    anna.merge = bert.merge = lambda _path, _base, one, other: one + other
    write(anna, "a.txt", "base")
    quiet(pair)
    write(anna, "a.txt", "1")
    write(bert, "a.txt", "2")
    quiet(pair)
    assert anna.tree() == bert.tree() == {"a.txt": b"12"}


def test_two_names_are_exchanged(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "a", "one")
    write(anna, "b", "two")
    quiet(pair)
    anna.path("a").rename(anna.path("c"))
    anna.path("b").rename(anna.path("a"))
    anna.path("c").rename(anna.path("b"))
    quiet(pair)
    assert bert.tree() == anna.tree() == {"a": b"two", "b": b"one"}


def test_a_file_becomes_a_folder_and_a_folder_a_file(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "x", "file")
    write(anna, "y/z", "file")
    quiet(pair)
    anna.path("x").unlink()
    write(anna, "x/in", "it")
    anna.path("y/z").unlink()
    anna.path("y").rmdir()
    write(anna, "y", "file now")
    quiet(pair)
    assert bert.tree() == anna.tree() == {"x": None, "x/in": b"it", "y": b"file now"}


def test_a_file_here_and_a_folder_there_are_both_kept(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "x", "a file")
    write(bert, "x/in", "it")
    quiet(pair)
    assert anna.tree() == bert.tree()
    assert anna.tree()["x/in"] == b"it"
    assert b"a file" in anna.tree().values()


def test_what_lies_in_a_deleted_folder_and_is_not_synced_keeps_it(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "folder/a.txt", "a")
    quiet(pair)
    os.mkfifo(bert.path("folder/pipe"))
    anna.path("folder/a.txt").unlink()
    anna.path("folder").rmdir()
    quiet(pair)
    assert not anna.path("folder").exists()
    assert bert.path("folder/pipe").exists()
    assert not bert.path("folder/a.txt").exists()
    write(bert, "folder/new.txt", "new")
    quiet(pair)
    assert anna.tree() == {"folder": None, "folder/new.txt": b"new"}


def test_a_folder_that_is_made_again_comes_to_those_who_had_to_keep_it(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "folder/a.txt", "a")
    quiet(pair)
    os.mkfifo(bert.path("folder/pipe"))
    shutil.rmtree(anna.path("folder"))
    quiet(pair)
    write(anna, "folder/deep/new.txt", "new")
    quiet(pair)
    assert bert.path("folder/deep/new.txt").read_text() == "new"
    shutil.rmtree(anna.path("folder"))
    write(anna, "folder", "a file now")
    quiet(pair)
    assert bert.path("folder/pipe").exists()
    assert list(bert.sync().skipped) == ["folder/pipe", "folder"]


def test_a_folder_that_was_lost_stops_the_run(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "a.txt", "a")
    quiet(pair)
    anna.folder.rename(anna.folder.with_name("away"))
    with pytest.raises(GuardError, match="is not there"):
        anna.sync(guard=Guard())
    anna.folder.mkdir()
    with pytest.raises(GuardError, match="is not the folder that was synced"):
        anna.sync(guard=Guard())
    (anna.folder / OURS).mkdir()
    (anna.folder / OURS / "folder.json").write_text("{}")
    with pytest.raises(GuardError, match="is empty"):
        anna.sync(guard=Guard())
    bert.sync()
    assert bert.tree() == {"a.txt": b"a"}


def test_many_deletions_wait_for_a_word(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    for number in range(40):
        write(anna, f"{number}.txt", str(number))
    quiet(pair)
    for number in range(30):
        anna.path(f"{number}.txt").unlink()
    with pytest.raises(GuardError, match="30 of 40 paths would be deleted elsewhere"):
        anna.sync(guard=Guard())
    anna.sync(guard=Guard(confirmed=True))
    with pytest.raises(GuardError, match="30 of 40 paths would be deleted here"):
        bert.sync(guard=Guard())
    assert len(bert.tree()) == 40
    bert.sync(guard=Guard(confirmed=True))
    assert len(bert.tree()) == 10


def test_an_object_that_has_not_arrived_is_waited_for(pair: tuple[Device, Device], cloud: Cloud) -> None:
    anna, bert = pair
    write(anna, "a.txt", "a")
    write(anna, "b.txt", "b")
    anna.sync()
    (digest,) = [digest for digest, content in cloud.objects.items() if content == b"a"]
    held = cloud.objects.pop(digest)
    outcome = bert.sync()
    assert list(outcome.skipped) == ["a.txt"]
    assert bert.tree() == {"b.txt": b"b"}
    assert anna.sync().plan.nothing
    cloud.objects[digest] = held
    quiet(pair)
    assert bert.tree() == {"a.txt": b"a", "b.txt": b"b"}


def test_a_rewrite_within_the_same_second_and_size_is_seen(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "a.txt", "aaaa")
    quiet(pair)
    status = anna.path("a.txt").stat()
    write(anna, "a.txt", "bbbb")
    os.utime(anna.path("a.txt"), ns=(status.st_atime_ns, status.st_mtime_ns))
    quiet(pair)
    assert bert.tree() == {"a.txt": b"bbbb"}


def test_names_that_differ_only_in_their_form_of_unicode_are_left_alone(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "caf\u00e9", "composed")
    quiet(pair)
    assert bert.tree() == {"caf\u00e9": b"composed"}
    write(anna, "cafe\u0301", "decomposed")
    write(bert, "caf\u00e9", "changed by bert")
    for _ in range(3):
        assert list(anna.sync().skipped) == ["caf\u00e9"]
        bert.sync()
    assert anna.tree() == {"cafe\u0301": b"decomposed", "caf\u00e9": b"composed"}
    assert bert.tree() == {"caf\u00e9": b"changed by bert"}
    anna.path("cafe\u0301").unlink()
    quiet(pair)
    assert anna.tree() == bert.tree() == {"caf\u00e9": b"changed by bert"}


def test_a_name_in_another_form_of_unicode_is_the_same_path(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "cafe\u0301/x", "x")
    quiet(pair)
    assert bert.tree() == {"caf\u00e9": None, "caf\u00e9/x": b"x"}
    write(bert, "caf\u00e9/x", "changed")
    quiet(pair)
    assert anna.tree() == {"cafe\u0301": None, "cafe\u0301/x": b"changed"}
    anna.path("cafe\u0301/x").unlink()
    quiet(pair)
    assert bert.tree() == {"caf\u00e9": None}


def test_push_only_tells_and_pull_only_takes(pair: tuple[Device, Device]) -> None:
    anna, bert = pair
    write(anna, "a.txt", "a")
    write(bert, "b.txt", "b")
    bert.sync(direction="push")
    assert list(bert.tree()) == ["b.txt"]
    anna.sync(direction="pull")
    assert anna.tree() == {"a.txt": b"a", "b.txt": b"b"}
    bert.sync()
    assert list(bert.tree()) == ["b.txt"]  # nobody has told of it yet
    quiet(pair)
    assert anna.tree() == bert.tree() == {"a.txt": b"a", "b.txt": b"b"}


def test_a_dry_run_changes_nothing(pair: tuple[Device, Device], cloud: Cloud) -> None:
    anna, bert = pair
    write(anna, "a.txt", "a")
    anna.sync()
    told, before = len(cloud.told), bert.tree()
    outcome = bert.sync()
    assert outcome.done
    write(anna, "a.txt", "changed")
    anna.sync()
    told = len(cloud.told)
    before = bert.tree()
    planned = bert.sync(dry_run=True)
    assert [one.path for one in planned.plan.put] == ["a.txt"]
    assert (len(cloud.told), bert.tree()) == (told, before)


def test_a_memory_from_yesterday_does_not_count_again_what_was_counted(
    pair: tuple[Device, Device], cloud: Cloud
) -> None:
    anna, bert = pair
    write(anna, "a.txt", "one")
    quiet(pair)
    yesterday = anna.states.load("notes")
    write(anna, "a.txt", "two")
    quiet(pair)
    anna.states.save("notes", yesterday, {})  # the database was restored
    write(anna, "b.txt", "new")
    quiet(pair)
    assert anna.tree() == bert.tree() == {"a.txt": b"two", "b.txt": b"new"}

"""What a `.gitignore` comes to name is left alone on every device, whatever becomes of it; rules are no deletions."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.sync.filters import Filter
from tasks.sync.names import original_of
from tests.sync.world import Cloud, Device, Sharing, quiet

_NAMES = ["a.log", "b.txt", "d/a.log", "d/b.txt", "d/e/a.log", "d/e/b.txt", "out/a.log", "out/b.txt"]
_RULES = ["", "*.log\n", "out/\n", "/d/\n", "*\n!*.txt\n!*/\n", "e/\n", "!a.log\n", "b.txt\n", "d/*.log\n"]
_PLACES = ["", "d/", "d/e/", "out/"]
Made = Callable[..., Device]


@pytest.fixture(params=["vault", "mirror"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    return maker(request.param, tmp_path)


def maker(kind: str, place: Path) -> Made:
    cloud = Cloud()

    def make(name: str) -> Device:
        device: Device
        if kind == "mirror":
            device = Sharing(place / "store", name, place / name, gitignore=True)
        else:
            device = Device(cloud, name, place / name, gitignore=True)
        device.takes = Filter.of(device.category)
        return device

    return make


def write(device: Device, path: str, content: str) -> None:
    device.path(path).parent.mkdir(parents=True, exist_ok=True)
    device.path(path).write_text(content)


def test_a_rule_within_a_folder_counts_below_it_on_every_device(make: Made) -> None:
    anna, bert = make("anna"), make("bert")
    write(anna, "app/.gitignore", "*.log\n!keep.log\n")
    for path in ("a.log", "app/a.log", "app/keep.log", "app/deep/a.log", "app/deep/a.txt"):
        write(anna, path, path)
    quiet([anna, bert])
    assert sorted(bert.tree()) == [
        "a.log", "app", "app/.gitignore", "app/deep", "app/deep/a.txt", "app/keep.log"
    ]  # fmt: skip


def test_what_is_ignored_from_now_on_is_told_once_and_stays_as_it_is_everywhere(make: Made) -> None:
    anna, bert = make("anna"), make("bert")
    for path in ("d/out/a", "d/out/deep/b", "d/c.log", "d/kept"):
        write(anna, path, f"first {path}")
    quiet([anna, bert])
    write(anna, "d/.gitignore", "out/\n*.log\n")
    assert sorted(anna.sync().found.ignored) == ["d/c.log", "d/out", "d/out/a", "d/out/deep", "d/out/deep/b"]
    assert anna.sync().found.ignored == []
    shutil.rmtree(anna.path("d/out"))
    anna.path("d/c.log").unlink()
    write(bert, "d/c.log", "of bert, who has not heard of the rule")
    quiet([anna, bert])
    assert set(anna.tree()) == {"d", "d/.gitignore", "d/kept"}
    assert bert.tree()["d/out/deep/b"] == b"first d/out/deep/b"
    assert bert.tree()["d/c.log"] == b"of bert, who has not heard of the rule"
    assert bert.trash() == []


def test_a_new_device_does_not_get_what_is_ignored(make: Made) -> None:
    anna, bert = make("anna"), make("bert")
    write(anna, "a.log", "a")
    quiet([anna, bert])
    write(anna, ".gitignore", "*.log\n")
    quiet([anna, bert])
    cleo = make("cleo")
    quiet([anna, bert, cleo])
    assert cleo.tree() == {".gitignore": b"*.log\n"}


def test_a_rule_that_is_taken_back_is_no_deletion_and_a_change_meanwhile_follows_what_it_was_made_of(
    make: Made,
) -> None:
    anna, bert = make("anna"), make("bert")
    for name in ("gone.log", "changed.log", "same.log"):
        write(anna, name, f"first {name}")
    quiet([anna, bert])
    write(anna, ".gitignore", "*.log\n")
    quiet([anna, bert])
    anna.path("gone.log").unlink()
    write(bert, "changed.log", "changed by bert")
    write(bert, "new.log", "new")
    quiet([anna, bert])
    assert "new.log" not in anna.tree()
    anna.path(".gitignore").unlink()
    quiet([anna, bert])
    assert anna.tree() == bert.tree() == {
        "gone.log": b"first gone.log", "changed.log": b"changed by bert", "same.log": b"first same.log",
        "new.log": b"new",
    }  # fmt: skip


def test_a_folder_that_is_deleted_with_what_is_ignored_in_it_stays_away(make: Made) -> None:
    anna, bert, cleo = (make(name) for name in ("anna", "bert", "cleo"))
    write(anna, "d/out/a", "a")
    write(anna, "d/b.txt", "b")
    quiet([anna, bert, cleo])  # cleo is not heard of again, and still says that it has all of it
    write(anna, "d/.gitignore", "out/\n")
    quiet([anna, bert])
    write(anna, ".gitignore", "out/\n")
    quiet([anna, bert])
    shutil.rmtree(anna.path("d"))
    quiet([anna, bert])
    assert anna.tree() == {".gitignore": b"out/\n"}
    assert set(bert.tree()) == {".gitignore", "d", "d/out", "d/out/a"}
    assert bert.tree()["d/out/a"] == b"a"


@pytest.mark.parametrize("how", ["unreadable", "in the cloud"])
def test_rules_that_cannot_be_read_hold_up_their_folder_and_no_other(make: Made, how: str) -> None:
    anna, bert = make("anna"), make("bert")
    write(anna, "d/.gitignore", "*.log\n")
    write(anna, "d/b.txt", "b")
    write(anna, "d/secret.log", "not for others")
    quiet([anna, bert])
    rules = anna.path("d/.gitignore")
    rules.rename(anna.path("d/..gitignore.icloud")) if how == "in the cloud" else rules.chmod(0)
    write(anna, "c.txt", "c")
    outcome = anna.sync()
    if how == "in the cloud":  # who is root reads everything
        assert "d" in outcome.skipped
    quiet([bert])
    assert set(bert.tree()) == {"c.txt", "d", "d/.gitignore", "d/b.txt"}


# Rules come and go while both write, delete and sync.


def ignored_by_git(root: Path, paths: list[str]) -> set[str]:
    """Files that git ignores; those of rules only with their folders, since all devices have to decide alike."""
    repository = root.with_name(f"{root.name}-git")
    alone = ["git", "-c", "core.excludesFile=/dev/null", f"--git-dir={repository}", f"--work-tree={root}"]
    if not repository.exists():
        subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)
        subprocess.run(["git", f"--git-dir={repository}", "config", "core.bare", "false"], check=True)
    asked = {path: original_of(path).removesuffix("/.gitignore") for path in paths}
    asked.pop(".gitignore", None)
    told = subprocess.run(
        [*alone, "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=root, input="\0".join(asked.values()).encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert told.returncode in {0, 1}, told.stderr
    found = {path.decode() for path in told.stdout.split(b"\0") if path}
    return {path for path in asked if asked[path] in found}


def files(device: Device) -> dict[str, bytes]:
    return {path: one for path, one in device.tree().items() if isinstance(one, bytes)}


class Users:
    """What two do with their files and with the rules."""

    def __init__(self, chance: random.Random, pair: list[Device]) -> None:
        self.chance = chance
        self.pair = pair
        self.number = 0
        self.written: set[bytes] = set()
        self.given_up: set[bytes] = set()
        """What a user overwrote or deleted."""

    def turn(self) -> Device:
        device = self.chance.choice(self.pair)
        before = files(device)
        for _ in range(self.chance.randint(1, 3)):
            self._edit(device)
        left = set(files(device).values())
        self.given_up |= set(before.values()) - left
        self.written |= left - set(before.values())
        return device

    def _edit(self, device: Device) -> None:
        chance = self.chance
        what = chance.random()
        if what < 0.4:
            self.number += 1
            write(device, chance.choice(_NAMES), f"{self.number} of {device.name}")
        elif what < 0.6:
            device.path(chance.choice(_NAMES)).unlink(missing_ok=True)
        elif what < 0.7:
            shutil.rmtree(device.path(chance.choice(["d", "d/e", "out"])), ignore_errors=True)
        elif rule := chance.choice(_RULES):
            write(device, chance.choice(_PLACES) + ".gitignore", rule)
        else:
            device.path(chance.choice(_PLACES) + ".gitignore").unlink(missing_ok=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what is ignored")
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["vault", "mirror"]))
def test_nobodys_ignored_file_is_touched_and_nothing_goes_that_nobody_deleted(seed: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        make = maker(kind, Path(name))
        pair = [make("anna"), make("bert")]
        users = Users(random.Random(seed), pair)
        for _ in range(12):
            device = users.turn()
            before = files(device)
            ignored = ignored_by_git(device.folder, list(before))
            device.sync()
            after = files(device)
            assert {path: after.get(path) for path in ignored} == {path: before[path] for path in ignored}
        quiet(pair)
        trees = [files(device) for device in pair]
        rules = {rule.encode() for rule in _RULES}
        assert users.written - users.given_up - rules <= set(trees[0].values()) | set(trees[1].values())
        for tree, device in zip(trees, pair, strict=True):
            for path in ignored_by_git(device.folder, list(tree)):
                del tree[path]
        assert trees[0] == trees[1]

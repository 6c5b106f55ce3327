"""Three devices do whatever they like, lose power anywhere, hear of each other late. In the end they agree.

No content that nobody overwrote or deleted has left the tree; what somebody did overwrite or delete can still be had.

`make soak` runs fifty thousand sequences.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tasks.sync.apply import OURS
from tests.sync.world import Cloud, Device, quiet, stored

_SEQUENCES = int(os.environ.get("LAMA_SYNC_SEQUENCES", "2000"))
_FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None

devices = st.sampled_from(["anna", "bert", "cleo"])
paths = st.sampled_from(["a", "b.txt", "d", "d/a", "d/b.txt", "d/e", "d/e/f", "ä"])
seeds = st.integers(0, 2**32)


class Sync(RuleBasedStateMachine):
    """What users do, what networks do, and when the power goes."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lama-sync-", dir=_FAST))
        self.cloud = Cloud()
        self.devices = {
            name: Device(self.cloud, name, self.folder / name, policy="keep-both") for name in ("anna", "bert", "cleo")
        }
        self.number = 0
        self.written: set[bytes] = set()
        self.superseded: set[bytes] = set()
        self.seen: set[bytes] = set()

    # What users do.

    @rule(name=devices, path=paths)
    def write(self, name: str, path: str) -> None:
        place = self.devices[name].path(path)
        with contextlib.suppress(OSError):  # a file where a directory should be, a link to itself
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_symlink():
                place.unlink()
            before = place.read_bytes() if place.is_file() else None
            self.number += 1
            content = b"%d" % self.number
            place.write_bytes(content)
            self.written.add(content)
            if before is not None:
                self.superseded.add(before)

    @rule(name=devices, path=paths)
    def delete(self, name: str, path: str) -> None:
        place = self.devices[name].path(path)
        if place.is_symlink():
            place.unlink()
        elif place.is_dir():
            self.superseded |= {one.read_bytes() for one in place.rglob("*") if one.is_file() and not one.is_symlink()}
            shutil.rmtree(place)
        elif place.is_file():
            self.superseded.add(place.read_bytes())
            place.unlink()

    @rule(name=devices, path=paths, to=paths)
    def rename(self, name: str, path: str, to: str) -> None:
        place, target = self.devices[name].path(path), self.devices[name].path(to)
        if place == target or target.is_relative_to(place) or not os.path.lexists(place):
            return
        if target.is_file() and not target.is_symlink() and not place.is_dir():
            self.superseded.add(target.read_bytes())
        elif os.path.lexists(target):
            return
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            place.rename(target)

    @rule(name=devices, path=paths)
    def make_directory(self, name: str, path: str) -> None:
        with contextlib.suppress(OSError):
            self.devices[name].path(path).mkdir(parents=True, exist_ok=True)

    @rule(name=devices, path=paths, leads_to=st.sampled_from(["a", "nowhere", "../x"]))
    def link(self, name: str, path: str, leads_to: str) -> None:
        with contextlib.suppress(OSError):
            self.devices[name].path(path).symlink_to(leads_to)

    @rule(name=devices, path=paths, mode=st.sampled_from([0o600, 0o644, 0o755]))
    def set_mode(self, name: str, path: str, mode: int) -> None:
        place = self.devices[name].path(path)
        if place.is_file() and not place.is_symlink():
            place.chmod(mode)

    # What happens to devices.

    @rule(name=devices, seed=seeds)
    def sync(self, name: str, seed: int) -> None:
        before = self._files(name)
        self.devices[name].sync(deliver=random.Random(seed))
        self.seen |= before

    @rule(name=devices, seed=seeds, after=st.integers(1, 40))
    def lose_power(self, name: str, seed: int, after: int) -> None:
        before = self._files(name)
        if not self.devices[name].crash(after, deliver=random.Random(seed)):
            self.seen |= before

    @rule(name=devices, seconds=st.sampled_from([-86_400, -1, 3600, 10**9]))
    def set_the_clock(self, name: str, seconds: int) -> None:
        self.devices[name].clock += seconds

    def _files(self, name: str) -> set[bytes]:
        return {content for content in self.devices[name].tree().values() if isinstance(content, bytes)}

    # In the end.

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self._settle()
        finally:
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        self.seen |= set[bytes]().union(*map(self._files, self.devices))
        quiet(list(self.devices.values()))
        trees = [device.tree() for device in self.devices.values()]
        assert trees[0] == trees[1] == trees[2]
        modes = [
            {path: device.path(path).lstat().st_mode for path in device.tree()} for device in self.devices.values()
        ]
        assert modes[0] == modes[1] == modes[2]
        there = {content for content in trees[0].values() if isinstance(content, bytes)}
        assert self.written - self.superseded <= there
        had = {content for device in self.devices.values() for content in device.contents()}
        assert self.seen <= had | set(self.cloud.objects.values())
        for device in self.devices.values():
            assert not list((device.folder / OURS / "stage").glob("*.part"))
            assert stored(self.cloud, device.states.load("notes").tree)


TestSync = Sync.TestCase
TestSync.settings = settings(
    max_examples=_SEQUENCES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

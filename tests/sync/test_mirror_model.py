"""Two and three devices share one plain folder that all of them reach at once, and lose power anywhere.

In the end they agree with each other and with the shared folder, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tasks.sync.apply import OURS
from tests.sync import test_model
from tests.sync.test_model import devices, paths, seeds
from tests.sync.world import Cloud, Sharing, quiet, shared_tree

_SEQUENCES = int(os.environ.get("LAMA_SYNC_SEQUENCES", "300"))
_FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


class Mirrored(test_model.Sync):
    """The same users and the same accidents; and somebody without Lama, in the shared folder."""

    @initialize(cleo_too=st.booleans())
    def begin(self, cleo_too: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lama-mirror-", dir=_FAST))
        self.cloud = Cloud()
        root = self.folder / "shared"
        self.devices = {
            name: Sharing(root, name, self.folder / name, policy="keep-both") for name in ("anna", "bert", "cleo")
        }
        self.taking_part = ["anna", "bert", "cleo"] if cleo_too else ["anna", "bert"]
        self.shared = shared_tree(root)
        self.number = 0
        self.written: set[bytes] = set()
        self.superseded: set[bytes] = set()

    @rule(path=paths)
    def write_shared(self, path: str) -> None:
        self.devices["store"] = self.shared
        try:
            self.write("store", path)
        finally:
            del self.devices["store"]

    @rule(path=paths)
    def delete_shared(self, path: str) -> None:
        self.devices["store"] = self.shared
        try:
            self.delete("store", path)
        finally:
            del self.devices["store"]

    @rule(name=devices, seed=seeds)
    def sync(self, name: str, seed: int) -> None:
        with self._nothing_is_lost():
            self.devices[name].sync()

    @rule(name=devices, seed=seeds, after=st.integers(1, 60))
    def lose_power(self, name: str, seed: int, after: int) -> None:
        with self._nothing_is_lost():
            self.devices[name].crash(after)

    @contextlib.contextmanager
    def _nothing_is_lost(self) -> Iterator[None]:
        before = self._everything()
        yield
        assert before <= self._everything()

    def _everything(self) -> set[bytes]:
        places = [*self.devices.values(), self.shared]
        return {content for place in places for content in place.contents()} - {b""}

    def _settle(self) -> None:
        taking_part = [self.devices[name] for name in self.taking_part]
        with self._nothing_is_lost():
            quiet(taking_part)
        trees = [device.tree() for device in [*taking_part, self.shared]]
        assert all(tree == trees[0] for tree in trees)
        modes = [{path: one.path(path).lstat().st_mode for path in trees[0]} for one in [*taking_part, self.shared]]
        assert all(one == modes[0] for one in modes)
        here = {content for content in trees[0].values() if isinstance(content, bytes)}
        # Who does not come back has told what it told; the rest is in its folder.
        elsewhere = set[bytes]().union(*(self._files(name) for name in self.devices if name not in self.taking_part))
        assert self.written - self.superseded <= here | elsewhere
        for device in taking_part:
            assert not list((device.folder / OURS).glob("stage*/*.part"))
            assert not list((self.shared.folder / OURS / f"stage-{device.name}").glob("*.part"))

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self._settle()
        finally:
            shutil.rmtree(self.folder)


TestMirrored = Mirrored.TestCase
TestMirrored.settings = settings(
    max_examples=_SEQUENCES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

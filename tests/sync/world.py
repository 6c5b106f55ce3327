"""Devices with folders on the disk, and a cloud between them that delivers late and in any order."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from models.sync import Category, Kind, Version
from models.sync_store import Manifest, StoreProblem
from tasks.sync.apply import OURS
from tasks.sync.calls import Calls
from tasks.sync.engine import Engine, Guard, Outcome, Self
from tasks.sync.joining import Merge
from tasks.sync.mirror import Mirror
from tasks.sync.scan import Everything, Takes
from tasks.sync.shelf import MARKER
from tasks.sync.state import State, Store


class Crash(BaseException):
    """The device lost its power."""


class Faulty(Calls):
    """Ends at the call whose number was given, and at all after it; counts otherwise."""

    def __init__(self) -> None:
        self.count = 0
        self.ends_at: int | None = None
        self.how: Callable[[], BaseException] = Crash

    def step(self) -> None:
        """Something that changes the world is about to happen."""
        self.count += 1
        if self.ends_at is not None and self.count >= self.ends_at:
            raise self.how()

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("_") and name not in {"count", "ends_at", "how", "step"}:
            self.step()
        return value


@dataclass
class Cloud:
    """Where manifests and objects are; each device sees of it what was delivered to it."""

    objects: dict[bytes, bytes] = field(default_factory=dict)
    told: list[Manifest] = field(default_factory=list)
    """All that was ever told, in order."""


class View:
    """One device's view of the cloud, which lags behind: a `Store`."""

    at_once = 1

    def __init__(self, cloud: Cloud, device: str, faulty: Faulty) -> None:
        self._cloud = cloud
        self._device = device
        self._faulty = faulty
        self.manifests: dict[str, Manifest] = {}

    def deliver(self, choose: random.Random | None) -> None:
        """Some of what was told arrives, whatever its order; None: everything."""
        for manifest in self._cloud.told:
            known = self.manifests.get(manifest.device)
            # A cloud drive shows a file's newest version that has arrived, and never an older one again.
            newer = known is None or self._place(manifest) > self._place(known)
            if newer and (choose is None or manifest.device == self._device or choose.random() < 0.5):
                self.manifests[manifest.device] = manifest

    def _place(self, manifest: Manifest) -> int:
        return next(place for place, one in enumerate(self._cloud.told) if one is manifest)

    def others(self, category: str, known: Callable[[Manifest], bool]) -> Sequence[Manifest]:
        return [replace(one, tree={}) if known(one) else one for one in self.manifests.values()]

    def problems(self) -> list[StoreProblem]:
        return []

    def batch(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def publish(self, manifest: Manifest) -> None:
        self._faulty.step()
        tree = dict(manifest.tree)
        digest = blake3(repr(sorted(tree.items())).encode() + str(manifest.counter).encode()).digest()
        manifest = Manifest(manifest.device, manifest.category, manifest.counter, tree, digest)
        self._cloud.told.append(manifest)
        self.manifests[self._device] = manifest

    def has(self, digest: bytes) -> bool:
        return digest in self._cloud.objects

    def put(self, digest: bytes, source: BinaryIO) -> None:
        if digest in self._cloud.objects:
            return
        self._faulty.step()
        content = source.read()
        if blake3(content).digest() != digest:
            raise OSError("it changed while it was read")
        self._cloud.objects[digest] = content

    def fetch(self, digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
        self._faulty.step()
        if digest not in self._cloud.objects:
            raise FileNotFoundError("the object has not arrived")
        into.write(self._cloud.objects[digest])


class Memory:
    """What a device remembers, safe from crashes: `States`."""

    def __init__(self) -> None:
        self._kept: dict[str, State] = {}

    def load(self, category: str) -> State:
        return _copied(self._kept.get(category, State()))

    def save(self, category: str, state: State, done: object) -> None:
        self._kept[category] = _copied(state)


def _copied(kept: State) -> State:
    return State(
        dict(kept.tree), dict(kept.marks), kept.counter, set(kept.kept), dict(kept.bases), dict(kept.seen),
        dict(kept.ignored), kept.filter, kept.began,
    )  # fmt: skip


class Device:
    """A folder, and what syncs it."""

    def __init__(self, cloud: Cloud, name: str, folder: Path, **category: Any) -> None:
        self.name = name
        self.folder = folder
        self.faulty = Faulty()
        self.view = View(cloud, name, self.faulty)
        self.states = Memory()
        self.category = Category.model_validate({"name": "notes", "folder": folder, **category})
        self.clock = 1_700_000_000
        self.runs = 0
        self.merge: Merge | None = None
        self.takes: Takes = Everything()
        folder.mkdir(parents=True, exist_ok=True)

    def sync(self, *, deliver: random.Random | None = None, guard: Guard | None = None, **asked: Any) -> Outcome:
        self.view.deliver(deliver)
        return self.run(guard=guard, **asked)

    def run(self, *, guard: Guard | None = None, **asked: Any) -> Outcome:
        self.runs += 1
        self.clock += 1
        me = Self(self.name, self.clock, f"run-{self.runs}")
        store = self.store(me)
        engine = Engine(
            self.category, store, self.states, self.takes, calls=self.faulty, durable=False, merge=self.merge
        )
        return engine.run(me, guard=guard or Guard(confirmed=True), **asked)

    def store(self, me: Self) -> Store:
        return self.view

    def crash(self, after: int, *, deliver: random.Random | None = None) -> bool:
        """Sync, and lose power at the system call with that number; whether it came so far."""
        self.faulty.count = 0
        self.faulty.ends_at = after
        try:
            self.sync(deliver=deliver)
        except Crash:
            return True
        finally:
            self.faulty.ends_at = None
        return False

    def path(self, path: str) -> Path:
        return self.folder / path

    def tree(self) -> dict[str, str | bytes | None]:
        """What stands there: content of files, target of links, None for directories."""
        found: dict[str, str | bytes | None] = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if name.split("/")[0].startswith(OURS):
                continue
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_dir():
                found[name] = None
            else:
                found[name] = path.read_bytes()
        return found

    def trash(self) -> list[bytes]:
        """The contents of all files in the trash."""
        place = self.folder / OURS / "trash"
        return [
            path.read_bytes()
            for path in place.rglob("*")
            if path.is_file() and not path.is_symlink() and path.name != "index.jsonl"
        ]

    def contents(self) -> list[bytes]:
        """Contents of all files, the trash and what a killed run had in its hands included."""
        files = [content for content in self.tree().values() if isinstance(content, bytes)]
        ours = self.folder / OURS
        return files + self.trash() + [path.read_bytes() for path in ours.glob("stage*/*") if path.is_file()]


class Sharing(Device):
    """A device with the others in one mirror, which they all reach at once."""

    def __init__(self, root: Path, name: str, folder: Path, **category: Any) -> None:
        super().__init__(Cloud(), name, folder, **category)
        self.root = root
        self.settled_s = 0.0
        root.mkdir(exist_ok=True)
        self.known_as: str | None = None
        if (root / MARKER).exists():
            self.known_as = self.mirror("joining").join()
        else:
            self.known_as = self.mirror("creating").create()

    def mirror(self, run: str) -> Mirror:
        return Mirror(
            self.root, self.category, self.name, self.states, self.takes, run, known_as=self.known_as,
            settled_s=self.settled_s, calls=self.faulty, durable=False, now=lambda: self.clock,
        )  # fmt: skip

    def store(self, me: Self) -> Store:
        return self.mirror(me.run)


def shared_tree(root: Path) -> Device:
    """What stands in a mirror, seen as the folder of a device."""
    return Device(Cloud(), "looks", root / "notes")


def quiet(devices: Sequence[Device], *, rounds: int = 10) -> int:
    """Sync everybody with everything delivered until nothing happens any more; how many rounds it took."""
    for number in range(rounds):
        happened = False
        for device in devices:
            outcome = device.sync()
            found = outcome.found
            happened = happened or bool(outcome.changes or outcome.done or found.ignored or found.heeded_again)
        if not happened and number:
            return number
    raise AssertionError("they do not come to rest")


def stored(cloud: Cloud, tree: dict[str, Version]) -> bool:
    """Whether everything that is told can be had."""
    return all(
        one.content is None or one.content.kind is not Kind.file or one.content.digest in cloud.objects
        for one in tree.values()
    )

"""The store that anybody can read: a shared folder with the plain tree, as it is on every device.

    .lama-sync.json                       what the mirror is known by
    <category>/...                        the files
    <category>/.lama-sync/trash/...       what was replaced and deleted there
    <category>/.lama-sync/stage-<device>  what a device is about to put into its place

Files say nothing of what led to them. So each device keeps for itself what it last knew of the shared tree, and takes
whatever differs from that for a change of one more device, called `store`. Vectors of two devices are never compared.
What a program without Lama changes in the shared folder is such a change as well.

A file that is still being written cannot be told from one that is whole. What can be known: a file that changes while
it is read, or has changed within the last seconds, waits for the next run; one that has another content when it is
fetched than when it was looked at is not taken; and whatever was taken too early is a version that the whole file
follows, while the version before is in the trash.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from blocks.errors import ConfigurationError, UnavailableError
from models.sync import Category, Content, Kind, Tree, Version
from models.sync_store import Manifest, StoreProblem
from tasks.sync.apply import OURS, TRASH, Applied, Applier, Meanwhile
from tasks.sync.calls import Calls
from tasks.sync.checked import copy
from tasks.sync.faults import Changed, Missing
from tasks.sync.look import FOLDER_MARKER, fitting, judged_by, look, marks_of, takes_all
from tasks.sync.plain import Local, thrown_away
from tasks.sync.reconcile import Put, observe, plan
from tasks.sync.scan import Found, Takes, clock_of, keeps_modes, opened
from tasks.sync.shared_databases import judged_free, leave_in_use
from tasks.sync.shelf import MARKER
from tasks.sync.state import State, States
from tasks.sync.steps import apply, pieces
from tasks.sync.versions import compare, merge

DEVICE = "store"
"""Who makes what differs in the shared folder."""
SETTLED_S = 2.0
_FORMAT = 1
_CHUNK = 1 << 20


class Mirror:
    """One category in the shared folder, as one device sees it for one run.

    Args:
        root: the shared folder.
        category: which, with its folder on this device.
        device: this device's id.
        states: what it remembers; of the shared tree under `<category>@store`, of what it told under `<category>@told`.
        takes: the filter, the same as for the folder of this device.
        run: what this run is called; unique.
        known_as: what `create` or `join` returned once; None: this device was never there.
        settled_s: seconds for which a file may not have changed before its content is believed.
        calls: the system calls that change something.
        durable: whether what is put is on the disk before it is remembered.
        now: seconds since 1970.

    Raises:
        UnavailableError: everywhere: the root is missing, empty, or not mounted.
        ConfigurationError: everywhere but in `create` and `join`: it is another mirror, or none.
    """

    def __init__(
        self,
        root: Path,
        category: Category,
        device: str,
        states: States,
        takes: Takes,
        run: str,
        *,
        known_as: str | None = None,
        settled_s: float = SETTLED_S,
        calls: Calls | None = None,
        durable: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.at_once = 1  # what is put goes through an `Applier`
        self._root = root
        self._folder = root / category.name
        self._category = category
        self._device = device
        self._states = states
        self._takes = takes
        self._run = run
        self._known_as = known_as
        self._settled_ns = int(settled_s * 1e9)
        self._calls = calls or Calls()
        self._durable = durable
        self._now = now
        self._appliers = 0
        self._state = State()
        self._found = Found()
        self._at: dict[bytes, str] | None = None
        self._trash: dict[bytes, Path] | None = None
        self._problems: list[StoreProblem] = []
        self._rules_changed = False

    @property
    def folder(self) -> Path:
        """Where the files of the category are."""
        return self._folder

    # The root.

    def create(self) -> str:
        """Make the shared folder, which has to be there, a mirror; what it is known by."""
        name = secrets.token_hex(16)
        if not self._root.is_dir():
            raise self._away("it is not there.")
        try:
            with (self._root / MARKER).open("x", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "mirror": name}, file)
        except FileExistsError:
            raise ConfigurationError(
                "it is a store already.", component=str(self._root), remedy="Join it, or take an empty folder."
            ) from None
        self._known_as = name
        return name

    def join(self) -> str:
        """Take the mirror that is there for the one of this device; what it is known by."""
        self._known_as = self._marker()
        return self._known_as

    def check(self) -> None:
        """Whether the mirror is there and is the one that this device knows."""
        if self._known_as is None:
            raise ConfigurationError(
                "this device has not joined the mirror.", component=str(self._root), remedy="Run `lama sync setup`."
            )
        found = self._marker()
        if found != self._known_as:
            raise ConfigurationError(
                "it is another mirror than the one that this device joined.",
                component=str(self._root),
                remedy="Mount the right one, or join this one.",
            )

    def _marker(self) -> str:
        if not self._root.is_dir():
            raise self._away("it is not there.")
        try:
            text = (self._root / MARKER).read_text("utf-8")
        except FileNotFoundError:
            if self._known_as is not None:
                raise self._away(f"{MARKER} is not in it.") from None
            raise ConfigurationError("it is no mirror.", component=str(self._root), remedy="Create it first.") from None
        except OSError as error:
            raise self._away(f"{MARKER} cannot be read: {error.strerror}.") from error
        try:
            found = json.loads(text)
            if found["format"] == _FORMAT:
                return str(found["mirror"])
        except (ValueError, KeyError, TypeError):
            pass
        raise ConfigurationError(
            f"{MARKER} is not that of a mirror.", component=str(self._root), remedy="Is it a vault, or of a newer Lama?"
        )

    def _away(self, what: str) -> UnavailableError:
        return UnavailableError(what, component=str(self._root), remedy="Mount or connect it, and sync again.")

    def _check_folder(self, state: State) -> None:
        self.check()
        marker = self._folder / OURS / FOLDER_MARKER
        if state.began and not marker.exists():
            raise self._away(f"{self._folder.name}/{OURS}/{FOLDER_MARKER} is not in it, and was.")
        if not marker.exists():
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text('{"what": "a folder that lama sync shares between devices"}\n', "utf-8")

    # What is there.

    def others(self, category: str, known: Callable[[Manifest], bool] | None = None) -> Sequence[Manifest]:
        """What the shared folder holds, as of a device `store`, and the counter of what this device told last."""
        if category != self._category.name:
            raise ValueError(f"this is the mirror of {self._category.name}")
        state = self._state = self._states.load(f"{category}@{DEVICE}")
        self._check_folder(state)
        now_ns = clock_of(self._folder, f"-{self._device}")
        self._recover(now_ns)
        self._look(state, now_ns)
        told = self._states.load(f"{category}@told")
        digest = blake3(f"{category} {state.counter}".encode()).digest()
        manifests = [Manifest(DEVICE, category, state.counter, dict(state.tree), digest)]
        if told.counter:
            manifests.append(Manifest(self._device, category, told.counter, {}))
        return manifests

    def _recover(self, now_ns: int) -> None:
        stage = self._folder / OURS / self._stage
        if not stage.is_dir() or not any(stage.iterdir()):
            return
        mine = self._states.load(self._category.name).tree
        wanted = {version.content.digest for version in mine.values() if version.content is not None}
        with self._applier() as applier:
            applier.recover(now_ns, wanted.__contains__)

    def _look(self, state: State, now_ns: int) -> None:
        """Bring what is known of the shared tree up to date: what differs is a change of the store."""
        largest = int(self._category.largest_mib * 1024 * 1024)
        found = self._found = look(self._folder, self._takes, state, largest, now_ns)
        self._at = self._trash = None
        self._rules_changed = False
        self._wait_for_young(state, found, now_ns)
        if self._category.content == "databases":
            leave_in_use(self._folder, state, found)
        if not keeps_modes(self._folder, f"-{self._device}"):
            _without_modes(state, found)
        judged = judged_by(found)
        count = state.counter + 1
        changes = observe(state.tree, found.contents, judged, device=DEVICE, count=count, at=int(self._now()))
        for path, problem in found.skipped.items():
            self._problems.append(StoreProblem(f"skipped in the shared folder: {problem}", path))
        if not changes:
            same = state.filter == found.takes.fingerprint and not found.heeded_again
            if state.began and found.hashed_files == 0 and same:
                return
        else:
            # Remembered before anybody hears of it: a count must not come to mean two contents.
            state.tree |= self._known(state, changes, found)
            state.counter = count
        state.marks = marks_of(state.tree, found)
        state.began = True
        state.filter = found.takes.fingerprint
        self._states.save(f"{self._category.name}@{DEVICE}", state, dict.fromkeys(changes, "seen"))

    def _wait_for_young(self, state: State, found: Found, now_ns: int) -> None:
        young = {path for path, mark in found.marks.items() if max(mark[2:4]) + self._settled_ns > now_ns}
        for path in young if self._settled_ns else ():
            known = state.tree.get(path)
            if known is None or known.content is None or known.content.essence != found.contents[path].essence:
                found.skipped[path] = "it may still be being written"
                del found.contents[path], found.marks[path]

    def _known(self, state: State, changes: dict[str, Version], found: Found) -> dict[str, Version]:
        """`changes`, where those that a killed run of this device made are what it made."""
        mine = self._states.load(self._category.name).tree
        known: dict[str, Version] = {}
        for path, version in changes.items():
            made, before = mine.get(path), state.tree.get(path)
            if made is not None and made.content == version.content and _follows(made, before):
                known[path] = made
            elif path in found.marks:
                known[path] = version._replace(at=found.marks[path].mtime_ns // 1_000_000_000)
            else:
                known[path] = version
        return known

    def problems(self) -> list[StoreProblem]:
        """What could not be looked at, or not be put, since the last call."""
        problems, self._problems = self._problems, []
        return problems

    # Contents.

    def has(self, digest: bytes) -> bool:
        """Whether a file of the shared tree has it, or one that waits to be put there."""
        return digest in self._places() or (self._folder / OURS / self._stage / digest.hex()).is_file()

    def put(self, digest: bytes, source: BinaryIO) -> None:
        """Have a content at hand in the shared folder, for the manifest that names it.

        Raises:
            Changed: what was read has another digest.
        """

        def read(digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
            del digest, size
            while chunk := source.read(_CHUNK):
                into.write(chunk)

        if self.has(digest):
            return
        with self._applier() as applier:
            try:
                applier.stage(Put("", Content(Kind.file, digest, -1), None), read)
            except Meanwhile:
                raise Changed("it changed while it was read.") from None

    def fetch(self, digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
        """Write a content that is in the shared tree, waits to be put there, or is in the trash there.

        Raises:
            Missing: it is not there.
            Changed: the file has another content by now.
        """
        for parts in self._candidates(digest):
            with contextlib.suppress(FileNotFoundError), opened(self._folder, parts) as file:
                copy(file, digest, into, size)
                return
        raise Missing("no file of the shared folder has that content.")

    def _candidates(self, digest: bytes) -> Iterator[str]:
        yield f"{OURS}/{self._stage}/{digest.hex()}"
        path = self._places().get(digest)
        if path is not None:
            yield self._found.on_disk(path)
            return
        if self._trash is None:
            self._trash = thrown_away(self._folder / OURS / TRASH)
        if digest in self._trash:
            yield self._trash[digest].relative_to(self._folder).as_posix()

    def _places(self) -> dict[bytes, str]:
        if self._at is None:
            self._at = {one.digest: path for path, one in self._found.contents.items() if one.kind is Kind.file}
        return self._at

    def batch(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is to be done: what is put waits for `publish`, which settles all of it at once."""
        return contextlib.nullcontext()

    # Changing it.

    def publish(self, manifest: Manifest) -> None:
        """Make the shared tree what this device holds, where that follows what is there.

        What the device does not know yet stays, and so does what was changed since `others`.
        """
        state, found = self._state, self._found
        self._check_folder(state)
        wanted = {path: one for path, one in manifest.tree.items() if _follows(one, state.tree.get(path))}
        judged = judged_by(found)
        unfit: dict[str, str] = {}
        busy: dict[str, str] = {}
        free = judged
        if self._category.content == "databases":
            free = judged_free(self._folder, found, judged, busy)
        whole = plan(wanted, found.contents, free, fitting(self._folder, wanted, found, unfit))
        there = [path for path, one in wanted.items() if one.content == found.contents.get(path) and judged(path)]
        self._remember(state, wanted, there)
        skipped = unfit | busy
        if not whole.nothing:
            source = Local(self._category.folder, manifest.tree)
            with self._applier() as applier:
                for piece in pieces(whole):
                    for _ in apply(piece, applier, source.fetch):
                        pass
                    applier.settle()
                    self._take_over(state, wanted, applier.applied)
                skipped |= applier.applied.skipped
        for path, problem in skipped.items():
            self._problems.append(StoreProblem(f"not put into the shared folder: {problem}", path))
        left = [path for path, one in wanted.items() if state.tree.get(path) != one]
        # What new rules take there is put by the next run, which looks by them.
        if not self._rules_changed and not any(path not in unfit and takes_all(found.takes, path) for path in left):
            told = State(counter=manifest.counter)
            self._states.save(f"{self._category.name}@told", told, {})

    def _take_over(self, state: State, wanted: Tree, applied: Applied) -> None:
        """What was done stands there now, and is remembered."""
        found = self._found
        for path in applied.done & wanted.keys():
            content = wanted[path].content
            if content is None or path in applied.kept:
                found.contents.pop(path, None)
            else:
                found.contents[path] = content
            found.marks.pop(path, None)
        found.marks.update(applied.marks)
        state.kept |= applied.kept
        self._at = None
        if self._takes.follows_ignores:
            self._rules_changed |= any(path.endswith(".gitignore") for path in applied.done)
        self._remember(state, wanted, sorted(applied.done & wanted.keys()))

    def _remember(self, state: State, wanted: Tree, paths: Sequence[str]) -> None:
        paths = [path for path in paths if state.tree.get(path) != wanted[path]]
        if not paths:
            return
        state.tree |= {path: wanted[path] for path in paths}
        state.counter += 1
        for path in paths:
            mark = self._found.marks.get(path)
            if mark is None:
                state.marks.pop(path, None)
            else:
                state.marks[path] = mark
        self._states.save(f"{self._category.name}@{DEVICE}", state, dict.fromkeys(paths, "mirrored"))

    @property
    def _stage(self) -> str:
        return f"stage-{self._device}"

    def _applier(self) -> Applier:
        self._appliers += 1
        run = f"{self._run}-{self._device}-{self._appliers}"
        return Applier(self._folder, self._found, run, self._calls, durable=self._durable, stage=self._stage)


def _follows(one: Version, known: Version | None) -> bool:
    """Whether `one` is to stand where `known` does: it knows of it."""
    if known is None:
        return True
    if one == known:
        return False
    order = compare(one.vector, known.vector)
    return order == "newer" or (order == "same" and merge(one, known, lambda _version: 0)[0] == one)


def _without_modes(state: State, found: Found) -> None:
    """Where permissions cannot be kept, those that are found say nothing."""
    for path, content in found.contents.items():
        known = state.tree.get(path)
        if content.kind is Kind.link:
            continue
        if known is not None and known.content is not None and known.content.kind is content.kind:
            mode = known.content.mode
        else:
            mode = 0o755 if content.kind is Kind.directory else 0o644
        found.contents[path] = content._replace(mode=mode)

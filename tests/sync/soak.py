"""Two devices edit and sync against one store at the same time: `python -m tests.sync.soak KIND FOLDER SECONDS [SEED]`.

Each is a process with a home of its own, in which a user goes on editing while it syncs. When the time is over both
come to rest. Ends with 1, and says why, when a run fails, when they do not agree, or when a content that a device told
is neither in the tree nor in a trash nor in the vault any more.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path

from blake3 import blake3

from models.sync import Kind
from tasks.sync.apply import OURS
from tests.sync.killing import Machine, contents, pair

_FOLDERS = ["", "d", "d/e", "h", "h/i", "ö"]
_NAMES = ["a", "b.txt", "c.md", "ä", "long name.txt"]


class User:
    """Somebody with files, who does anything at any time."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self._root = machine.folder
        self._name = machine.name
        self._chance = random.Random(seed)
        self._number = 0

    def edit(self) -> None:
        """Do one thing; what cannot be done is not done."""
        does = self._chance.choice(
            [self._write, self._write, self._write, self._replace, self._replace, self._delete, self._rename,
             self._rename, self._make, self._link, self._clear, self._chmod]
        )  # fmt: skip
        with contextlib.suppress(OSError):  # somebody was faster, or something else stands there
            does(self._place(), self._place())

    def _place(self) -> Path:
        return self._root / self._chance.choice(_FOLDERS) / self._chance.choice(_NAMES)

    def _content(self) -> bytes:
        self._number += 1
        return b"%d of %s\n" % (self._number, self._name.encode()) * self._chance.choice([1, 1, 1, 20, 5000])

    def _write(self, path: Path, _other: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        path.write_bytes(self._content())

    def _replace(self, path: Path, _other: Path) -> None:
        making = path.with_name(f"{path.name}.new")
        making.write_bytes(self._content())
        making.replace(path)

    def _delete(self, path: Path, _other: Path) -> None:
        path.unlink()

    def _rename(self, path: Path, other: Path) -> None:
        if self._chance.random() < 0.3:
            path = path.parent
        if path != self._root and (not os.path.lexists(other) or self._chance.random() < 0.3):
            path.rename(other)

    def _make(self, path: Path, _other: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._chance.random() < 0.1:
            path.mkdir()

    def _link(self, path: Path, other: Path) -> None:
        path.symlink_to(other.name)

    def _clear(self, path: Path, _other: Path) -> None:
        if path.parent != self._root and self._chance.random() < 0.4:
            shutil.rmtree(path.parent)

    def _chmod(self, path: Path, _other: Path) -> None:
        if path.is_file() and not path.is_symlink():
            path.chmod(self._chance.choice([0o600, 0o644, 0o755]))


def told(machine: Machine) -> set[bytes]:
    """Digests of what the device said that it holds."""
    tree = machine.states.load("notes").tree
    return {one.content.digest for one in tree.values() if one.content is not None and one.content.kind is Kind.file}


def live(machine: Machine, seconds: float, seed: int, into: Path) -> None:
    """Edit and sync until the time is over; what was told goes into the file `into`."""
    chance = random.Random(seed)
    user = User(machine, seed)
    seen: set[bytes] = set()
    runs = edits = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for _ in range(chance.randint(0, 5)):
            user.edit()
            edits += 1
        busy = threading.Event()

        def go_on(busy: threading.Event = busy) -> None:
            while not busy.wait(0.003):
                user.edit()

        other = threading.Thread(target=go_on)
        if chance.random() < 0.5:
            other.start()
        try:
            machine.sync()
        finally:
            busy.set()
            if other.ident is not None:
                other.join()
        seen |= told(machine)
        runs += 1
    into.write_bytes(pickle.dumps((runs, user._number, seen)))


def start(machine: Machine, seconds: float, seed: int, into: Path) -> int:
    """In a process of its own."""
    child = os.fork()
    if child:
        return child
    try:
        live(machine, seconds, seed, into)
    except BaseException:  # noqa: BLE001 - told by the exit status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def tree(folder: Path) -> dict[str, object]:
    """What stands there: contents, targets of links, None for folders; with permissions."""
    found: dict[str, object] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != OURS]
        for name in [*folders, *names]:
            path = Path(place) / name
            told_: object = None
            if path.is_symlink():
                told_ = str(path.readlink())
            elif path.is_file():
                told_ = (path.read_bytes(), path.stat().st_mode)
            found[path.relative_to(folder).as_posix()] = told_
    return found


def lost(machines: list[Machine], seen: set[bytes]) -> set[bytes]:
    """Which of `seen` are nowhere."""
    places = [machine.folder for machine in machines]
    if machines[0].kind == "mirror":
        places.append(machines[0].store)
    left = seen - {blake3(content).digest() for place in places for content in contents(place)}
    if machines[0].kind == "vault":
        vault = machines[0].vault()
        vault.check()
        left = {digest for digest in left if not vault.has(digest)}
    return left


def main(kind: str, base: Path, seconds: float, seed: int) -> None:
    machines = pair(kind, base)
    results = [base / f"{machine.name}.seen" for machine in machines]
    children = [
        start(machine, seconds, seed + number, into)
        for number, (machine, into) in enumerate(zip(machines, results, strict=True))
    ]
    if any(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children):
        raise SystemExit("a run failed")
    for number in range(20):
        if not [machine for machine in machines if machine.sync()] and number:
            break
    else:
        raise SystemExit("they do not come to rest")
    trees = [tree(machine.folder) for machine in machines]
    if kind == "mirror":
        trees.append(tree(machines[0].store / "notes"))
    for one in trees[1:]:
        if one != trees[0]:
            differing = sorted(path for path in {*one, *trees[0]} if one.get(path, "-") != trees[0].get(path, "-"))
            raise SystemExit(f"they do not agree about {differing}")
    found = [pickle.loads(result.read_bytes()) for result in results]
    seen = set[bytes]().union(*(one[2] for one in found))
    if gone := lost(machines, seen):
        raise SystemExit(f"{len(gone)} of {len(seen)} contents that were told are nowhere: {sorted(gone)[:3]}")
    copies = sum("conflict from" in path for path in trees[0])
    print(
        f"{kind}: {found[0][0]} and {found[1][0]} runs, {found[0][1] + found[1][1]} contents written, "
        f"{len(seen)} told, {len(trees[0])} paths in the end, {copies} of them conflict copies"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)

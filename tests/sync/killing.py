"""Two devices over one store, whose processes are killed at random moments: `killing.py KIND FOLDER KILLS [SEED]`.

Each is a fork of this process that runs the engine, and gets SIGKILL. What is remembered is a file that is replaced by
a rename. Ends with 1, and says why, when a run after a kill does not complete, or a content is nowhere any more.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from blake3 import blake3

from blocks.home import Home
from blocks.settings import Settings
from models.sync import Category
from tasks.sync.apply import OURS
from tasks.sync.engine import Engine, Guard, Self
from tasks.sync.filters import Filter
from tasks.sync.identity import Identity
from tasks.sync.mirror import Mirror
from tasks.sync.state import State, Store
from tasks.sync.vault import Vault

_NAMES = ["a", "b.txt", "d/a", "d/b.txt", "d/e/f", "ä", "g", "h/i/j"]


class Files:
    """`States` in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, category: str) -> State:
        try:
            return pickle.loads((self._folder / category).read_bytes())  # type: ignore[no-any-return]
        except FileNotFoundError:
            return State()

    def save(self, category: str, state: State, done: object) -> None:
        making = self._folder / f"{category}.new"
        making.write_bytes(pickle.dumps(state))
        making.replace(self._folder / category)


class Machine:
    """A device: a home, a folder and what it remembers."""

    def __init__(self, kind: str, base: Path, name: str) -> None:
        self.kind = kind
        self.name = name
        self.store = base / "store"
        self.folder = base / name / "folder"
        remembered = base / name / "remembered"
        for place in (self.store, self.folder, remembered):
            place.mkdir(parents=True, exist_ok=True)
        self.states = Files(remembered)
        self.home = Home(Settings(home=base / name / "home"))
        self.home.prepare()
        self.identity = Identity.load_or_create(self.home, name, lambda: f"hardware of {name}")
        self.category = Category(name="notes", folder=self.folder)
        self.known_as: str | None = None

    def vault(self) -> Vault:
        return Vault(self.store, self.identity, durable=False)

    def mirror(self, run: str) -> Mirror:
        return Mirror(
            self.store, self.category, self.identity.id, self.states, Filter.of(self.category), run,
            known_as=self.known_as, settled_s=0, durable=False,
        )  # fmt: skip

    def sync(self) -> bool:
        """One run; whether anything happened."""
        run = f"run-{time.time_ns()}-{os.getpid()}"
        store: Store = self.vault() if self.kind == "vault" else self.mirror(run)
        engine = Engine(self.category, store, self.states, Filter.of(self.category), durable=False)
        outcome = engine.run(Self(self.identity.id, int(time.time()), run), guard=Guard(confirmed=True))
        return bool(outcome.changes or outcome.done)

    def tree(self) -> dict[str, bytes | None]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes() if path.is_file() else None
            for path in sorted(self.folder.rglob("*"))
            if OURS not in path.parts
        }


def contents(folder: Path) -> set[bytes]:
    """Of every file, ours included."""
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pair(kind: str, base: Path) -> list[Machine]:
    """Two machines at one new store."""
    machines = [Machine(kind, base, name) for name in ("anna", "bert")]
    anna, bert = machines
    if kind == "vault":
        anna.vault().create()
        bert.vault().join()
        anna.vault().approve(bert.identity.id)
    else:
        anna.known_as = anna.mirror("create").create()
        bert.known_as = bert.mirror("join").join()
    return machines


def start(machine: Machine) -> int:
    """Run the engine in a process of its own."""
    child = os.fork()
    if child:
        return child
    try:
        machine.sync()
    except BaseException:  # noqa: BLE001 - told by the exit status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def completes(machine: Machine) -> None:
    if os.waitstatus_to_exitcode(os.waitpid(start(machine), 0)[1]) != 0:
        raise SystemExit(f"the run of {machine.name} after a kill does not complete")


def edit(machine: Machine, chance: random.Random, number: int) -> set[bytes]:
    """What users do; the contents that they themselves did away with."""
    gone: set[bytes] = set()
    for turn in range(chance.randint(1, 4)):
        path = machine.folder / chance.choice(_NAMES)
        other = machine.folder / chance.choice(_NAMES)
        what = chance.random()
        try:
            if what < 0.7:
                path.parent.mkdir(parents=True, exist_ok=True)
                gone |= {path.read_bytes()} if path.is_file() else set()
                path.write_bytes(b"%d.%d of %s" % (number, turn, machine.name.encode()) * chance.choice([1, 5000]))
            elif what < 0.85 and path.is_file():
                gone.add(path.read_bytes())
                path.unlink()
            elif path.is_file() and not other.exists():
                other.parent.mkdir(parents=True, exist_ok=True)
                path.rename(other)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    return gone


def everything(machines: list[Machine], seen: set[bytes]) -> set[bytes]:
    """Which of `seen` can be had, and all else that is in the folders."""
    found = set[bytes]().union(*(contents(machine.folder) for machine in machines))
    if machines[0].kind == "mirror":
        return found | contents(machines[0].store)
    vault = machines[0].vault()
    vault.check()
    for content in seen - found:
        digest, into = blake3(content).digest(), io.BytesIO()
        if vault.has(digest):
            vault.fetch(digest, into, size=len(content))
            found.add(into.getvalue())
    return found


def settle(machines: list[Machine]) -> None:
    for _ in range(12):
        if not [machine for machine in machines if machine.sync()]:
            break
    else:
        raise SystemExit("they do not come to rest")
    if machines[0].tree() != machines[1].tree():
        raise SystemExit(f"they do not agree: {machines[0].tree()} {machines[1].tree()}")


def main(kind: str, base: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    machines = pair(kind, base)
    anna, bert = machines
    usual = 0.1
    came = 0
    number = 0
    seen: set[bytes] = set()
    while came < kills:
        number += 1
        gone = edit(anna, chance, number) | edit(bert, chance, number)
        seen -= gone - everything(machines, set())
        before = set[bytes]().union(*(contents(machine.folder) for machine in machines))
        for machine in chance.choice([machines, machines[::-1], [anna], [bert]]):
            began = time.perf_counter()
            child = start(machine)
            time.sleep(chance.random() * usual)
            os.kill(child, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                came += 1
                usual *= 1.02
            else:
                usual = max(0.005, min(usual, time.perf_counter() - began))
        seen |= before
        lost = seen - everything(machines, seen)
        if lost:
            raise SystemExit(f"lost by a kill, in turn {number}: {lost}")
        for machine in machines:
            completes(machine)
        lost = seen - everything(machines, seen)
        if lost:
            raise SystemExit(f"lost by the run after a kill, in turn {number}: {lost}")
        if number % 10 == 0:
            settle(machines)
    settle(machines)
    print(f"{came} kills in {number} turns")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)

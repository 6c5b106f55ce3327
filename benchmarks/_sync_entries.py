"""What many entries cost without their files: trees made, told, read, converged and planned; prints time and memory."""

from __future__ import annotations

import gc
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from _sync_states import FileStates

from blocks.home import Home
from blocks.settings import Settings
from models.sync_store import Manifest
from models.sync_versions import Content, Kind, Policy, Version
from tasks.sync import manifests
from tasks.sync.identity import Identity
from tasks.sync.reconcile import converge, observe, plan
from tasks.sync.scan import Mark
from tasks.sync.state import State
from tasks.sync.versions import rank_of

Given = TypeVar("Given")
CHANGED = 100


def main() -> None:
    count = int(sys.argv[1])
    gc.disable()
    figures: dict[str, dict[str, float]] = {}

    def step(name: str, work: Callable[[], Given]) -> Given:
        begun = time.perf_counter()
        given = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures[name] = {"s": round(time.perf_counter() - begun, 3), "peak_mib": round(peak), "mib": resident()}
        return given

    with tempfile.TemporaryDirectory() as made:
        home = Home(Settings(home=Path(made)))
        home.prepare()
        identity = Identity.load_or_create(home, "one")
        states = FileStates(Path(made) / "state", durable=False)
        state = step("make a state", lambda: invented(count))
        step("save it", lambda: states.save("notes", state, {}))
        state = step("load it", lambda: states.load("notes"))
        found = {path: version.content for path, version in state.tree.items() if version.content}
        changes = step("observe", lambda: observe(state.tree, found, lambda _: True, device="one", count=2, at=0))
        assert not changes
        told = Manifest(identity.id, "notes", 1, changed(state.tree))
        data = step("encode a manifest", lambda: manifests.encode(told, "vault", identity))
        figures["encode a manifest"]["mib_written"] = round(len(data) / 1024 / 1024, 1)
        back = step("decode it", lambda: decoded(data, identity.id))
        rank = rank_of(Policy.keep_both, {})
        converged = step("converge", lambda: converge(state.tree, [back.tree], rank))
        work = step("plan", lambda: plan(converged.tree, found, lambda _: True))
        assert len(work.put) == CHANGED
    print(json.dumps({"entries": count, "steps": figures}))


def invented(count: int) -> State:
    """A state of so many files."""
    state = State(counter=1, began=True)
    chance = random.Random(count)
    for number in range(count):
        path = f"area {number // 10_000}/project-{number // 1000 % 10}/week-{number // 100 % 10}/note {number:07}.md"
        state.tree[path] = Version(
            Content(Kind.file, chance.randbytes(32), 4000 + number % 1000), (("one", 1),), "one", 1_700_000_000
        )
        stamp = 1_700_000_000_000_000_000 + number
        state.marks[path] = Mark(number, 4000 + number % 1000, stamp, stamp, sure=True)
    for folder in {path[:end] for path in state.tree for end, char in enumerate(path) if char == "/"}:
        state.tree[folder] = Version(Content(Kind.directory, mode=0o755), (("one", 1),), "one", 1_700_000_000)
    return state


def changed(tree: dict[str, Version]) -> dict[str, Version]:
    """`tree` after another device changed a hundred."""
    other = dict(tree)
    files = [path for path in tree if path.endswith(".md")]
    for path in files[:: len(files) // CHANGED][:CHANGED]:
        content = Content(Kind.file, b"\xff" * 32, 5000)
        other[path] = Version(content, (("one", 1), ("two", 1)), "two", 1_700_000_000)
    return other


def decoded(data: bytes, device: str) -> Manifest:
    manifest, _ = manifests.decode(*manifests.head(data, "vault", device, "notes"))
    return manifest


def resident() -> int:
    """MiB that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // (1 << 20)


if __name__ == "__main__":
    main()

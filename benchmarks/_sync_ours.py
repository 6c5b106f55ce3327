"""One run of the engine over the vault for one device, as a process of its own; prints what it came to.

The engine alone: what reads settings, and Prefect, belong to whoever starts it (see `_sync_flow`), so that the category
here is what the engine asks of one, and no more.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

BEGUN = time.perf_counter()
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from _sync_states import FileStates  # noqa: E402

from blocks.home import Home  # noqa: E402
from models.sync_versions import Policy  # noqa: E402
from tasks.sync.engine import Engine, Guard, Self  # noqa: E402
from tasks.sync.filters import Filter  # noqa: E402
from tasks.sync.identity import Identity  # noqa: E402
from tasks.sync.vault import Vault  # noqa: E402

if TYPE_CHECKING:
    from blocks.settings import Settings
    from models.sync import Category

CATEGORY = "notes"
SEEN = "counters.json"


Counters = dict[tuple[str, str], int]


@dataclass
class Place:
    """What `Home` asks of settings."""

    home: Path
    instance: str = "benchmark"


@dataclass
class Notes:
    """A category of nothing but its folder: what `Category` is by default."""

    folder: Path
    name: str = CATEGORY
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False
    policy: Policy = Policy.keep_both
    prefer: str | None = None
    content: str = "files"
    largest_mib: float = 100_000


def device(home: Path, name: str, store: Path, *, durable: bool = True) -> tuple[Identity, Vault, Counters]:
    """The device of a home, its vault, and the counters that it saw there."""
    place = Home(cast("Settings", Place(home)))
    place.prepare()
    identity = Identity.load_or_create(place, name, lambda: f"hardware of {name}")
    path = home / SEEN
    known = json.loads(path.read_text()) if path.exists() else []
    counters = {(one, category): count for one, category, count in known}
    return identity, Vault(store, identity, known_counters=counters, durable=durable), counters


def main() -> None:
    home, name, store, folder, durable = sys.argv[1:6]
    imported = time.perf_counter()
    identity, vault, counters = device(Path(home), name, Path(store), durable=durable == "durable")
    vault.check()
    category = cast("Category", Notes(Path(folder)))
    states = FileStates(Path(home) / f"{CATEGORY}.state", durable=durable == "durable")
    engine = Engine(category, vault, states, Filter.of(category), durable=durable == "durable")
    phases: dict[str, float] = {}
    outcome = engine.run(
        Self(identity.id, int(time.time()), f"run-{time.time_ns()}"),
        guard=Guard(confirmed=True),
        progress=lambda what, _count: phases.__setitem__(what, time.perf_counter() - BEGUN),
    )
    (Path(home) / SEEN).write_text(json.dumps([[*key, count] for key, count in counters.items()]))
    if outcome.skipped or outcome.problems:
        sys.exit(f"{len(outcome.skipped)} skipped: {list(outcome.skipped.items())[:3]}, {outcome.problems[:3]}")
    plan = outcome.plan
    print(json.dumps({
        "found": len(outcome.found.contents),
        "changes": len(outcome.changes),
        "done": len(outcome.done),
        "moved": len(plan.moved),
        "hashed": outcome.found.hashed_files,
        "uploaded": outcome.uploaded_bytes,
        "downloaded": outcome.downloaded_bytes,
        "imported_s": round(imported - BEGUN, 3),
        "phases_s": {what: round(at, 3) for what, at in phases.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()

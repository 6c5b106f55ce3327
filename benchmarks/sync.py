"""Two-way sync through a store: 10,000 and 100,000 small files, and a folder of large ones that is renamed.

Lama's engine over its vault beside `unison` and `rclone bisync`, each sync a process of its own. A person works in
folder `one`; `told` is the sync of it with the store, `taken` that of folder `two`, which another device would run.
Nothing is equal but the work: Lama encrypts and signs what it stores, hashes every content, keeps what is replaced, and
waits until the disk has it before it says so; the peers do none of these here, and keep plain files in the store. What
waiting costs is shown apart, and so is what the flow adds: Prefect, PostgreSQL and the report.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT))

from _audit_peers import Run  # noqa: E402
from _sync_folders import change, differing, make, make_sparse  # noqa: E402
from _sync_ways import HASTY, OURS, Way, programs, ways  # noqa: E402

SEED = 2026
CHANGED = 100
_SETTLED_S = 2.5
"""What changed less than two seconds ago is read again by ours: clocks of file systems can be that coarse."""
Figures = dict[str, dict[str, list[Run]]]
"""Runs by case and way."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 files and a smaller folder, within 45 seconds")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "lama-benchmarks" / "sync",
                        help="where the peers are kept")  # fmt: skip
    parser.add_argument("--scratch", type=Path, help="where the folders are made; the system's temporary folder")
    parser.add_argument("--files", type=int, nargs="+", help="numbers of files, instead of 10,000 and 100,000")
    parser.add_argument("--rounds", type=int, help="repetitions of no-op and changed")
    parser.add_argument("--large-gib", type=float, help="size of the folder that is renamed; 0: none")
    chosen = parser.parse_args()
    quick: bool = chosen.quick
    rounds = chosen.rounds or (2 if quick else 5)
    found = programs(chosen.folder)
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="lama-bench-sync-", dir=chosen.scratch) as made:
        for files in chosen.files or ([2_000] if quick else [10_000, 100_000]):
            with tempfile.TemporaryDirectory(dir=made) as scratch:
                everyone = ways(found, Path(scratch), chosen.folder, hasty=not quick)
                title = f"{files:,} files"
                results[title] = table(title, small(everyone, files, rounds))
        large = chosen.large_gib if chosen.large_gib is not None else (0.1 if quick else 10.0)
        if large:
            with tempfile.TemporaryDirectory(dir=made) as scratch:
                everyone = ways(found, Path(scratch), chosen.folder, hasty=False)
                title = f"{large:g} GiB"
                results[title] = table(title, renamed(everyone, round(large * (1 << 30))))
    show(results, None if quick else flow())


def flow(files: int = 10_000, rounds: int = 5) -> dict[str, float]:
    """A run with nothing to do as users start it, in a process that has everything imported, as the warm worker has."""
    command = [sys.executable, str(HERE / "_sync_flow.py"), str(files), str(rounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        sys.exit(f"the flow: {done.stderr[-3000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\nThe flow with nothing to do, {files:,} files: {told['flow_s']:.2f} s, "
        f"of which the category took {told['of_it_category_s']:.2f} s"
    )
    return told


def small(everyone: Sequence[Way], files: int, rounds: int) -> Figures:
    """First run, nothing to do, and a hundred changes."""
    figures: Figures = {}
    for way in everyone:
        make(way.folder("one"), files, SEED)
    time.sleep(_SETTLED_S)
    for side, case in (("one", "first, told"), ("two", "first, taken")):
        for way in everyone:
            note(figures, case, way, side)
    agree(everyone, "the first run")
    for _ in range(2):
        time.sleep(_SETTLED_S)
        for way in everyone:
            way.sync("one")
            way.sync("two")
    for turn in range(rounds):
        for way in turned(everyone, turn):
            note(figures, "no-op", way, "one")
            note(figures, "no-op, other side", way, "two")
    for turn in range(rounds):
        for way in everyone:
            change(way.folder("one"), CHANGED, SEED + turn)
        time.sleep(_SETTLED_S)
        for way in turned(everyone, turn):
            note(figures, f"{CHANGED} changed, told", way, "one")
            note(figures, f"{CHANGED} changed, taken", way, "two")
    agree(everyone, "changes")
    return figures


def renamed(everyone: Sequence[Way], size: int, files: int = 10) -> Figures:
    """A folder of large files is renamed. All but the vault have them from the start, so that nobody copies them."""
    figures: Figures = {}
    for way in everyone:
        for side in ("one", "two"):
            make_sparse(way.folder(side) / "films", files, size // files)
        if not way.name.startswith(OURS):
            make_sparse(way.place / "store" / "films", files, size // files)
    stamp = time.time() - 3600
    for way in everyone:
        for path in way.place.glob("*/films/*"):
            os.utime(path, (stamp, stamp))
    time.sleep(_SETTLED_S)
    for way in everyone:
        for side in ("one", "two", "one", "two"):
            way.sync(side)
    for way in everyone:
        (way.folder("one") / "films").rename(way.folder("one") / "films of last year")
        note(figures, "renamed, told", way, "one")
        note(figures, "renamed, taken", way, "two")
        if told := differing(way.folder("one"), way.folder("two"), contents=False):
            sys.exit(f"{way.name}: after the rename {told}")
        shutil.rmtree(way.place, ignore_errors=True)  # the disk has other uses for so much
    return figures


def note(figures: Figures, case: str, way: Way, side: str) -> None:
    figures.setdefault(case, {}).setdefault(way.name, []).append(way.sync(side))


def turned(everyone: Sequence[Way], turn: int) -> Sequence[Way]:
    return everyone if turn % 2 == 0 else list(reversed(everyone))


def agree(everyone: Sequence[Way], after: str) -> None:
    """Both sides of everybody are the same, or the figures are worth nothing."""
    for way in everyone:
        if told := differing(way.folder("one"), way.folder("two")):
            sys.exit(f"{way.name}: after {after} {told}")


def table(title: str, figures: Figures) -> Figures:
    """Show the figures of one folder, as soon as there are any: others take long."""
    names = list(next(iter(figures.values())))
    print(f"\n{title}\n  {'median, least; CPU; peak':24}" + "".join(f"{name:>34}" for name in names))
    for case, of in figures.items():
        print(f"  {case:24}" + "".join(
            f"{one['wall_s']:10.2f} {one['least_s']:6.2f} s{one['cpu_s']:6.2f} s{one['peak_mib']:5.0f} MiB"
            for one in map(summed, of.values())
        ), flush=True)  # fmt: skip
    return figures


def show(results: dict[str, Figures], through_flow: dict[str, float] | None) -> None:
    detail = {
        title: {case: {name: summed(runs) for name, runs in of.items()} for case, of in figures.items()}
        for title, figures in results.items()
    }
    ratios = {title: {case: against(cells) for case, cells in cases.items()} for title, cases in detail.items()}
    title = [one for one in detail if one.endswith("files")][-1]
    cells = detail[title]["no-op"]
    print()
    print(json.dumps({
        "benchmark": "sync",
        "unit": "s",
        "ours": cells[OURS]["wall_s"],
        "peers": {name: one["wall_s"] for name, one in cells.items() if name not in (OURS, HASTY)},
        "ratio": ratios[title]["no-op"],
        "detail": {
            "headline": f"{title}, no-op",
            "cases": detail,
            "ratios": ratios,
            "ours_at_work": told_by_ours(results),
            "flow": through_flow,
            "differs": "ours encrypts, signs, hashes and waits for the disk; the peers keep plain files, unsynced",
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }))  # fmt: skip


def summed(runs: Sequence[Run]) -> dict[str, float]:
    return {
        "wall_s": round(statistics.median(run.wall_s for run in runs), 3),
        "least_s": round(min(run.wall_s for run in runs), 3),
        "cpu_s": round(statistics.median(run.cpu_s for run in runs), 3),
        "peak_mib": round(max(run.peak_mib for run in runs), 1),
    }


def against(cells: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times as long as ours the peers take."""
    mine = cells[OURS]["wall_s"]
    return {name: round(one["wall_s"] / mine, 2) for name, one in cells.items() if name not in (OURS, HASTY)}


def told_by_ours(results: dict[str, Figures]) -> dict[str, Any]:
    """What the last run of ours in each case says of itself."""
    return {
        title: {case: of[OURS][-1].read() for case, of in figures.items()} for title, figures in results.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()

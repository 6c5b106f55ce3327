"""The audit of a lock of 500 packages and of a monorepo of 50 projects against a mirror of the real one's size.

The engine runs as a process of its own on a local mirror; the peers, in turn with it, as processes of their own that
ask a fast OSV server on loopback, which answers from the same records. All records, packages and projects are invented
from a seed, so that it is known without comparing versions which vulnerabilities each package has: whoever finds more
or less is told apart. Mirrors and peers are kept in a folder between runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
sys.path.insert(0, str(HERE))

from _audit_mirror import Truth, prepared, size, truth_of  # noqa: E402
from _audit_peers import AGAIN, Environment, Peer, Run, peers, timed  # noqa: E402
from _audit_projects import Finding, Project, monorepo, npm_lock, one_lock  # noqa: E402
from _audit_records import NPM, PYPI  # noqa: E402

SEED = 2026
FULL = {PYPI: 20_000, NPM: 200_000}
QUICK = {name: count // 10 for name, count in FULL.items()}
INDEX = "advisories.sqlite"
OURS = "the audit's engine"
WHOLE = f"{OURS} by lama audit --standalone"
_EXAMPLES = 5
Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Case:
    """Projects to audit, and what is wrong with them."""

    name: str
    projects: list[Project]
    target: Path
    expected: set[Finding]
    group: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, within 45 seconds")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "lama-benchmarks" / "audit",
                        help="where mirrors and peers are kept")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="repetitions")
    chosen = parser.parse_args()
    quick: bool = chosen.quick
    rounds = chosen.rounds or (2 if quick else 7)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    environment = Environment(chosen.folder / "peers")
    environment.start()
    counts = QUICK if quick else FULL
    mirror = step("mirror", lambda: prepared(chosen.folder, counts, seed=SEED))
    installed = environment.wait(25 if quick else 600)  # nothing else is at work while something is timed
    index = indexed(mirror, chosen.folder, counts)
    truth = truth_of(mirror)
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as made, contextlib.ExitStack() as stack:
        scratch = Path(made)
        port = stack.enter_context(server(mirror))
        lock, many, npm = step(
            "projects", lambda: cases(scratch, truth, f"http://127.0.0.1:{port}/simple", projects=5 if quick else 50)
        )
        results = {}
        for one, number in ((lock, rounds), (many, 1 if quick else max(1, rounds // 2)), (npm, rounds)):
            others = peers(installed, port, one.projects, scratch, quick=quick) if one is not npm else []
            results[one.name] = measured(one, mirror, others, scratch, rounds=number)
    show(results, index, mirror, quick=quick)
    if any(not outcome["equal"] for outcome in results.values()):
        sys.exit(1)


def step(name: str, work: Callable[[], Given]) -> Given:
    """What `work` gives; says how long it took."""
    begun = time.perf_counter()
    given = work()
    print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
    return given


def indexed(mirror: Path, folder: Path, counts: dict[str, int]) -> dict[str, Any]:
    """Seconds and memory of building the index anew, of finding it current, and after one record in 100 changed."""
    (mirror / INDEX).unlink(missing_ok=True)
    figures: dict[str, Any] = {"anew": build(mirror), "current": build(mirror)}
    later = step("mirror, one record in 100 changed", lambda: prepared(folder, counts, seed=SEED, revision=1))
    shutil.copy(mirror / INDEX, later / INDEX)
    figures["one_in_100_changed"] = build(later)
    figures["bytes"] = (mirror / INDEX).stat().st_size
    figures["archives_bytes"] = sum(size(mirror, ecosystem) for ecosystem in counts)
    return figures


def build(mirror: Path) -> dict[str, float]:
    run = timed([sys.executable, "-m", "tasks.advisories.mirror_build", str(mirror)], cwd=ROOT)
    if run.code != 0:
        sys.exit(f"building the index ended with {run.code}:\n{run.errors[-3000:]}")
    return {"wall_s": round(run.wall_s, 2), "peak_mib": round(run.peak_mib)}


@contextlib.contextmanager
def server(mirror: Path) -> Iterator[int]:
    """The OSV server on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, str(HERE / "_audit_osv.py"), str(mirror), str(port)])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def cases(scratch: Path, truth: Truth, index: str, *, projects: int) -> tuple[Case, Case, Case]:
    """One lock, a monorepo, and a lock of npm's, which no peer reads."""
    lock = one_lock(scratch / "lock", truth, packages=500, seed=SEED, index=index)
    many = monorepo(scratch / "monorepo", truth, projects=projects, seed=SEED, index=index)
    npm = npm_lock(scratch / "npm", truth, packages=500, seed=SEED)
    return (
        case("500 packages", [lock], scratch / "lock", truth),
        case(f"monorepo of {projects}", many, scratch / "monorepo", truth),
        case("500 npm packages", [npm], scratch / "npm", truth),
    )


def case(name: str, projects: list[Project], target: Path, truth: Truth) -> Case:
    expected = {finding for project in projects for finding in project.expected(truth)}
    return Case(name, projects, target, expected, truth.group(projects[0].ecosystem))


def ours(target: Path, mirror: Path, cache: Path | None) -> Run:
    """The engine as a process of its own."""
    options = ["--mirror", str(mirror), "--max-age-days", "36500"]
    options += [] if cache is None else ["--cache", str(cache)]
    compiled = {"PYTHONPYCACHEPREFIX": str(mirror.parent / "compiled")}
    return timed([sys.executable, "-m", "tasks.audit", *options, str(target)], cwd=ROOT, environment=compiled)


def whole(target: Path, mirror: Path, scratch: Path) -> Run:
    """The command that people use, with its report and everything that it loads."""
    home, settings = scratch / "home", scratch / "lama.toml"
    home.mkdir(mode=0o700, exist_ok=True)
    settings.write_text(  # no registry is asked, as the engine asks none
        f'[advisories]\nmirror = "{mirror}"\nmax_age_days = 36500.0\n[audit]\nindex_url = "http://127.0.0.1:9/simple"\n'
    )
    environment = {
        "LAMA_HOME": str(home),
        "LAMA_CONFIG": str(settings),
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(mirror.parent / "compiled"),
    }
    command = [sys.executable, "-c", "from lama.cli import cli; cli()", "audit", "--standalone", "--no-cache", "--json"]
    return timed([*command, str(target)], cwd=ROOT, environment=environment)


def found_by_us(run: Run, group: Mapping[str, str]) -> set[Finding]:
    return {
        (found["package"], version, group[found["id"]])
        for found in run.read()["weaknesses"]  # type: ignore[index]
        for version in found["versions"]
    }


def measured(case: Case, mirror: Path, others: Sequence[Peer], scratch: Path, *, rounds: int) -> dict[str, Any]:
    """Every way to audit a case, in turn; its figures, and whether all found the same."""
    cache = scratch / f"{case.name}.sqlite"
    ways: dict[str, Callable[[], Run]] = {
        OURS: lambda: ours(case.target, mirror, None),
        OURS + AGAIN: lambda: ours(case.target, mirror, cache),
    }
    findings: dict[str, Callable[[Run, Mapping[str, str]], set[Finding]]] = {
        OURS: found_by_us, OURS + AGAIN: found_by_us,
    }  # fmt: skip
    if len(case.projects) == 1 and others:
        ways[WHOLE], findings[WHOLE] = lambda: whole(case.target, mirror, scratch), found_by_us
    for peer in others:
        ways[peer.name], findings[peer.name] = peer.audit, peer.found
    for name in ways if len(case.projects) == 1 else (OURS, OURS + AGAIN):  # files, connections and caches are warm
        ways[name]()
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in ways if turn % 2 == 0 else reversed(list(ways)):
            runs[name].append(ways[name]())
    found = {name: findings[name](several[-1], case.group) for name, several in runs.items()}
    equal = [compared(case, name, these) for name, these in found.items()]  # all of them say what they miss
    return {
        "ways": {name: figures(several) for name, several in runs.items()},
        "packages": len({pin for project in case.projects for pin in project.pins}),
        "findings": len(case.expected),
        "equal": all(equal),
    }


def compared(case: Case, name: str, found: set[Finding]) -> bool:
    """Whether these are the findings that there are; says what is missing and what is too much."""
    for word, wrong in (("does not find", case.expected - found), ("also finds", found - case.expected)):
        for package, version, flaw in sorted(wrong)[:_EXAMPLES]:
            print(f"{case.name}: {name} {word} {flaw} of {package} {version}")
        if len(wrong) > _EXAMPLES:
            print(f"{case.name}: {name} {word} {len(wrong) - _EXAMPLES} more")
    return found == case.expected


def figures(runs: Sequence[Run]) -> dict[str, float]:
    return {
        "wall_s": round(statistics.median(run.wall_s for run in runs), 3),
        "least_s": round(min(run.wall_s for run in runs), 3),
        "cpu_s": round(statistics.median(run.cpu_s for run in runs), 3),
        "peak_mib": round(max(run.peak_mib for run in runs), 1),
    }


def show(results: Mapping[str, dict[str, Any]], index: dict[str, Any], mirror: Path, *, quick: bool) -> None:
    print(f"\n{'index of the mirror':36} {'wall':>8}   {'memory':>8}")
    for name in ("anew", "current", "one_in_100_changed"):
        print(f"  {name.replace('_', ' '):34} {index[name]['wall_s']:6.2f} s {index[name]['peak_mib']:7.0f} MiB")
    for name, result in results.items():
        print(f"\n{name}: {result['packages']} packages at a version, {result['findings']} vulnerabilities")
        print(f"  {'':46} {'wall':>8}  {'least':>8}  {'cpu':>8}  {'memory':>8}")
        for way, of in result["ways"].items():
            times = "  ".join(f"{of[figure]:6.3f} s" for figure in ("wall_s", "least_s", "cpu_s"))
            print(f"  {way:46} {times}  {of['peak_mib']:4.0f} MiB")
        print("  all find the same" if result["equal"] else "  NOT all find the same")
    first = next(iter(results.values()))["ways"]
    mine = first[OURS]["wall_s"]
    ratios = {
        name: {way: round(of["wall_s"] / result["ways"][f"{OURS}{AGAIN if way.endswith(AGAIN) else ''}"]["wall_s"], 2)
               for way, of in result["ways"].items() if not way.startswith(OURS)}
        for name, result in results.items()
    }  # fmt: skip
    print()
    print(json.dumps({
        "benchmark": "audit",
        "unit": "s",
        "ours": mine,
        "peers": {way: of["wall_s"] for way, of in first.items() if not way.startswith(OURS)},
        "ratio": next(iter(ratios.values())),
        "detail": {
            "cases": results,
            "ratios": ratios,
            "index": index,
            "records": QUICK if quick else FULL,
            "mirror": str(mirror),
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }))  # fmt: skip


if __name__ == "__main__":
    main()

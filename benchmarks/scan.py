"""The scan of a generated checkout: at first, with nothing changed, and with 20 changed files; time and memory.

The peers are what one would otherwise type, over the same files in the same run: `detect-secrets scan --all-files` and
`bandit -r`, one after the other. They look at everything each time, so all of the three scans are held against both.
Beside that: how many planted secrets are found, and how much that is none, on the corpus of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._watched import watched  # noqa: E402
from tests.scan.corpus import look_alikes, planted, write  # noqa: E402

BIN = Path(sys.executable).parent
SEED = 20_261_121
BY_HAND = "detect-secrets and bandit by hand"

ONCE = """
import asyncio, json, sys, time
from pathlib import Path
from blocks.settings import Settings
from models.health_check import Checkout
from models.scan import Engine, ScanSettings
from tasks.result_cache import ResultCache
from tasks.scan.look import scan_checkout
root, home, cache = (Path(word) for word in sys.argv[1:4])
begun = time.perf_counter()
looked = asyncio.run(scan_checkout(
    Checkout(name="bench", path=root), settings=Settings(home=home), chosen=ScanSettings(timeout_s=600.0),
    cache=ResultCache(cache), engines={Engine(word) for word in sys.argv[4].split(",")},
))
told = [[one.key, one.severity.value] for one in looked.findings]
skipped = [one.reason for one in looked.skipped]
print(json.dumps({"seconds": time.perf_counter() - begun, "told": told, "skipped": skipped}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    quick = parser.parse_args().quick
    count = 150 if quick else 2000
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as folder:
        place = Path(folder)
        root = place / "checkout"
        generate(root, count)
        scans = {"first scan": scan(place, "secrets,code")}
        scans["nothing changed"] = scan(place, "secrets,code")
        change(root, 20)
        scans["20 files changed"] = scan(place, "secrets,code")
        scans["history, at first"] = scan(place, "history")
        scans["history again"] = scan(place, "history")
        peers = by_hand(root)
        measured = corpus(place)
    show(scans, peers, measured, count)


def generate(root: Path, count: int) -> None:
    """A repository of `count` files as they occur: mostly code, some of it risky, some secrets among them."""
    chance = random.Random(SEED)
    words = ["order", "price", "stock", "invoice", "customer", "route", "agent", "queue", "report", "token", "cache"]
    for number in range(count):
        kind = chance.choices(("py", "yaml", "json", "md", "js"), (60, 12, 10, 10, 8))[0]
        name = f"{chance.choice(words)}/{chance.choice(words)}_{number}.{kind}"
        lines = [line(kind, chance, words) for _ in range(chance.randrange(10, 110))]
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import os\nimport subprocess\n" * (kind == "py") + "\n".join(lines) + "\n")
    write(root, planted(SEED)[:40])
    git = ["git", "-C", str(root), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words_ in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "generated"]):
        subprocess.run([*git, *words_], check=True, capture_output=True)


def line(kind: str, chance: random.Random, words: list[str]) -> str:
    one, two, three = chance.choices(words, k=3)
    number = chance.randrange(1000)
    if kind != "py":
        return f"{one}_{two}: '{three} {number}'" if kind == "yaml" else f"{one} of the {two}, {number} {three}"
    return chance.choice(
        [
            f"def {one}_{two}_{number}({three}=None):\n    return {three} or {number}\n",
            f"{one}_{two} = [{three} for {three} in range({number})] if {number} else None",
            f"{one} = {{'{two}': {number}, '{three}': '{two} {three}'}}",
            f"# the {one} of the {two} has a {three}, see {number}",
            f"{one}_name = os.path.join('{two}', '{three}', '{number}.txt')",
            *([f"subprocess.run('{one} ' + {two}, shell=True)"] if number < 20 else []),
        ]
    )


def change(root: Path, count: int) -> None:
    for path in sorted((root / "src").rglob("*.py"))[:count]:
        path.write_text(path.read_text() + "changed = True\n")


def scan(place: Path, engines: str) -> dict[str, Any]:
    """One scan in a fresh process, as a worker would start it."""
    words = [str(place / "checkout"), str(place / "home"), str(place / "looked.sqlite"), engines]
    output, wall, peak = run([sys.executable, "-c", ONCE, *words], cwd=ROOT, codes=(0,))
    return {**json.loads(output.splitlines()[-1]), "process_s": wall, "peak_bytes": peak}


def by_hand(root: Path) -> dict[str, dict[str, float]]:
    commands = {
        "detect-secrets": [str(BIN / "detect-secrets"), "scan", "--all-files", "--no-verify"],
        "bandit": [str(BIN / "bandit"), "-q", "-f", "json", "-r", "."],
    }
    peers = {}
    for name, command in commands.items():
        _, wall, peak = run(command, cwd=root, codes=(0, 1))
        peers[name] = {"seconds": wall, "peak_bytes": peak}
    return peers


def corpus(place: Path) -> dict[str, float]:
    """Recall and precision on planted secrets and look-alikes, counting findings of medium or more."""
    secrets, others = planted(SEED), look_alikes(SEED)
    apart = place / "corpus"
    write(apart / "checkout", [*secrets, *others])
    told: dict[str, int] = {}
    for key, severity in scan(apart, "secrets")["told"]:
        if severity in {"critical", "high", "medium"} and key.startswith("security.secret:bench/"):
            name = key.removeprefix("security.secret:bench/").rpartition("/")[0]
            told[name] = told.get(name, 0) + 1
    right = sum(told.get(one.name, 0) for one in secrets)
    wrong = sum(told.get(one.name, 0) for one in others)
    found = sum(one.name in told for one in secrets)
    return {
        "planted": len(secrets),
        "look_alikes": len(others),
        "recall": round(found / len(secrets), 3),
        "precision": round(right / (right + wrong), 3),
    }


def run(command: list[str], *, cwd: Path, codes: tuple[int, ...]) -> tuple[str, float, int]:
    """Output, seconds, and the peak of the resident memory of the process and all that it starts, in bytes."""
    done = watched(command, cwd=cwd, timeout_s=900)
    if done.code not in codes:
        sys.exit(f"{command[0]} ended with {done.code}:\n{done.errors[-3000:]}")
    return done.output, done.seconds, done.peak_bytes


def show(
    scans: dict[str, dict[str, Any]], peers: dict[str, dict[str, float]], measured: dict[str, float], count: int
) -> None:
    theirs = sum(one["seconds"] for one in peers.values())
    rows = {name: (one["process_s"], one["peak_bytes"]) for name, one in scans.items()}
    rows |= {f"{name} by hand": (one["seconds"], one["peak_bytes"]) for name, one in peers.items()}
    for name, (wall, peak) in rows.items():
        print(f"{wall:8.2f} s {peak / 2**20:6.0f} MiB  {name}")
    print(f"{measured['planted']} planted secrets: recall {measured['recall']}, precision {measured['precision']}")
    ours = scans["first scan"]["process_s"]
    changed = {name: scans[name]["process_s"] for name in ("nothing changed", "20 files changed")}
    result = {
        "benchmark": "scan",
        "unit": "s",
        "ours": round(ours, 2),
        "peers": {BY_HAND: round(theirs, 2)},
        "ratio": {
            BY_HAND: round(theirs / ours, 2),
            **{f"{BY_HAND}, {name}": round(theirs / wall, 2) for name, wall in changed.items()},
        },
        "detail": {
            "files": count,
            "scans_s": {name: round(one["process_s"], 2) for name, one in scans.items()},
            "of_which_looking_s": {name: round(one["seconds"], 2) for name, one in scans.items()},
            "peak_rss_mib": {name: round(one["peak_bytes"] / 2**20) for name, one in scans.items()},
            "by_hand_s": {name: round(one["seconds"], 2) for name, one in peers.items()},
            "by_hand_peak_rss_mib": {name: round(one["peak_bytes"] / 2**20) for name, one in peers.items()},
            "findings": {name: len(one["told"]) for name, one in scans.items()},
            "skipped": sorted({reason for one in scans.values() for reason in one["skipped"]}),
            "secrets": measured,
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

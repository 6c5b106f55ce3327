"""The documentation of installed packages: at first, with nothing changed, with one file changed; time and memory.

Packages of 240,000 and 200,000 lines (sqlalchemy, prefect; with --quick a small one). Beside it, in the same run over
the same files: griffe's bare load, which writes nothing, and what one would otherwise use, `pdoc` and `pydoctor`, in
folders of their own. `pdoc` imports what it documents; modules that cannot be imported here are left out of its work.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._watched import watched  # noqa: E402

PEERS = {"pdoc": "pdoc==16.0.0", "pydoctor": "pydoctor==25.10.1"}
CHANGED = {"sqlalchemy": "engine/base.py", "prefect": "flows.py", "click": "core.py"}
BARE = (
    "import sys, griffe; griffe.GriffeLoader(search_paths=[sys.argv[1]], allow_inspection=False)"
    ".load(sys.argv[2], submodules=True)"
)
PDOC = """
import json, pathlib, sys
import pdoc.doc, pdoc.render
out, modules, failed = pathlib.Path(sys.argv[1]), {}, []
for name in sys.argv[2:]:
    try:
        modules[name] = pdoc.doc.Module.from_name(name)
    except BaseException:
        failed.append(name)
for name, module in modules.items():
    path = out / (name.replace(".", "/") + ".html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pdoc.render.html_module(module, modules).encode())
(out / "index.html").write_text(pdoc.render.html_index(modules))
(out / "search.js").write_text(pdoc.render.search_index(modules))
print(json.dumps([len(modules), len(failed)]))
"""
"""What `pdoc -o` does, but for the modules that cannot be imported."""
FIRST, SAME, ONE = "full", "nothing changed", "one file changed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds, on a small package")
    parser.add_argument("--package", choices=sorted(CHANGED), help="only this one")
    chosen = parser.parse_args()
    quick = chosen.quick
    names = (chosen.package,) if chosen.package else ("click",) if quick else ("sqlalchemy", "prefect")
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as folder:
        place = Path(folder)
        peers = installed(place)
        results = {name: measured(name, place / name, peers, 1 if quick else 5) for name in names}
    show(results)


def installed(place: Path) -> dict[str, Path]:
    """The peers, each in a folder of its own; those that cannot be had are left out, and that is said."""
    found = {}
    for name, wanted in PEERS.items():
        folder = place / f"peer-{name}"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        done = subprocess.run([*pip, wanted], check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{wanted} cannot be installed here: {done.stderr.strip()[-200:]}")
        else:
            found[name] = folder
    return found


def measured(name: str, place: Path, peers: dict[str, Path], times: int) -> dict[str, Any]:
    """Everything about one package."""
    code = place / "code"
    code.mkdir(parents=True)
    import_from = importlib.metadata.distribution(name).locate_file(name)
    shutil.copytree(str(import_from), code / name, ignore=shutil.ignore_patterns("__pycache__"))
    sources = [*code.rglob("*.py")]
    lines = sum(path.read_bytes().count(b"\n") for path in sources)
    ours = {FIRST: build(place, code)}
    ours[SAME] = median([build(place, code) for _ in range(times)])
    ours[ONE] = median([after_a_change(place, code, name, number) for number in range(times)])
    theirs = {"griffe's bare load": run([sys.executable, "-c", BARE, str(code), name], {})}
    if "pdoc" in peers:
        command = [sys.executable, "-W", "ignore", "-c", PDOC, str(place / "pdoc"), *public_modules(code, sources)]
        theirs["pdoc"] = run(command, {"PYTHONPATH": f"{peers['pdoc']}:{code}", "HOME": str(place)})
    if "pydoctor" in peers:
        command = [sys.executable, "-m", "pydoctor", "-q", "--docformat=restructuredtext"]
        command += [f"--html-output={place / 'pydoctor'}", str(code / name)]
        theirs["pydoctor"] = run(command, {"PYTHONPATH": str(peers["pydoctor"])}, codes=(0, 2, 3))
    return {"files": len(sources), "lines": lines, "ours": ours, "theirs": theirs}


def public_modules(code: Path, sources: list[Path]) -> list[str]:
    """Those that have a page of ours."""
    names = [path.relative_to(code).with_suffix("").as_posix().replace("/", ".") for path in sorted(sources)]
    names = [name.removesuffix(".__init__") for name in names]
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


def build(place: Path, code: Path) -> dict[str, float]:
    """One build in a fresh process: the command, from its start to its end."""
    command = [sys.executable, "-m", "lama.cli", "docs", "build", str(code), "--output", str(place / "site"), "--json"]
    done = run(command, {"LAMA_HOME": str(place / "home"), "PYTHONPATH": str(ROOT)})
    site = json.loads(done.pop("output"))["site"]
    return {**done, "rendering_s": site["seconds"], "written": site["written"], "pages": site["pages"]}


def after_a_change(place: Path, code: Path, name: str, number: int) -> dict[str, float]:
    """A function more in a module that many others speak of: its page, the search and the inventory change."""
    path = code / name / CHANGED[name]
    with path.open("a") as file:
        file.write(
            f'\n\ndef added_{number}(value: int = {number}) -> int:\n    """One more function."""\n    return value\n'
        )
    result = build(place, code)
    if not result["written"]:
        sys.exit("the change is not in the site")
    return result


def median(results: list[dict[str, float]]) -> dict[str, float]:
    return sorted(results, key=lambda one: one["seconds"])[len(results) // 2]


def run(command: list[str], more: dict[str, str], codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Output, seconds by the clock and of processors, and the peak of the resident memory, in bytes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAMA_", "PREFECT_", "PYTHON"))}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = watched(command, cwd=Path("/"), timeout_s=1800, environment={**kept, **more})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    what = " ".join(command[1:4])[:60]
    print(f"  {done.seconds:.2f} s, {cpu:.2f} s of processors: {what!r}", file=sys.stderr, flush=True)
    if done.code not in codes:
        sys.exit(f"{' '.join(command[:4])} ended with {done.code}:\n{done.errors[-3000:]}")
    return {"seconds": done.seconds, "cpu_s": cpu, "peak_bytes": done.peak_bytes, "output": done.output}


def show(results: dict[str, dict[str, Any]]) -> None:
    for name, one in results.items():
        print(f"{name}: {one['files']} files, {one['lines']} lines, {one['ours'][FIRST]['pages']} pages and files")
        for what, told in [*one["ours"].items(), *one["theirs"].items()]:
            figures = f"{told['seconds']:8.2f} s, {told['cpu_s']:8.2f} s of processors"
            print(f"{figures} {told['peak_bytes'] / 2**20:6.0f} MiB  {what}")
    whole = sum(one["ours"][FIRST]["seconds"] for one in results.values())
    theirs: dict[str, float] = {}
    for one in results.values():
        for what, told in one["theirs"].items():
            theirs[what] = theirs.get(what, 0.0) + told["seconds"]
    changed = statistics.mean(one["ours"][ONE]["seconds"] for one in results.values())
    result = {
        "benchmark": "docs",
        "unit": "s",
        "ours": round(whole, 2),
        "peers": {what: round(seconds, 2) for what, seconds in theirs.items()},
        "ratio": {what: round(seconds / whole, 2) for what, seconds in theirs.items()},
        "detail": {
            "one_file_changed_s": round(changed, 3),
            "packages": {
                name: {
                    "files": one["files"],
                    "lines": one["lines"],
                    "seconds": {w: round(t["seconds"], 2) for w, t in [*one["ours"].items(), *one["theirs"].items()]},
                    "cpu_s": {w: round(t["cpu_s"], 2) for w, t in [*one["ours"].items(), *one["theirs"].items()]},
                    "of_which_rendering_s": {w: round(t["rendering_s"], 2) for w, t in one["ours"].items()},
                    "written": {w: t["written"] for w, t in one["ours"].items()},
                    "peak_rss_mib": {
                        w: round(t["peak_bytes"] / 2**20) for w, t in [*one["ours"].items(), *one["theirs"].items()]
                    },
                }
                for name, one in results.items()
            },
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

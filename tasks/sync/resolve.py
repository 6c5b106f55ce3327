"""Settles a conflict: which of the two stays in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from tasks.sync.names import device_of, is_conflict, original_of, problem_of
from tasks.sync.trash import discard


def chosen_side(path: str, side: str, *, device: str, writer: str | None) -> Literal["copy", "original"]:
    """Which of the conflict copy `path` and its original is that of this device, or of the other one.

    Said once, by a person, it is a decision that every device takes over; as a setting of each it would be another one
    everywhere.

    Args:
        path: the copy.
        side: `ours` is what this device wrote, `theirs` the other.
        device: this device's id.
        writer: whose the original is, as far as this device knows.

    Raises:
        ValueError: neither is of this device.
    """
    if device_of(path) == device:
        return "copy" if side == "ours" else "original"
    if writer == device:
        return "original" if side == "ours" else "copy"
    raise ValueError(f"neither {path} nor its original is of this device: say copy, original or both")


def settle(folder: Path, path: str, keep: str, name: str | None, *, run: str) -> str:
    """Keep `copy`, `original` or `both`, the copy as `name` then; in a sentence what was done.

    Raises:
        ValueError: `path` is no conflict copy, or `name` no path within the folder.
        OSError: a file is not there, or something stands where one is to go.
    """
    if not is_conflict(path) or problem_of(path):
        raise ValueError(f"{path} is no conflict copy")
    if not os.path.lexists(folder / path):
        raise FileNotFoundError(f"{path} is not there")
    if keep == "original":
        discard(folder, path, run)
        return f"{path} is in the trash."
    target = original_of(path) if keep == "copy" else str(name)
    if problem := problem_of(target):
        raise ValueError(f"{target}: {problem}")
    place = folder / target
    if os.path.lexists(place):
        if keep == "both":
            raise FileExistsError(f"{target}: something stands there")
        if place.is_dir() and not place.is_symlink():
            raise IsADirectoryError(f"{target} is a folder")
        discard(folder, target, run)
    place.parent.mkdir(parents=True, exist_ok=True)
    (folder / path).rename(place)
    return f"{path} is {target} now."

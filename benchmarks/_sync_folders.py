"""Folders of invented files for the benchmark of sync: made, changed, renamed and compared."""

from __future__ import annotations

import os
import random
from pathlib import Path

_AT_ONCE = 100
"""Files in a folder."""
_LEAST, _MOST = 200, 8192


def make(folder: Path, files: int, seed: int) -> None:
    """`files` files of 0.2-8 KB of text that packs badly, a hundred in a folder, three folders deep."""
    chance = random.Random(seed)
    pool = chance.randbytes(1 << 20).hex().encode()
    for number in range(files):
        if number % _AT_ONCE == 0:
            group = number // _AT_ONCE
            place = folder / f"area {group // 100}" / f"project-{group // 10 % 10}" / f"week-{group % 10}"
            place.mkdir(parents=True)
        size = chance.randint(_LEAST, _MOST)
        start = chance.randrange(len(pool) - size)
        (place / f"note {number:06}.md").write_bytes(b"%d\n" % number + pool[start : start + size])


def make_sparse(folder: Path, files: int, size: int) -> None:
    """`files` files of `size` bytes each, all different, that take no room: what a folder of films would be."""
    folder.mkdir(parents=True)
    for number in range(files):
        with (folder / f"film {number}.mov").open("wb") as file:
            file.write(b"film %d" % number)
            file.truncate(size)


def change(folder: Path, count: int, seed: int) -> None:
    """Give `count` files, spread over the folder, another content of nearly the same size."""
    chance = random.Random(seed)
    paths = sorted(path for path, _ in files_of(folder))
    for path in chance.sample(paths, count):
        place = folder / path
        place.write_bytes(place.read_bytes() + b"\nchanged: %d" % seed)


def files_of(folder: Path) -> list[tuple[str, int]]:
    """Paths and sizes of all files, hidden ones left out."""
    found: list[tuple[str, int]] = []
    waiting = [(folder, "")]
    while waiting:
        place, above = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), f"{above}{entry.name}/"))
                else:
                    found.append((above + entry.name, entry.stat(follow_symlinks=False).st_size))
    return found


def differing(one: Path, other: Path, *, contents: bool = True) -> str | None:
    """In what two folders differ; None: in nothing."""
    mine, theirs = dict(files_of(one)), dict(files_of(other))
    if mine.keys() != theirs.keys():
        some = sorted(mine.keys() ^ theirs.keys())[:3]
        return f"{len(mine.keys() ^ theirs.keys())} files are in one only, such as {some}"
    for path, size in mine.items():
        if size != theirs[path] or (contents and (one / path).read_bytes() != (other / path).read_bytes()):
            return f"{path} differs"
    return None

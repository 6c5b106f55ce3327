"""Known vulnerabilities from a checkout of the GitHub Advisory Database: its reviewed advisories, indexed once.

`python -m tasks.advisories.github_database CHECKOUT FOLDER [--anew]` brings the index in FOLDER up to date.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from blocks.errors import UnavailableError
from tasks.advisories.local_copy import LocalCopy, consult, gap, utc_now
from tasks.advisories.mirror import ages_of
from tasks.advisories.mirror_build import LARGEST_ENTRY, Observer, only_one, replace
from tasks.advisories.mirror_index import Index, Unusable, Writer
from tasks.advisories.source import SourceState, Told, Wanted

NAME = "github"
INDEX = "github.sqlite"
FAMILIES = frozenset(
    {
        *("PyPI", "npm", "GitHub Actions", "crates.io", "Go", "Hex", "Maven", "NuGet", "Packagist", "Pub", "RubyGems"),
        "SwiftURL",
    }
)
"""What GitHub reviews advisories for."""

_EVERYTHING = "*"
_DEEPEST = 6
_UPDATE = "`git pull` brings it up to date"


class Record(NamedTuple):
    """One file of the database."""

    path: Path
    name: str
    """Relative to the reviewed advisories."""
    changed: int
    """Nanoseconds since the epoch."""
    size: int


class GithubDatabase:
    """The checkout at `checkout`; its index is kept in `folder`, beside a mirror's."""

    def __init__(
        self,
        checkout: Path,
        folder: Path,
        *,
        max_age_days: float = 7.0,
        budget_s: float = 60.0,
        build_s: float = 900.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._checkout = checkout
        self._max_age_days = max_age_days
        self._now = now
        self._copy = LocalCopy(
            name=NAME,
            index=folder / INDEX,
            module="tasks.advisories.github_database",
            arguments=(str(checkout.absolute()), str(folder.absolute())),
            is_current=lambda: is_current(checkout, folder),
            budget_s=budget_s,
            build_s=build_s,
        )

    @property
    def name(self) -> str:
        """Its name in settings and findings."""
        return NAME

    async def tell(self, wanted: Wanted) -> Told:
        """What the reviewed advisories say."""
        asked = [package for package in wanted if package.family in FAMILIES]
        if not asked:
            return Told(SourceState(NAME))
        try:
            await asyncio.to_thread(reviewed_in, self._checkout)
        except UnavailableError as error:
            return Told(SourceState(NAME), gaps=(gap(NAME, str(error)),))
        consulted = await consult(self._copy, asked)
        gaps = list(consulted.gaps)
        now = self._now()
        covers, records, newest, stale = frozenset[str](), None, None, False
        for archive in consulted.archives:
            age = ages_of([archive], {}, now=now, max_age_days=self._max_age_days)[_EVERYTHING]
            records, newest, stale = archive.records, archive.newest, age.stale
            if archive.unusable:
                gaps.append(gap(NAME, "; ".join(archive.unusable)))
            if archive.problem:
                gaps.append(gap(NAME, f"the checkout {archive.problem}"))
            else:
                covers = frozenset(package.family for package in asked)
            if stale:
                gaps.append(gap(NAME, f"the checkout is {age.told(now)}; {_UPDATE}"))
        return Told(SourceState(NAME, records, newest, stale=stale), consulted.advisories, covers, tuple(gaps))


def reviewed_in(checkout: Path) -> Path:
    """The folder of the reviewed advisories in a checkout, or in its folder `advisories`.

    Raises:
        UnavailableError: there is none.
    """
    for folder in (checkout / "advisories" / "github-reviewed", checkout / "github-reviewed"):
        if folder.is_dir():
            return folder
    raise UnavailableError(
        "is no checkout of the GitHub Advisory Database.",
        component=str(checkout),
        remedy="Correct github_database in [advisories] of lama.toml.",
    )


def is_current(checkout: Path, folder: Path) -> bool:
    """Whether the index is of what the checkout holds now."""
    try:
        with Index(folder / INDEX) as index:
            held = [archive.stamp for archive in index.archives()]
        return held == [stamp_of(checkout)]
    except (UnavailableError, OSError):
        return False


def stamp_of(checkout: Path) -> str:
    """Differs when the checkout's files did: by git's own index where there is one, else by a look at every file.

    Raises:
        UnavailableError: it is no checkout of the database.
        OSError: it cannot be read.
    """
    reviewed = reviewed_in(checkout)
    for folder in (checkout, checkout.parent):
        git = folder / ".git" / "index"
        if git.is_file():
            state = git.stat()
            return f"git {state.st_ino}/{state.st_size}/{state.st_mtime_ns}"
    seen = hashlib.blake2b(digest_size=16)
    for record in sorted(_walk(reviewed)):
        seen.update(f"{record.name}\0{record.changed}\0{record.size}\n".encode("utf-8", "surrogateescape"))
    return f"files {seen.hexdigest()}"


def build(
    checkout: Path,
    folder: Path,
    *,
    now: datetime,
    observe: Observer | None = None,
    anew: bool = False,
    wait_s: float = 600.0,
) -> bool:
    """Bring the index in `folder` to what `checkout` holds: `mirror_build.build` for files instead of archives.

    Raises:
        UnavailableError: there is no checkout, it cannot be read, or the index cannot be written.
    """
    reviewed = reviewed_in(checkout)

    def fill(writer: Writer) -> None:
        stamp = stamp_of(checkout)  # before the first look: what changes meanwhile is found the next time
        total = _take(writer, reviewed, observe)
        problem = "" if writer.tells(_EVERYTHING) else "holds no advisory"
        writer.conclude(_EVERYTHING, total, stamp, problem, now=now)

    with only_one(folder / f".{INDEX}.lock", wait_s=wait_s):
        if not anew and is_current(checkout, folder):
            return False
        replace(folder / INDEX, fill, anew=anew)
    return True


def _take(writer: Writer, reviewed: Path, observe: Observer | None) -> int:
    """Bring the files into the index; gives their bytes."""
    records = list(_walk(reviewed))
    kept: set[int] = set()
    total = 0
    for done, record in enumerate(records):
        if observe is not None and done % 5_000 == 0:
            observe(NAME, done, len(records))
        total += record.size
        held = writer.known(_EVERYTHING, record.name)
        if held is not None and held[1:] == (record.changed, record.size):
            kept.add(held[0])
            continue
        if held is not None:
            writer.remove([held[0]])
        kept.add(writer.add(_EVERYTHING, record.name, record.changed, record.size, _content(record.path)))
    writer.remove([entry for entry in writer.ids(_EVERYTHING) if entry not in kept])
    if observe is not None:
        observe(NAME, len(records), len(records))
    return total


def _walk(folder: Path, prefix: str = "", depth: int = 0) -> Iterator[Record]:
    """The JSON files below `folder`; no link is followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
                yield from _walk(Path(entry.path), f"{name}/", depth + 1)
            elif entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                yield Record(Path(entry.path), name, state.st_mtime_ns, state.st_size)


def _content(path: Path) -> bytes | Unusable:
    try:
        with open(path, "rb", opener=_no_link) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Unusable("is no regular file")
            content = file.read(LARGEST_ENTRY + 1)
    except OSError as error:
        return Unusable(f"cannot be read ({error.strerror})")
    return Unusable(f"has more than {LARGEST_ENTRY} bytes") if len(content) > LARGEST_ENTRY else content


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def main() -> int:
    """Build the index that the command line names; its outcome is the exit code."""
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]), now=datetime.now(UTC), anew="--anew" in sys.argv[3:])
    except UnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

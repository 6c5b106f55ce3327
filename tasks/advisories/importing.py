"""Takes files of advisories that were brought here by hand into the mirror: the way for machines without a network."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace as changed
from datetime import datetime
from pathlib import Path

from blocks.errors import ConfigurationError, LamaError
from tasks.advisories.archives import ARCHIVE, archives_in, stamp_of
from tasks.advisories.download import Downloaded, Remote, put
from tasks.advisories.fetched import Fetched, read_fetched, write_fetched
from tasks.advisories.mirror_build import Observer, build, only_one
from tasks.advisories.mirror_files import archive_of, exploitation_files

LOCK = ".update.lock"
"""Held by whoever changes the files of a mirror."""

_EPSS_NAME = re.compile(r"epss.*\.csv(\.gz)?", re.IGNORECASE)
_KEV_NAME = re.compile(r"(kev|known_exploited_vulnerabilities).*\.json", re.IGNORECASE)


def import_files(
    paths: Iterable[Path],
    folder: Path,
    *,
    now: datetime,
    ecosystem: str | None = None,
    fetched_at: datetime | None = None,
    observe: Observer | None = None,
) -> tuple[Downloaded, ...]:
    """Copy what `paths` hold into the mirror in `folder`, each file checked first, and build the index.

    Args:
        paths: folders laid out as a mirror (`<ecosystem>/all.zip`), zips, EPSS's CSV and CISA's JSON.
        folder: the mirror; it is made when it is not there.
        now: the present.
        ecosystem: what a zip is of, where neither its folder nor its name says so.
        fetched_at: when they were fetched from where they come from. A folder that `update` filled says so itself.
        observe: is told how far the index is.

    Raises:
        ConfigurationError: a path is none of these, or does not say which ecosystem it is of. Nothing was copied.
        LamaError: a file is not what it should be, or cannot be read or written. Those before it are there.
    """
    found = [one for path in paths for one in _recognised(path, ecosystem)]
    if not found:
        raise ConfigurationError("there is nothing to import.", component="advisories import")
    done: list[Downloaded] = []
    with only_one(folder / LOCK, wait_s=0):
        known = read_fetched(folder)
        try:
            for source, remote in found:
                taken = _take(source, remote, folder, now)
                said = _said_of(source, remote)
                at = fetched_at or (said.at if said is not None else None)
                known.pop(remote.path, None)
                if at is not None and taken.fetched is not None:
                    etag, modified = (said.etag, said.modified) if said is not None else ("", "")
                    known[remote.path] = changed(taken.fetched, at=at, etag=etag, modified=modified)
                done.append(taken)
        finally:
            with _words(folder):
                write_fetched(folder, known)
        if archives_in(folder):
            build(folder, now=now, observe=observe)
    return tuple(done)


def _recognised(path: Path, ecosystem: str | None) -> list[tuple[Path, Remote]]:
    """The files at `path`, each with what it is."""
    epss, kev = exploitation_files()
    if (path / ARCHIVE).is_file():
        path = path / ARCHIVE
    if path.is_dir():
        found = [(archive, archive_of(name)) for name, archive in archives_in(path).items()]
        files = sorted(one for one in path.iterdir() if one.is_file())
        found += [(one, epss) for one in files if _EPSS_NAME.fullmatch(one.name)][:1]
        found += [(one, kev) for one in files if _KEV_NAME.fullmatch(one.name)][:1]
        if not found:
            raise ConfigurationError(
                "holds no file of advisories.",
                component=str(path),
                remedy=f"Lay it out as OSV does: <ecosystem>/{ARCHIVE}.",
            )
        return found
    if not path.is_file():
        raise ConfigurationError("there is no such file or folder.", component=str(path))
    if _EPSS_NAME.fullmatch(path.name):
        return [(path, epss)]
    if _KEV_NAME.fullmatch(path.name):
        return [(path, kev)]
    if path.suffix.lower() != ".zip":
        raise ConfigurationError("is neither a zip, nor EPSS's CSV, nor CISA's JSON.", component=str(path))
    if ecosystem is not None:
        return [(path, archive_of(ecosystem))]
    for name in (path.absolute().parent.name, path.stem):
        with contextlib.suppress(ConfigurationError):
            return [(path, archive_of(name))]
    raise ConfigurationError(
        "does not say which ecosystem it is of.", component=str(path), remedy="Name it with --ecosystem."
    )


def _take(source: Path, remote: Remote, folder: Path, now: datetime) -> Downloaded:
    target = folder / remote.path
    draft = target.with_name(f"{target.name}.part")
    with _words(target):
        if target.exists() and target.samefile(source):
            raise ConfigurationError("is in the mirror already.", component=str(source))
        if source.stat().st_size > remote.largest:
            raise LamaError(f"has more than {remote.largest} bytes.", component=str(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, draft)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    return put(draft, target, changed(remote, name=str(source)), now=now, etag="", modified="")


def _said_of(source: Path, remote: Remote) -> Fetched | None:
    """What the folder that a file comes from says about it, if it is still that file."""
    root = source.parent.parent if remote.path.endswith(f"/{ARCHIVE}") else source.parent
    known = read_fetched(root).get(remote.path)
    try:
        return known if known is not None and known.stamp == stamp_of(source) else None
    except OSError:
        return None


@contextlib.contextmanager
def _words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LamaError(f"cannot be written: {error.strerror or error}.", component=str(path)) from error

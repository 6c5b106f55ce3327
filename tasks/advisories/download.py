"""One file from a server into a folder: only when it has changed, continued where it broke off, replaced as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.errors import LamaError, UnavailableError
from tasks.advisories.archives import stamp_of
from tasks.advisories.fetched import Fetched

if TYPE_CHECKING:
    import httpx

_PASSING = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that is fetched."""

    name: str
    """What messages call it: an ecosystem, `EPSS`, `KEV`."""
    url: str
    path: str
    """Where it goes, relative to the folder."""
    largest: int
    """Bytes; more is refused."""
    check: Callable[[Path], None]
    """Raises ValueError, with the reason, for a file that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """How it went."""

    name: str
    path: str
    changed: bool
    """Whether it is another file than before."""
    size: int
    fetched: Fetched | None
    """None on a dry run."""


async def download(
    client: httpx.AsyncClient, remote: Remote, folder: Path, known: Fetched | None, *, now: datetime, dry_run: bool
) -> Downloaded:
    """Bring `remote` into `folder`.

    Args:
        client: of `blocks.osv.AdvisoryFiles`.
        remote: what to fetch.
        folder: where to.
        known: how it was when it was fetched last.
        now: the time that is noted for it.
        dry_run: only ask whether it has changed.

    Raises:
        UnavailableError: it did not come, or not to its end; what came is kept, and continued the next time.
        LamaError: it is not there, is too large, not what it should be, or cannot be written. Nothing was changed.
    """
    import httpx  # noqa: PLC0415

    target = folder / remote.path
    same = known if known is not None and _is_there(target, known.stamp) else None
    part = _Part(target)
    try:
        if dry_run:
            response = await client.head(remote.url, headers=_conditions(same))
            changed = response.status_code != 304
            _refuse(response.status_code, remote)
            return Downloaded(remote.name, remote.path, changed, _length(response), None)
        target.parent.mkdir(parents=True, exist_ok=True)
        begun = part.resume() or _conditions(same)
        async with client.stream("GET", remote.url, headers=begun) as response:
            if response.status_code == 304 and same is not None:
                fetched = Fetched(same.stamp, now, same.etag, same.modified)
                return Downloaded(remote.name, remote.path, changed=False, size=0, fetched=fetched)
            if response.status_code == 416:
                part.discard()
                raise UnavailableError("cannot be continued; it is begun anew.", component=remote.name)
            _refuse(response.status_code, remote)
            await part.take(response, remote)
    except httpx.TimeoutException as error:
        raise UnavailableError("did not come in time.", component=remote.name) from error
    except httpx.TransportError as error:
        raise UnavailableError(f"did not come to its end ({type(error).__name__}).", component=remote.name) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise LamaError(f"cannot be asked for ({type(error).__name__}).", component=remote.name) from error
    except OSError as error:
        part.discard()
        raise LamaError(f"cannot be written: {error.strerror}.", component=str(target)) from error
    modified = response.headers.get("last-modified", "")
    return await asyncio.to_thread(put, part.path, target, remote, now=now, etag=part.etag, modified=modified)


def put(draft: Path, target: Path, remote: Remote, *, now: datetime, etag: str, modified: str) -> Downloaded:
    """Put a file that has come in place of the one that is there.

    Raises:
        LamaError: it is not what it should be, and is thrown away; or it cannot be written.
    """
    try:
        try:
            remote.check(draft)
        except ValueError as error:
            raise LamaError(f"is not what it should be: {error}.", component=remote.name) from error
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(target)
        size = target.stat().st_size
        fetched = Fetched(stamp_of(target), now, etag, modified)
    except OSError as error:
        raise LamaError(f"cannot be written: {error.strerror}.", component=str(target)) from error
    finally:
        _Part(target).discard()
    return Downloaded(remote.name, remote.path, changed=True, size=size, fetched=fetched)


class _Part:
    """What has come of a file, and the name that the server gave that version (its entity tag)."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.etag")
        self.etag = ""

    def resume(self) -> dict[str, str]:
        """Headers that ask for the rest of it (RFC 9110, 13.1.5); none when there is nothing to continue."""
        try:
            size, etag = self.path.stat().st_size, self._tag.read_text(encoding="latin-1")
        except OSError:
            return {}
        return {"Range": f"bytes={size}-", "If-Range": etag} if size and etag.startswith('"') else {}

    async def take(self, response: httpx.Response, remote: Remote) -> None:
        """Write what comes, behind what there is already if the server agrees."""
        self.etag = response.headers.get("etag", "")
        continued = response.status_code == 206 and response.headers.get("content-range", "").startswith(
            f"bytes {self._size()}-"
        )
        if response.status_code == 206 and not continued:
            self.discard()
            raise UnavailableError("came from another place than asked for.", component=remote.name)
        if not continued:
            self.discard()
        if not response.headers.get("content-encoding"):
            self._tag.write_text(self.etag, encoding="latin-1")
        size = self._size()
        with self.path.open("ab") as file:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > remote.largest:
                    self.discard()
                    raise LamaError(f"has more than {remote.largest} bytes.", component=remote.name)
                file.write(chunk)

    def discard(self) -> None:
        """Throw away what has come."""
        for path in (self.path, self._tag):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def _conditions(known: Fetched | None) -> dict[str, str]:
    if known is None:
        return {}
    return (
        {"If-None-Match": known.etag} if known.etag else {"If-Modified-Since": known.modified} if known.modified else {}
    )


def _refuse(status: int, remote: Remote) -> None:
    if status in {200, 206, 304}:
        return
    if status in {404, 410}:
        raise LamaError("is not there; is its name right?", component=remote.name)
    if status in _PASSING:
        raise UnavailableError(f"was answered with {status}.", component=remote.name)
    raise LamaError(f"was answered with {status}.", component=remote.name)


def _length(response: httpx.Response) -> int:
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and response.status_code == 200 else 0


def _is_there(path: Path, stamp: str) -> bool:
    try:
        return stamp_of(path) == stamp
    except OSError:
        return False

"""The contents in a vault: immutable, encrypted, named so that a name reveals nothing."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import pyrage
from blake3 import blake3

from blocks.errors import UnavailableError
from models.sync_store import Progress, StoreProblem
from tasks.sync.faults import Changed, Corrupted, Missing, Unsafe
from tasks.sync.shelf import Draft, Place, Shelf

FOLDER: Final = "objects"
ASIDE: Final = "aside"
_SMALL = 1 << 20
_CHUNK = 1 << 20
_SEALED = 1 << 12  # what age adds to a small content at most: a header, and 16 bytes for each 64 KiB
_SMALLEST = 150  # bytes of the shortest header with one recipient
_WAITING = 16_384
_MANY = 512  # from so many on, one wait for all that the file system has to write is shorter than one for each
_AT_ONCE = 16  # file systems join the journal writes of what is synced side by side
_DAY = 86_400.0
_NAME = re.compile(r"[0-9a-f]{64}\.age")


@dataclass(frozen=True)
class Sealing:
    """What objects are encrypted, decrypted and named with."""

    naming: bytes = field(repr=False)
    recipient: pyrage.x25519.Recipient | None
    """None: nothing can be put now."""
    keys: tuple[pyrage.x25519.Identity, ...] = field(repr=False)
    """The latest first, since each that does not fit costs a tenth of a millisecond."""
    complete: bool = True
    """False: there are epochs whose key this device has not got yet."""


class Objects:
    """The objects of one vault; for use from several threads.

    Args:
        shelf: the files of the vault.
        device: id of this device.
        sealing: what to encrypt with, asked each time since it changes.
        now: seconds since 1970.
    """

    def __init__(
        self, shelf: Shelf, device: str, sealing: Callable[[], Sealing], now: Callable[[], float] = time.time
    ) -> None:
        self._shelf = shelf
        self._device = device
        self._sealing = sealing
        self._now = now
        self._lock = threading.Lock()
        self._waiting: dict[Place, Draft] = {}
        self._batches = 0

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """What is put within gets onto the disk, and its name, many at once; all of it at the end.

        When the body fails, what it had put by then still counts.
        """
        with self._shelf.held():
            with self._lock:
                self._batches += 1
            try:
                yield
            finally:
                with self._lock:
                    self._batches -= 1
                self.flush()

    def flush(self) -> None:
        """Finish what was put in a batch so far."""
        with self._lock:
            drafts, self._waiting = list(self._waiting.values()), {}
        if not drafts:
            return
        folders: dict[Place, list[Draft]] = {}
        for draft in drafts:
            folders.setdefault(draft.place[:-1], []).append(draft)
        try:
            settled = len(drafts) >= _MANY and self._shelf.settle()
        except UnavailableError:
            for draft in drafts:
                self._shelf.discard(draft)
            raise
        with ThreadPoolExecutor(min(_AT_ONCE, len(folders)) if self._shelf.durable and not settled else 1) as pool:
            # All are tried, so that one that fails leaves no other without its name.
            results = [pool.submit(self._shelf.commit, those, settled=settled) for those in folders.values()]
        if settled:
            self._shelf.settle()
        for result in results:
            result.result()

    def has(self, digest: bytes) -> bool:
        """Whether the store holds something under the name of this content."""
        place = self._place(digest, self._sealing().naming)
        return place in self._waiting or self._stands(place)

    def put(self, digest: bytes, source: BinaryIO) -> None:
        """Encrypt a content into the store, unless it is there.

        Raises:
            Changed: what was read has another digest.
            UnavailableError: the store cannot be written, or this device may not write now.
        """
        sealing = self._sealing()
        place = self._place(digest, sealing.naming)
        if place in self._waiting:
            return
        stamp = self._shelf.stamp(place)
        if stamp is not None and stamp.size >= _SMALLEST:
            if stamp.mtime_ns < (self._now() - _DAY) * 1e9:
                self._shelf.touch(place, self._now())  # so that nobody collects it before a manifest names it
            return
        if sealing.recipient is None:
            raise UnavailableError(
                "this device has no key to encrypt with now.",
                component=str(self._shelf.root),
                remedy="A registered device has to sync once, and the store to deliver what it wrote.",
            )
        draft = self._written(digest, source, place, sealing.recipient)
        with self._lock:
            batched = self._batches > 0 and place not in self._waiting
            if batched:
                self._waiting[place] = draft
            full = len(self._waiting) >= _WAITING
        if not batched:
            self._shelf.commit([draft])
        if full:
            self.flush()

    def fetch(self, digest: bytes, into: BinaryIO, size: int | None = None) -> None:
        """Decrypt a content and check it.

        Raises:
            Corrupted: the store holds something else; it was set aside, so that whoever has the content puts it again.
            Missing: it has not arrived.
        """
        sealing = self._sealing()
        place = self._place(digest, sealing.naming)
        if place in self._waiting:
            self.flush()
        try:
            found, _ = self._read(place, into, sealing, size)
        except FileNotFoundError as error:
            raise self._missing(place) from error
        except Unsafe as error:
            raise self._corrupted(place, error.what) from error
        if found != digest:
            raise self._corrupted(place, "it is another content.")

    def verify(self) -> Iterator[StoreProblem | Progress]:
        """Decrypt and hash every object; what is not what its name says is set aside."""
        places = list(self.places())
        size = 0
        for done, place in enumerate(places, 1):
            sealing = self._sealing()
            where = "/".join(place)
            try:
                digest, read = self._read(place, None, sealing)
                size += read
                if self._place(digest, sealing.naming) != place:
                    yield StoreProblem(self._corrupted(place, "it is another content.").what, where)
            except FileNotFoundError:
                pass  # collected meanwhile
            except (Corrupted, Missing) as error:
                yield StoreProblem(error.what, where)
            except Unsafe as error:
                yield StoreProblem(self._corrupted(place, error.what).what, where)
            if done % 100 == 0 or done == len(places):
                yield Progress(done, len(places), size)

    def collect(self, live: set[bytes], keep_days: float) -> int:
        """Remove objects that are not live and have not been touched for `keep_days`, and what was cut off."""
        naming = self._sealing().naming
        keep = {self._place(digest, naming) for digest in live}
        before = self._now() - keep_days * _DAY
        removed = 0
        for place in self.places():
            stamp = self._shelf.stamp(place)
            if place not in keep and stamp is not None and stamp.mtime_ns < before * 1e9:
                self._shelf.remove(place)
                removed += 1
        for name in self._shelf.names((ASIDE, self._device)):
            place = (ASIDE, self._device, name)
            stamp = self._shelf.stamp(place)
            if stamp is not None and stamp.mtime_ns < before * 1e9:
                self._shelf.remove(place)
        for folder in self._shelf.names((FOLDER,)):
            for place in self._shelf.leftovers((FOLDER, folder), min(before, self._now() - _DAY)):
                self._shelf.remove(place)
        return removed

    def places(self) -> Iterator[Place]:
        """Where objects are."""
        for folder in self._shelf.names((FOLDER,)):
            with contextlib.suppress(Unsafe):
                for name in self._shelf.names((FOLDER, folder)):
                    if _NAME.fullmatch(name) and name.startswith(folder):
                        yield (FOLDER, folder, name)

    def _stands(self, place: Place) -> bool:
        stamp = self._shelf.stamp(place)
        return stamp is not None and stamp.size >= _SMALLEST

    def _written(self, digest: bytes, source: BinaryIO, place: Place, recipient: pyrage.x25519.Recipient) -> Draft:
        """A draft of the object, whole but without its name."""
        first = source.read(_SMALL + 1)
        if len(first) <= _SMALL:
            if blake3(first).digest() != digest:
                raise _changed()
            return self._shelf.drafted(place, pyrage.encrypt(first, [recipient]))
        reader = _Reader(first, source)
        draft = self._shelf.draft(place)
        try:
            self._stream(reader, draft, recipient)
            self._shelf.close(draft)
            if reader.digest() != digest:
                raise _changed()  # noqa: TRY301 - the draft goes for whatever reason
        except BaseException:
            self._shelf.discard(draft)
            raise
        return draft

    def _stream(self, reader: _Reader, draft: Draft, recipient: pyrage.x25519.Recipient) -> None:
        try:
            pyrage.encrypt_io(reader, draft.file, [recipient])
        except (pyrage.EncryptError, OSError) as error:
            if reader.failed is not None:  # pyrage hands on no more than its text
                raise reader.failed from error
            raise UnavailableError(
                f"{'/'.join(draft.place)} cannot be written: {error}.",
                component=str(self._shelf.root),
                remedy="Make room in the store.",
            ) from error

    def _read(
        self, place: Place, into: BinaryIO | None, sealing: Sealing, most: int | None = None
    ) -> tuple[bytes, int]:
        """The digest and encrypted size of what an object holds, which is written to `into`."""
        with self._shelf.open(place) as (file, stamp):
            if stamp.size <= _SMALL + _SEALED:
                try:
                    content = pyrage.decrypt(file.read(stamp.size), list(sealing.keys))
                except pyrage.DecryptError as error:
                    raise self._undecrypted(place, error, sealing) from error
                if into is not None:
                    into.write(content)
                return blake3(content).digest(), stamp.size
            writer = _Writer(into, most)
            try:
                pyrage.decrypt_io(file, writer, list(sealing.keys))
            except (pyrage.DecryptError, OSError) as error:
                if writer.failed is not None:
                    raise writer.failed from error
                if writer.overrun:
                    raise self._corrupted(place, "it is larger than the content.") from error
                raise self._undecrypted(place, error, sealing) from error
            return writer.digest(), stamp.size

    def _undecrypted(self, place: Place, error: Exception, sealing: Sealing) -> Corrupted | Missing:
        if not sealing.complete and "No matching keys" in str(error):
            return Missing("the key of its epoch has not arrived.", component="/".join(place))
        return self._corrupted(place, f"{error}.")

    def _corrupted(self, place: Place, why: str) -> Corrupted:
        with contextlib.suppress(FileNotFoundError):
            self._shelf.rename(place, (ASIDE, self._device, place[-1]))
        return Corrupted(
            f"the object is corrupted, and was set aside: {why}",
            component="/".join(place),
            remedy="The next sync of a device that has the content puts it again.",
        )

    def _missing(self, place: Place) -> Missing:
        *folder, name = place
        evicted = self._shelf.stamp((*folder, f".{name}.icloud")) is not None
        what = "it is in the cloud and not on this machine." if evicted else "the store does not hold it (yet)."
        return Missing(what, component="/".join(place), remedy="Let the cloud drive finish, and sync again.")

    @staticmethod
    def _place(digest: bytes, naming: bytes) -> Place:
        name = blake3(digest, key=naming).hexdigest()
        return (FOLDER, name[:2], f"{name}.age")


class _Reader:
    """What was read already and the rest of a source, hashed as it goes by."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = memoryview(first)
        self._rest = rest
        self._hash = blake3(first)
        self.failed: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        if self._first:
            part, self._first = bytes(self._first[:size]), self._first[size:]
            return part
        try:
            data = self._rest.read(size)
        except Exception as error:
            self.failed = error
            raise
        self._hash.update(data)
        return data

    def digest(self) -> bytes:
        return self._hash.digest()


class _Writer:
    """Hashes what goes by."""

    def __init__(self, into: BinaryIO | None, most: int | None) -> None:
        self._into = into
        self._left = most
        self.overrun = False
        self._hash = blake3()
        self.failed: Exception | None = None

    def write(self, data: bytes) -> int:
        if self._left is not None:
            self._left -= len(data)
            self.overrun = self._left < 0
            if self.overrun:
                raise OSError("too much")
        self._hash.update(data)
        if self._into is not None:
            try:
                self._into.write(data)
            except Exception as error:
                self.failed = error
                raise
        return len(data)

    def flush(self) -> None:
        """Whoever owns the file does."""

    def digest(self) -> bytes:
        return self._hash.digest()


def _changed() -> Changed:
    return Changed("the file changed while it was read.", remedy="The next sync takes it as it is then.")

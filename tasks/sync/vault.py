"""The store that only its devices can read: encrypted objects, and a manifest per device that nobody else writes.

    .lama-sync.json                          what the vault is known by
    devices/<device>.json                    its record, signed by itself
    approvals/<device>/<other>.json          the device lets the other in
    revocations/<device>/<other>.json        the device shuts the other out
    keys/<device>/<writer>/<epoch>.age       a key of the vault, for the device
    manifests/<device>/<category>.age        what the device says of the category
    objects/<2 digits>/<64 digits>.age       a content
    aside/<device>/<64 digits>.age           what the device found to be corrupted

Every file has one writer; objects may have several, who write the same content. Without Lama, with `age` and a shell:

    age -d -i ~/.lama/secrets/sync-identity keys/DEVICE/WRITER/EPOCH.age > epoch   # every epoch; `cat` them together
    age -d -i epoch manifests/DEVICE/CATEGORY.age | tail -n +2 | gunzip > manifest   # paths with their BLAKE3
    age -d -i epoch objects/AB/ABCD....age > FILE

An object is called BLAKE3 of the content's 32-byte BLAKE3, keyed with what the file `epoch` has after `# naming`:
`awk '/# naming/{print $3}' epoch | xxd -r -p > key; echo DIGEST | xxd -r -p > digest; b3sum --keyed digest < key`.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyrage

from blocks.errors import ConfigurationError, UnavailableError
from models.sync_store import Device, Manifest, Progress, StoreProblem
from models.sync_versions import NAME
from tasks.sync import epochs, manifests
from tasks.sync.faults import Unsafe
from tasks.sync.identity import Identity, is_device_id
from tasks.sync.objects import Objects, Sealing
from tasks.sync.registry import Registry, State
from tasks.sync.shelf import Shelf, Stamp

_CATEGORY = re.compile(NAME)
Knows = Callable[[Manifest], bool]


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: Stamp
    manifest: Manifest
    dropped: tuple[str, ...]
    whole: bool = True
    """Whether its tree was read."""


class Vault:
    """The vault under one root, as one device sees it. `put`, `fetch` and `has` may run in several threads.

    Args:
        root: the shared folder.
        identity: this device.
        known_counters: by device and category the last counter that was seen, kept by the caller from run to run and
            brought up to date here: an older manifest is a store that was set back.
        durable: whether what is written is on the disk before it counts; off only for tests and measurements.
        at_once: how many contents whoever puts or fetches many may do so side by side.
        now: seconds since 1970.

    Raises:
        UnavailableError: everywhere: the store is away, or cannot be read or written.
        ConfigurationError: everywhere but in `create` and `join`: this device takes no part in this vault.
    """

    def __init__(
        self,
        root: Path,
        identity: Identity,
        *,
        known_counters: MutableMapping[tuple[str, str], int] | None = None,
        durable: bool = True,
        at_once: int = 4,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.at_once = at_once
        self._identity = identity
        self._counters = known_counters if known_counters is not None else {}
        self._now = now
        self._shelf = Shelf(root, durable=durable)
        self._registry = Registry(self._shelf, identity, self._report, now)
        self._objects = Objects(self._shelf, identity.id, self._sealing, now)
        self._lock = threading.RLock()
        self._state: State | None = None
        self._sealed_with: Sealing | None = None
        self._cache: dict[tuple[str, str], _Read] = {}
        self._problems: dict[StoreProblem, None] = {}

    def check(self) -> None:
        """Whether the store is there, is the vault that this device knows, and lets it take part."""
        self._refreshed()

    def create(self) -> None:
        """Make a new vault in an empty folder, with this device as its first."""
        self._registry.create()

    def join(self, vault: str | None = None) -> str:
        """Ask to be let in.

        Args:
            vault: id of the vault that it has to be, as a registered device tells it. Without it the first vault that
                this device meets is taken for the right one.

        Returns:
            The id, to be compared with that of the others.
        """
        return self._registry.join(vault)

    @property
    def id(self) -> str:
        """What the vault is known by."""
        return self._registry.marker().vault

    def approve(self, device: str) -> None:
        """Let a device in that asked for it. Compare its fingerprint first: the store can show what it likes."""
        self._registry.approve(device)

    def revoke(self, device: str) -> None:
        """Shut a device out. What it published by now is still believed, nothing newer; it gets no further key."""
        state = self._refreshed()
        categories = self._published(device)
        for category in categories:
            self._read(state, device, category)
        self._registry.revoke(device, {one: self._counters.get((device, one), 0) for one in categories})
        self._refreshed()

    def devices(self) -> list[Device]:
        """All devices: those that take part, those that wait and those that were revoked."""
        return self._registry.devices()

    def problems(self) -> list[StoreProblem]:
        """What was found since the last call, each once."""
        with self._lock:
            found, self._problems = list(self._problems), {}
        return found

    def categories(self) -> list[str]:
        """What has a manifest of any device."""
        found: set[str] = set()
        for device in self._names("manifests"):
            found.update(self._published(device))
        return sorted(found)

    def others(self, category: str, known: Knows = lambda _manifest: False) -> list[Manifest]:
        """The manifests of all devices that take part, with the published one of this device, sorted by device.

        One that cannot be read or believed is left out and told by `problems`.

        Args:
            category: which.
            known: whether the caller knows the tree of a manifest by its device, counter and digest; if so, it is not
                read, and empty here.
        """
        state = self._refreshed()
        found = (self._read(state, device, _checked(category), known) for device in sorted(state.standing.active))
        return [one for one in found if one is not None]

    def last_words(self, category: str) -> list[Manifest]:
        """What revoked devices had published before they were revoked, as far as nothing newer took its place."""
        state = self._refreshed()
        found = (self._read(state, device, _checked(category)) for device in sorted(state.standing.revoked))
        return [one for one in found if one is not None]

    def publish(self, manifest: Manifest) -> None:
        """Put up what this device says of a category; what was put in a batch gets its place before.

        Raises:
            ValueError: it is that of another device, or older than the one that is up.
        """
        own, category = self._identity.id, _checked(manifest.category)
        if manifest.device != own:
            raise ValueError(f"a manifest of {manifest.device} is not published by {own}")
        if manifest.counter < self._counters.get((own, category), 0):
            raise ValueError(f"a manifest with the counter {manifest.counter} was published before")
        self._objects.flush()
        state = self._refreshed()
        epoch = self._registry.current(state)
        data = manifests.encode(manifest, state.marker.vault, self._identity)
        self._shelf.write(("manifests", own, f"{category}.age"), pyrage.encrypt(data, [epoch.key.to_public()]))
        self._counters[own, category] = manifest.counter
        self._registry.seen(state.marker.vault)

    def batch(self) -> contextlib.AbstractContextManager[None]:
        """What is put within gets onto the disk many at once; all of it at the end, or when a manifest is published."""
        return self._objects.batch()

    def has(self, digest: bytes) -> bool:
        """Whether the store holds something under the name of this content; `fetch` tells whether it is the content."""
        return self._objects.has(digest)

    def put(self, digest: bytes, source: BinaryIO) -> None:
        """Encrypt a content into the store while it is read, unless it is there.

        Raises:
            Changed: what was read has another digest; nothing was stored.
        """
        if self._sealing().recipient is None:
            self._renew()
        self._objects.put(digest, source)

    def fetch(self, digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
        """Decrypt a content and check it. What is in `into` when this raises is worth nothing.

        Args:
            digest: BLAKE3 of the content.
            into: where it is written.
            size: bytes that it has; more are not written, whatever the store holds.

        Raises:
            Corrupted: the store holds something else, which was set aside: whoever has the content may put it again.
            Missing: it, or the key to it, has not arrived.
        """
        self._objects.fetch(digest, into, size)

    def verify(self) -> Iterator[StoreProblem | Progress]:
        """Decrypt and hash every object, set aside what is corrupted, and tell what manifests name and nobody put."""
        self._refreshed()
        yield from self._objects.verify()
        state = self._refreshed()
        missing: set[bytes] = set()
        for one in self._believed(state):
            for path, version in one.tree.items():
                digest = version.content.digest if version.content else b""
                if digest and digest not in missing and not self.has(digest):
                    missing.add(digest)
                    yield StoreProblem(f"no object holds the content of {path!r}.", f"{one.device}/{one.category}")
        yield from self.problems()

    def collect(self, live: set[bytes], keep_days: float) -> int:
        """Remove objects that are neither in `live` nor named by a manifest, and older than `keep_days`; how many.

        Nothing is removed while a manifest cannot be read: it may name what nobody else does.
        """
        state = self._refreshed()
        keep = set(live)
        for one in self._believed(state):
            keep.update(version.content.digest for version in one.tree.values() if version.content)
        active = state.standing.active
        expected = {(device, category) for device in active for category in self._published(device)}
        expected.update(key for key in self._counters if key[0] in active)
        if not expected <= self._cache.keys():
            self._report(StoreProblem("nothing was collected, since a manifest cannot be read.", "objects"))
            return 0
        return self._objects.collect(keep, keep_days)

    def _refreshed(self) -> State:
        with self._lock:
            self._state = state = self._registry.active()
            self._sealed_with = None
            return state

    def _sealing(self) -> Sealing:
        with self._lock:
            if self._sealed_with is None:
                state = self._state or self._refreshed()
                if not state.epochs:
                    raise UnavailableError(
                        "the keys of the vault have not arrived.",
                        component=str(self._shelf.root),
                        remedy="Let the cloud drive finish, and sync again.",
                    )
                epoch = epochs.current(state.epochs, state.standing)
                recipient = epoch.key.to_public() if epoch else None
                keys = tuple(one.key for one in state.epochs)
                self._sealed_with = Sealing(state.epochs[0].naming, recipient, keys, state.complete)
            return self._sealed_with

    def _renew(self) -> None:
        """Begin a new epoch, since somebody was revoked who has the key of the last one."""
        with self._lock:
            self._registry.current(self._refreshed())
            self._refreshed()

    def _read(self, state: State, device: str, category: str, known: Knows | None = None) -> Manifest | None:
        """A manifest that is believed; None: there is none, which is a problem where there was one."""
        place, key = ("manifests", device, f"{category}.age"), (device, category)
        where = "/".join(place)
        try:
            stamp = self._shelf.stamp(place)
            cached = self._cache.get(key)
            if stamp is None or cached is None or cached.stamp != stamp:
                cached = self._opened(state, device, category, known)
        except FileNotFoundError:
            if self._counters.get(key, 0) and device in state.standing.active:
                self._report(StoreProblem("the manifest is gone.", where))
            self._cache.pop(key, None)
            return None
        except (ValueError, Unsafe) as error:
            self._report(StoreProblem(f"not believed: {error}.", where))
            self._cache.pop(key, None)
            return None
        newest = self._cache.get(key)
        if cached.manifest.counter < self._counters.get(key, 0):
            self._report(StoreProblem("the store shows an older manifest than before.", where))
            seen = newest is not None and newest.manifest.counter == self._counters[key]
            return newest.manifest if newest is not None and seen else None
        revocation = state.standing.revoked.get(device)
        if revocation is not None and cached.manifest.counter > revocation.counters.get(category, 0):
            self._report(StoreProblem("not believed: it was published after the device was revoked.", where))
            return None
        if cached.whole:
            self._cache[key] = cached
        self._counters[key] = cached.manifest.counter
        for problem in cached.dropped:
            self._report(StoreProblem(f"an entry was dropped: {problem}.", where))
        return cached.manifest

    def _opened(self, state: State, device: str, category: str, known: Knows | None) -> _Read:
        data, stamp = self._shelf.read(("manifests", device, f"{category}.age"), manifests.LARGEST)
        try:
            plain = pyrage.decrypt(data, [one.key for one in state.epochs])
        except pyrage.DecryptError as error:
            raise ValueError(f"it cannot be decrypted: {error}") from error
        envelope, counter, body = manifests.head(plain, state.marker.vault, device, category)
        if not envelope.signed_with(state.standing.ever[device].keys):
            raise ValueError(f"{device} has not signed it")
        if known is not None and known(unread := manifests.unread(envelope, counter)):
            return _Read(stamp, unread, (), whole=False)
        manifest, dropped = manifests.decode(envelope, counter, body)
        return _Read(stamp, manifest, tuple(dropped))

    def _believed(self, state: State) -> Iterator[Manifest]:
        for device in sorted({*state.standing.active, *state.standing.revoked}):
            for category in self._published(device):
                found = self._read(state, device, category)
                if found is not None:
                    yield found

    def _published(self, device: str) -> list[str]:
        names = self._names("manifests", device) if is_device_id(device) else []
        categories = (name.removesuffix(".age") for name in names if name.endswith(".age"))
        return [one for one in categories if _CATEGORY.match(one)]

    def _names(self, *place: str) -> list[str]:
        try:
            return self._shelf.names(place)
        except Unsafe as error:
            self._report(StoreProblem(f"not believed: {error.what}", "/".join(place)))
            return []

    def _report(self, problem: StoreProblem) -> None:
        with self._lock:
            self._problems[problem] = None


def _checked(category: str) -> str:
    if not _CATEGORY.match(category):
        raise ConfigurationError(
            f"{category!r} is no name of a category.", component="sync", remedy="Use a-z, 0-9 and -."
        )
    return category

"""The devices of a vault and its keys, as they stand in the store."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from blake3 import blake3

from blocks.errors import ConfigurationError, UnavailableError
from models.sync_store import Device, DeviceState, StoreProblem
from tasks.sync import devices as signed
from tasks.sync import epochs
from tasks.sync.devices import Approval, Envelope, Revocation, Standing
from tasks.sync.epochs import Epoch
from tasks.sync.faults import Unsafe
from tasks.sync.identity import Identity, Keys, Known, is_device_id
from tasks.sync.shelf import MARKER, Place, Shelf

FORMAT = 1
_SEEN = 60
"""Seconds that the record of a device may be old when it publishes."""
_NOT_OURS = {".DS_Store", ".localized", ".stfolder", ".dropbox", "desktop.ini", "lost+found"}
"""What systems and cloud drives leave in an empty folder."""

T = TypeVar("T", Approval, Revocation)


@dataclass(frozen=True, slots=True)
class Marker:
    """What a vault is known by; its id commits to the rest."""

    vault: str
    root: str
    """The device that made it."""
    sign: bytes
    """Its signing key."""
    naming: bytes
    """A commitment to the key that objects are named with."""


@dataclass(frozen=True, slots=True)
class State:
    """What the store says of who takes part, as far as it is signed."""

    marker: Marker
    standing: Standing
    epochs: tuple[Epoch, ...]
    """Those that this device has, the latest first."""
    complete: bool
    """False: others have epochs that this device has not got yet."""


class Registry:
    """The devices of one vault.

    Args:
        shelf: its files.
        identity: this device.
        report: called with what is not believed.
        now: seconds since 1970.
    """

    def __init__(
        self,
        shelf: Shelf,
        identity: Identity,
        report: Callable[[StoreProblem], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shelf = shelf
        self._identity = identity
        self._report = report
        self._now = now

    def marker(self) -> Marker:
        """The marker of the vault.

        Raises:
            UnavailableError: the root is missing, empty or not mounted.
            ConfigurationError: it is no vault, or of a format that this Lama does not know.
        """
        root = self._shelf.root
        if not root.is_dir():
            raise UnavailableError(
                "the store is not there.",
                component=str(root),
                remedy="Mount or connect it, or correct `store` in `[sync]`.",
            )
        try:
            found = orjson.loads(self._shelf.read((MARKER,), signed.LARGEST)[0])
            if found["format"] != FORMAT:
                raise ConfigurationError(
                    f"the store has the format {found['format']!r}, this Lama knows {FORMAT}.",
                    component=str(root),
                    remedy="Update Lama on this device.",
                )
            marker = Marker(
                str(found["vault"]), str(found["root"]), bytes.fromhex(found["sign"]), bytes.fromhex(found["naming"])
            )
        except (ValueError, KeyError, TypeError, Unsafe) as error:
            raise ConfigurationError(
                f"{MARKER} is not that of a vault.", component=str(root), remedy="Restore it from another device."
            ) from error
        if marker.vault != _vault_id(marker.root, marker.sign, marker.naming) or not is_device_id(marker.root):
            raise ConfigurationError(
                f"{MARKER} was forged: the id of the vault is not that of its keys.", component=str(root)
            )
        return marker

    def state(self) -> State:
        """Who takes part, and the keys.

        Raises:
            ConfigurationError: it is another vault than the one that this device is in, or the device is in none.
        """
        marker = self.marker()
        known = self._known(marker)
        approvals = list(self._signed("approvals", "approval", marker.vault, signed.approval))
        revocations = list(self._signed("revocations", "revocation", marker.vault, signed.revocation))
        self._remind(known, approvals, revocations)
        standing = signed.standing(marker.root, marker.sign, approvals, revocations)
        self._tell_forged([*approvals, *revocations], standing)
        believed: list[Approval | Revocation] = [*standing.ever.values(), *standing.revoked.values()]
        statements = tuple(sorted(_text(one.envelope) for one in believed))
        if statements != known.statements:
            self._identity.remember(Known(marker.vault, statements))
        found, complete = self._epochs(marker, standing)
        return State(marker, standing, found, complete)

    def active(self) -> State:
        """The state, where this device takes part.

        Raises:
            ConfigurationError: it does not.
        """
        state = self.state()
        own = self._identity.id
        approval = state.standing.active.get(own)
        if own in state.standing.revoked:
            raise ConfigurationError(
                f"{own} was revoked.",
                component="sync",
                remedy="`lama sync devices reset` makes it a new device, which can ask to be let in.",
            )
        if approval is None or approval.keys != self._identity.keys:
            raise ConfigurationError(
                f"{own} waits to be let in.",
                component="sync",
                remedy=f"On a device that takes part, run `lama sync devices approve {own}`.",
            )
        return state

    def create(self) -> None:
        """Make a vault of an empty folder, with this device as its root."""
        root = self._shelf.root
        if not root.is_dir():
            raise UnavailableError("there is no such folder.", component=str(root), remedy="Make it, or mount it.")
        if any(path.name not in _NOT_OURS for path in root.iterdir()):
            raise ConfigurationError(
                "a vault is made only in an empty folder.", component=str(root), remedy="Name another, or empty it."
            )
        identity, keys = self._identity, self._identity.keys
        naming = secrets.token_bytes(32)
        commitment = epochs.naming_commitment(naming)
        vault = _vault_id(identity.id, keys.sign, commitment)
        marker = {
            "format": FORMAT,
            "vault": vault,
            "root": identity.id,
            "sign": keys.sign.hex(),
            "naming": commitment.hex(),
        }
        self._shelf.found(orjson.dumps(marker))
        identity.remember(Known(vault))
        self._give(epochs.begin(vault, naming, (), (), identity), identity.id, keys)
        self._approve(vault, identity.id, keys)
        self._record(vault)

    def join(self, vault: str | None) -> str:
        """Ask to be let in; the id of the vault, for people to compare."""
        marker = self.marker()
        known = self._identity.known()
        expected = vault or (known.vault if known else marker.vault)
        if expected != marker.vault:
            raise self._another(marker, expected)
        if known is None or known.vault != marker.vault:
            self._identity.remember(Known(marker.vault))
        self._record(marker.vault)
        return marker.vault

    def approve(self, device: str) -> None:
        """Let a device in that asked for it, and give it the keys."""
        state = self.active()
        if device in state.standing.revoked:
            raise ConfigurationError(
                f"{device} was revoked.", component="sync", remedy="It has to reset its identity and ask again."
            )
        record = self._records(state.marker.vault).get(device)
        if record is None:
            raise ConfigurationError(
                f"{device!r} has not asked to be let in, or its record has not arrived.",
                component="sync",
                remedy="See `lama sync devices`.",
            )
        keys = signed.keys_of(device, record.value)
        for epoch in state.epochs:
            self._give(epoch, device, keys)
        self._approve(state.marker.vault, device, keys)

    def revoke(self, device: str, counters: dict[str, int]) -> None:
        """Shut a device out; `counters` says up to where its manifests are believed."""
        state = self.active()
        standing = state.standing
        if device == self._identity.id or device not in standing.active:
            raise ConfigurationError(
                f"{device!r} is no other device that takes part.", component="sync", remedy="See `lama sync devices`."
            )
        value = {
            "vault": state.marker.vault,
            "device": device,
            "approved": sorted(one.device for one in standing.active.values() if one.by == device),
            "revoked": sorted(one.device for one in standing.revoked.values() if one.by == device),
            "counters": counters,
            "at": int(self._now()),
        }
        data = signed.seal("revocation", value, self._identity)
        self._shelf.write(("revocations", self._identity.id, f"{device}.json"), data)
        self.current(self.active())

    def current(self, state: State) -> Epoch:
        """The epoch to encrypt to, begun anew where one is due; whoever takes part and lacks a key is given it."""
        found = epochs.current(state.epochs, state.standing)
        every = list(state.epochs)
        if found is None:
            if not every:
                raise UnavailableError(
                    "the keys of the vault have not arrived.",
                    component=str(self._shelf.root),
                    remedy="Let the cloud drive finish, and sync again.",
                )
            found = epochs.begin(state.marker.vault, every[0].naming, state.standing.revoked, every, self._identity)
            every.append(found)
        for device, approval in state.standing.active.items():
            has = self._epoch_names(device)
            for epoch in every:
                if epoch.name not in has and device not in epoch.without:
                    self._give(epoch, device, approval.keys)
        return found

    def seen(self, vault: str) -> None:
        """Say that this device was here, unless it said so a moment ago."""
        record = self._records(vault).get(self._identity.id)
        if record is None or abs(self._now() - record.value["at"]) >= _SEEN:
            self._record(vault)

    def devices(self) -> list[Device]:
        """All devices that take part, did, or ask to."""
        state = self.state()
        records = self._records(state.marker.vault)
        found = []
        for device in sorted({*records, *state.standing.active, *state.standing.revoked}):
            record = records.get(device)
            ever = state.standing.ever.get(device)
            keys = ever.keys if ever else None
            if record is not None and keys is not None and signed.keys_of(device, record.value) != keys:
                self._report(StoreProblem("its record has other keys than those it was let in with.", device))
                record = None
            approval = state.standing.active.get(device)
            status = DeviceState.active if approval else DeviceState.waiting
            if device in state.standing.revoked:
                status = DeviceState.revoked
            if keys is None and record is not None:
                keys = signed.keys_of(device, record.value)
            found.append(
                Device(
                    id=device,
                    name=device[:-9],
                    platform=str(record.value["platform"])[:32] if record else "",
                    registered=approval.at if approval else None,
                    last_seen=record.value["at"] if record else None,
                    state=status,
                    fingerprint=keys.fingerprint if keys else "",
                )
            )
        return found

    def _known(self, marker: Marker) -> Known:
        known = self._identity.known()
        if known is None:
            raise ConfigurationError(
                "this device is in no vault.", component="sync", remedy="Run `lama sync devices join`."
            )
        if known.vault != marker.vault:
            raise self._another(marker, known.vault)
        return known

    def _another(self, marker: Marker, expected: str) -> ConfigurationError:
        return ConfigurationError(
            f"it is the vault {marker.vault}, and not {expected}.",
            component=str(self._shelf.root),
            remedy="Correct `store` in `[sync]`; if it was made anew, `lama sync devices join --vault ID` joins it.",
        )

    def _signed(self, folder: str, kind: str, vault: str, parse: Callable[[Envelope], T]) -> Iterator[T]:
        """What devices said of others: one file for each of both, written by the first."""
        for by in self._names((folder,)):
            for name in self._names((folder, by)):
                place = (folder, by, name)
                try:
                    one = parse(signed.unseal(self._shelf.read(place, signed.LARGEST)[0], kind, vault))
                    if one.by != by or name != f"{one.device}.json":
                        raise ValueError("it stands where it does not belong")  # noqa: TRY301
                except FileNotFoundError:
                    continue
                except (ValueError, Unsafe) as error:
                    self._report(StoreProblem(f"not believed: {error}.", "/".join(place)))
                    continue
                yield one

    def _remind(self, known: Known, approvals: list[Approval], revocations: list[Revocation]) -> None:
        """Add what was believed before and is gone from the store: nobody takes back what was signed."""
        approved = {(one.by, one.device) for one in approvals}
        revoked = {(one.by, one.device) for one in revocations}
        for text in known.statements:
            kind = orjson.loads(text)["kind"]
            envelope = signed.unseal(text, kind, known.vault)
            if kind == "approval":
                approval = signed.approval(envelope)
                gone = (approval.by, approval.device) not in approved
                if gone:
                    approvals.append(approval)
            else:
                revocation = signed.revocation(envelope)
                gone = (revocation.by, revocation.device) not in revoked
                # One that was put in its place says less, or is forged.
                revocations.insert(0, revocation)
            if gone:
                device = str(envelope.value["device"])
                self._report(StoreProblem(f"its {kind} is gone from the store, and still believed.", device))

    def _tell_forged(self, statements: Sequence[Approval | Revocation], standing: Standing) -> None:
        for one in statements:
            by = standing.ever.get(one.by)
            if by is not None and not one.envelope.signed_with(by.keys):
                self._report(StoreProblem(f"not believed: {one.by} has not signed it.", f"{one.by}/{one.device}"))

    def _records(self, vault: str) -> dict[str, Envelope]:
        """The records of devices that are signed by themselves."""
        found = {}
        for name in self._names(("devices",)):
            place = ("devices", name)
            try:
                record = signed.unseal(self._shelf.read(place, signed.LARGEST)[0], "device", vault)
                value: dict[str, Any] = dict(record.value)
                keys = signed.keys_of(record.by, value)
                if name != f"{record.by}.json" or not record.signed_with(keys):
                    raise ValueError("its device has not signed it")  # noqa: TRY301
                if type(value.get("at")) is not int or not isinstance(value.get("platform"), str):
                    raise ValueError("it is no record of a device")  # noqa: TRY301
            except FileNotFoundError:
                continue
            except (ValueError, Unsafe) as error:
                self._report(StoreProblem(f"not believed: {error}.", "/".join(place)))
                continue
            found[record.by] = record
        return found

    def _epochs(self, marker: Marker, standing: Standing) -> tuple[tuple[Epoch, ...], bool]:
        own = self._identity.id
        found: dict[str, Epoch] = {}
        for writer in self._names(("keys", own)):
            for name in self._names(("keys", own, writer)):
                place = ("keys", own, writer, name)
                if name.removesuffix(".age") in found:
                    continue
                try:
                    data, _ = self._shelf.read(place, epochs.LARGEST)
                    epoch = epochs.unwrap(data, marker.vault, marker.naming, standing, self._identity)
                except FileNotFoundError:
                    continue
                except (ValueError, Unsafe) as error:
                    self._report(StoreProblem(f"not believed: {error}.", "/".join(place)))
                    continue
                found[epoch.name] = epoch
        latest = tuple(sorted(found.values(), key=lambda one: one.name, reverse=True))
        others = (self._epoch_names(device) for device in standing.active if device != own)
        return latest, all(names <= set(found) for names in others)

    def _epoch_names(self, device: str) -> set[str]:
        writers = self._names(("keys", device))
        names = (name for writer in writers for name in self._names(("keys", device, writer)))
        return {name.removesuffix(".age") for name in names if epochs.EPOCH.fullmatch(name.removesuffix(".age"))}

    def _names(self, place: Place) -> list[str]:
        try:
            return self._shelf.names(place)
        except Unsafe as error:
            self._report(StoreProblem(f"not believed: {error.what}", "/".join(place)))
            return []

    def _give(self, epoch: Epoch, device: str, keys: Keys) -> None:
        self._shelf.write(("keys", device, self._identity.id, f"{epoch.name}.age"), epochs.wrap(epoch, keys.age))

    def _approve(self, vault: str, device: str, keys: Keys) -> None:
        value = {
            "vault": vault,
            "device": device,
            "sign": keys.sign.hex(),
            "age": keys.age,
            "at": int(self._now()),
        }
        data = signed.seal("approval", value, self._identity)
        self._shelf.write(("approvals", self._identity.id, f"{device}.json"), data)

    def _record(self, vault: str) -> None:
        identity, keys = self._identity, self._identity.keys
        value = {
            "vault": vault,
            "platform": sys.platform,
            "sign": keys.sign.hex(),
            "age": keys.age,
            "at": int(self._now()),
        }
        self._shelf.write(("devices", f"{identity.id}.json"), signed.seal("device", value, identity))


def _vault_id(root: str, sign: bytes, naming: bytes) -> str:
    return blake3(root.encode() + sign + naming, derive_key_context="lama-sync 1 vault").hexdigest()[:32]


def _text(envelope: Envelope) -> str:
    return orjson.dumps(
        {
            "kind": envelope.kind,
            "value": dict(envelope.value),
            "by": envelope.by,
            "signature": envelope.signature.hex(),
        }
    ).decode()

"""Who takes part in a vault: what devices sign of each other, and what follows from it. Pure.

The id of a vault commits to the keys of the device that made it, its root. A device takes part when a chain of
approvals leads from the root to it; an approval signs the keys, so that a record with other keys under the same id is
worth nothing. A revocation names what of the revoked device is still believed: whom it had let in, whom it had revoked,
and up to which counters its manifests go. Whatever the device signs later, with whatever date, is worth nothing. Of two
devices that revoke each other, the one nearer to the root stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tasks.sync.identity import Identity, Keys, is_device_id

LARGEST: Final = 1 << 16
"""Bytes that a record, an approval or a revocation may have."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A value and who says so; `opened` tells whether that is true."""

    kind: str
    value: Mapping[str, Any]
    by: str
    signature: bytes

    def signed_with(self, keys: Keys) -> bool:
        """Whether the device with these keys signed it."""
        return keys.signed(_message(self.kind, self.by, self.value), self.signature)


@dataclass(frozen=True, slots=True)
class Approval:
    """A device lets another in."""

    by: str
    device: str
    keys: Keys
    at: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Revocation:
    """A device shuts another out."""

    by: str
    device: str
    approved: frozenset[str]
    """Whom the revoked device let in, as far as that is still believed."""
    revoked: frozenset[str]
    """Whom it revoked, likewise."""
    counters: Mapping[str, int]
    """By category, the last counter of its manifests that is still believed."""
    at: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Standing:
    """Who takes part."""

    active: Mapping[str, Approval]
    revoked: Mapping[str, Revocation]
    ever: Mapping[str, Approval]
    """Everybody who was ever let in, by whomever."""


def seal(kind: str, value: Mapping[str, Any], identity: Identity) -> bytes:
    """A signed value, as one line of JSON."""
    signature = identity.sign(_message(kind, identity.id, value))
    return orjson.dumps({"kind": kind, "value": value, "by": identity.id, "signature": signature.hex()})


def unseal(data: bytes | str, kind: str, vault: str) -> Envelope:
    """A value as it was signed for this vault; its signature is not checked yet.

    Raises:
        ValueError: it is something else.
    """
    found = orjson.loads(data)
    if not isinstance(found, dict) or found.get("kind") != kind or not isinstance(found.get("value"), dict):
        raise ValueError(f"it is no {kind}")
    if found["value"].get("vault") != vault:
        raise ValueError("it is of another vault")
    by, signature = found.get("by"), found.get("signature")
    if not isinstance(by, str) or not is_device_id(by) or not isinstance(signature, str):
        raise ValueError("nobody signed it")
    return Envelope(kind, found["value"], by, bytes.fromhex(signature))


def approval(envelope: Envelope) -> Approval:
    """What an approval says.

    Raises:
        ValueError: it says nothing of the kind.
    """
    value = envelope.value
    device = _device(value.get("device"))
    return Approval(envelope.by, device, keys_of(device, value), _number(value.get("at")), envelope)


def revocation(envelope: Envelope) -> Revocation:
    """What a revocation says.

    Raises:
        ValueError: it says nothing of the kind.
    """
    value = envelope.value
    approved, revoked, counters = value.get("approved"), value.get("revoked"), value.get("counters")
    if not isinstance(approved, list) or not isinstance(revoked, list) or not isinstance(counters, dict):
        raise ValueError("it is no revocation")  # noqa: TRY004 - one error for whatever is malformed
    return Revocation(
        envelope.by,
        _device(value.get("device")),
        frozenset(_device(one) for one in approved),
        frozenset(_device(one) for one in revoked),
        {str(category): _number(counter) for category, counter in counters.items()},
        _number(value.get("at")),
        envelope,
    )


def keys_of(device: str, value: Mapping[str, Any]) -> Keys:
    """The keys in a record or an approval, which have to be those that the id of the device commits to.

    Raises:
        ValueError: they are not.
    """
    sign, age = value.get("sign"), value.get("age")
    if not isinstance(sign, str) or not isinstance(age, str):
        raise ValueError("it names no keys")  # noqa: TRY004
    keys = Keys(bytes.fromhex(sign), age)
    if keys.id_for(device[:-9]) != device:
        raise ValueError("its keys are not those of its id")
    return keys


def standing(root: str, root_keys: bytes, approvals: Iterable[Approval], revocations: Iterable[Revocation]) -> Standing:
    """Who takes part, the same on every device that sees the same files, in whatever order.

    Args:
        root: id of the device that made the vault.
        root_keys: its signing key.
        approvals: as found; those that are not signed by whom they say are ignored.
        revocations: likewise.
    """
    by_approver: dict[str, list[Approval]] = {}
    for one in sorted(approvals, key=lambda one: (one.device, one.by)):
        by_approver.setdefault(one.by, []).append(one)
    ever = _reached(root, root_keys, by_approver, {})
    by_revoker: dict[str, list[Revocation]] = {}
    for entry in sorted(revocations, key=lambda entry: entry.device):
        if entry.by in ever and entry.envelope.signed_with(ever[entry.by].keys):
            by_revoker.setdefault(entry.by, []).append(entry)
    revoked: dict[str, Revocation] = {}
    for device in ever:  # the nearest to the root first
        for entry in by_revoker.get(device, ()):
            told = revoked.get(device)
            if entry.device not in revoked and (told is None or entry.device in told.revoked):
                revoked[entry.device] = entry
    now = _reached(root, root_keys, by_approver, revoked)
    return Standing(
        {device: one for device, one in now.items() if device not in revoked},
        revoked,
        ever,
    )


def _reached(
    root: str, root_key: bytes, approvals: Mapping[str, list[Approval]], revoked: Mapping[str, Revocation]
) -> dict[str, Approval]:
    """Whom a chain of approvals leads to, the nearest to the root first, and those as near by their ids."""
    found: dict[str, Approval] = {}
    own = [one for one in approvals.get(root, ()) if one.device == root and one.keys.sign == root_key]
    edge = {one.device: one for one in own if one.envelope.signed_with(one.keys)}
    while edge:
        found |= dict(sorted(edge.items()))
        further: dict[str, Approval] = {}
        for device, reached in edge.items():
            told = revoked.get(device)
            for one in approvals.get(device, ()):
                believed = told is None or one.device in told.approved
                if believed and one.device not in found and one.envelope.signed_with(reached.keys):
                    further.setdefault(one.device, one)
        edge = dict(sorted(further.items()))
    return found


def _message(kind: str, by: str, value: Mapping[str, Any]) -> bytes:
    return b"lama-sync 1\n" + orjson.dumps([kind, by, value], option=orjson.OPT_SORT_KEYS)


def _device(value: object) -> str:
    if not isinstance(value, str) or not is_device_id(value):
        raise ValueError("it names no device")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError("it holds a number that cannot be")
    return value

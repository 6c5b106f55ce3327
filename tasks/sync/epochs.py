"""The keys that a vault is encrypted to, one after another: whoever is revoked gets no further one.

`keys/<device>/<writer>/<epoch>.age` is an age identity file, encrypted to the device, with the statement of the device
that made the epoch in a comment. The statement commits to the key and says whom the epoch shuts out. Anybody who has an
epoch may pass it on; what makes it one is the statement. The key that new contents are encrypted to is the latest that
shuts out everybody who is revoked and was made by somebody who is not.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyrage
from blake3 import blake3

from tasks.sync.devices import Standing, seal, unseal
from tasks.sync.identity import Identity

LARGEST = 1 << 20
"""Bytes of a file with a key."""
EPOCH = re.compile(r"[0-9]{6}-[0-9a-f]{8}")
"""What epochs are called: a number that grows, and eight random digits, since two devices may begin one at once."""
_FORM = re.compile(
    r"# (?P<statement>\{[^\n]*\})\n# naming (?P<naming>[0-9a-f]{64})\n(?P<key>AGE-SECRET-KEY-1[0-9A-Z]{58})\n"
)


@dataclass(frozen=True)
class Epoch:
    """A key of the vault."""

    name: str
    maker: str
    without: frozenset[str]
    """Devices that do not get it."""
    key: pyrage.x25519.Identity = field(repr=False)
    naming: bytes = field(repr=False)
    """The key that objects are named with, the same in all epochs."""
    statement: str = field(repr=False)


def naming_commitment(naming: bytes) -> bytes:
    """What the id of a vault holds of the key that objects are named with."""
    return blake3(naming, derive_key_context="lama-sync 1 naming").digest()


def begin(vault: str, naming: bytes, without: Iterable[str], known: Iterable[Epoch], identity: Identity) -> Epoch:
    """A new epoch, later than the known ones."""
    key = pyrage.x25519.Identity.generate()
    number = 1 + max((int(one.name[:6]) for one in known), default=0)
    shut_out = sorted(set(without))
    name = f"{number:06d}-{secrets.token_hex(4)}"
    value = {"vault": vault, "epoch": name, "recipient": str(key.to_public()), "without": shut_out}
    statement = seal("epoch", value, identity).decode()
    return Epoch(name, identity.id, frozenset(shut_out), key, naming, statement)


def wrap(epoch: Epoch, recipient: str) -> bytes:
    """An epoch for the device with this recipient.

    Raises:
        ValueError: that is no recipient.
    """
    text = f"# {epoch.statement}\n# naming {epoch.naming.hex()}\n{epoch.key}\n"
    try:
        return bytes(pyrage.encrypt(text.encode(), [pyrage.x25519.Recipient.from_str(recipient)]))
    except (pyrage.RecipientError, pyrage.EncryptError) as error:
        raise ValueError(f"{recipient!r} is no recipient") from error


def unwrap(data: bytes, vault: str, commitment: bytes, standing: Standing, identity: Identity) -> Epoch:
    """An epoch that is genuine.

    Raises:
        ValueError: it is not, or not for this device.
    """
    try:
        text = pyrage.decrypt(data, [identity.age]).decode("ascii")
    except pyrage.DecryptError as error:
        raise ValueError(f"it cannot be decrypted: {error}") from error
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("it is no key of an epoch")
    naming = bytes.fromhex(found["naming"])
    if naming_commitment(naming) != commitment:
        raise ValueError("its key for names is not that of the vault")
    envelope = unseal(found["statement"], "epoch", vault)
    maker = standing.ever.get(envelope.by)
    if maker is None or not envelope.signed_with(maker.keys):
        raise ValueError(f"{envelope.by} has not made it")
    try:
        key = pyrage.x25519.Identity.from_str(found["key"])
    except pyrage.IdentityError as error:
        raise ValueError("its key is none") from error
    name, without = envelope.value.get("epoch"), envelope.value.get("without")
    if envelope.value.get("recipient") != str(key.to_public()):
        raise ValueError("its key is not the one that was signed")
    if not isinstance(name, str) or EPOCH.fullmatch(name) is None or not isinstance(without, list):
        raise ValueError("it is no key of an epoch")
    return Epoch(name, envelope.by, frozenset(map(str, without)), key, naming, found["statement"])


def current(epochs: Iterable[Epoch], standing: Standing) -> Epoch | None:
    """The one that is encrypted to; None: a new one is due."""
    revoked = frozenset(standing.revoked)
    fit = [one for one in epochs if one.maker in standing.active and revoked <= one.without]
    return max(fit, key=lambda one: one.name, default=None)

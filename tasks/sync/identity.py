"""Who this device is: its keys, in the home, and the vault that it belongs to."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyrage
from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from blocks.errors import ConfigurationError
from blocks.home import Home

FILE = "sync-identity"
"""In the secrets of the home; `age -i` reads it as it is."""
_BEFORE = "sync-identity-before"
_VAULT = "sync-vault"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}-[0-9a-f]{8}")
_FORM = re.compile(
    r"# lama-sync identity 1: (?P<name>[a-z0-9][a-z0-9-]{0,62})\n"
    r"# signing (?P<signing>[0-9a-f]{64})\n"
    r"# machine (?P<machine>[0-9a-f]{64}|unknown)\n"
    r"(?P<age>AGE-SECRET-KEY-1[0-9A-Z]{58})\n?"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The public ones of a device."""

    sign: bytes
    """Ed25519, 32 bytes."""
    age: str
    """The recipient that others encrypt to."""

    def id_for(self, name: str) -> str:
        """The device's id: its name, and eight digits of its keys."""
        digest = blake3(self.sign + self.age.encode(), derive_key_context="lama-sync 1 device id").hexdigest()
        return f"{name}-{digest[:8]}"

    @property
    def fingerprint(self) -> str:
        """For people to compare before they let a device in: its id alone could be imitated with some effort."""
        digest = blake3(self.sign + self.age.encode(), derive_key_context="lama-sync 1 device id").hexdigest()
        return " ".join(digest[start : start + 4] for start in range(0, 32, 4))

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the device signed `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.sign).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Known:
    """What this device remembers of its vault, so that the store cannot talk it out of it."""

    vault: str
    statements: tuple[str, ...] = ()
    """Approvals and revocations that were believed, signed as they were found."""


@dataclass(frozen=True)
class Identity:
    """The device that this home is."""

    name: str
    signing: Ed25519PrivateKey = field(repr=False)
    age: pyrage.x25519.Identity = field(repr=False)
    home: Home = field(repr=False)

    @classmethod
    def load_or_create(cls, home: Home, name: str, machine: Callable[[], str | None] | None = None) -> Identity:
        """The identity of this home; a new one the first time.

        Args:
            home: where it is kept, mode 0600.
            name: what a new device is called. An existing one keeps its name: others know it by that.
            machine: what tells this hardware from other, `machine_id` unless given; None: nothing does.

        Raises:
            ConfigurationError: the home was copied from other hardware, or its identity cannot be read.
        """
        here = _fingerprint(machine or machine_id)
        path = home.secrets / FILE
        if not path.exists():
            _write(home, name, Ed25519PrivateKey.generate(), pyrage.x25519.Identity.generate(), here, replace=False)
        found = _read(path)
        if "unknown" not in (found["machine"], here) and found["machine"] != here:
            raise ConfigurationError(
                f"this home is that of the device {found['name']!r}, on other hardware.",
                component="sync",
                remedy="If it was copied and the other device goes on, `lama sync devices reset` makes this one a"
                " device of its own; if the home moved here for good, `lama sync devices reset --keep-keys` lets it"
                " stay the same.",
            )
        return cls._of(home, found)

    @classmethod
    def reset(
        cls, home: Home, name: str, *, keep_keys: bool = False, machine: Callable[[], str | None] | None = None
    ) -> Identity:
        """Make this home a device of its own, or (`keep_keys`) the same device on this hardware.

        The keys until now stay in the home as `sync-identity-before`: what only they can read is not lost.
        """
        here = _fingerprint(machine or machine_id)
        path = home.secrets / FILE
        signing, age = Ed25519PrivateKey.generate(), pyrage.x25519.Identity.generate()
        if path.exists():
            home.write_secret(_BEFORE, path.read_text(encoding="utf-8").rstrip("\n"))
            if keep_keys:
                before = cls._of(home, _read(path))
                name, signing, age = before.name, before.signing, before.age
        if not keep_keys:
            (home.secrets / _VAULT).unlink(missing_ok=True)
        _write(home, name, signing, age, here, replace=True)
        return cls._of(home, _read(path))

    @property
    def keys(self) -> Keys:
        """The public keys."""
        return Keys(self.signing.public_key().public_bytes_raw(), str(self.age.to_public()))

    @property
    def id(self) -> str:
        """What the device is called everywhere."""
        return self.keys.id_for(self.name)

    def sign(self, message: bytes) -> bytes:
        """Its Ed25519 signature."""
        return self.signing.sign(message)

    def known(self) -> Known | None:
        """What it remembers of its vault; None: it never was in one.

        Raises:
            ConfigurationError: that cannot be read.
        """
        path = self.home.secrets / _VAULT
        try:
            found = orjson.loads(path.read_bytes())
            return Known(str(found["vault"]), tuple(str(one) for one in found["statements"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{path} cannot be read.", component="sync", remedy="Remove it, and join the vault again."
            ) from error

    def remember(self, known: Known) -> None:
        """Keep it in the home."""
        value = {"vault": known.vault, "statements": list(known.statements)}
        self.home.write_secret(_VAULT, orjson.dumps(value).decode())

    @classmethod
    def _of(cls, home: Home, found: dict[str, str]) -> Identity:
        signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(found["signing"]))
        try:
            age = pyrage.x25519.Identity.from_str(found["age"])
        except pyrage.IdentityError as error:
            raise _unreadable(home.secrets / FILE) from error
        return cls(found["name"], signing, age, home)


def is_device_id(text: str) -> bool:
    """Whether a device can have this id."""
    return _ID.fullmatch(text) is not None


def machine_id() -> str | None:
    """What tells this machine from others and stays the same; None where nothing does."""
    if sys.platform == "darwin":
        return _platform_uuid()
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            found = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if found and found != "uninitialized":
            return found
    return None


def _platform_uuid() -> str | None:
    try:
        told = subprocess.run(
            ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"], capture_output=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb'"IOPlatformUUID" = "([0-9A-F-]+)"', told)
    return found[1].decode() if found else None


def _fingerprint(machine: Callable[[], str | None]) -> str:
    told = machine()
    return blake3(told.encode(), derive_key_context="lama-sync 1 machine").hexdigest() if told else "unknown"


def _write(
    home: Home, name: str, signing: Ed25519PrivateKey, age: pyrage.x25519.Identity, machine: str, *, replace: bool
) -> None:
    lines = (
        f"# lama-sync identity 1: {name}",
        f"# signing {signing.private_bytes_raw().hex()}",
        f"# machine {machine}",
        str(age),
    )
    home.write_secret(FILE, "\n".join(lines), replace=replace)


def _read(path: Path) -> dict[str, str]:
    try:
        found = _FORM.fullmatch(path.read_text(encoding="ascii"))
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise _unreadable(path)
    return found.groupdict()


def _unreadable(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not the identity of a device.",
        component="sync",
        remedy="Restore it from a backup, or remove it: the device is a new one then, and has to be approved.",
    )

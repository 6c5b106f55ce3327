"""The store of this device, of either kind, and what the device remembers of it."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import Settings
from models.sync import Category, SyncSettings
from models.sync_store import Manifest
from tasks.sync.filters import Filter
from tasks.sync.identity import Identity
from tasks.sync.mirror import Mirror
from tasks.sync.state import States
from tasks.sync.states import Counters
from tasks.sync.vault import Vault

_KNOWN_AS = "sync/mirror"


class _Vault(Vault):
    """One where what devices told before they were revoked is heard as well: it is not lost with them."""

    def others(self, category: str, known: Callable[[Manifest], bool] = lambda _manifest: False) -> list[Manifest]:
        """Those of `Vault`, and the last words of revoked devices."""
        return [*super().others(category, known), *self.last_words(category)]


def device_name(settings: SyncSettings) -> str:
    """The name of this device: as `lama.toml` says, otherwise the host's."""
    if settings.device:
        return settings.device
    bare = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return bare[:50] or "device"


def identity_of(config: Settings, settings: SyncSettings) -> Identity:
    """Who this device is.

    Raises:
        ConfigurationError: the home was copied from another device.
    """
    home = Home(config)
    home.prepare()
    return Identity.load_or_create(home, device_name(settings))


@contextmanager
def opened_vault(
    config: Settings, settings: SyncSettings, connection: psycopg.Connection[Any]
) -> Iterator[tuple[Identity, Vault]]:
    """Who this device is, and the vault; what it saw of the vault is remembered at the end.

    Raises:
        ConfigurationError: there is no store or it is no vault, the home was copied, or this device takes no part.
        UnavailableError: the store is away.
    """
    if settings.store is None:
        raise ConfigurationError("there is no store.", component="sync", remedy="Name it in lama.toml: [sync] store.")
    if settings.kind != "vault":
        raise ConfigurationError(
            "the store is a mirror: it has neither devices nor objects.",
            component="sync",
            remedy="Look into the shared folder itself.",
        )
    identity = identity_of(config, settings)
    remembered = Counters(connection, identity.id)
    counters = remembered.load()
    before = dict(counters)
    vault = _Vault(settings.store, identity, known_counters=counters, at_once=settings.at_once)
    try:
        yield identity, vault
    finally:
        if counters != before and not connection.closed:
            remembered.save(counters)


def mirror_of(
    config: Settings, settings: SyncSettings, category: Category, device: str, states: States, run: str
) -> Mirror:
    """The mirror, for one category.

    Raises:
        ConfigurationError: there is no store.
    """
    if settings.store is None:
        raise ConfigurationError("there is no store.", component="sync", remedy="Name it in lama.toml: [sync] store.")
    path = config.home / _KNOWN_AS
    known_as = path.read_text("ascii").strip() if path.exists() else None
    return Mirror(settings.store, category, device, states, Filter.of(category), run, known_as=known_as)


def remember_mirror(config: Settings, known_as: str) -> None:
    """Take the mirror that is known as `known_as` for the one of this device."""
    path = config.home / _KNOWN_AS
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(known_as, "ascii")

"""Devices for the tests: homes of their own over one folder."""

from __future__ import annotations

import io
from pathlib import Path

from blake3 import blake3

from blocks.home import Home
from blocks.settings import Settings
from models.sync import Content, Kind, Version
from models.sync_store import Manifest
from tasks.sync.identity import Identity
from tasks.sync.vault import Vault


def new_home(folder: Path) -> Home:
    home = Home(Settings(home=folder))
    home.prepare()
    return home


class Node:
    """A device with its vault."""

    def __init__(self, folder: Path, store: Path, name: str) -> None:
        self.home = new_home(folder / name)
        self.store = store
        self.identity = Identity.load_or_create(self.home, name, lambda: f"hardware of {name}")
        self.id = self.identity.id
        self.counters: dict[tuple[str, str], int] = {}
        self.clock = 1_800_000_000.0
        self.vault = self.fresh()

    def fresh(self) -> Vault:
        """As a process that starts now sees it."""
        self.vault = Vault(
            self.store, self.identity, known_counters=self.counters, durable=False, now=lambda: self.clock
        )
        return self.vault

    def put(self, content: bytes) -> bytes:
        digest = blake3(content).digest()
        self.vault.put(digest, io.BytesIO(content))
        return digest

    def get(self, digest: bytes) -> bytes:
        into = io.BytesIO()
        self.vault.fetch(digest, into)
        return into.getvalue()

    def publish(self, counter: int, *names: str, category: str = "notes") -> Manifest:
        tree = {name: a_file(self.id, name.encode(), counter) for name in names}
        manifest = Manifest(self.id, category, counter, tree)
        self.vault.publish(manifest)
        return manifest

    def trees(self, category: str = "notes") -> dict[str, set[str]]:
        """Names of the paths that each device is seen to have."""
        return {one.device: set(one.tree) for one in self.vault.others(category)}

    def told(self) -> str:
        return "\n".join(f"{one.component}: {one.what}" for one in self.vault.problems())

    def file(self, category: str = "notes") -> Path:
        return self.store / "manifests" / self.id / f"{category}.age"

    def object(self) -> Path:
        """The only object of the store."""
        (path,) = (self.store / "objects").rglob("*.age")
        return path


def a_file(device: str, content: bytes, count: int = 1) -> Version:
    return Version(
        Content(Kind.file, blake3(content).digest(), len(content)), ((device, count),), device, 1_700_000_000
    )

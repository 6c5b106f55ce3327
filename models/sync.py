"""What sync speaks of: contents, versions with their vectors, and `[sync]` of `lama.toml`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator
from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel

from models.report import Value

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


class Kind(StrEnum):
    """What stands at a path."""

    file = "file"
    directory = "directory"
    link = "link"


class Content(NamedTuple):
    """What stands at a path. A tuple, as is `Version`: there are hundreds of thousands, made and compared at once."""

    kind: Kind
    digest: bytes = b""
    """BLAKE3 of a file, 32 bytes."""
    size: int = 0
    """Bytes of a file."""
    mode: int = 0o644
    """Permissions of a file or directory."""
    target: str = ""
    """Where a link leads, as it is written there."""

    @property
    def essence(self) -> tuple[str, bytes, str]:
        """What two contents differ in when one of them cannot stand for the other; permissions are no such thing."""
        return (self.kind.value, self.digest, self.target)


Vector = tuple[tuple[str, int], ...]
"""A version vector: for each device that ever changed the path how often it counted, sorted by device."""


class Version(NamedTuple):
    """A state of a path, and which changes led to it (Parker et al. 1983, "Detection of Mutual Inconsistency")."""

    content: Content | None
    """None: it was deleted."""
    vector: Vector
    device: str
    """Who made the content what it is."""
    at: int
    """When, in seconds since 1970 by the clock of that device. For names and the `newest` policy; it orders nothing."""


Tree = Mapping[str, Version]
"""Versions by path: relative to the category's folder, `/` between names, NFC."""


class Policy(StrEnum):
    """What becomes of two changes of one path that knew nothing of each other."""

    keep_both = "keep-both"
    newest = "newest"
    prefer = "prefer"
    merge = "merge"


class Category(Value):
    """`[[sync.categories]]`: a folder that is the same on every device."""

    name: str = Field(pattern=NAME, description="What tells it apart; the same on every device.")
    folder: Path = Field(description="Where it is on this device; `~` is your home.")
    include: tuple[str, ...] = Field(
        default=(), description="Patterns, as in `.gitignore`, of what is synced; none: everything."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Patterns of what is not.")
    gitignore: bool = Field(default=False, description="Whether `.gitignore` files in it are followed.")
    policy: Policy = Field(
        default=Policy.keep_both,
        description="What becomes of two changes that knew nothing of each other: `keep-both` makes a conflict copy of "
        "one, `newest` takes the later by the devices' clocks, `prefer` that of the device which `prefer` names, "
        "`merge` joins texts line by line and JSON key by key, and keeps both where that cannot be. What does not "
        "stay in its place is in the trash. Say the same on every device.",
    )
    prefer: str | None = Field(
        default=None, pattern=NAME, description="Name of the device whose changes stay in their place, for `prefer`."
    )
    content: Literal["files", "databases"] = Field(
        default="files",
        description="`databases`: SQLite files are copied by their online backup, and only when they are sound.",
    )
    largest_mib: float = Field(default=2048.0, gt=0, description="Larger files are skipped and reported, in MiB.")

    @field_validator("policy", mode="before")
    @classmethod
    def _as_people_write_it(cls, policy: object) -> object:
        if policy in {"ours", "theirs"}:
            raise ValueError(
                f"{policy} is another device on each, so that they would never agree: name the one whose changes stay, "
                'policy = "prefer" and prefer = "<its name>". A single conflict is settled so by '
                f"`lama sync resolve CATEGORY PATH --keep {policy}`"
            )
        return policy.strip().replace(" ", "-").replace("_", "-") if isinstance(policy, str) else policy

    @field_validator("folder", mode="after")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        expanded = folder.expanduser()
        if not expanded.is_absolute() or expanded == Path(expanded.anchor):
            raise ValueError("must be an absolute path, and not the root of the disk")
        return expanded

    @model_validator(mode="after")
    def _prefers_somebody(self) -> Category:
        if (self.policy is Policy.prefer) != (self.prefer is not None):
            raise ValueError('policy = "prefer" and prefer belong together')
        return self


class SyncSettings(Value):
    """`[sync]`."""

    store: Path | None = Field(default=None, description="The shared folder: iCloud Drive, Dropbox, a disk, NFS.")
    kind: Literal["vault", "mirror"] = Field(
        default="vault",
        description="`vault`: encrypted objects that only the registered devices can read; `mirror`: the plain files.",
    )
    device: str | None = Field(default=None, pattern=NAME, description="Name of this device; otherwise the host's.")
    categories: tuple[Category, ...] = Field(
        default_factory=lambda: default_categories(sys.platform, Path.home()), description="What is synced."
    )
    most_changed: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of a category's files beyond which deletions or changes wait for a person's word.",
    )
    few: int = Field(default=20, ge=0, description="Up to so many changes are never too many.")
    trash_days: float = Field(default=30.0, gt=0, description="Days that what was replaced or deleted is kept.")
    at_once: int = Field(default=8, ge=1, le=64, description="Files that are copied side by side.")

    @field_validator("store", mode="after")
    @classmethod
    def _absolute(cls, store: Path | None) -> Path | None:
        if store is None:
            return None
        expanded = store.expanduser()
        if not expanded.is_absolute():
            raise ValueError("must be an absolute path")
        return expanded

    @model_validator(mode="after")
    def _apart(self) -> SyncSettings:
        names = [one.name for one in self.categories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two categories are called {twice[0]!r}; names identify them")
        folders = [(one.name, one.folder) for one in self.categories]
        if self.store is not None:
            folders.append(("store", self.store))
        for place, (name, folder) in enumerate(folders):
            for other, another in folders[place + 1 :]:
                if folder.is_relative_to(another) or another.is_relative_to(folder):
                    raise ValueError(f"the folders of {name} and {other} are within each other")
        return self


class CategoryRecord(SQLModel, table=True):
    """What a device remembers of a category between two runs."""

    __tablename__ = "sync_category"

    device: str = ColumnField(primary_key=True)
    category: str = ColumnField(primary_key=True)
    state: dict[str, Any] = ColumnField(sa_column=Column(JSONB, nullable=False), description="But for the tree.")
    saved_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))


class ShardRecord(SQLModel, table=True):
    """A piece of a device's tree: the paths of some directories, compressed."""

    __tablename__ = "sync_shard"

    device: str = ColumnField(primary_key=True)
    category: str = ColumnField(primary_key=True)
    shard: int = ColumnField(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    content: bytes = ColumnField(sa_column=Column(LargeBinary, nullable=False))


class DoneRecord(SQLModel, table=True):
    """What was done to which paths; committed with the tree that says so."""

    __tablename__ = "sync_done"
    __table_args__ = (Index("sync_done_category", "device", "category", "id"),)

    id: int | None = ColumnField(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    device: str
    category: str
    run: str
    at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
    what: str
    paths: list[str] = ColumnField(sa_column=Column(ARRAY(String), nullable=False))


class DeviceRecord(SQLModel, table=True):
    """What a device remembers of the store."""

    __tablename__ = "sync_device"

    device: str = ColumnField(primary_key=True)
    counters: dict[str, Any] = ColumnField(
        sa_column=Column(JSONB, nullable=False), description="By device and category the newest manifest that was seen."
    )
    collected_at: datetime | None = ColumnField(
        default=None,
        sa_column=Column(DateTime(timezone=True)),
        description="When objects that nobody names were last removed.",
    )


def default_categories(platform: str, home: Path) -> tuple[Category, ...]:
    """The categories of a fresh machine: those of Windsurf and its workspace."""
    windsurf = home / ".codeium" / "windsurf"
    workspace = home / "Windsurf Workspace"
    if platform == "darwin":
        workspace = home / "Library" / "Mobile Documents" / "com~apple~CloudDocs" / "Windsurf Workspace"
    return (
        Category(name="memories", folder=windsurf / "memories", policy=Policy.merge),
        Category(name="code", folder=workspace, gitignore=True, exclude=BUILD_OUTPUT),
        Category(name="settings", folder=windsurf / "settings", policy=Policy.merge),
        Category(name="databases", folder=windsurf / "db", content="databases"),
        Category(name="extensions", folder=windsurf / "extensions"),
    )


BUILD_OUTPUT = (
    "node_modules/", ".venv/", "venv/", "__pycache__/", "*.pyc", "target/", "build/", "dist/", ".next/", ".gradle/",
    ".mypy_cache/", ".ruff_cache/", ".pytest_cache/", ".hypothesis/", ".tox/", ".nox/",
)  # fmt: skip
"""What is made of code and can be made again."""

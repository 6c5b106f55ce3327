"""`[sync]` of `lama.toml`; and, from `sync_versions`, what sync speaks of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from models.report import Value
from models.sync_versions import NAME, Content, Kind, Policy, Tree, Vector, Version

__all__ = ["NAME", "Category", "Content", "Kind", "Policy", "SyncSettings", "Tree", "Vector", "Version"]


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
    at_once: int = Field(default=8, ge=1, le=64, description="Large files that are copied side by side.")

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

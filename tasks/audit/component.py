"""What a target is made of: components, each with the place that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from models.gap import Gap
from tasks.advisories.package import Package


class Evidence(StrEnum):
    """How a component is known."""

    declared = "declared"
    """A requirement: in a manifest, such as `pyproject.toml`, a requirements file, `package.json`, a Dockerfile."""
    constraint = "constraint"
    """Says which version, if it is installed at all."""
    locked = "locked"
    """A lock file."""
    installed = "installed"
    """Metadata in an environment."""
    image = "image"
    """The package database of an image's file system."""
    sbom = "sbom"
    """A bill of materials that somebody handed over."""


class Scope(StrEnum):
    """When it is needed."""

    runtime = "runtime"
    optional = "optional"
    dev = "dev"
    build = "build"


class Origin(StrEnum):
    """Where it comes from. Advisories speak of what a registry hands out; the others only share the name."""

    registry = "registry"
    folder = "folder"
    repository = "repository"
    address = "address"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is said."""

    file: str
    """Relative to the target, with `/`; for an environment the folder of the distribution's metadata."""
    line: int | None = None
    """From 1; None where the format has none that means anything."""
    table: str = ""
    """The part of the file: an extra, a dependency group, `devDependencies`."""


@dataclass(frozen=True, slots=True)
class Component:
    """One package at one place."""

    package: Package
    version: str | None
    """The one version that is meant, exactly as written; None when the place allows several."""
    place: Place
    evidence: Evidence
    requirement: str = ""
    """The range as the ecosystem writes it, without the name: `>=1,<2`, `^1.2.0`; empty for any version."""
    scope: Scope = Scope.runtime
    marker: str = ""
    """PEP 508 marker under which it is needed; empty for always."""
    origin: Origin = Origin.registry
    extras: tuple[str, ...] = ()
    """Extras of it that are asked for, normalised."""
    licence: str = ""
    """As the component declares it."""
    hashed: bool = False
    """Whether the place pins its content by a hash."""
    requires: tuple[tuple[str, str], ...] = ()
    """What it brings in: normalised names, each with the version that is meant, or with an empty text."""
    direct: bool | None = None
    """Whether the project itself asks for it; None until `tasks.audit.inventory.graph` has said."""
    via: tuple[str, ...] = ()
    """The shortest path that brings it in, from a direct requirement to its parent; empty for a direct one.

    This field and the one before it are the last: `graph` puts its answer in their place.
    """


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that is known of one target."""

    target: str
    """What findings call it."""
    root: Path
    components: tuple[Component, ...] = ()
    own: frozenset[Package] = frozenset()
    """What the target itself is: an index that knows the name knows something else."""
    homes: frozenset[tuple[Package, str]] = frozenset()
    """Where that is said: packages with the folder of the file, relative to the root. Of one that is not in it, it
    holds for all of the target."""
    python: Mapping[str, str] = field(default_factory=dict)
    """Marker variables of the target's environment, when it has one."""
    environment: bool = False
    """Whether there was an environment to look into."""
    files: tuple[str, ...] = ()
    """What was read, relative to the root."""
    gaps: tuple[Gap, ...] = ()

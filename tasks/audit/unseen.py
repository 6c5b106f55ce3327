"""What an inventory names and nobody can look at: what requirements bring in unresolved, what is in images. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.gap import Gap
from tasks.advisories.package import DOCKER, NPM, PYPI, Package
from tasks.advisories.source import AREA, VULNERABILITY
from tasks.audit.component import Component, Evidence, Inventory, Origin
from tasks.audit.in_use import folder_of, is_below, project_of


def unseen_gaps(inventories: Iterable[Inventory]) -> tuple[Gap, ...]:
    """The gaps of all targets. Each has a key: people may accept what they have audited in another way."""
    return tuple(gap for taken in inventories for gap in (*_of_unlocked(taken), *_of_images(taken)))


def _of_unlocked(taken: Inventory) -> Iterable[Gap]:
    """One gap for each ecosystem of which nobody has resolved what requirements bring in."""
    families: dict[str, list[Package]] = {}
    for package in sorted(unlocked(taken)):
        families.setdefault(package.family, []).append(package)
    for family, packages in families.items():
        below = f"{taken.target}/{family.lower()}"
        many = "package brings" if len(packages) == 1 else "packages bring"
        yield Gap(
            area=AREA,
            component=taken.target,
            reason=f"What {len(packages)} {family} {many} in is not known, and was not looked at: no lock file or "
            f"environment says it of {few([package.name for package in packages])}. Lock them, or audit the "
            "environment that they are installed into.",
            hides=(f"{VULNERABILITY}{below}/",),
            seen=tuple(f"{VULNERABILITY}{taken.target}/{package.path}/" for package in packages),
            key=f"gap.unresolved:{below}",
        )


def _of_images(taken: Inventory) -> Iterable[Gap]:
    """One gap for each image that something is built on or started from: its name says nothing of what is in it."""
    images: dict[str, Component] = {}
    for component in taken.components:
        if component.package.family == DOCKER and component.origin is Origin.registry:
            name = component.package.name.removeprefix("docker.io/").removeprefix("library/")
            images.setdefault(f"{name}:{component.version or component.requirement}".rstrip(":"), component)
    for image, component in sorted(images.items()):
        yield Gap(
            area=AREA,
            component=f"{taken.target}/{component.place.file}",
            reason=f"What is in the image {image} was not looked at: no advisory speaks of images. Audit the unpacked "
            "image, and accept this with its name.",
            hides=(f"dependencies.image:{taken.target}/{image}",),
            key=f"gap.image:{taken.target}/{image}",
        )


def unlocked(taken: Inventory) -> set[Package]:
    """What is asked for, and whose own requirements nobody has resolved where it is asked for."""
    resolved = {
        (component.package.family, folder_of(component) if component.evidence is Evidence.locked else None)
        for component in taken.components
        if component.evidence in {Evidence.locked, Evidence.image, Evidence.sbom}
        or (component.evidence is Evidence.installed and project_of(component) is not None)
    }
    # With a hash at one requirement, pip refuses everything of which there is none: then nothing is brought in unseen.
    pinned: dict[str, bool] = {}
    for component in taken.components:
        if component.evidence is Evidence.declared and component.package.family == PYPI:
            pinned[component.place.file] = pinned.get(component.place.file, True) and component.hashed
    complete = {file for file, is_all in pinned.items() if is_all}
    return {
        component.package
        for component in taken.components
        if component.evidence is Evidence.declared
        and component.origin is Origin.registry
        and component.package.family in {PYPI, NPM}
        and (component.package.family != PYPI or component.place.file not in complete)
        and (component.package.family, None) not in resolved
        and not any(
            family == component.package.family and folder is not None and is_below(folder_of(component), folder)
            for family, folder in resolved
        )
    }


def few(names: Sequence[str]) -> str:
    """`names` in words, the middle of many left out."""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])} ... {', '.join(names[-2:])} ({len(names)})"

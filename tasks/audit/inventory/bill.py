"""What a bill of materials lists, whatever its format, as components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.advisories.package import Package
from tasks.audit.component import Component, Evidence, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.plain import Misread
from tasks.audit.inventory.reached import RANKS, Reached, reach
from tasks.audit.purls import read_purl


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a bill of materials."""

    ref: str
    """How the rest of the document refers to it."""
    name: str
    """For messages."""
    purl: str = ""
    version: str = ""
    """Where the package URL has none."""
    scope: Scope = Scope.runtime
    licence: str = ""
    hashed: bool = False
    is_group: bool = False
    """Whether it may be a project or a lock file, which has no package URL and needs none if it brings in others."""


def read_bill(
    document: Document, listed: Iterable[Listed], edges: Mapping[str, Iterable[str]], root: Listed | None
) -> Reading:
    """The packages of a bill. What the root and the groups bring in is direct; without edges nothing is known of that.

    An entry without a package URL, or with one that no ecosystem of OSV has, cannot be looked up: that is a gap.
    """
    misread = Misread(document)
    listed = tuple(listed)
    if not listed:
        misread.add("it lists nothing")
    found: dict[str, tuple[Listed, Package, str | None]] = {}
    groups = {root.ref} if root is not None else set()
    for one in listed:
        read = read_purl(one.purl) if one.purl else None
        if read is None and not one.purl and one.is_group and edges.get(one.ref):
            groups.add(one.ref)
        elif read is None:
            misread.add(f"{one.name[:80]!r} has {'a package URL of an unknown type' if one.purl else 'no package URL'}")
        else:
            package, version = read[0], read[1] or one.version or None
            if version is None:
                misread.add(f"{one.name[:80]!r} has no version")
            found[one.ref] = (one, package, version)
    inner = {ref: [(to, False) for to in dict.fromkeys(edges.get(ref, ())) if to in found] for ref in (*found, *groups)}
    roots = [(to, Scope.runtime) for group in sorted(groups) for to, _ in inner[group]]
    reached = reach(roots, inner, {ref: package.name for ref, (_, package, _) in found.items()}) if roots else None
    own = read_purl(root.purl) if root is not None and root.purl else None
    return Reading(
        components=_components(document, found, inner, reached),
        own=frozenset({own[0]}) if own is not None else frozenset(),
        gaps=misread.gaps(),
    )


def _components(
    document: Document,
    found: Mapping[str, tuple[Listed, Package, str | None]],
    edges: Mapping[str, Iterable[tuple[str, bool]]],
    reached: Mapping[str, Reached] | None,
) -> tuple[Component, ...]:
    """One for each package and version."""
    alike: dict[tuple[Package, str | None], list[str]] = {}
    for ref, (_, package, version) in found.items():
        alike.setdefault((package, version), []).append(ref)
    components = []
    for (package, version), refs in alike.items():
        entries = [found[ref][0] for ref in refs]
        ways = [way for ref in refs if (way := reached.get(ref)) is not None] if reached is not None else []
        children = {found[to][1:] for ref in refs for to, _ in edges[ref]} - {(package, version)}
        components.append(
            Component(
                package=package,
                version=version,
                place=Place(document.file),
                evidence=Evidence.sbom,
                scope=min((entry.scope for entry in entries), key=RANKS.__getitem__),
                licence=next((entry.licence for entry in entries if entry.licence), ""),
                hashed=all(entry.hashed for entry in entries),
                requires=tuple(sorted({(child.name, of or "") for child, of in children})),
                direct=None if reached is None else any(not way.via for way in ways),
                via=min((way.via for way in ways), key=len, default=()),
            )
        )
    return tuple(components)

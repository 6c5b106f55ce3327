"""The actions that GitHub workflows and composite actions use, and the images that they run in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.advisories.package import ACTIONS, DOCKER, Package
from tasks.audit.component import Component, Evidence, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.image_names import component
from tasks.audit.inventory.plain import Misread
from tasks.scan.yaml_tree import Node, Walk, YamlError, read_yaml

_LARGEST = 1_000_000
_USES = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+)(?:/[^@\s]*)?@([^\s@]+)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII | re.IGNORECASE)
_VERSION = re.compile(r"v?[0-9]+(?:\.[0-9]+){0,2}(?:[-+][0-9A-Za-z.+-]+)?", re.ASCII)
_IN_COMMENT = re.compile(r"(?:^|[\s@=:])(v?[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?)(?=[\s,;)]|$)", re.ASCII)
_DOCKER = "docker://"


def read_workflow(document: Document) -> Reading:
    """The actions, reusable workflows and images of a workflow (`.github/workflows/*.yml`) or an action (`action.yml`).

    A tag is a version, also `v4`, which moves: it stands for all of its generation. A branch is a range. A commit says
    what is meant, and the comment behind it which version that is, if the author wrote one.
    """
    misread = {family: Misread(document, family) for family in (ACTIONS, DOCKER)}
    found: list[Component] = []
    if len(document.content) > _LARGEST:
        return Reading(gaps=(document.gap(f"is larger than {_LARGEST} bytes.", ecosystem=ACTIONS),))
    try:
        text = document.text
        lines = text.splitlines()
        for tree in read_yaml(text):
            for node, is_image in _used(Walk(), tree):
                one = _image(document, node) if is_image else _action(document, node, lines)
                if one is not None:
                    found.append(one)
                elif not _is_local(node.text or ""):
                    misread[DOCKER if is_image else ACTIONS].add(f"line {node.line}: {(node.text or '')[:80]!r}")
    except YamlError as error:
        return Reading(gaps=(document.gap(f"is not understood: {error}", ecosystem=ACTIONS),))
    return Reading(tuple(dict.fromkeys(found)), gaps=tuple(gap for one in misread.values() for gap in one.gaps()))


def _used(walk: Walk, tree: Node) -> Iterator[tuple[Node, bool]]:
    """The scalars that name an action or an image, and whether it is an image."""
    top = walk.mapping(tree)
    for job in walk.mapping(top.get("jobs")).values():
        parts = walk.mapping(job)
        yield from _uses(walk, parts)
        yield from _images(walk, parts.get("container"))
        for service in walk.mapping(parts.get("services")).values():
            yield from _images(walk, service)
    runs = walk.mapping(top.get("runs"))
    yield from _uses(walk, runs)
    image = runs.get("image")
    if image is not None and (image.text or "").startswith(_DOCKER):  # anything else is a Dockerfile beside it
        yield image, True


def _uses(walk: Walk, parts: dict[str, Node]) -> Iterator[tuple[Node, bool]]:
    for step in [parts, *map(walk.mapping, walk.sequence(parts.get("steps")))]:
        node = step.get("uses")
        if node is not None and node.text:
            yield node, node.text.startswith(_DOCKER)


def _images(walk: Walk, node: Node | None) -> Iterator[tuple[Node, bool]]:
    image = node if node is None or node.text is not None else walk.mapping(node).get("image")
    if image is not None and image.text:
        yield image, True


def _action(document: Document, node: Node, lines: list[str]) -> Component | None:
    found = _USES.fullmatch((node.text or "").strip()[:500])
    if found is None:
        return None
    ref = found[3]
    is_commit = _COMMIT.fullmatch(ref) is not None
    version = _told(lines, node.line) if is_commit else ref if _VERSION.fullmatch(ref) else None
    return Component(
        package=Package(ACTIONS, f"{found[1]}/{found[2]}".lower()),
        version=version,
        place=Place(document.file, node.line),
        evidence=Evidence.declared,
        requirement=ref,
        scope=Scope.build,
        hashed=is_commit,
        direct=True,
    )


def _image(document: Document, node: Node) -> Component | None:
    reference = (node.text or "").strip().removeprefix(_DOCKER)
    return component(reference, Place(document.file, node.line), scope=Scope.build)


def _told(lines: list[str], line: int) -> str | None:
    """The version in the comment at the end of a line."""
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    found = _IN_COMMENT.search(text[:1000].partition(" #")[2])
    return found[1] if found else None


def _is_local(text: str) -> bool:
    return text.startswith(("./", "../"))

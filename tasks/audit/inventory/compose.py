"""The images that a compose file starts (compose-spec.io)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tasks.advisories.package import DOCKER
from tasks.audit.component import Component, Place
from tasks.audit.inventory.dockerfile import read_dockerfile
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.image_names import component
from tasks.audit.inventory.plain import Misread
from tasks.scan.dockerfile import expand
from tasks.scan.yaml_tree import Node, Walk, YamlError, read_yaml

_LARGEST = 1_000_000


def read_compose(document: Document) -> Reading:
    """The images of the services that are not built here; what a Dockerfile that is written inline builds on.

    What the file includes or extends is read where it is, if it is called like a compose file.
    """
    misread = Misread(document, DOCKER)
    readings: list[Reading] = []
    if len(document.content) > _LARGEST:
        return Reading(gaps=(document.gap(f"is larger than {_LARGEST} bytes.", ecosystem=DOCKER),))
    try:
        for tree in read_yaml(document.text):
            readings += _services(document, tree, misread)
    except YamlError as error:
        return Reading(gaps=(document.gap(f"is not understood: {error}", ecosystem=DOCKER),))
    return Reading(
        components=tuple(dict.fromkeys(one for reading in readings for one in reading.components)),
        gaps=(*misread.gaps(), *(gap for reading in readings for gap in reading.gaps)),
    )


def _services(document: Document, tree: Node, misread: Misread) -> Iterator[Reading]:
    walk = Walk()
    top = walk.mapping(tree)
    services = walk.mapping(top["services"]) if "services" in top else top  # the oldest form has no table of them
    if "services" in top and not services and top["services"].text != "":
        misread.add(f"line {top['services'].line}: its services")
    for name, node in services.items():
        service = walk.mapping(node)
        image, build = service.get("image"), service.get("build")
        inline = walk.mapping(build).get("dockerfile_inline")
        if inline is not None and inline.text is not None:
            yield _inline(document, inline)
        elif image is not None and image.text and build is None:
            reference = expand(image.text.strip(), {})
            found = component(reference, Place(document.file, image.line, f"services.{name[:100]}"))
            if found is None:
                misread.add(f"line {image.line}: the image {reference[:80]!r}")
            else:
                yield Reading((found,))


def _inline(document: Document, inline: Node) -> Reading:
    """A Dockerfile in the middle of the file; its lines count from the one that it begins behind."""
    reading = read_dockerfile(Document(document.target, document.file, (inline.text or "").encode()))
    return Reading(tuple(_shifted(one, inline.line) for one in reading.components), gaps=reading.gaps)


def _shifted(one: Component, by: int) -> Component:
    line = by if one.place.line is None else one.place.line + by
    return replace(one, place=replace(one.place, line=line))

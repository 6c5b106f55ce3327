"""Names of container images: what a reference stands for, and which release of a distribution a tag tells."""

from __future__ import annotations

import re

from tasks.advisories.package import DEBIAN, DOCKER, Package
from tasks.audit.component import Component, Evidence, Place, Scope
from tasks.scan.dockerfile import read_image

HUB = "docker.io"
UBUNTU = "Ubuntu"
_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::[0-9]+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{32,128}", re.ASCII)
_WORDS = re.compile(r"[^a-z0-9.]+")
_RELEASE = re.compile(r"([0-9]{1,2})(?:\.[0-9.]+)?", re.ASCII)
_UBUNTU = re.compile(r"([0-9]{2})\.([0-9]{2})(?:\.[0-9]+)?", re.ASCII)
DEBIAN_RELEASES = {
    "stretch": "9",
    "buster": "10",
    "bullseye": "11",
    "bookworm": "12",
    "trixie": "13",
    "forky": "14",
    "duke": "15",
}
UBUNTU_RELEASES = {"bionic": "18.04", "focal": "20.04", "jammy": "22.04", "noble": "24.04", "resolute": "26.04"}


def component(reference: str, place: Place, *, scope: Scope = Scope.runtime) -> Component | None:
    """The image that `reference` stands for; None when it is none.

    The version is the digest, which says exactly what is meant, else the tag. `latest`, or no tag, is no version.
    """
    if len(reference) > 500:
        return None
    image = read_image(reference)
    if _NAME.fullmatch(image.name) is None:
        return None
    if (image.tag and not _TAG.fullmatch(image.tag)) or (image.digest and not _DIGEST.fullmatch(image.digest)):
        return None
    return Component(
        package=Package(DOCKER, full_name(image.name)),
        version=image.digest or (None if image.floats else image.tag),
        place=place,
        evidence=Evidence.declared,
        requirement=image.tag,
        scope=scope,
        hashed=bool(image.digest),
        direct=True,
    )


def full_name(name: str) -> str:
    """`name` with the registry and the folder that are left out: `python` is `docker.io/library/python`."""
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = HUB, name
    if host in {"index.docker.io", "registry-1.docker.io"}:
        host = HUB
    return f"{host}/library/{rest}" if host == HUB and "/" not in rest else f"{host}/{rest}"


def ecosystem_of(reference: str) -> str | None:
    """The ecosystem of an image's apt packages, with the release where name and tag tell it; None when they do not."""
    image = read_image(reference)
    name = full_name(image.name).removeprefix(f"{HUB}/")
    words = _WORDS.split(image.tag.lower())
    if (release := next((DEBIAN_RELEASES[word] for word in words if word in DEBIAN_RELEASES), "")) or (
        name.endswith("/debian") and (release := _major(words[0]))
    ):
        return f"{DEBIAN}:{release}"
    for word in words:
        number = UBUNTU_RELEASES.get(word) or (word if name.endswith("/ubuntu") else "")
        if found := _UBUNTU.fullmatch(number):
            return ubuntu(f"{found[1]}.{found[2]}")
    return UBUNTU if name.endswith("/ubuntu") else None


def ubuntu(release: str) -> str:
    """OSV's name of an Ubuntu release: those of every second April are supported for long, and say so."""
    year, _, month = release.partition(".")
    is_long = month == "04" and year.isdecimal() and int(year) % 2 == 0
    return f"{UBUNTU}:{release}:LTS" if is_long else f"{UBUNTU}:{release}"


def _major(tag: str) -> str:
    found = _RELEASE.fullmatch(tag)
    return found[1] if found else ""

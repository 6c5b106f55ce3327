"""What a package is called: in which ecosystem, and there by which name."""

from __future__ import annotations

from typing import NamedTuple

PYPI = "PyPI"
NPM = "npm"
DEBIAN = "Debian"
ACTIONS = "GitHub Actions"
DOCKER = "Docker"
"""Base images: part of an inventory. No source tells of weaknesses of an image as such."""


class Package(NamedTuple):
    """A package, by the names of the OSV schema (section `affected[].package`)."""

    ecosystem: str
    """`PyPI`, `npm`, `Debian:12` (with its release), `GitHub Actions`, `Docker` or another of OSV's."""
    name: str
    """As the ecosystem normalises it: PEP 503 on PyPI, as written on npm, the source package in Debian."""

    @property
    def family(self) -> str:
        """The ecosystem without its release."""
        return self.ecosystem.partition(":")[0]

    @property
    def path(self) -> str:
        """Its place in the keys of findings: `pypi/requests`, `npm/@scope/name`, `debian/openssl`."""
        return f"{self.family.lower().replace(' ', '-')}/{self.name}"

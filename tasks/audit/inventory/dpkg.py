"""Reads dpkg's database: the packages that are installed on a Debian or Ubuntu system (dpkg(1), deb-src-control(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tasks.advisories.package import DEBIAN, Package
from tasks.audit.component import Component, Evidence, Place
from tasks.audit.inventory.document import Document
from tasks.audit.inventory.image_names import DEBIAN_RELEASES, UBUNTU, ubuntu
from tasks.audit.inventory.plain import Misread

_FIELD = re.compile(r"^(Package|Status|Version|Source):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z.+:~-]{1,256}", re.ASCII)
_SOURCE = re.compile(r"(\S+)(?:[ \t]+\(([^()\s]+)\))?")
_GONE = {"not-installed", "config-files"}
"""States of which there is nothing left but settings."""
_SETTING = re.compile(r"^([A-Z_]+)=(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^\s\"']*))", re.MULTILINE)
_RELEASE = re.compile(r"[0-9]{1,2}(?:\.[0-9]{2})?", re.ASCII)


def read_status(document: Document, ecosystem: str, misread: Misread) -> Iterator[Component]:
    """The source packages of what a `status` file, or one of a folder `status.d`, lists as installed.

    Advisories are about source packages, whose version may differ from that of the binary package; `table` of the
    place names the first of those.
    """
    seen: set[tuple[str, str]] = set()
    line = 1
    for stanza in re.split(r"(\n[ \t]*\n)", document.text):
        fields = dict(_FIELD.findall(stanza))
        if fields:
            named = _named(fields, in_folder="status.d/" in document.file)
            if named is None:
                misread.add(f"line {line}: {fields.get('Package', 'a package without a name')}")
            elif named[0] and named not in seen:
                seen.add(named)
                yield Component(
                    package=Package(ecosystem, named[0]),
                    version=named[1],
                    place=Place(document.file, line, fields["Package"]),
                    evidence=Evidence.image,
                )
        line += stanza.count("\n")


def ecosystem_of(settings: Mapping[str, str]) -> str | None:
    """The ecosystem of the packages of a system by its `os-release`, with the release where it is told; None for
    distributions whose packages OSV does not know by these names.
    """
    name = settings.get("ID", "")
    if name == "debian":
        told = settings.get("VERSION_ID", "").partition(".")[0]
        release = told if _RELEASE.fullmatch(told) else DEBIAN_RELEASES.get(settings.get("VERSION_CODENAME", ""), "")
        return f"{DEBIAN}:{release}" if release else DEBIAN
    if name == "ubuntu":
        release = settings.get("VERSION_ID", "")
        return ubuntu(release) if _RELEASE.fullmatch(release) else UBUNTU
    return None


def read_os_release(text: str) -> dict[str, str]:
    """The settings of an `os-release` file (os-release(5))."""
    return {name: double or single or bare for name, double, single, bare in _SETTING.findall(text)}


def _named(fields: Mapping[str, str], *, in_folder: bool) -> tuple[str, str] | None:
    """Source package and its version; empty texts for what is not installed, None for what is not understood."""
    states = fields.get("Status", "").split()
    if len(states) != 3 and not in_folder:  # images without dpkg keep a file a package, and no states
        return None
    if states[2:] and states[2] in _GONE:
        return "", ""
    found = _SOURCE.fullmatch(fields.get("Source", "") or fields.get("Package", ""))
    version = (found[2] if found else None) or fields.get("Version", "")
    if found is None or _NAME.fullmatch(found[1].lower()) is None or _VERSION.fullmatch(version) is None:
        return None
    return found[1].lower(), version

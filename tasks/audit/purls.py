"""Package URLs (github.com/package-url/purl-spec): what they call a package, and what OSV calls it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.advisories.package import ACTIONS, DEBIAN, DOCKER, NPM, PYPI, Package
from tasks.audit.inventory import image_names

if TYPE_CHECKING:
    from packageurl import PackageURL

_SIMPLE = {
    "cargo": "crates.io",
    "conan": "ConanCenter",
    "cran": "CRAN",
    "gem": "RubyGems",
    "hackage": "Hackage",
    "hex": "Hex",
    "nuget": "NuGet",
    "pub": "Pub",
}
"""Types whose packages have plain names."""
_JOINED = {"golang": ("Go", "/"), "composer": ("Packagist", "/"), "maven": ("Maven", ":"), NPM: (NPM, "/")}
"""Types of which the namespace is a part of the name, and what stands between."""
_RPM = {
    "redhat": "Red Hat",
    "rhel": "Red Hat",
    "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "opensuse": "openSUSE",
    "suse": "SUSE",
}
_TYPES = {
    PYPI: ("pypi", ""),
    ACTIONS: ("githubactions", "/"),
    DOCKER: ("docker", "/"),
    DEBIAN: ("deb", ""),
    image_names.UBUNTU: ("deb", ""),
    "Alpine": ("apk", ""),
    **dict.fromkeys(_RPM.values(), ("rpm", "")),
    **{ecosystem: (type_, "") for type_, ecosystem in _SIMPLE.items()},
    **{ecosystem: (type_, sign) for type_, (ecosystem, sign) in _JOINED.items()},
}
"""For each ecosystem its type, and what stands between namespace and name."""
_LONGEST = 2_000
_SIGNS = re.compile(r"[\x00-\x20\x7f]")
_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


def read_purl(text: str) -> tuple[Package, str | None] | None:
    """The package and the version that a package URL names; None when it is none, or of a type that OSV knows nothing
    of. Debian's are the source package where the URL tells it.
    """
    from packageurl import PackageURL  # noqa: PLC0415

    if len(text) > _LONGEST:
        return None
    try:
        url = PackageURL.from_string(text)
    except ValueError:
        return None
    known = _package(url)
    if known is None or _SIGNS.search(known.name) or not known.name:
        return None
    return known, _version(url)


def purl_of(package: Package, version: str | None) -> str | None:
    """The package URL of a package; None for an ecosystem that has no type."""
    from packageurl import PackageURL  # noqa: PLC0415

    parts = _parts(package)
    if parts is None:
        return None
    type_, namespace, name, qualifiers = parts
    try:
        return PackageURL(type_, namespace or None, name, version, dict(qualifiers) or None).to_string()
    except ValueError:
        return None


def _package(url: PackageURL) -> Package | None:
    name, namespace = url.name, url.namespace or ""
    qualifiers = url.qualifiers if isinstance(url.qualifiers, dict) else {}
    if url.type == "pypi":
        return Package(PYPI, re.sub(r"[-_.]+", "-", name).lower())
    if url.type == "githubactions":
        return Package(ACTIONS, f"{namespace}/{name}".lower())
    if url.type in _SIMPLE:
        return Package(_SIMPLE[url.type], name)
    if url.type in _JOINED:
        ecosystem, sign = _JOINED[url.type]
        return Package(ecosystem, f"{namespace}{sign}{name}" if namespace else name)
    if url.type in {"docker", "oci"}:
        return _image(namespace, name, qualifiers)
    return _of_a_distribution(url.type, namespace.lower(), name, qualifiers)


def _image(namespace: str, name: str, qualifiers: Mapping[str, str]) -> Package:
    path = f"{namespace}/{name}" if namespace else name
    registry = qualifiers.get("repository_url", "").removeprefix("https://").strip("/")
    if registry.endswith(f"/{path}"):
        return Package(DOCKER, image_names.full_name(registry))
    return Package(DOCKER, image_names.full_name(f"{registry}/{path}" if registry else path))


def _of_a_distribution(type_: str, namespace: str, name: str, qualifiers: Mapping[str, str]) -> Package | None:
    distro = qualifiers.get("distro", "").lower().removeprefix(f"{namespace}-")
    if type_ == "deb" and namespace in {"debian", "ubuntu"}:
        source = qualifiers.get("upstream", "").partition("@")[0] or name
        return Package(_debian(namespace, distro), source.lower())
    if type_ == "apk" and namespace == "alpine":
        found = _RELEASE.match(distro)
        return Package(f"Alpine:v{found[0]}" if found and "." in found[0] else "Alpine", name)
    if type_ == "rpm" and namespace in _RPM:
        return Package(_RPM[namespace], name)
    return None


def _debian(namespace: str, distro: str) -> str:
    found = _RELEASE.match(distro)
    if namespace == "ubuntu":
        release = found[0] if found else image_names.UBUNTU_RELEASES.get(distro, "")
        return image_names.ubuntu(release) if release else image_names.UBUNTU
    release = found[0].partition(".")[0] if found else image_names.DEBIAN_RELEASES.get(distro, "")
    return f"{DEBIAN}:{release}" if release else DEBIAN


def _version(url: PackageURL) -> str | None:
    version = url.version or None
    qualifiers = url.qualifiers if isinstance(url.qualifiers, dict) else {}
    if url.type == "deb" and "@" in qualifiers.get("upstream", ""):  # the source package has a version of its own
        return qualifiers["upstream"].partition("@")[2] or version
    if url.type == "golang" and version:
        return version.removeprefix("v")
    return version if version is None or len(version) <= 256 else None


def _parts(package: Package) -> tuple[str, str, str, dict[str, str]] | None:
    """Type, namespace, name and qualifiers."""
    family, _, release = package.ecosystem.partition(":")
    type_, sign = _TYPES.get(family, ("", ""))
    namespace, _, name = package.name.rpartition(sign) if sign else ("", "", package.name)
    qualifiers: dict[str, str] = {}
    if type_ == "deb":
        namespace, qualifiers = family.lower(), {"arch": "source"}
        qualifiers |= {"distro": f"{namespace}-{release.partition(':')[0]}"} if release else {}
    elif type_ == "apk":
        namespace, qualifiers = "alpine", {"distro": f"alpine-{release.removeprefix('v')}"} if release else {}
    elif type_ == "rpm":
        namespace = next(one for one, ecosystem in _RPM.items() if ecosystem == family)
    elif type_ == "docker":
        registry, _, namespace = namespace.partition("/")
        qualifiers = {} if registry == image_names.HUB else {"repository_url": registry}
    return (type_, namespace, name, qualifiers) if type_ else None

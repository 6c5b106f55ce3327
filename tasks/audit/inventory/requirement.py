"""One Python requirement (PEP 508) as a component; names (PEP 503); where what is not on an index comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope

_LONGEST = 2_000
"""Characters of one requirement; longer ones are no requirements, and cost time to find that out."""
_LONG_NAME = 19
"""Characters; what is shorter is hardly a secret."""
_SHOWN_NAME = 40
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_RUNS = re.compile(r"[-_.]+")
_VERSION = r"v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
_CLAUSE = rf"(?:[=!]=[ \t]*{_VERSION}(?:\.\*|\+[a-z0-9.]+)?|[<>]=?[ \t]*{_VERSION})"
_PLAIN = re.compile(
    rf"({_NAME.pattern})[ \t]*(?:\[([A-Za-z0-9._, \t-]*)\])?[ \t]*({_CLAUSE}(?:[ \t]*,[ \t]*{_CLAUSE})*)?", re.ASCII
)
"""What most requirements look like: a part of the grammar that both this and the full one read alike."""
_PIN = re.compile(r"(={2,3})[ \t]*([^,;\s]+)")
_REPOSITORY = re.compile(r"(?:git|hg|svn|bzr)(?:\+[a-z]+)?:|git@", re.IGNORECASE)
_WHEEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9._]*)-([A-Za-z0-9.!+_]+)-[^/]+\.whl\Z", re.ASCII)
_ARCHIVE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)-([0-9][A-Za-z0-9.!+_]*)(?:\.tar\.(?:gz|bz2|xz)|\.zip|\.tgz)\Z", re.ASCII
)
_PACKED = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz")
_REGISTRY_HOSTS = frozenset({"files.pythonhosted.org", "pypi.org", "pypi.python.org"})

_MAIN = frozenset({"requirements", "base", "main", "prod", "production", "common", "core", "app", "runtime"})
_DEV = frozenset(
    {
        *("dev", "devel", "develop", "development", "test", "tests", "testing", "lint", "linting", "typing", "types"),
        *("doc", "docs", "ci", "qa", "style", "bench", "benchmark", "benchmarks", "tools", "tooling"),
    }
)


class NotARequirementError(ValueError):
    """The text is no requirement; says why, in a form that can be shown."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """The parts of a requirement."""

    name: str
    """Normalised."""
    extras: tuple[str, ...] = ()
    """Normalised, sorted."""
    requirement: str = ""
    """The range as it is written, without spaces."""
    marker: str = ""
    url: str = ""
    """Never to be shown: it may carry a password."""

    @property
    def pinned(self) -> str | None:
        """The only version that it allows; None when it allows several."""
        for operator, version in _PIN.findall(self.requirement):
            if operator == "===" or not version.endswith(".*"):
                return str(version)
        return None

    def component(
        self, place: Place, *, evidence: Evidence = Evidence.declared, scope: Scope = Scope.runtime
    ) -> Component:
        """As a component that `place` asks for."""
        origin, version = Origin.registry, self.pinned
        if self.url:
            origin, told = origin_of(self.url)
            version = told[1] if told is not None and told[0] == self.name else None
        return Component(
            package=Package(PYPI, self.name),
            version=version,
            place=place,
            evidence=evidence,
            requirement=self.requirement,
            scope=scope,
            marker=self.marker,
            origin=origin,
            extras=self.extras,
        )


@lru_cache(maxsize=16_384)
def normal(name: str) -> str:
    """`name` as indexes know it (PEP 503)."""
    return _RUNS.sub("-", name).lower()


def package(name: object) -> Package | None:
    """The package called `name`; None when that is no name of a package (PEP 508)."""
    if not isinstance(name, str) or len(name) > 200 or _NAME.fullmatch(name) is None:
        return None
    return Package(PYPI, normal(name))


@lru_cache(maxsize=4096)
def parse(text: str) -> Requirement:
    """The parts of a requirement.

    Raises:
        NotARequirementError: it is none.
    """
    if len(text) > _LONGEST:
        raise NotARequirementError(f"is longer than {_LONGEST} characters")
    text = " ".join(text.split())  # expressions below would try every way to share out a long run of spaces
    plain = _PLAIN.fullmatch(text)
    if plain is not None and len(plain[1]) > _LONG_NAME and _is_secret(plain[1]):
        raise NotARequirementError("has the form of a secret, and is told to nobody; take it out")
    if plain is not None:  # the full grammar takes ten times as long, and longer to load than most files take to read
        return Requirement(normal(plain[1]), _extras((plain[2] or "").split(",")), _bare(plain[3] or ""))
    return _parsed(text)


def _parsed(text: str) -> Requirement:
    from packaging.requirements import InvalidRequirement  # noqa: PLC0415 - what is plain does without it
    from packaging.requirements import Requirement as Parsed  # noqa: PLC0415

    try:
        parsed = Parsed(text)
    except (InvalidRequirement, RecursionError) as error:
        raise NotARequirementError(shown(str(error).splitlines()[0] if str(error) else "nested too deep")) from None
    return Requirement(
        name=normal(parsed.name),
        extras=_extras(parsed.extras),
        requirement=_as_written(text) or str(parsed.specifier),
        marker=str(parsed.marker or ""),
        url=parsed.url or "",
    )


def origin_of(url: str) -> tuple[Origin, tuple[str, str] | None]:
    """Where `url` or a path leads, and the name and version that its last part tells.

    A file of the public index is what the registry hands out, whichever way it is asked for. A wheel or an archive that
    lies in a folder is no source code of the target's own: where it lies is an address like any other.
    """
    if _REPOSITORY.match(url):
        return Origin.repository, None
    try:
        parts = urlsplit(url)
        host, path = parts.hostname or "", unquote(parts.path)
    except ValueError:
        return Origin.address, None
    told = named(path.rpartition("/")[2])
    if parts.scheme in {"http", "https"}:
        return (Origin.registry if host in _REGISTRY_HOSTS and told else Origin.address), told
    is_folder = not path.endswith(_PACKED) and (parts.scheme in {"", "file"} or len(parts.scheme) == 1)
    return (Origin.folder if is_folder else Origin.address), told


def named(file: str) -> tuple[str, str] | None:
    """Name and version in the name of a wheel or a source archive (PEP 427, PEP 625)."""
    if len(file) > 300:
        return None
    found = _WHEEL.fullmatch(file) or _ARCHIVE.fullmatch(file)
    return (normal(found[1]), found[2]) if found else None


def shown(text: str) -> str:
    """`text` for a message: one short line, without what may be a secret."""
    from tasks.masked import MASK, masked  # noqa: PLC0415 - most files are understood, and tell nothing

    line = " ".join(text[:_LONGEST].split()).encode("utf-8", errors="replace").decode()
    line = re.sub(r"//[^/@\s]*@", f"//{MASK}@", line)
    return masked(re.sub(r"(://[^\s?]*\?)\S+", rf"\1{MASK}", line))[:120]


def _is_secret(name: str) -> bool:
    from tasks.masked import is_secret  # noqa: PLC0415 - few names are so long

    return is_secret(name)


def shown_name(text: str) -> str:
    """What a message tells of a line that is no requirement: the name that it begins with. The rest may be anything,
    and people keep passwords in such lines.
    """
    found = _NAME.match(text.strip())
    name = shown(found[0])[:_SHOWN_NAME] if found else ""
    return name if found and found[0] == text.strip() else f"{name}..."


def scope_of(file: str) -> Scope:
    """When a requirements file is needed, by its name and its folder: nothing in it says so."""
    above, _, name = file.lower().rpartition("/")
    words = {word for word in re.split(r"[-_. ]+", name.rpartition(".")[0] or name) if word}
    folder = above.rpartition("/")[2]
    if words & _DEV or folder in _DEV:
        return Scope.dev
    return Scope.runtime if words <= _MAIN else Scope.optional


def _extras(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({normal(name.strip()) for name in names if name.strip()}))


def _as_written(text: str) -> str:
    """The range of a valid requirement without a URL, in its own order; empty when it has a URL or none."""
    head = text.partition(";")[0]
    if "@" in head:
        return ""
    return _bare(re.sub(r"^[^\[<>=!~(]*(?:\[[^\]]*\])?", "", head).strip().strip("()"))


def _bare(specifier: str) -> str:
    return "".join(specifier.split())

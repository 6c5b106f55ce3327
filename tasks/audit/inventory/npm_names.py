"""What npm's tools call things: names of packages, and the many forms of what is asked for behind a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from tasks.advisories.package import NPM, Package
from tasks.audit.component import Origin
from tasks.audit.inventory.requirement import shown

_NAME = re.compile(r"(?:@[A-Za-z0-9~_!'()*.-]+/)?[A-Za-z0-9~_!'()*.-]+", re.ASCII)
_VERSION = re.compile(r"[=v\s]*([0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)\s*", re.ASCII)
_REPOSITORY = re.compile(
    r"(?:git(?:\+[a-z]+)?|github|gitlab|bitbucket|gist):|git@|[^@/:\s]+/[^/:\s#]+(?:#\S*)?\Z", re.ASCII
)
_HOSTED = re.compile(r"https?://(?:[^/@\s]*@)?(?:github\.com|gitlab\.com|bitbucket\.org)/[^\s]+?\.git(?:#|\Z)")
_ARCHIVE = re.compile(
    r"https?://(?:[^/@\s]*@)?(?:codeload\.github\.com|github\.com|gitlab\.com|bitbucket\.org)/", re.ASCII
)
"""Where archives of repositories are. Every other address that a lock file tells may be one of a registry, and what a
registry hands out is what advisories are about: rather one too many is compared."""
_RANGE = re.compile(r"[~^<>=*]|v?[0-9]+(?:\.|\Z)", re.ASCII)
_WORD = re.compile(r"[!-~]{1,256}", re.ASCII)
_FOLDERS = ("file:", "link:", "portal:", "workspace:", "./", "../", "/", "~/")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for behind a name."""

    name: str
    """The real one, where the one in front is an alias."""
    requirement: str = ""
    version: str | None = None
    """The only version that is meant."""
    origin: Origin = Origin.registry


def package(name: object) -> Package | None:
    """The package called `name`; None when no package can be called so."""
    if not isinstance(name, str) or len(name) > 214 or _NAME.fullmatch(name) is None or name in {".", ".."}:
        return None
    return Package(NPM, name)


def version_of(value: object) -> str | None:
    """The one version that is written there; None when it is a range, a tag or nothing."""
    if not isinstance(value, str) or len(value) > 256:
        return None
    found = _VERSION.fullmatch(value)
    return found[1] if found else None


def locked_version(value: object) -> str | None:
    """The version that a lock file gives, in whatever form its package writes it."""
    return value if isinstance(value, str) and "://" not in value and _WORD.fullmatch(value) else None


@lru_cache(maxsize=16_384)
def asked(name: str, specifier: str) -> Asked:
    """What `specifier` (the value in `dependencies`) asks for behind `name`.

    After npm's documentation of `package.json` and npm-package-arg; `workspace:`, `portal:`, `link:`, `patch:` and
    `catalog:` are those of yarn and pnpm.
    """
    text = specifier.strip()
    if len(text) > _LONGEST:
        return Asked(name, shown(text), origin=Origin.address)
    if text.startswith("npm:"):
        rest = text.removeprefix("npm:")
        real, range_ = split(rest)
        if package(real) is None or (not range_ and _RANGE.match(rest)):  # yarn and pnpm: `npm:^1.0.0`
            return Asked(name, rest, version_of(rest))
        return asked(real, range_)
    if text.startswith("patch:"):  # patch:name@npm%3A1.0.0#file.patch
        real, range_ = split(unquote(text.removeprefix("patch:").partition("#")[0]))
        return asked(real, range_) if range_ and not range_.startswith("patch:") else Asked(name)
    origin = _origin(text)
    if origin is Origin.registry:
        return Asked(name, " ".join(text.split()), version_of(text))
    return Asked(name, shown(text), origin=origin)


def split(text: str) -> tuple[str, str]:
    """`name@range` at the at sign that is not the scope's; an empty range when there is none."""
    at = text.find("@", 1)
    return (text, "") if at < 0 else (text[:at], text[at + 1 :])


def origin_of(resolved: str) -> Origin:
    """Where an address in a lock file leads."""
    resolved = resolved[:_LONGEST]
    if not resolved or (resolved.startswith(("http://", "https://")) and not _ARCHIVE.match(resolved)):
        return Origin.registry
    if _REPOSITORY.match(resolved) or resolved.startswith("ssh:") or _HOSTED.match(resolved):
        return Origin.repository
    if resolved.startswith(_FOLDERS):
        return _of_folder(resolved)
    return Origin.address


def _of_folder(path: str) -> Origin:
    """A package that is packed is no source code of the target's own, though it lies in a folder."""
    return Origin.address if path.partition("#")[0].endswith((".tgz", ".tar.gz", ".tar")) else Origin.folder


def _origin(specifier: str) -> Origin:
    if specifier.startswith(_FOLDERS):
        return _of_folder(specifier)
    if _REPOSITORY.match(specifier) or _HOSTED.match(specifier):
        return Origin.repository
    return Origin.address if "://" in specifier else Origin.registry

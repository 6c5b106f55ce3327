"""Which versions a package index offers: pure reading of its answers, and the asking."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    canonicalize_name,
    parse_sdist_filename,
)
from packaging.version import InvalidVersion, Version

from blocks.errors import UnavailableError
from tasks.answers import Answer, NotFoundError, ask, decoded

if TYPE_CHECKING:
    from blocks.registry_address import IndexAddress

SOURCE = "package index"
_LARGEST = 40_000_000  # bytes of one page; the largest projects' have some 10 MB
_ANCHOR = re.compile(r"<a\s([^<>]{0,4000})>([^<]{0,1000})</a>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-zA-Z-]{1,40})\s*=\s*(?:\"([^\"]*)\"|'([^']*)')|(data-yanked)")
_OLD_FORMATS = (".egg", ".exe", ".rpm", ".msi", ".dmg", ".deb", ".tar.bz2", ".tgz", ".tar.Z", ".tar")


@dataclass(frozen=True)
class Releases:
    """What the index said about a set of packages."""

    versions: Mapping[str, tuple[Version, ...]]
    """Final, not yanked releases that the environment's Python may install, oldest first."""
    unknown: frozenset[str]
    """Packages that the index does not have."""
    failed: Mapping[str, str]
    """Packages that could not be looked up, and why."""
    yanked: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    """Releases that their authors have withdrawn, oldest first."""


async def look_up(index: IndexAddress, names: Iterable[str], *, python: str, budget_s: float) -> Releases:
    """Ask `index` about every package of `names` (normalised), `index.connections` at once, for at most `budget_s`.

    One that fails because the index cannot be reached stops the others: they would fail the same way.
    """
    versions: dict[str, tuple[Version, ...]] = {}
    yanked: dict[str, tuple[Version, ...]] = {}
    unknown: set[str] = set()
    failed: dict[str, str] = {}
    wanted = sorted(set(names))
    queue = list(reversed(wanted))

    async with index.get_client() as client:

        async def work() -> None:
            while queue and len(failed) < 3:  # three are no accident
                name = queue.pop()
                try:
                    answer = await ask(client, f"{name}/", source=SOURCE, largest=_LARGEST)
                    versions[name], yanked[name] = await asyncio.to_thread(read_releases, answer, name, python)
                except NotFoundError:
                    unknown.add(name)
                except UnavailableError as error:
                    failed[name] = error.what

        try:
            async with asyncio.timeout(budget_s):
                await asyncio.gather(*(work() for _ in range(index.connections)))
            reason = next(iter(failed.values()), "was not asked.")
        except TimeoutError:
            reason = f"no answer within {budget_s:g} s for all."
    for name in wanted:
        if name not in versions and name not in unknown:
            failed.setdefault(name, reason)
    return Releases(versions, frozenset(unknown), failed, yanked)


def read_releases(answer: Answer, name: str, python: str) -> tuple[tuple[Version, ...], tuple[Version, ...]]:
    """The final releases in a project's page of the simple API that are not yanked and that `python` may install; and
    those of which every file is yanked.

    Raises:
        UnavailableError: the answer is not such a page.
    """
    if answer.content_type.endswith("json"):
        files = _of_json(decoded(answer, source=SOURCE))
    elif answer.content_type == "text/html" or answer.content_type.endswith("v1+html"):
        files = _of_html(answer.content.decode("utf-8", errors="replace"))
    else:
        raise UnavailableError(f"answered {answer.content_type or 'without a type'}.", component=SOURCE)
    found: set[Version] = set()
    withdrawn: set[Version] = set()
    kept: set[Version] = set()
    recognised = False
    for filename, requires, yanked in files:
        version = _version(filename, name)
        if version is None:
            recognised = recognised or filename.endswith(_OLD_FORMATS)
            continue
        recognised = True
        (withdrawn if yanked else kept).add(version)
        if not yanked and version not in found and not version.is_prerelease and _allows(requires, python):
            found.add(version)
    if not recognised:
        raise UnavailableError("answered a page without any release of the package.", component=SOURCE)
    return tuple(sorted(found)), tuple(sorted(withdrawn - kept))


_File = tuple[str, str, bool]
"""Name, `requires-python`, whether it is yanked."""


def _of_json(data: dict[str, Any]) -> list[_File]:
    files = data.get("files")
    if not isinstance(files, list):
        raise UnavailableError("answered JSON of another shape.", component=SOURCE)
    return [
        (str(file.get("filename", "")), str(file.get("requires-python") or ""), file.get("yanked", False) is not False)
        for file in files
        if isinstance(file, dict)
    ]


def _of_html(page: str) -> list[_File]:
    files = []
    for attributes, text in _ANCHOR.findall(page):
        values = {
            (key or bare).lower(): double or single for key, double, single, bare in _ATTRIBUTE.findall(attributes)
        }
        name = text.strip() or unquote(urlsplit(html.unescape(values.get("href", ""))).path.rpartition("/")[2])
        files.append((name, html.unescape(values.get("data-requires-python", "")), "data-yanked" in values))
    return files


def _version(filename: str, name: str) -> Version | None:
    try:
        if filename.endswith(".whl"):
            # Only the second part is needed, and parsing all the tags of ten thousand wheels takes seconds.
            project, version = filename.split("-")[:2]
            parsed = canonicalize_name(project), Version(version)
        else:
            parsed = parse_sdist_filename(filename)
    except (InvalidSdistFilename, InvalidVersion, ValueError):
        return None
    return parsed[1] if parsed[0] == name else None


def _allows(requires: str, python: str) -> bool:
    if not requires:
        return True
    try:
        return SpecifierSet(requires).contains(python, prereleases=True)
    except InvalidSpecifier:
        return True  # installers ignore what they cannot read here, and so do we

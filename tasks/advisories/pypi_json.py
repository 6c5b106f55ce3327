"""Known vulnerabilities as PyPI's JSON API tells them: of one version of one package at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blocks.errors import UnavailableError
from tasks.advisories.local_copy import gap
from tasks.advisories.package import PYPI, Package
from tasks.advisories.record import Advisory, AdvisoryError, read_advisory
from tasks.advisories.source import SourceState, Told, Wanted
from tasks.advisories.versions import ordering

if TYPE_CHECKING:
    import httpx

NAME = "pypi"

_SOURCE = "PyPI"
_LARGEST = 64_000_000
_AT_ONCE = 16
_CONNECT_S = 5.0
_ENOUGH = 5  # packages in a row that cannot be asked about: the rest is not asked about
_NAMED = 5

Asked = tuple[Package, str]
Answers = dict[Asked, list[Any] | str | None]
"""A list of vulnerabilities, None for what PyPI does not know, or why there is no answer."""


class PypiJson:
    """PyPI's JSON API at `url`, such as `https://pypi.org/pypi`.

    It knows of the versions that it is asked about, and of no other: it covers PyPI where every package has known
    versions. Packages that it does not know are somebody's own.
    """

    def __init__(self, url: str, *, timeout_s: float = 20.0, budget_s: float = 60.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._budget_s = budget_s

    @property
    def name(self) -> str:
        """Its name in settings and findings."""
        return NAME

    async def tell(self, wanted: Wanted) -> Told:
        """What it says about each version in use."""
        packages = {package: versions for package, versions in wanted.items() if package.family == PYPI}
        asked = sorted({(package, _public(version)) for package, used in packages.items() for version in used})
        answers: Answers = {}
        try:
            async with asyncio.timeout(self._budget_s), self._client() as client:
                await _ask_all(client, asked, answers)
        except TimeoutError:
            late = f"no answer within {self._budget_s:g} s"
            answers |= {one: late for one in asked if one not in answers}
        except ValueError as error:  # an address that is none
            answers |= {one: str(error) for one in asked if one not in answers}
        return _told(packages, answers)

    def _client(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - what asks no server needs no client

        return httpx.AsyncClient(
            base_url=self._url.rstrip("/") + "/",
            headers={"Accept": "application/json"},
            timeout=httpx.Timeout(self._timeout_s, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=_AT_ONCE),
            follow_redirects=True,
        )


async def _ask_all(client: httpx.AsyncClient, asked: Iterable[Asked], answers: Answers) -> None:
    """Fill `answers`, so that what there is of them is not lost when the time is over."""
    queue = sorted(asked, reverse=True)
    in_a_row = 0

    async def work() -> None:
        nonlocal in_a_row
        while queue:
            one = queue.pop()
            if in_a_row >= _ENOUGH:
                answers[one] = "not asked any more"
                continue
            try:
                answers[one] = await _ask(client, *one)
                in_a_row = 0
            except UnavailableError as error:
                answers[one] = error.what
                in_a_row += 1

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(_AT_ONCE, len(queue))):
            workers.create_task(work())


async def _ask(client: httpx.AsyncClient, package: Package, version: str) -> list[Any] | None:
    from tasks.answers import NotFoundError, ask, decoded  # noqa: PLC0415

    name = quote(package.name, safe="")
    try:
        answer = await ask(client, f"{name}/{quote(version, safe='')}/json", source=_SOURCE, largest=_LARGEST)
    except NotFoundError:
        try:
            await ask(client, f"{name}/json", source=_SOURCE, largest=_LARGEST)
        except NotFoundError:
            return None
        raise UnavailableError(f"does not know version {version[:80]}", component=_SOURCE) from None
    vulnerabilities = decoded(answer, source=_SOURCE).get("vulnerabilities")
    if not isinstance(vulnerabilities, list):
        raise UnavailableError("answered JSON of another shape", component=_SOURCE)
    return vulnerabilities


def _told(packages: Wanted, answers: Answers) -> Told:
    found: dict[Package, dict[str, dict[str, Any]]] = {}
    failed: dict[Asked, str] = {}
    for (package, version), answer in sorted(answers.items(), key=lambda item: item[0]):
        if isinstance(answer, str):
            failed[package, version] = answer
        for described in answer if isinstance(answer, list) else ():
            try:
                _add(found.setdefault(package, {}), package, version, described)
            except (KeyError, TypeError, AttributeError, ValueError):
                failed[package, version] = "it has a vulnerability of another shape"
    advisories: dict[Package, tuple[Advisory, ...]] = {}
    for package, records in found.items():
        try:
            advisories[package] = tuple(read_advisory(record) for _, record in sorted(records.items()))
        except AdvisoryError as error:
            failed[package, ""] = str(error)
    gaps = [gap(_SOURCE, _lost(failed))] if failed else []
    if answers and all(answer is None for answer in answers.values()):
        gaps.append(gap(_SOURCE, "it knows none of the packages; correct pypi_url in [advisories] of lama.toml"))
    complete = not gaps and all(packages.values())
    return Told(SourceState(NAME), advisories, frozenset({PYPI}) if packages and complete else frozenset(), tuple(gaps))


def _add(records: dict[str, dict[str, Any]], package: Package, version: str, described: Mapping[str, Any]) -> None:
    """Add what is said about one version to the record of that id, in OSV's shape.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is of another shape.
    """
    name = described["id"]
    record = records.setdefault(
        name,
        {
            "id": name,
            "aliases": described.get("aliases") or [],
            "summary": described.get("summary") or described.get("details") or "",
            "withdrawn": described.get("withdrawn"),
            "references": [{"type": "ADVISORY", "url": described.get("link")}],
            "affected": [{"package": {"ecosystem": PYPI, "name": package.name}, "versions": [], "ranges": []}],
        },
    )
    (affected,) = record["affected"]
    affected["versions"].append(version)
    if (fixed := _next(version, described.get("fixed_in") or ())) is not None:
        events = [{"introduced": version}, {"fixed": fixed}]
        affected["ranges"].append({"type": "ECOSYSTEM", "events": events})


def _next(version: str, fixes: Iterable[str]) -> str | None:
    """The first of `fixes` after `version`."""
    order = ordering(PYPI)
    used = order.parse(version) if order is not None else None
    if order is None or used is None:
        return None
    later = [(key, fix) for fix in map(str, fixes) if (key := order.parse(fix)) is not None and key > used]
    return min(later)[1] if later else None


def _public(version: str) -> str:
    """Without the mark of a local build, which PyPI has none of."""
    return version.partition("+")[0]


def _lost(failed: Mapping[Asked, str]) -> str:
    reason = next(iter(failed.values()))
    names = sorted({f"{package.name} {version}".strip() for package, version in failed})
    named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"{named}: {reason}"

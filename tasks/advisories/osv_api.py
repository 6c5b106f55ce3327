"""Known vulnerabilities by OSV's API: which records concern which packages, then the records themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blocks.errors import UnavailableError
from models.gap import Gap
from tasks.advisories.local_copy import gap
from tasks.advisories.package import Package
from tasks.advisories.record import GRADED, Advisory, AdvisoryError, read_advisory
from tasks.advisories.source import SourceState, Told, Wanted

if TYPE_CHECKING:
    import httpx

NAME = "osv"
BATCH = 1000
"""Queries in one request; the API refuses more."""
FAMILIES = frozenset(
    {
        *("AlmaLinux", "Alpaquita", "Alpine", "Android", "BellSoft Hardened Containers", "Bioconductor"),
        *("Bitnami", "Chainguard", "ConanCenter", "CRAN", "crates.io", "Debian", "Echo", "FreeBSD", "GHC"),
        *("GitHub Actions", "Go", "Hackage", "Hex", "Julia", "Linux", "Mageia", "Maven", "MinimOS", "npm"),
        *("NuGet", "opam", "openEuler", "openSUSE", "OSS-Fuzz", "Packagist", "Photon OS", "Pub", "PyPI"),
        *("Red Hat", "Rocky Linux", "Root", "RubyGems", "SUSE", "SwiftURL", "Ubuntu", "VSCode", "Wolfi"),
    }
)
"""Ecosystems that OSV collects (its schema, "Defined ecosystems")."""

_SOURCE = "OSV"
_LARGEST = 64_000_000
_PAGES = 100
_REGISTRIES = frozenset({"PyPI", "npm", "crates.io", "Go", "GitHub Actions", "Maven", "NuGet", "RubyGems", "Packagist"})
_ENOUGH = 5  # records that cannot be had one after the other: the rest is not asked for
_MIRROR = "A local mirror (`lama advisories update`) needs no network"


@dataclass(frozen=True, slots=True)
class Query:
    """One question: a package, and a version where only records about that one are wanted."""

    package: Package
    version: str | None = None


@dataclass(slots=True)
class _Fetched:
    """Records of one family, and those that could not be had."""

    records: dict[str, Advisory] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    in_a_row: int = 0


class OsvApi:
    """OSV's API, or what speaks like it, at `url`."""

    def __init__(self, url: str, *, timeout_s: float = 20.0, budget_s: float = 60.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._budget_s = budget_s

    @property
    def name(self) -> str:
        """Its name in settings and findings."""
        return NAME

    async def tell(self, wanted: Wanted) -> Told:
        """What it knows. The families of ecosystems are asked side by side: one that fails takes no other with it."""
        families = sorted({package.family for package in wanted} & FAMILIES)
        if not families:
            return Told(SourceState(NAME))
        from blocks.osv import Osv  # noqa: PLC0415 - what asks no server needs no Prefect

        block = Osv(url=self._url, timeout_s=self._timeout_s)
        try:
            async with block.get_client() as client:
                parts = await asyncio.gather(
                    *(self._family(client, family, wanted, block.connections) for family in families)
                )
        except (UnavailableError, ValueError, OSError) as error:  # an address that is none, certificates that are none
            return Told(SourceState(NAME), gaps=(_unasked(_SOURCE, str(error)),))
        return Told(
            SourceState(NAME),
            {package: told for part in parts for package, told in part.advisories.items()},
            frozenset().union(*(part.covers for part in parts)),
            tuple(found for part in parts for found in part.gaps),
        )

    async def _family(self, client: httpx.AsyncClient, family: str, wanted: Wanted, at_once: int) -> Told:
        state, component = SourceState(NAME), f"{_SOURCE}: {family}"
        packages = sorted(package for package in wanted if package.family == family)
        queries = [query for package in packages for query in _queries(package, wanted)]
        try:
            async with asyncio.timeout(self._budget_s):
                named = await _named(client, queries)
                ids = sorted({name for names in named.values() for name in names})
                fetched = await _records(client, ids, at_once)
        except TimeoutError:
            return Told(state, gaps=(_unasked(component, f"gave no complete answer within {self._budget_s:g} s"),))
        except UnavailableError as error:
            return Told(state, gaps=(_unasked(component, error.what),))
        advisories = {
            package: tuple(fetched.records[name] for name in sorted(names) if name in fetched.records)
            for package, names in named.items()
        }
        lost = _lost(component, fetched)
        return Told(state, {k: told for k, told in advisories.items() if told}, frozenset({family}), lost)


def _queries(package: Package, wanted: Wanted) -> Iterable[Query]:
    """What to ask about a package.

    Of what comes from a registry, everything is wanted: also what is known of versions that an upgrade or a loose
    requirement may bring in. A distribution's package has thousands of records and one way to go, so of those only
    what concerns the versions in use.
    """
    versions = wanted[package]
    if not versions or package.family in _REGISTRIES:
        return [Query(package)]
    return [Query(package, version) for version in sorted(versions)]


async def _named(client: httpx.AsyncClient, queries: Sequence[Query]) -> dict[Package, set[str]]:
    """The ids of the records for each package, over all pages."""
    named: dict[Package, set[str]] = {query.package: set() for query in queries}
    pending: list[tuple[Query, str | None]] = [(query, None) for query in queries]
    for _page in range(_PAGES):
        following: list[tuple[Query, str | None]] = []
        for start in range(0, len(pending), BATCH):
            batch = pending[start : start + BATCH]
            for (query, _token), (ids, token) in zip(batch, await _batch(client, batch), strict=True):
                named[query.package] |= ids
                if token is not None:
                    following.append((query, token))
        pending = following
        if not pending:
            return named
    raise UnavailableError(f"answers in more than {_PAGES} pages.", component=_SOURCE)


async def _batch(
    client: httpx.AsyncClient, batch: Sequence[tuple[Query, str | None]]
) -> list[tuple[set[str], str | None]]:
    from tasks.answers import NotFoundError, ask, decoded  # noqa: PLC0415

    body = {"queries": [_described(query, token) for query, token in batch]}
    try:
        answer = await ask(client, "querybatch", source=_SOURCE, largest=_LARGEST, body=body)
    except NotFoundError as error:
        raise UnavailableError("is not at that address.", component=_SOURCE) from error
    results = decoded(answer, source=_SOURCE).get("results")
    if not isinstance(results, list) or len(results) != len(batch):
        raise UnavailableError("did not answer every query of a batch.", component=_SOURCE)
    return [_result(result) for result in results]


def _described(query: Query, token: str | None) -> dict[str, Any]:
    package = query.package
    described: dict[str, Any] = {"package": {"name": package.name, "ecosystem": package.ecosystem}}
    if query.version is not None:
        described["version"] = query.version
    return described if token is None else described | {"page_token": token}


def _result(result: Any) -> tuple[set[str], str | None]:
    try:
        ids = {vulnerability["id"] for vulnerability in (result or {}).get("vulns") or []}
        token = (result or {}).get("next_page_token") or None
    except (KeyError, TypeError, AttributeError) as error:
        raise UnavailableError("answered a result of another shape.", component=_SOURCE) from error
    if not all(isinstance(name, str) for name in ids) or not isinstance(token, str | None):
        raise UnavailableError("answered a result of another shape.", component=_SOURCE)
    return ids, token


async def _records(client: httpx.AsyncClient, ids: Sequence[str], at_once: int) -> _Fetched:
    """The records of `ids`, each asked for once, `at_once` at a time."""
    fetched = _Fetched()
    queue = list(reversed(ids))

    async def work() -> None:
        while queue:
            name = queue.pop()
            if fetched.in_a_row >= _ENOUGH:
                fetched.failed[name] = "was not asked for any more"
                continue
            try:
                fetched.records[name] = await _record(client, name)
                fetched.in_a_row = 0
            except UnavailableError as error:
                fetched.failed[name] = error.what
                fetched.in_a_row += 1

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(at_once, len(queue))):
            workers.create_task(work())
    return fetched


async def _record(client: httpx.AsyncClient, name: str) -> Advisory:
    from tasks.answers import NotFoundError, ask, decoded  # noqa: PLC0415

    try:
        answer = await ask(client, f"vulns/{quote(name, safe='')}", source=_SOURCE, largest=_LARGEST)
        record = decoded(answer, source=_SOURCE)
        record.pop(GRADED, None)  # ours to say, not the record's
        return read_advisory(record)
    except NotFoundError as error:
        raise UnavailableError("is named, and not there", component=_SOURCE) from error
    except AdvisoryError as error:
        raise UnavailableError(f"is {error}", component=_SOURCE) from error


def _lost(component: str, fetched: _Fetched) -> tuple[Gap, ...]:
    if not fetched.failed:
        return ()
    name, reason = next(iter(fetched.failed.items()))
    more = len(fetched.failed) - 1
    told = f"record {name[:80]} {reason.rstrip('.')}" + (f", nor can {more} more be had" if more else "")
    return (gap(component, told),)


def _unasked(component: str, what: str) -> Gap:
    return gap(component, f"it {what.rstrip('.')}. {_MIRROR}")

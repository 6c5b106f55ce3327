"""Known vulnerabilities by OSV's API: which records concern which versions, then the records themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from blocks.errors import UnavailableError
from blocks.osv import Osv
from tasks.advisories.package import PYPI
from tasks.advisories.record import Advisory, AdvisoryError, read_advisory
from tasks.answers import NotFoundError, ask, decoded

if TYPE_CHECKING:
    import httpx

SOURCE = "OSV"
BATCH = 1000
"""Queries in one request; the API refuses more."""
_LARGEST = 64_000_000
_PAGES = 100

Package = tuple[str, str]
"""Normalised name and version."""


async def query(osv: Osv, packages: Iterable[Package], *, budget_s: float) -> dict[Package, tuple[Advisory, ...]]:
    """For every package, the records that the API holds to be about it; each record is fetched once.

    Raises:
        UnavailableError: not every answer could be got and understood within `budget_s` seconds; a part of them
            would look like less vulnerabilities than there are.
    """
    wanted = sorted(set(packages))
    try:
        async with asyncio.timeout(budget_s), osv.get_client() as client:
            named = await _named(client, wanted)
            ids = sorted({name for names in named.values() for name in names})
            records = await _records(client, ids, osv.connections)
    except NotFoundError as error:
        raise UnavailableError("is not at that address.", component=SOURCE) from error
    except TimeoutError as error:
        raise UnavailableError(f"no complete answer within {budget_s:g} s.", component=SOURCE) from error
    return {package: tuple(records[name] for name in sorted(names)) for package, names in named.items()}


async def _named(client: httpx.AsyncClient, packages: Sequence[Package]) -> dict[Package, set[str]]:
    """The ids of the records for each package, over all pages."""
    named: dict[Package, set[str]] = {package: set() for package in packages}
    pending: list[tuple[Package, str | None]] = [(package, None) for package in packages]
    for _page in range(_PAGES):
        if not pending:
            return named
        following: list[tuple[Package, str | None]] = []
        for start in range(0, len(pending), BATCH):
            batch = pending[start : start + BATCH]
            queries = [_query(package, token) for package, token in batch]
            answer = await ask(client, "querybatch", source=SOURCE, largest=_LARGEST, body={"queries": queries})
            results = decoded(answer, source=SOURCE).get("results")
            if not isinstance(results, list) or len(results) != len(batch):
                raise UnavailableError("did not answer every query of a batch.", component=SOURCE)
            for (package, _token), result in zip(batch, results, strict=True):
                ids, token = _result(result)
                named[package] |= ids
                if token is not None:
                    following.append((package, token))
        pending = following
    raise UnavailableError(f"answers in more than {_PAGES} pages.", component=SOURCE)


def _query(package: Package, token: str | None) -> dict[str, Any]:
    name, version = package
    with contextlib.suppress(InvalidVersion):  # one from before PEP 440: the API may list it
        version = Version(version).public  # the API knows no local builds
    described: dict[str, Any] = {"package": {"name": name, "ecosystem": PYPI}, "version": version}
    return described if token is None else described | {"page_token": token}


def _result(result: Any) -> tuple[set[str], str | None]:
    try:
        ids = {vulnerability["id"] for vulnerability in (result or {}).get("vulns") or []}
        token = (result or {}).get("next_page_token") or None
    except (KeyError, TypeError, AttributeError) as error:
        raise UnavailableError("answered a result of another shape.", component=SOURCE) from error
    if not all(isinstance(name, str) for name in ids) or not isinstance(token, str | None):
        raise UnavailableError("answered a result of another shape.", component=SOURCE)
    return ids, token


async def _records(client: httpx.AsyncClient, ids: Sequence[str], at_once: int) -> dict[str, Advisory]:
    records: dict[str, Advisory] = {}
    queue = list(ids)

    async def work() -> None:
        while queue:
            name = queue.pop()
            try:
                answer = await ask(client, f"vulns/{quote(name, safe='')}", source=SOURCE, largest=_LARGEST)
                records[name] = read_advisory(decoded(answer, source=SOURCE))
            except NotFoundError as error:
                raise UnavailableError("names a record that it does not have.", component=SOURCE) from error
            except AdvisoryError as error:
                raise UnavailableError(f"has a record that is {error}.", component=SOURCE) from error

    workers = [asyncio.create_task(work()) for _ in range(min(at_once, len(queue)))]
    try:
        await asyncio.gather(*workers)
    finally:  # one failed: what the others would bring is of no use
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return records

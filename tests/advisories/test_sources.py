"""Sources that are asked over real sockets: whatever fails is a gap, and a gap is never covered."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from models.advisories import AdvisoriesSettings, SourceName
from models.severity import Severity
from tasks.advisories.github_database import GithubDatabase
from tasks.advisories.known import ask_all, sources_of
from tasks.advisories.merge import merge
from tasks.advisories.osv_api import BATCH, OsvApi
from tasks.advisories.package import Package
from tasks.advisories.pypi_json import PypiJson
from tasks.advisories.record import Verdict
from tasks.advisories.source import SourceState, Told, Wanted
from tests.advisories.records import ALPHA, NOW, archive, hides, record
from tests.loopback import BROKEN, Reply, Server, as_json

BETA = Package("PyPI", "beta")
LEFT = Package("npm", "left")
OPENSSL = Package("Debian:12", "openssl")
IMAGE = Package("Docker", "python")


def wanted(*packages: Package, versions: tuple[str, ...] = ("1.0",)) -> dict[Package, frozenset[str]]:
    return {package: frozenset(versions) for package in packages}


def serve_osv(server: Server, records: dict[str, dict[str, Any]], page: int = 1000) -> list[dict[str, Any]]:
    """OSV's API over `records`, all of a package's name, `page` ids at a time; gives the queries as they come."""
    asked: list[dict[str, Any]] = []

    def route(path: str, body: Any) -> Reply | None:
        if path == "/v1/querybatch":
            asked.extend(body["queries"])
            results = []
            for query in body["queries"]:
                name = query["package"]["name"]
                ids = sorted(key for key, data in records.items() if data["affected"][0]["package"]["name"] == name)
                start = int(query.get("page_token") or 0)
                result: dict[str, Any] = {}
                if ids[start : start + page]:
                    result["vulns"] = [{"id": key, "modified": "x"} for key in ids[start : start + page]]
                if ids[start + page :]:
                    result["next_page_token"] = str(start + page)
                results.append(result)
            return as_json({"results": results})
        found = records.get(path.removeprefix("/v1/vulns/"))
        return as_json(found) if found else None

    server.route = route
    return asked


async def test_every_page_and_every_batch_is_read_and_each_record_fetched_once(server: Server) -> None:
    records = {f"X-{number:02}": record(f"X-{number:02}") for number in range(7)}
    serve_osv(server, records, page=3)
    others = [Package("PyPI", f"other-{number}") for number in range(BATCH + 5)]
    told = await OsvApi(server.url).tell(wanted(ALPHA, *others))
    assert {one.id for one in told.advisories[ALPHA]} == set(records)
    fetched = [path for path in server.requests if path.startswith("/v1/vulns/")]
    assert sorted(fetched) == sorted(f"/v1/vulns/{key}" for key in records)
    assert server.requests.count("/v1/querybatch") == 4  # two batches, and two more pages for one package
    assert (told.covers, told.gaps) == ({"PyPI"}, ())


async def test_registries_are_asked_for_all_of_a_package_distributions_for_the_versions_in_use(server: Server) -> None:
    asked = serve_osv(server, {})
    await OsvApi(server.url).tell({ALPHA: frozenset({"1.0", "2.0"}), LEFT: frozenset(), OPENSSL: frozenset({"3.0-1"})})
    assert {json.dumps(query, sort_keys=True) for query in asked} == {
        json.dumps({"package": {"ecosystem": "PyPI", "name": "alpha"}}),
        json.dumps({"package": {"ecosystem": "npm", "name": "left"}}),
        json.dumps({"package": {"ecosystem": "Debian:12", "name": "openssl"}, "version": "3.0-1"}),
    }


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_osv_is_a_gap_and_never_clean(server: Server, how: str) -> None:
    server.route = lambda _path, _body: BROKEN[how]
    told = await OsvApi(server.url).tell(wanted(ALPHA))
    assert hides(told.gaps)
    assert not told.covers
    assert len(server.requests) <= 2


@pytest.mark.parametrize("how", ["500", "404", "truncated", "empty"])
async def test_a_record_that_cannot_be_had_is_a_gap_and_hides_no_other(server: Server, how: str) -> None:
    serve_osv(server, {"X-1": record("X-1"), "X-2": record("X-2")})
    good = server.route
    server.route = lambda path, body: BROKEN[how] if path.endswith("X-1") else good(path, body)
    told = await OsvApi(server.url).tell(wanted(ALPHA))
    assert [one.id for one in told.advisories[ALPHA]] == ["X-2"]
    assert hides(told.gaps)
    assert "X-1" in told.gaps[0].reason


async def test_an_ecosystem_that_the_server_refuses_takes_no_other_with_it(server: Server) -> None:
    serve_osv(server, {"X-1": record("X-1")})
    good = server.route
    server.route = lambda path, body: (
        (400, "application/json", b"{}")
        if body and body["queries"][0]["package"]["ecosystem"] == "npm"
        else good(path, body)
    )
    told = await OsvApi(server.url).tell(wanted(ALPHA, LEFT))
    assert told.covers == {"PyPI"}
    assert [one.id for one in told.advisories[ALPHA]] == ["X-1"]
    assert [found.component for found in told.gaps] == ["OSV: npm"]


async def test_a_moment_of_trouble_passes(server: Server) -> None:
    serve_osv(server, {"X-1": record("X-1")})
    good = server.route
    server.route = lambda path, body: (503, "text/plain", b"") if len(server.requests) == 1 else good(path, body)
    told = await OsvApi(server.url).tell(wanted(ALPHA))
    assert told.advisories[ALPHA][0].verdict(ALPHA, "1.0") is Verdict.affected
    assert not told.gaps


async def test_a_slow_osv_ends_at_its_time(server: Server) -> None:
    def slow(_path: str, _body: Any) -> Reply:
        time.sleep(1.0)
        return as_json({"results": [{}]})

    server.route = slow
    for source in (OsvApi(server.url, timeout_s=0.2), OsvApi(server.url, budget_s=0.2)):
        begun = time.monotonic()
        assert hides((await source.tell(wanted(ALPHA))).gaps)
        assert time.monotonic() - begun < 0.9


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "gopher://x", "http://[", ""])
async def test_servers_that_are_not_there_are_told_within_seconds(url: str) -> None:
    begun = time.monotonic()
    for told in await asyncio.gather(OsvApi(url).tell(wanted(ALPHA)), PypiJson(url).tell(wanted(ALPHA))):
        assert hides(told.gaps)
        assert not told.covers
    assert time.monotonic() - begun < 8


def serve_pypi(server: Server, releases: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    def route(path: str, _body: Any) -> Reply | None:
        name, *version = path.removeprefix("/pypi/").removesuffix("/json").split("/")
        if name not in releases or (version and version[0] not in releases[name]):
            return None
        return as_json({"info": {}, "vulnerabilities": releases[name][version[0]] if version else []})

    server.route = route


def told_by_pypi(id_: str, *fixed: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "aliases": ["CVE-1"],
        "fixed_in": list(fixed),
        "link": "https://osv.dev/x",
        "summary": "Bad",
    } | more


async def test_pypi_tells_of_the_versions_in_use_with_their_fixes(server: Server) -> None:
    both = told_by_pypi("PYSEC-1", "1.5", "2.1")
    serve_pypi(server, {"alpha": {"1.0": [both], "2.0": [both], "2.1": []}})
    told = await PypiJson(f"{server.url}/pypi").tell(wanted(ALPHA, versions=("1.0", "2.0", "2.1", "2.1+cpu")))
    (one,) = told.advisories[ALPHA]
    assert [one.verdict(ALPHA, version).value for version in ("1.0", "2.0", "2.1", "1.5")] == [
        *("affected", "affected", "clean", "clean"),
    ]
    assert [merge(ALPHA, version, [one])[0].fixed for version in ("1.0", "2.0")] == ["1.5", "2.1"]
    assert (told.covers, told.gaps) == ({"PyPI"}, ())


async def test_what_pypi_withdrew_is_withdrawn_and_its_silence_about_unknown_versions_covers_nothing(
    server: Server,
) -> None:
    serve_pypi(server, {"alpha": {"1.0": [told_by_pypi("PYSEC-1", withdrawn="2026-01-01T00:00:00Z")]}, "beta": {}})
    source = PypiJson(f"{server.url}/pypi")
    known = await ask_all([source], wanted(ALPHA))
    assert (dict(known.advisories), known.gaps) == ({}, ())
    assert not (await source.tell({ALPHA: frozenset()})).covers
    unknown = await source.tell(wanted(ALPHA, BETA))
    assert hides(unknown.gaps)
    assert "beta 1.0" in unknown.gaps[0].reason


async def test_a_package_of_ones_own_is_nothing_to_pypi_but_an_index_that_knows_nothing_is_none(server: Server) -> None:
    serve_pypi(server, {"alpha": {"1.0": []}})
    source = PypiJson(f"{server.url}/pypi")
    told = await source.tell(wanted(ALPHA, Package("PyPI", "in-house")))
    assert (told.covers, told.gaps) == ({"PyPI"}, ())
    assert hides((await source.tell(wanted(Package("PyPI", "in-house")))).gaps)


@pytest.mark.parametrize("how", ["500", "html", "empty"])
async def test_a_broken_pypi_is_a_gap_and_is_not_asked_for_ever(server: Server, how: str) -> None:
    server.route = lambda _path, _body: BROKEN[how]
    packages = [Package("PyPI", f"package-{number}") for number in range(100)]
    told = await PypiJson(server.url).tell(wanted(*packages))
    assert hides(told.gaps)
    assert not told.covers
    assert len(server.requests) < 80


@pytest.mark.parametrize("shape", [[{}], ["x"], [{"id": 1}], [{"id": "X", "fixed_in": 3}], [{"id": "X", "aliases": 3}]])
async def test_vulnerabilities_of_another_shape_are_a_gap(server: Server, shape: list[Any]) -> None:
    server.route = lambda _path, _body: as_json({"vulnerabilities": shape})
    assert hides((await PypiJson(server.url).tell(wanted(ALPHA))).gaps)


class Says:
    """A source that says what it is told to."""

    def __init__(self, told: Told) -> None:
        self._told = told

    @property
    def name(self) -> str:
        return self._told.state.name

    async def tell(self, _wanted: Wanted) -> Told:
        return self._told


async def test_the_newest_record_of_an_id_wins_and_a_withdrawn_one_retracts() -> None:
    from tasks.advisories.record import read_advisory

    def said(*records: dict[str, Any]) -> Says:
        return Says(Told(SourceState("x"), {ALPHA: tuple(map(read_advisory, records))}, frozenset({"PyPI"})))

    old = {"modified": "2026-01-01T00:00:00Z"}
    sources = [
        said(record("X-1", fixed="2.0") | old, record("X-2") | old),
        said(record("X-1", fixed="3.0"), record("X-2", withdrawn="2026-10-01T00:00:00Z"), record("X-3")),
    ]
    for order in (sources, sources[::-1]):
        known = await ask_all(order, wanted(ALPHA))
        assert [(one.id, *one.fixes(ALPHA)) for one in known.advisories[ALPHA]] == [("X-1", "3.0"), ("X-3", "2.0")]


async def test_every_ecosystem_that_no_source_covers_is_a_gap_and_images_are_none() -> None:
    source = Says(Told(SourceState("x"), covers=frozenset({"npm"})))
    known = await ask_all([source], wanted(ALPHA, BETA, LEFT, OPENSSL, IMAGE))
    assert [found.component for found in known.gaps] == ["Debian:12", "PyPI"]
    assert hides(known.gaps)
    assert (await ask_all([], wanted(IMAGE))).gaps == ()
    assert hides((await ask_all([], wanted(ALPHA))).gaps)


def test_sources_are_those_that_are_named_else_those_that_are_there(tmp_path: Path) -> None:
    def names(**settings: Any) -> list[str]:
        *told, built_in = sources_of(AdvisoriesSettings(**settings), tmp_path / "advisories")
        assert built_in.name == "lama"
        return [source.name for source in told]

    assert names() == ["osv"]
    assert names(mirror=tmp_path / "gone") == ["mirror"]
    archive(tmp_path / "advisories", [record("X-1")])
    assert names() == ["mirror"]
    assert names(github_database=tmp_path, rules=tmp_path / "rules.toml") == ["mirror", "github", "rules"]
    assert names(sources=(SourceName.osv, SourceName.pypi)) == ["osv", "pypi"]
    with pytest.raises(Exception, match="github_database is not set"):
        names(sources=(SourceName.github,))


def github(root: Path, *records: dict[str, Any]) -> Path:
    for one in records:
        folder = root / "advisories/github-reviewed/2026/10" / one["id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{one['id']}.json").write_text(json.dumps(one))
    return root


async def test_a_checkout_of_the_github_database_is_a_source_and_changes_are_found(tmp_path: Path) -> None:
    checkout = github(tmp_path / "database", record("GHSA-1", database_specific={"severity": "HIGH"}), record("GHSA-2"))
    source = GithubDatabase(checkout, tmp_path / "advisories", now=lambda: NOW)
    told = await source.tell(wanted(ALPHA, LEFT, OPENSSL))
    assert {one.id: one.severity for one in told.advisories[ALPHA]} == {
        "GHSA-1": Severity.high,
        "GHSA-2": Severity.unknown,
    }
    assert (told.covers, told.gaps, told.state.records) == ({"PyPI", "npm"}, (), 2)
    github(checkout, record("GHSA-2", fixed="7.0"), record("GHSA-3", "Beta"))
    (checkout / "advisories/github-reviewed/2026/10/GHSA-1/GHSA-1.json").unlink()
    told = await source.tell(wanted(ALPHA, BETA))
    assert [(one.id, *one.fixes(ALPHA)) for one in told.advisories[ALPHA]] == [("GHSA-2", "7.0")]
    assert [one.id for one in told.advisories[BETA]] == ["GHSA-3"]


async def test_a_github_database_that_is_missing_stale_or_damaged_is_a_gap(tmp_path: Path) -> None:
    def source(checkout: Path) -> GithubDatabase:
        return GithubDatabase(checkout, checkout / "index", now=lambda: NOW)

    told = await source(tmp_path / "gone").tell(wanted(ALPHA))
    assert hides(told.gaps)
    assert not told.covers
    old = github(tmp_path / "old", record("GHSA-1") | {"modified": "2020-01-01T00:00:00Z"})
    told = await source(old).tell(wanted(ALPHA))
    assert told.state.stale
    assert hides(told.gaps)
    assert told.advisories[ALPHA]
    odd = github(tmp_path / "odd", record("GHSA-1"))
    (tmp_path / "secret.json").write_text(json.dumps(record("GHSA-9")))
    (odd / "advisories/github-reviewed/2026/10/link.json").symlink_to(tmp_path / "secret.json")
    (odd / "advisories/github-reviewed/2026/10/cut.json").write_text('{"id": "GHSA-2"')
    told = await source(odd).tell(wanted(ALPHA))
    assert [one.id for one in told.advisories[ALPHA]] == ["GHSA-1"]
    assert "cut.json" in " ".join(found.reason for found in told.gaps)

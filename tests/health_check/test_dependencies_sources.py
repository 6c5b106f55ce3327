"""Sources of advisories and versions, spoken to over real sockets and real zip files: whatever fails is a skip."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import UnavailableError
from blocks.osv import Osv
from blocks.package_index import PackageIndex
from tasks.advisories import osv_api, osv_mirror
from tasks.advisories.osv_mirror import read_mirror
from tasks.advisories.package import PYPI, Package
from tasks.advisories.record import Verdict
from tasks.audit.releases import Releases, look_up

ALPHA = Package(PYPI, "alpha")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
Reply = tuple[int, str, bytes]


class Server:
    """A loopback HTTP server that answers by `routes`, else by `reply` for everything, and counts requests."""

    def __init__(self) -> None:
        self.route: Callable[[str, Any], Reply | None] = lambda _path, _body: None
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                server.requests.append(self.path)
                status, kind, content = server.route(self.path, body) or (404, "text/plain", b"no such thing")
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def as_json(data: Any, kind: str = "application/json") -> Reply:
    return 200, kind, json.dumps(data).encode()


def advisory(id_: str, package: str = "alpha", fixed: str = "2.0", **more: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = [
        {"package": {"name": package, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    ]
    return {"id": id_, "modified": "2026-10-30T00:00:00Z", "affected": affected, **more}


def serve_osv(server: Server, records: dict[str, dict[str, Any]], page: int = 1000) -> None:
    """OSV's API over `records`: everything of a package's name, `page` ids at a time."""

    def route(path: str, body: Any) -> Reply | None:
        if path == "/v1/querybatch":
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


async def test_every_page_and_every_batch_is_read_and_each_record_fetched_once(server: Server) -> None:
    records = {f"X-{number:02}": advisory(f"X-{number:02}") for number in range(7)}
    serve_osv(server, records, page=3)
    packages = [("alpha", f"1.{number}") for number in range(osv_api.BATCH + 5)]
    found = await osv_api.query(Osv(url=server.url), packages, budget_s=20)
    assert set(found) == set(packages)
    assert {one.id for one in found["alpha", "1.0"]} == set(records)
    fetched = [path for path in server.requests if path.startswith("/v1/vulns/")]
    assert sorted(fetched) == sorted(f"/v1/vulns/{key}" for key in records)
    assert server.requests.count("/v1/querybatch") == 6  # two batches, three pages


BROKEN: dict[str, Reply] = {
    "500": (500, "text/plain", b"oops"),
    "404": (404, "text/plain", b""),
    "403": (403, "text/plain", b""),
    "html": (200, "text/html", b"<html>Please log in to this network</html>"),
    "truncated": (200, "application/json", b'{"results": [{"vulns": [{"id": "X-'),
    "other shape": (200, "application/json", b"[]"),
    "empty": (200, "application/json", b"{}"),
    "too few results": (200, "application/json", b'{"results": []}'),
    "no ids": (200, "application/json", b'{"results": [{"vulns": [{}]}]}'),
    "deep": (200, "application/json", b"[" * 100_000),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_osv_is_unavailable_and_never_clean(server: Server, how: str) -> None:
    server.route = lambda _path, _body: BROKEN[how]
    with pytest.raises(UnavailableError):
        await osv_api.query(Osv(url=server.url), [("alpha", "1.0")], budget_s=10)
    assert len(server.requests) <= 2


@pytest.mark.parametrize("how", ["500", "404", "html", "truncated", "empty"])
async def test_one_record_that_cannot_be_had_makes_all_of_osv_unavailable(server: Server, how: str) -> None:
    batch = {"results": [{"vulns": [{"id": "X-1"}]}]}
    server.route = lambda path, _body: as_json(batch) if path == "/v1/querybatch" else BROKEN[how]
    with pytest.raises(UnavailableError):
        await osv_api.query(Osv(url=server.url), [("alpha", "1.0")], budget_s=10)


async def test_a_moment_of_trouble_passes(server: Server) -> None:
    serve_osv(server, {"X-1": advisory("X-1")})
    good = server.route
    server.route = lambda path, body: (503, "text/plain", b"") if len(server.requests) == 1 else good(path, body)
    found = await osv_api.query(Osv(url=server.url), [("alpha", "1.0")], budget_s=10)
    assert found["alpha", "1.0"][0].verdict(ALPHA, "1.0") is Verdict.affected


async def test_a_slow_osv_ends_at_its_time(server: Server) -> None:
    def slow(_path: str, _body: Any) -> Reply:
        time.sleep(1.5)
        return as_json({"results": [{}]})

    server.route = slow
    for osv, budget in ((Osv(url=server.url, timeout_s=0.2), 10.0), (Osv(url=server.url), 0.2)):
        begun = time.monotonic()
        with pytest.raises(UnavailableError):
            await osv_api.query(osv, [("alpha", "1.0")], budget_s=budget)
        assert time.monotonic() - begun < 1.4


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "gopher://x", "http://[", ""])
async def test_an_osv_that_is_not_there_is_told_within_seconds(url: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        await osv_api.query(Osv(url=url), [("alpha", "1.0")], budget_s=30)
    assert time.monotonic() - begun < 8


def page(files: list[dict[str, Any]]) -> Reply:
    return as_json(
        {"meta": {"api-version": "1.1"}, "name": "alpha", "files": files}, "application/vnd.pypi.simple.v1+json"
    )


async def versions(server: Server, name: str = "alpha") -> list[str]:
    releases = await ask_index(server.url, name)
    assert not releases.failed
    return [str(version) for version in releases.versions[name]]


async def ask_index(url: str, *names: str, timeout_s: float = 5) -> Releases:
    index = PackageIndex.of(f"{url}/simple", timeout_s=timeout_s)
    return await look_up(index, names, python="3.11.9", budget_s=10)


async def test_versions_come_in_json_without_yanked_early_and_unfit_ones(server: Server) -> None:
    files = [
        {"filename": "alpha-1.9.tar.gz"},
        {"filename": "alpha-1.10-py3-none-any.whl", "requires-python": ">=3.8"},
        {"filename": "alpha-1.11-py3-none-any.whl", "yanked": "broken"},
        {"filename": "alpha-1.12rc1-py3-none-any.whl"},
        {"filename": "alpha-2.0-py3-none-any.whl", "requires-python": ">=3.12"},
        {"filename": "another-9.0.tar.gz"},
        {"filename": "not a file name"},
    ]
    server.route = lambda _path, _body: page(files)
    assert await versions(server) == ["1.9", "1.10"]


async def test_versions_come_in_html_too(server: Server) -> None:
    text = """<!DOCTYPE html><html><body>
      <a href="/f/alpha-1.9.tar.gz#sha256=1">alpha-1.9.tar.gz</a>
      <a href="/f/alpha-1.10.tar.gz" data-requires-python="&gt;=3.8">alpha-1.10.tar.gz</a>
      <a href="/f/alpha-1.11.tar.gz" data-yanked="">alpha-1.11.tar.gz</a>
      <a href="/f/alpha-2.0.tar.gz" data-requires-python="&gt;=3.12">alpha-2.0.tar.gz</a></body></html>"""
    server.route = lambda _path, _body: (200, "text/html; charset=utf-8", text.encode())
    assert await versions(server) == ["1.9", "1.10"]


async def test_a_package_that_the_index_lacks_spoils_nothing_else(server: Server) -> None:
    server.route = lambda path, _body: page([{"filename": "alpha-1.0.tar.gz"}]) if "alpha" in path else None
    releases = await ask_index(server.url, "alpha", "in-house")
    assert releases.unknown == {"in-house"}
    assert set(releases.versions) == {"alpha"}
    assert not releases.failed


@pytest.mark.parametrize("how", [name for name in BROKEN if name != "404"])
async def test_a_broken_index_fails_every_package_and_is_not_asked_for_ever(server: Server, how: str) -> None:
    server.route = lambda _path, _body: BROKEN[how]
    names = [f"package-{number}" for number in range(200)]
    releases = await ask_index(server.url, *names)
    assert set(releases.failed) == set(names)
    assert len(server.requests) < 80


async def test_the_password_of_an_index_is_in_no_message() -> None:
    releases = await look_up(
        PackageIndex.of("http://someone:hunter2-secret@127.0.0.1:9/simple"), ["alpha"], python="3.11", budget_s=10
    )
    assert releases.failed
    assert "hunter2" not in json.dumps(dict(releases.failed)) + repr(PackageIndex.of("http://a:hunter2@h/s"))


def mirror(folder: Path, entries: dict[str, bytes]) -> Path:
    archive = folder / "PyPI" / "all.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return archive


def test_a_mirror_gives_the_records_of_the_packages_asked_for(tmp_path: Path) -> None:
    entries = {
        "X-1.json": json.dumps(advisory("X-1", "Alpha")).encode(),
        "X-2.json": json.dumps(advisory("X-2", "beta")).encode(),
        "X-3.json": json.dumps(advisory("X-3", "alpha")).replace("alpha", "\\u0061lpha").encode(),
    }
    mirror(tmp_path, entries)
    read = read_mirror(tmp_path, {"alpha"}, now=NOW)
    assert {one.id for one in read.advisories if one.verdict(ALPHA, "1.0") is Verdict.affected} == {"X-1", "X-3"}
    assert (read.records, read.unreadable) == (3, ())


def test_the_age_of_a_mirror_is_that_of_its_newest_record_and_the_future_does_not_count(tmp_path: Path) -> None:
    old = advisory("X-1") | {"modified": "2026-09-01T00:00:00.123456Z"}
    future = advisory("X-2") | {"modified": "2126-01-01T00:00:00Z"}
    mirror(tmp_path, {"X-1.json": json.dumps(old).encode(), "X-2.json": json.dumps(future).encode()})
    assert read_mirror(tmp_path, {"alpha"}, now=NOW).newest == datetime(2026, 9, 1, tzinfo=UTC)
    assert read_mirror(tmp_path, {"alpha"}, now=NOW + timedelta(days=36_600)).newest == datetime(2126, 1, 1, tzinfo=UTC)


def test_bad_entries_are_told_and_do_not_hide_the_good_ones(tmp_path: Path) -> None:
    good = json.dumps(advisory("X-1")).encode()
    bomb = b" " * (osv_mirror.LARGEST_ENTRY + 10) + good
    mirror(
        tmp_path,
        {
            "X-1.json": good,
            "bomb.json": bomb,
            "cut.json": good[:-20],
            "cut-other.json": json.dumps(advisory("X-9", "beta")).encode()[:-20],
            "shape.json": b'{"name": "alpha"}',
        },
    )
    read = read_mirror(tmp_path, {"alpha"}, now=NOW)
    assert [one.id for one in read.advisories] == ["X-1"]
    told = " ".join(read.unreadable)
    assert all(name in told for name in ("bomb.json", "cut.json", "cut-other.json", "shape.json"))


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    archive = mirror(tmp_path, {"X-1.json": json.dumps(advisory("X-1")).encode() * 50})
    content = bytearray(archive.read_bytes())
    content[60] ^= 0xFF
    archive.write_bytes(content)
    assert read_mirror(tmp_path, {"alpha"}, now=NOW).unreadable


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>", b"PK\x03\x04 and then nothing"])
def test_a_mirror_that_is_none_is_unavailable(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "PyPI").mkdir()
        (tmp_path / "PyPI" / "all.zip").write_bytes(content)
    with pytest.raises(UnavailableError):
        read_mirror(tmp_path, {"alpha"}, now=NOW)


def test_an_empty_or_cut_mirror_is_unavailable(tmp_path: Path) -> None:
    mirror(tmp_path / "empty", {})
    archive = mirror(tmp_path / "cut", {f"X-{n}.json": json.dumps(advisory(f"X-{n}")).encode() for n in range(50)})
    archive.write_bytes(archive.read_bytes()[:-200])
    for folder in ("empty", "cut"):
        with pytest.raises(UnavailableError):
            read_mirror(tmp_path / folder, {"alpha"}, now=NOW)


async def test_asking_is_not_blocked_by_many_packages(server: Server) -> None:
    def route(path: str, _body: Any) -> Reply:
        time.sleep(0.05)
        name = path.strip("/").rpartition("/")[2]
        return page([{"filename": f"{name.replace('-', '_')}-1.0.tar.gz"}])

    server.route = route
    names = [f"package-{number}" for number in range(64)]
    begun = time.monotonic()
    releases = await asyncio.wait_for(ask_index(server.url, *names), 10)
    assert set(releases.versions) == set(names)
    assert time.monotonic() - begun < 64 * 0.05

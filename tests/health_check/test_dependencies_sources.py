"""The package index, spoken to over real sockets: whatever fails is told, and nothing is taken for newest."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from blocks.package_index import PackageIndex
from tasks.audit.releases import Releases, look_up
from tests.loopback import BROKEN, Reply, Server, as_json


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


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

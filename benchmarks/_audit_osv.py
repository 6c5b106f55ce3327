"""OSV's API on loopback, answering from a mirror of invented advisories by what is known to be true about them.

`python benchmarks/_audit_osv.py MIRROR PORT [PAGE]`; PAGE is how many records it names at once, 1000 otherwise. It
matches nothing itself, so it cannot make the mistakes that it is there to show. Below `/simple/` it is an index of
packages: uv asks the index that a lock names for the status of every project.
"""

from __future__ import annotations

import asyncio
import re
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
from _audit_mirror import archive, truth_about
from _audit_records import NPM, PYPI, History

_API = b"content-type: application/json"
_INDEX = b'content-type: application/vnd.pypi.simple.v1+json\r\ncache-control: max-age=600, public\r\netag: "1"'
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


class Records:
    """Answers, each worked out once."""

    def __init__(self, mirror: Path, page: int) -> None:
        self.page = page
        self._mirror = mirror
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._histories: dict[str, dict[str, History]] = {}
        self.record = cache(self._record)
        self.ids = cache(self._ids)
        self.query = cache(self._query)
        self.result = cache(self._result)

    def _record(self, id_: str) -> bytes | None:
        for ecosystem in (PYPI, NPM):
            if ecosystem not in self._archives:
                self._archives[ecosystem] = zipfile.ZipFile(archive(self._mirror, ecosystem))
            try:
                return self._archives[ecosystem].read(f"{id_}.json")
            except KeyError:
                continue
        return None

    def _ids(self, ecosystem: str, name: str, version: str) -> tuple[str, ...]:
        if ecosystem not in (PYPI, NPM):
            return ()
        if ecosystem not in self._histories:
            self._histories[ecosystem] = truth_about(self._mirror, ecosystem)
        history = self._histories[ecosystem].get(name)
        if history is None or version not in history.versions:
            return ()
        flaws = history.flaws_at(history.versions.index(version))
        return tuple(sorted({id_ for _flaw, ids in flaws for id_ in ids}))

    def _query(self, ecosystem: str, name: str, version: str, begin: int) -> bytes:
        ids = self.ids(ecosystem, name, version)
        records = [self.record(id_) or b"null" for id_ in ids[begin : begin + self.page]]
        return self._page(records, ids, begin)

    def _result(self, ecosystem: str, name: str, version: str, begin: int) -> bytes:
        ids = self.ids(ecosystem, name, version)
        named = [self._named(id_) for id_ in ids[begin : begin + self.page]]
        return self._page(named, ids, begin)

    def _named(self, id_: str) -> bytes:
        record = orjson.loads(self.record(id_) or b"{}")
        return orjson.dumps({"id": id_, "modified": record.get("modified")})

    def _page(self, told: list[bytes], ids: tuple[str, ...], begin: int) -> bytes:
        parts = [b'"vulns":[%s]' % b",".join(told)] if told else []
        if len(ids) > begin + self.page:
            parts.append(b'"next_page_token":"%d"' % (begin + self.page))
        return b"{%s}" % b",".join(parts)


class Connection(asyncio.Protocol):
    """One client; it may send its next request before it has the last answer."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end]
            length = _LENGTH.search(head)
            begin, size = end + 4, int(length[1]) if length else 0
            if len(self._pending) < begin + size:
                return
            body, self._pending = self._pending[begin : begin + size], self._pending[begin + size :]
            path = head.split(b" ", 2)[1].decode()
            answer = self._answer(path.replace("//", "/"), body)
            status = b"200 OK" if answer is not None else b"404 Not Found"
            answer = answer if answer is not None else b'{"code":5,"message":"Not found."}'
            kind = _INDEX if path.startswith("/simple/") else _API
            self._transport.write(
                b"HTTP/1.1 %s\r\n%s\r\ncontent-length: %d\r\n\r\n%s" % (status, kind, len(answer), answer)
            )

    def _answer(self, path: str, body: bytes) -> bytes | None:
        if path == "/v1/query":
            return self._records.query(*_asked(orjson.loads(body)))
        if path == "/v1/querybatch":
            results = [self._records.result(*_asked(query)) for query in orjson.loads(body)["queries"]]
            return b'{"results":[' + b",".join(results) + b"]}"
        if path.startswith("/v1/vulns/"):
            return self._records.record(unquote(path.removeprefix("/v1/vulns/")))
        if path.startswith("/simple/"):
            described = {"meta": {"api-version": "1.4"}, "name": path.split("/")[2], "versions": [], "files": []}
            return orjson.dumps(described)
        return None


def _asked(query: dict[str, Any]) -> tuple[str, str, str, int]:
    package = query.get("package") or {}
    begin = int(query.get("page_token") or 0)
    return package.get("ecosystem", ""), package.get("name", ""), query.get("version", ""), begin


async def main() -> None:
    mirror, port, *page = sys.argv[1:]
    records = Records(Path(mirror), int(page[0]) if page else 1000)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(records), "127.0.0.1", int(port))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

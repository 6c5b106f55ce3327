"""A file of the mirror is fetched when it has changed, whole or not at all, over real sockets."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError, LamaError, UnavailableError
from blocks.osv import AdvisoryFiles
from blocks.settings import settings
from lama.commands.advisories import advisories
from tasks.advisories.archives import INDEX, stamp_of
from tasks.advisories.download import Downloaded, Remote, download
from tasks.advisories.fetched import read_fetched, write_fetched
from tasks.advisories.importing import LOCK, import_files
from tasks.advisories.mirror import Mirror
from tasks.advisories.mirror_build import only_one
from tasks.advisories.mirror_files import archive_of, exploitation_files
from tests.advisories.records import ALPHA, NOW, archive, record
from tests.loopback import Reply, Server


def served(server: Server, content: bytes, *, etag: str = '"one"', cut: int | None = None) -> None:
    """`content` as a server of files has it: with ranges and conditions. With `cut`, the first answer breaks off."""
    state = {"cut": cut}

    def route(_path: str, _body: Any) -> Reply:
        asked = server.headers[-1]
        if asked.get("if-none-match") == etag:
            return 304, "application/zip", b"", {"etag": etag}
        begin = 0
        if "range" in asked and asked.get("if-range") == etag:
            begin = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
        headers = {
            "etag": etag,
            "last-modified": "Sat, 31 Oct 2026 00:00:00 GMT",
            "content-length": str(len(content) - begin),
        }
        if begin:
            headers["content-range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        rest = content[begin:]
        if state["cut"] is not None:
            rest, state["cut"] = rest[: state["cut"]], None
            headers["connection"] = "close"
        return 206 if begin else 200, "application/zip", rest, headers

    server.route = route


async def fetch(server: Server, folder: Path, remote: Remote | None = None, *, dry_run: bool = False) -> Downloaded:
    remote = remote or archive_of("PyPI", f"{server.url}/PyPI/all.zip")
    known = read_fetched(folder)
    async with AdvisoryFiles(timeout_s=0.5).get_client() as client:
        done = await download(client, remote, folder, known.get(remote.path), now=NOW, dry_run=dry_run)
    if done.fetched is not None:
        write_fetched(folder, known | {done.path: done.fetched})
    return done


def packed(folder: Path, *names: str) -> bytes:
    path = archive(folder, [record(name, summary=os.urandom(2_000).hex()) for name in names])
    return path.read_bytes()


async def test_a_file_is_fetched_once_and_again_when_it_has_changed(server: Server, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    first, second = packed(tmp_path, "X-1"), packed(tmp_path, "X-1", "X-2")
    served(server, first)
    assert (await fetch(server, mirror)).changed
    again = await fetch(server, mirror)
    assert (again.changed, server.headers[-1]["if-none-match"]) == (False, '"one"')
    assert (await fetch(server, mirror, dry_run=True)).changed is False
    served(server, second, etag='"two"')
    asked = await fetch(server, mirror, dry_run=True)
    assert (asked.changed, asked.size) == (True, len(second))
    assert (mirror / "PyPI/all.zip").read_bytes() == first
    assert (await fetch(server, mirror)).changed
    assert (mirror / "PyPI/all.zip").read_bytes() == second
    os.utime(mirror / "PyPI/all.zip")  # somebody touched it: it is no longer known to be that file
    assert (await fetch(server, mirror)).changed


async def test_what_broke_off_is_continued_and_what_changed_meanwhile_begun_anew(
    server: Server, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    content = packed(tmp_path, *(f"X-{n}" for n in range(200)))
    served(server, content, cut=150_000)
    with pytest.raises(UnavailableError):
        await fetch(server, mirror)
    assert not (mirror / "PyPI/all.zip").exists()
    await fetch(server, mirror)
    begin = int(server.headers[-1]["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= 150_000
    assert (mirror / "PyPI/all.zip").read_bytes() == content
    served(server, content[::-1], etag='"bad"', cut=100)
    with pytest.raises(UnavailableError):
        await fetch(server, mirror)
    served(server, packed(tmp_path, "X-1"), etag='"three"')
    await fetch(server, mirror)
    assert (mirror / "PyPI/all.zip").read_bytes() == (tmp_path / "PyPI/all.zip").read_bytes()
    assert sorted(path.name for path in (mirror / "PyPI").glob("*")) == ["all.zip"]


REFUSED: dict[str, tuple[Reply, type[LamaError], str]] = {
    "500": ((500, "text/plain", b"oops"), UnavailableError, "answered with 500"),
    "429": ((429, "text/plain", b""), UnavailableError, "answered with 429"),
    "404": ((404, "text/plain", b""), LamaError, "is not there"),
    "403": ((403, "text/plain", b""), LamaError, "answered with 403"),
    "html": ((200, "text/html", b"<html>Please log in to this network</html>"), LamaError, "not what it should be"),
    "empty": ((200, "application/zip", b""), LamaError, "not what it should be"),
    "no record": ((200, "application/zip", b"PK\x05\x06" + b"\0" * 18), LamaError, "holds no record"),
    "range": ((206, "application/zip", b"x", {"content-range": "bytes 7-7/9"}), UnavailableError, "another place"),
    "304": ((304, "application/zip", b""), LamaError, "not what it should be"),
    "large": ((200, "application/zip", b"x" * 3_000), LamaError, "more than 2000 bytes"),
}


@pytest.mark.parametrize("how", REFUSED)
async def test_what_is_no_archive_never_replaces_one(server: Server, tmp_path: Path, how: str) -> None:
    path = archive(tmp_path, [record("X-1")])
    before = path.read_bytes()
    reply, kind, message = REFUSED[how]
    server.route = lambda _path, _body: reply
    remote = archive_of("PyPI", f"{server.url}/PyPI/all.zip")
    limited = Remote(remote.name, remote.url, remote.path, 2_000, remote.check)
    with pytest.raises(kind, match=message) as caught:
        await fetch(server, tmp_path, limited)
    assert isinstance(caught.value, UnavailableError) == (kind is UnavailableError), "only what may pass is tried again"
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.glob("*")] == ["all.zip"]


async def test_a_slow_or_absent_server_is_told_within_its_time(server: Server, tmp_path: Path) -> None:
    def slow(_path: str, _body: Any) -> Reply:
        time.sleep(1)
        return 200, "application/zip", b""

    server.route = slow
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="in time"):
        await fetch(server, tmp_path)
    for url in ("http://127.0.0.1:9/x", "http://no-such-host.invalid/x"):
        with pytest.raises(UnavailableError):
            await fetch(server, tmp_path, archive_of("PyPI", url))
    for url in ("http://[", "gopher://x", ""):
        with pytest.raises(LamaError):
            await fetch(server, tmp_path, archive_of("PyPI", url))
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("remote", exploitation_files())
async def test_files_of_exploitation_are_checked_too(server: Server, tmp_path: Path, remote: Remote) -> None:
    def placed(remote: Remote) -> Remote:
        return Remote(remote.name, server.url, remote.path, remote.largest, remote.check)

    good = b"cve,epss\nCVE-1,0.5\n" if remote.name == "EPSS" else b'{"vulnerabilities": [{"cveID": "CVE-1"}]}'
    served(server, good)
    assert (await fetch(server, tmp_path, placed(remote))).changed
    for bad in (b"<html></html>", b"[]", b'{"vulnerabilities": []}', b"cve,epss\n"):
        served(server, bad, etag='"bad"')
        with pytest.raises(LamaError, match="not what it should be"):
            await fetch(server, tmp_path, placed(remote))
    assert (tmp_path / remote.path).read_bytes() == good


@pytest.mark.parametrize("name", ["../PyPI", "PyPi", "", "/etc", "Debian:../..", "pypi", "Docker"])
def test_what_osv_has_no_archive_of_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no ecosystem"):
        archive_of(name)


def test_names_with_spaces_and_releases_have_their_place() -> None:
    files = AdvisoryFiles(mirror_url="http://host/base/")
    assert files.archive_url("GitHub Actions") == "http://host/base/GitHub%20Actions/all.zip"
    assert archive_of("Debian:12", files.archive_url("Debian:12")).url == "http://host/base/Debian:12/all.zip"


async def test_a_folder_that_was_carried_here_becomes_the_mirror_with_its_age(tmp_path: Path) -> None:
    carried, mirror = tmp_path / "carried", tmp_path / "mirror"
    archive(carried, [record("X-1")])
    quiet = archive(
        carried,
        [record("X-2", "a/b", ecosystem="GitHub Actions") | {"modified": "2026-08-01T00:00:00Z"}],
        "GitHub Actions",
    )
    (carried / "epss_scores-2026-10-31.csv").write_text("cve,epss\nCVE-1,0.5\n")
    (carried / "known_exploited_vulnerabilities.json").write_text('{"vulnerabilities": [{"cveID": "CVE-1"}]}')
    taken = import_files([carried], mirror, now=NOW, fetched_at=NOW - timedelta(days=1))
    assert {one.path for one in taken} == {"PyPI/all.zip", "GitHub Actions/all.zip", "epss.csv.gz", "kev.json"}
    assert {one.at for one in read_fetched(mirror).values()} == {NOW - timedelta(days=1)}
    told = await Mirror(mirror, now=lambda: NOW).tell({ALPHA: frozenset({"1.0"})})
    assert [one.id for one in told.advisories[ALPHA]] == ["X-1"]
    assert (told.gaps, told.state.fetched_at) == ((), NOW - timedelta(days=1))
    again = import_files([mirror], tmp_path / "third", now=NOW + timedelta(days=2))
    assert len(again) == 4
    assert {one.at for one in read_fetched(tmp_path / "third").values()} == {NOW - timedelta(days=1)}
    os.utime(quiet)
    import_files([quiet], mirror, now=NOW)
    assert "GitHub Actions/all.zip" not in read_fetched(mirror), "nobody says when this one was fetched"


def test_a_zip_says_by_its_folder_its_name_or_the_option_of_what_it_is(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    path = archive(tmp_path / "a", [record("X-1")])
    loose = path.rename(tmp_path / "npm.zip")
    assert [one.path for one in import_files([loose], mirror, now=NOW)] == ["npm/all.zip"]
    (inside,) = import_files([archive(tmp_path / "b", [record("X-1")]).parent], mirror, now=NOW)
    assert inside.path == "PyPI/all.zip"
    (other,) = import_files([loose.rename(tmp_path / "download.zip")], mirror, now=NOW, ecosystem="PyPI")
    assert other.path == "PyPI/all.zip"
    with pytest.raises(ConfigurationError, match="which ecosystem"):
        import_files([tmp_path / "download.zip"], mirror, now=NOW)
    for nothing in (tmp_path / "gone", tmp_path / "a"):
        with pytest.raises(ConfigurationError):
            import_files([nothing], mirror, now=NOW)
    with pytest.raises(LamaError, match="in the mirror already"):
        import_files([mirror], mirror, now=NOW)
    with only_one(mirror / LOCK, wait_s=0), pytest.raises(UnavailableError, match="another process"):
        import_files([tmp_path / "download.zip"], mirror, now=NOW, ecosystem="PyPI")


def test_a_damaged_file_is_not_taken_and_the_one_before_stays(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    path = archive(tmp_path / "new", [record("X-1")])
    import_files([path], mirror, now=NOW)
    before = stamp_of(mirror / "PyPI/all.zip")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(LamaError, match="not what it should be"):
        import_files([path], mirror, now=NOW)
    assert stamp_of(mirror / "PyPI/all.zip") == before


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LAMA_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path / "home"
    monkeypatch.undo()
    settings.cache_clear()


def test_the_commands_that_need_no_platform(home: Path, tmp_path: Path) -> None:
    def lama(*arguments: str) -> tuple[int, str]:
        outcome = CliRunner().invoke(advisories, arguments, standalone_mode=False)
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.return_value, outcome.output

    code, text = lama("status")
    assert (code, "lama advisories update" in text) == (2, True)
    fresh = [record("X-1") | {"modified": datetime.now(UTC).isoformat()}]
    path = archive(tmp_path, fresh)
    code, text = lama("import", str(path), "--fetched", "2026-10-30")
    assert (code, "PyPI/all.zip" in text) == (0, True)
    code, text = lama("status", "--json")
    (copy,) = json.loads(text)["copies"]
    assert (code, copy["name"], copy["records"], copy["stale"], copy["problem"]) == (0, "PyPI", 1, False, "")
    assert copy["fetched_at"].startswith("2026-10-30")
    archive(home / "advisories", [record("X-1") | {"modified": "2020-01-01T00:00:00Z"}], "PyPI")
    assert lama("status")[0] == 2, "the index is not of this archive"
    assert lama("import", str(archive(tmp_path, {"X-1.json": b"{", "X-2.json": b"{}"})))[0] == 2
    assert lama("status")[0] == 2
    lama("import", str(archive(tmp_path, [record("X-1") | {"modified": "2020-01-01T00:00:00Z"}])))
    code, text = lama("status")
    assert (code, "stale" in text) == (1, True)
    (home / "advisories" / INDEX).write_bytes(b"nothing")
    assert lama("status")[0] == 2

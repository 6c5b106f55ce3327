"""The mirror: what its archives say is what it says, and what it cannot read it does not call clean."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import UnavailableError
from blocks.settings import CHECKOUT
from models.severity import Severity
from tasks.advisories import mirror_build
from tasks.advisories.archives import INDEX, stamp_of
from tasks.advisories.fetched import Fetched, read_fetched, write_fetched
from tasks.advisories.mirror import Mirror
from tasks.advisories.mirror_build import build, only_one
from tasks.advisories.mirror_index import Index
from tasks.advisories.package import Package
from tasks.advisories.record import Advisory, Verdict, read_advisory
from tasks.advisories.source import Told
from tests.advisories.records import ALPHA, NOW, archive, hides, record

VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
BETA = Package("PyPI", "beta")


async def tell(folder: Path, *packages: Package, **more: Any) -> Told:
    wanted = {package: frozenset({"1.0"}) for package in packages or (ALPHA,)}
    return await Mirror(folder, now=lambda: NOW, **more).tell(wanted)


def ids(told: Told, package: Package = ALPHA) -> list[str]:
    return [one.id for one in told.advisories.get(package, ())]


def bare(advisory: Advisory) -> Advisory:
    """Without what only the grade was made of."""
    return dataclasses.replace(advisory, vectors=(), words=(), given=advisory.grade)


async def test_what_the_mirror_says_is_what_the_record_says(tmp_path: Path) -> None:
    long = record(
        "GHSA-1",
        "Alpha",
        severity=[{"type": "CVSS_V3", "score": VECTOR}],
        aliases=["CVE-2026-1"],
        summary="A summary",
        details="x" * 10_000,
        published="2026-01-02T03:04:05Z",
        references=[
            {"type": "WEB", "url": "https://example.com/a"},
            {"type": "ADVISORY", "url": "https://example.com"},
        ],
        database_specific={"cwe_ids": ["CWE-79"], "severity": "LOW"},
    )
    long["affected"][0] |= {"versions": [f"1.{n}" for n in range(900)], "database_specific": {"source": "x" * 999}}
    commits = record("X-3")
    commits["affected"][0]["ranges"] = [{"type": "GIT", "repo": "https://example.com", "events": [{"introduced": "0"}]}]
    archive(tmp_path, [long, record("X-2", "beta"), commits, record("MAL-4", severity=[])])
    told = await tell(tmp_path)
    kept = {one.id: one for one in told.advisories[ALPHA]}
    assert {name: bare(one) for name, one in kept.items()} == {
        one["id"]: bare(read_advisory(one)) for one in (long, commits, record("MAL-4"))
    }
    assert (kept["GHSA-1"].score, kept["GHSA-1"].vector, kept["MAL-4"].severity) == (9.8, VECTOR, Severity.critical)
    assert kept["X-3"].verdict(ALPHA, "1.0") is Verdict.undecidable
    assert (told.covers, told.gaps, told.state.records) == ({"PyPI"}, (), 4)


async def test_a_record_cannot_say_its_own_grade(tmp_path: Path) -> None:
    graded = record("X-1", severity=[{"type": "CVSS_V3", "score": VECTOR}], _lama={"severity": "info"})
    archive(tmp_path, [graded])
    assert (await tell(tmp_path)).advisories[ALPHA][0].severity is Severity.critical


async def test_names_are_normalised_and_releases_of_a_distribution_found(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1", "Alpha_Beta"), record("X-2", "\u0061lpha")])
    archive(
        tmp_path, [record("D-1", "openssl", "3.1-1", "Debian:12"), record("D-2", "openssl", "9", "Debian:11")], "Debian"
    )
    archive(tmp_path, [record("U-1", "bash", "5", "Ubuntu:22.04:LTS")], "Ubuntu:22.04:LTS")
    openssl, bash = Package("Debian:12", "openssl"), Package("Ubuntu:22.04:LTS", "bash")
    told = await tell(tmp_path, Package("PyPI", "alpha-beta"), ALPHA, openssl, bash)
    assert (ids(told), ids(told, Package("PyPI", "alpha-beta")), ids(told, bash)) == (["X-2"], ["X-1"], ["U-1"])
    verdicts = {one.id: one.verdict(openssl, "3.0-1") for one in told.advisories[openssl]}
    assert verdicts.pop("D-1") is Verdict.affected
    assert set(verdicts.values()) <= {Verdict.clean}
    assert {"PyPI", "Debian", "Ubuntu"} <= told.covers
    other = await tell(tmp_path, bash, Package("Ubuntu:24.04:LTS", "bash"))
    assert "Ubuntu" not in other.covers
    assert "Ubuntu:22.04:LTS" in other.covers


async def test_an_ecosystem_without_an_archive_is_not_covered(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1")])
    told = await tell(tmp_path, ALPHA, Package("npm", "left"))
    assert told.covers == {"PyPI"}


@pytest.mark.parametrize("there", [False, True])
async def test_a_mirror_without_archives_is_a_gap(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "PyPI").mkdir()
    told = await tell(tmp_path)
    assert hides(told.gaps)
    assert not told.covers
    assert "lama advisories update" in told.gaps[0].reason


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"PK\x03\x04 and then nothing", b"PK\x05\x06" + b"\0" * 18]
)
async def test_an_archive_that_is_none_is_a_gap_and_takes_no_other_with_it(tmp_path: Path, content: bytes) -> None:
    archive(tmp_path, [record("X-1", "left", ecosystem="npm")], "npm")
    (tmp_path / "PyPI").mkdir()
    (tmp_path / "PyPI" / "all.zip").write_bytes(content)
    told = await tell(tmp_path, ALPHA, Package("npm", "left"))
    assert hides(told.gaps)
    assert told.covers == {"npm"}
    assert ids(told, Package("npm", "left")) == ["X-1"]


async def test_a_cut_archive_is_a_gap_and_what_was_known_before_stays_known(tmp_path: Path) -> None:
    path = archive(tmp_path, [record(f"X-{n}") for n in range(50)])
    assert len(ids(await tell(tmp_path))) == 50
    path.write_bytes(path.read_bytes()[:-200])
    told = await tell(tmp_path)
    assert hides(told.gaps)
    assert not told.covers
    assert len(ids(told)) == 50


async def test_an_archive_of_another_ecosystem_is_a_gap(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1", ecosystem="npm")], "PyPI")
    told = await tell(tmp_path)
    assert hides(told.gaps)
    assert not told.covers


async def test_bad_entries_are_told_and_hide_no_good_one(tmp_path: Path) -> None:
    good = json.dumps(record("X-1")).encode()
    path = archive(
        tmp_path,
        {
            "../../X-1.json": good,
            "bomb.json": b" " * (mirror_build.LARGEST_ENTRY + 10) + good,
            "cut.json": good[:-20],
            "deep.json": b"[" * 100_000,
            "shape.json": b'{"name": "alpha"}',
            "zz-list.json": b'[{"id": "X-2"}]',
            "zz-text.json": b'{"id": "X-2", "affected": "alpha"}',
            "README": b"no record",
        },
    )
    told = await tell(tmp_path)
    assert ids(told) == ["X-1"]
    assert hides(told.gaps)
    reason = told.gaps[0].reason
    assert all(name in reason for name in ("bomb.json", "cut.json", "deep.json", "shape.json", "1 more"))
    assert not any((folder / "X-1.json").exists() for folder in (tmp_path, tmp_path.parent, CHECKOUT, CHECKOUT.parent))
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("X-5.json", json.dumps(record("X-5")))
    assert ids(await tell(tmp_path)) == ["X-1", "X-5"]


async def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = archive(tmp_path, {"X-1.json": json.dumps(record("X-1")).encode() * 50})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    assert hides((await tell(tmp_path)).gaps)


async def test_two_entries_of_one_name_are_both_read(tmp_path: Path) -> None:
    path = archive(tmp_path, [record("X-1")])
    with zipfile.ZipFile(path, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("X-1.json", json.dumps(record("X-2")))
    assert ids(await tell(tmp_path)) == ["X-1", "X-2"]
    os.utime(path)
    assert ids(await tell(tmp_path)) == ["X-1", "X-2"]


def test_absurd_archives_end_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path, {f"X-{n}.json": b" " * 1_000_000 for n in range(20)})
    monkeypatch.setattr(mirror_build, "_ALWAYS", 1_000_000)
    build(tmp_path, now=NOW)
    with Index(tmp_path / INDEX) as index:
        assert "unpacks to more than" in index.archives()[0].problem
    archive(tmp_path, [record(f"X-{n}") for n in range(100)])
    monkeypatch.setattr(mirror_build, "LARGEST_DIRECTORY", 1_000)
    build(tmp_path, now=NOW)
    with Index(tmp_path / INDEX) as index:
        assert "directory is too large" in index.archives()[0].problem


@pytest.mark.parametrize(
    ("modified", "days", "stale"),
    [("2026-10-30T00:00:00.123456Z", 7, False), ("2026-10-20T00:00:00Z", 7, True), ("2126-01-01T00:00:00Z", 7, True)],
)
async def test_the_age_is_that_of_the_newest_record_and_the_future_does_not_count(
    tmp_path: Path, modified: str, days: float, stale: bool
) -> None:
    archive(tmp_path, [record("X-1") | {"modified": modified}, record("X-2") | {"modified": "2026-01-01T00:00:00Z"}])
    told = await tell(tmp_path, max_age_days=days)
    assert told.state.stale is stale
    assert hides(told.gaps) is stale
    assert len(ids(told)) == 2
    assert told.covers == {"PyPI"}


async def test_a_quiet_ecosystem_is_as_fresh_as_the_place_that_it_was_fetched_from(tmp_path: Path) -> None:
    quiet = archive(
        tmp_path,
        [record("X-1", "a/b", ecosystem="GitHub Actions") | {"modified": "2026-08-01T00:00:00Z"}],
        "GitHub Actions",
    )
    busy = archive(tmp_path, [record("X-2")])
    action = Package("GitHub Actions", "a/b")

    def fetched(at: datetime, *paths: Path) -> None:
        known = {str(one.relative_to(tmp_path)): Fetched(stamp_of(one), at) for one in paths}
        write_fetched(tmp_path, known)
        assert read_fetched(tmp_path) == known

    assert (await tell(tmp_path, action)).state.stale, "nobody says when it was fetched"
    fetched(NOW - timedelta(hours=3), quiet)
    assert (await tell(tmp_path, action)).state.stale, "nothing fresh came from there"
    fetched(NOW - timedelta(hours=3), quiet, busy)
    told = await tell(tmp_path, action)
    assert (told.state.stale, told.gaps) == (False, ())
    fetched(NOW - timedelta(days=30), quiet, busy)
    assert (await tell(tmp_path, action)).state.stale
    fetched(NOW, quiet, busy)
    os.utime(quiet, (1, 1))  # put there by hand since
    assert (await tell(tmp_path, action)).state.stale


def test_only_what_changed_is_read_again_and_what_is_gone_disappears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    content = mirror_build._content
    monkeypatch.setattr(
        mirror_build, "_content", lambda opened, entry: (read.append(entry.filename), content(opened, entry))[1]
    )
    archive(tmp_path, [record(f"X-{n}") for n in range(20)])
    assert build(tmp_path, now=NOW)
    assert len(read) == 20
    assert not build(tmp_path, now=NOW)
    read.clear()
    archive(tmp_path, [record("X-3", fixed="7.7"), record("X-20"), *(record(f"X-{n}") for n in range(4, 20))])
    assert build(tmp_path, now=NOW)
    assert sorted(read) == ["X-20.json", "X-3.json"]
    with Index(tmp_path / INDEX) as index:
        found = index.look_up([ALPHA])[ALPHA]
    assert {one.id for one in found} == {f"X-{n}" for n in range(3, 21)}
    assert [*next(one for one in found if one.id == "X-3").fixes(ALPHA)] == ["7.7"]
    (tmp_path / "PyPI/all.zip").unlink()
    archive(tmp_path, [record("N-1", ecosystem="npm")], "npm")
    build(tmp_path, now=NOW)
    with Index(tmp_path / INDEX) as index:
        assert index.look_up([ALPHA]) == {}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:] = b"\0" * (len(content) - 8192)
    path.write_bytes(content)


def other_format(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("spoil", [cut, zeroed, other_format, Path.unlink, lambda path: path.write_bytes(b"nothing")])
async def test_a_spoilt_index_is_built_anew(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    archive(tmp_path, [record(f"X-{n}", f"package-{n % 50}", summary=os.urandom(50).hex()) for n in range(300)])
    build(tmp_path, now=NOW)
    spoil(tmp_path / INDEX)
    package = Package("PyPI", "package-7")
    told = await tell(tmp_path, package)
    assert len(ids(told, package)) == 6
    assert told.gaps == ()


async def test_an_index_that_cannot_be_brought_up_to_date_is_a_gap_and_the_old_one_serves(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1")])
    await tell(tmp_path)
    archive(tmp_path, [record("X-1"), record("X-2")])
    (tmp_path / f"{INDEX}.new").mkdir()  # nothing can be written there
    told = await tell(tmp_path)
    assert ids(told) == ["X-1"]
    assert hides(told.gaps)


def builder(folder: Path, code: str) -> subprocess.Popen[bytes]:
    """A process that runs `code`, then builds the index of `folder`."""
    program = f"""
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tasks.advisories import mirror_build
{code}
mirror_build.build(Path(sys.argv[1]), now=datetime.now(UTC))
"""
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def test_a_builder_that_is_killed_leaves_the_old_index_and_the_next_one_finishes(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1")])
    await tell(tmp_path)
    archive(tmp_path, [record(f"X-{n}") for n in range(50)])
    hang = """
content = mirror_build._content
def slow(opened, entry):
    print('.', flush=True)
    time.sleep(0.05)
    return content(opened, entry)
mirror_build._content = slow
"""
    with builder(tmp_path, hang) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / f"{INDEX}.new").exists()
    with Index(tmp_path / INDEX) as index:
        assert [one.id for one in index.look_up([ALPHA])[ALPHA]] == ["X-1"]
    assert len(ids(await tell(tmp_path))) == 50
    assert not (tmp_path / f"{INDEX}.new").exists()


def test_two_builders_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    archive(tmp_path, [record(f"X-{n}") for n in range(200)])
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(build(tmp_path, now=NOW))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    os.utime(tmp_path / "PyPI/all.zip")
    begun = time.monotonic()
    with only_one(tmp_path / f".{INDEX}.lock", wait_s=0), pytest.raises(UnavailableError, match="another process"):
        build(tmp_path, now=NOW, wait_s=0.2)
    assert time.monotonic() - begun < 5


async def test_a_full_disk_leaves_the_old_index(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1")])
    await tell(tmp_path)
    archive(tmp_path, [record(f"X-{n}", summary=os.urandom(200).hex()) for n in range(2000)])
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    with builder(tmp_path, limit) as process:
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"UnavailableError" in stderr
    assert not (tmp_path / f"{INDEX}.new").exists()
    with Index(tmp_path / INDEX) as index:
        assert [one.id for one in index.look_up([ALPHA])[ALPHA]] == ["X-1"]


def test_asking_the_mirror_loads_none_of_the_large_libraries() -> None:
    program = "import sys, tasks.advisories.known; print([name for name in sys.modules if '.' not in name])"
    outcome = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert not {"pydantic", "prefect", "httpx", "cvss", "sqlalchemy"} & set(
        json.loads(outcome.stdout.replace("'", '"'))
    )


async def test_many_packages_are_looked_up_in_a_moment(tmp_path: Path) -> None:
    archive(tmp_path, [record(f"X-{n}", f"package-{n}") for n in range(600)])
    packages = [Package("PyPI", f"package-{n}") for n in range(500)]
    await tell(tmp_path, *packages)
    begun = time.monotonic()
    assert len((await tell(tmp_path, *packages)).advisories) == 500
    assert time.monotonic() - begun < 2


def test_dates_without_an_offset_are_utc(tmp_path: Path) -> None:
    archive(tmp_path, [record("X-1") | {"modified": "2026-10-30T00:00:00"}])
    build(tmp_path, now=NOW)
    with Index(tmp_path / INDEX) as index:
        assert index.archives()[0].newest == datetime(2026, 10, 30, tzinfo=UTC)

"""The cache of results is never trusted with more than time."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from tasks.result_cache import ResultCache, content_key


def test_what_was_put_is_found_by_kind_and_key(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "a" / "looked.sqlite")
    keys = [content_key(b"x", bytes([number])) for number in range(255)] + [
        content_key(bytes([number])) for number in range(255)
    ]
    cache.put("one", {key: key for key in keys})
    assert cache.get("one", keys) == {key: key for key in keys}
    assert cache.get("two", keys) == {}
    assert stat.S_IMODE((tmp_path / "a" / "looked.sqlite").stat().st_mode) == 0o600


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert content_key(b"ab", b"c") != content_key(b"a", b"bc")


def test_without_a_path_nothing_is_remembered() -> None:
    cache = ResultCache(None)
    cache.put("one", {b"k": b"v"})
    assert cache.get("one", [b"k"]) == {}


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "looked.sqlite"
    path.write_bytes(content)
    cache = ResultCache(path)
    assert cache.get("one", [b"k"]) == {}
    cache.put("one", {b"k": b"v"})
    assert cache.get("one", [b"k"]) == {b"k": b"v"}


def test_a_place_that_cannot_be_written_costs_only_time() -> None:
    cache = ResultCache(Path("/proc/nowhere/looked.sqlite"))
    cache.put("one", {b"k": b"v"})
    assert cache.get("one", [b"k"]) == {}


def test_what_nobody_used_for_a_month_goes(tmp_path: Path) -> None:
    path = tmp_path / "looked.sqlite"
    cache = ResultCache(path)
    cache.put("one", {b"old": b"v", b"used": b"v"})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE result SET used = used - 40 * 86400")
    connection.close()
    cache.put("one", {}, used=[b"used"])
    assert cache.get("one", [b"old", b"used"]) == {b"used": b"v"}


def test_several_write_at_once(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "looked.sqlite")
    writers = [
        threading.Thread(target=lambda n=n: [cache.put("k", {bytes([n, i]): b"v"}) for i in range(20)])
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(cache.get("k", [bytes([n, i]) for n in range(8) for i in range(20)])) == 160

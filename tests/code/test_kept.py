"""What is read with a cache is what is read without one, whatever became of the files and of the cache in between."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.settings import CHECKOUT
from tasks.code import kept
from tasks.code import read as reading
from tasks.code.read import read
from tests.code.trees import whole, write

_READ = (
    "import sys\nfrom pathlib import Path\nfrom tasks.code.read import read\nfound = read(*map(Path, sys.argv[1:2]), "
)
_READ += "cache=Path(sys.argv[2]))\nprint(len(found.names))\n"
_PLACES = (
    "pkg/__init__.py",
    "pkg/a.py",
    "pkg/b.py",
    "pkg/b/__init__.py",
    "pkg/c/d.py",
    "pkg/a.pyi",
    "top.py",
    "flows.py",
)
_SOURCES = (
    "",
    "def f(a: int = 1): ...\n",
    "def f(a: int = 2): ...\n",
    "from pkg.b import f as g, Base\nclass C(Base):\n    def m(self): g()\n",
    "from pydantic_settings import BaseSettings\nclass Base(BaseSettings):\n    x: int = 1\n",
    "class Base: ...\n",
    "from prefect import task\ndef step(n):\n    def deco(f):\n        return task(name=n)(f)\n    return deco\n",
    "from pkg.a import step\n@step('x')\ndef one(): ...\n",
    "from .a import *\n",
    "def (:\n",
    "x = '\xe9'\n".encode("latin-1").decode("latin-1"),
    "\0",
)
_EDITS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(_PLACES), st.integers(0, len(_SOURCES) - 1)),
    st.tuples(st.just("delete"), st.sampled_from(_PLACES), st.just(0)),
    st.tuples(st.just("rename"), st.sampled_from(_PLACES), st.integers(0, len(_PLACES) - 1)),
    st.tuples(st.just("touch"), st.sampled_from(_PLACES), st.just(0)),
    st.tuples(st.just("read"), st.just(""), st.just(0)),
    st.tuples(st.just("lose"), st.just(""), st.just(0)),
)


def _edit(root: Path, edit: tuple[str, str, int]) -> None:
    what, place, number = edit
    path = root / place
    if what == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_SOURCES[number], encoding="latin-1")
    elif what == "delete":
        path.unlink(missing_ok=True)
    elif what == "rename" and path.exists():
        other = root / _PLACES[number]
        other.parent.mkdir(parents=True, exist_ok=True)
        path.rename(other)
    elif what == "touch" and path.exists():
        os.utime(path, (1, 1))


@pytest.mark.hypothesis
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rounds=st.lists(st.lists(_EDITS, min_size=1, max_size=5), min_size=1, max_size=5))
def test_a_cached_read_is_a_cold_read(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, str, int]]]
) -> None:
    home = tmp_path_factory.mktemp("code")
    root, cache = home / "co", home / "cache"
    write(root, {"pkg/__init__.py": ""})
    known: dict[str, str] = {}
    for edits in rounds:
        for edit in [*edits, ("read", "", 0)]:
            if edit[0] == "lose":
                cache.unlink(missing_ok=True)
                known = {}
            elif edit[0] == "read":
                cached = read(root, cache=cache)
                new = {module for module, content in cached.files.items() if known.get(module) != content}
                assert new <= cached.changed <= set(cached.files)
                assert cached.gone <= set(known) - set(cached.files)
                known = {m: c for m, c in {**known, **cached.files}.items() if m not in cached.gone}
            else:
                _edit(root, edit)
        assert whole(cached) == whole(read(root))
    again = read(root, cache=cache)
    assert (again.changed, again.gone) == (frozenset(), frozenset())
    shutil.rmtree(home)


def test_what_changed_and_what_is_gone_is_told_once(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", "pkg/a.py": "def f(): ...\n", "pkg/b.py": "def g(): ...\n"})
    assert read(root, cache=cache).changed == {"pkg", "pkg.a", "pkg.b"}
    (root / "pkg" / "a.py").write_text("def f(x): ...\n")
    (root / "pkg" / "b.py").rename(root / "pkg" / "c.py")
    found = read(root, cache=cache)
    assert (found.changed, found.gone) == ({"pkg.a", "pkg.c"}, {"pkg.b"})
    found = read(root, cache=cache)
    assert (found.changed, found.gone) == (frozenset(), frozenset())


def test_a_module_whose_labels_follow_from_another_changes_with_it(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(
        root,
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "class Base: ...\n",
            "pkg/b.py": "from .a import Base\nclass C(Base): ...\n",
        },
    )
    assert read(root, cache=cache).module("pkg.b").symbols[0].labels == ()
    (root / "pkg" / "a.py").write_text("from pydantic import BaseModel\nclass Base(BaseModel): ...\n")
    found = read(root, cache=cache)
    assert found.changed == {"pkg.a", "pkg.b"}
    assert found.module("pkg.b").symbols[0].labels == ("model",)


def test_what_cannot_be_read_now_is_not_gone(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", "pkg/a.py": "def f(): ...\n", "pkg/in/b.py": "def g(): ...\n"})
    read(root, cache=cache)
    (root / "pkg" / "a.py").write_text("def (:\n")
    (root / "pkg" / "in").rename(tmp_path / "elsewhere")
    (root / "pkg" / "in").symlink_to(tmp_path / "elsewhere")
    found = read(root, cache=cache)
    assert {one.place for one in found.unread} == {"pkg/a.py", "pkg/in"}
    assert found.gone == frozenset()
    assert set(found.files) >= {"pkg"}
    (root / "pkg" / "in").unlink()
    (tmp_path / "elsewhere").rename(root / "pkg" / "in")
    (root / "pkg" / "a.py").write_text("def f(): ...\n")
    found = read(root, cache=cache)
    assert (found.changed, found.gone, found.unread) == (frozenset(), frozenset(), ())
    (root / "pkg" / "a.py").unlink()
    assert read(root, cache=cache).gone == {"pkg.a"}


def test_a_write_that_no_time_tells_of_is_seen(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", "pkg/a.py": "x = 1\n"})
    status = (root / "pkg" / "a.py").stat()
    read(root, cache=cache)
    with (root / "pkg" / "a.py").open("r+") as file:  # same file, same size, and its time put back
        file.write("x = 2\n")
    os.utime(root / "pkg" / "a.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read(root, cache=cache).module("pkg.a").symbols[0].value == "2"


def test_files_that_stand_still_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", "pkg/a.py": "x = 1\n"})
    read(root, cache=cache)
    monkeypatch.setattr(reading, "_RACY_NS", 0)
    read(root, cache=cache)

    def refused(path: str, *, inside: str | None = None) -> object:
        raise AssertionError(path)

    monkeypatch.setattr(reading, "read_file", refused)
    assert read(root, cache=cache).module("pkg.a").symbols[0].value == "1"


@pytest.mark.parametrize("harm", ["garbage", "empty", "cut", "another", "flipped", "folder"])
def test_a_broken_cache_costs_time_and_nothing_else(tmp_path: Path, harm: str) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", **{f"pkg/m{n}.py": f"def f{n}(): ...\n" * 50 for n in range(30)}})
    cold = whole(read(root, cache=cache))
    with sqlite3.connect(cache) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = cache.read_bytes()
    if harm == "garbage":
        cache.write_bytes(random.Random(1).randbytes(len(data)))
    elif harm == "empty":
        cache.write_bytes(b"")
    elif harm == "cut":
        cache.write_bytes(data[: len(data) // 2])
    elif harm == "another":
        cache.write_text("[lama]\n")
    elif harm == "flipped":
        rows = bytearray(data)
        for place in range(8_192, len(rows), 331):
            rows[place] ^= 0x40
        cache.write_bytes(rows)
    else:
        cache.unlink()
        cache.mkdir()
    assert whole(read(root, cache=cache)) == cold
    assert whole(read(root, cache=cache)) == cold


def test_an_entry_whose_bytes_have_changed_on_the_disk_is_read_again(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", "pkg/a.py": "def f(): ...\n"})
    cold = whole(read(root, cache=cache))
    with sqlite3.connect(cache) as connection:
        connection.execute("UPDATE result SET value = CAST(replace(CAST(value AS TEXT), 'pkg', 'gkp') AS BLOB)")
        connection.execute(
            "UPDATE result SET value = substr(value, 1, length(value) - 3) WHERE kind LIKE 'code module%'"
        )
    connection.close()
    assert whole(read(root, cache=cache)) == cold


def test_what_another_version_has_kept_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", "pkg/a.py": "def f(): ...\n"})
    read(root, cache=cache)
    monkeypatch.setattr(kept, "version", lambda: "another")
    assert read(root, cache=cache).changed == {"pkg", "pkg.a"}


def test_a_reader_that_is_killed_leaves_a_cache_of_use(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", **{f"pkg/m{n}.py": "def f(a, b=1): ...\n" * 300 for n in range(120)}})
    cold = whole(read(root))
    for after in (0.2, 0.4, 0.6, 0.8, 1.2):
        process = subprocess.Popen(
            [sys.executable, "-c", _READ, str(root), str(cache)], cwd=CHECKOUT, stdout=subprocess.DEVNULL
        )
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (root / "pkg" / "m0.py").write_text("def f(a, b=1): ...\n" * 300)
        assert whole(read(root, cache=cache)) == cold


def test_two_readers_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    root, cache = tmp_path / "co", tmp_path / "cache"
    write(root, {"pkg/__init__.py": "", **{f"pkg/m{n}.py": f"def f{n}(a): ...\n" for n in range(50)}})
    command = [sys.executable, "-c", _READ, str(root), str(cache)]
    readers = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert {reader.communicate(timeout=60)[0].strip() for reader in readers} == {"101"}
    assert whole(read(root, cache=cache)) == whole(read(root))

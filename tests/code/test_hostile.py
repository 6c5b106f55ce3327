"""Sources that mean harm, or are broken: each costs itself only, and is said."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from blocks.settings import CHECKOUT
from tasks.code import pool
from tasks.code import read as reading
from tasks.code.read import read
from tests.code.trees import write

_DEEP = 10_000
_UNREADABLE: dict[str, bytes] = {
    "syntax": b"def (:\n",
    "nested": b"(" * _DEEP + b")" * _DEEP,
    "signs": b"x = " + b"-" * 100_000 + b"1\n",
    "attributes": b"x = a" + b".b" * _DEEP * 5 + b"\n",
    "sum": b"x = 1" + b"+1" * _DEEP * 5 + b"\n",
    "branches": b"if a: pass\n" + b"elif a: pass\n" * _DEEP,
    "lambdas": b"x = " + b"lambda:" * _DEEP + b"1\n",
    "folders": b"".join(b" " * depth + b"if a:\n" for depth in range(500)),
    "nul": b"x = 1\0\n",
    "latin": b"x = '\xe9'\n",
    "cookie": b"# -*- coding: martian -*-\nx = 1\n",
    "wrong": b"# -*- coding: utf-8 -*-\nx = '\xff\xfe'\n",
    "wide": "x = 1\n".encode("utf-16"),
    "digits": b"x = " + b"9" * 100_000 + b"\n",
    "newer": b"type X[T: (int, str) = int] = list[T]\n",
    "binary": bytes(range(256)) * 100,
}
_READABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", ""),
    "bom": (b"\xef\xbb\xbfdef f(): ...\n", "f"),
    "latin": (b"# -*- coding: latin-1 -*-\ndef f(a='\xe9'): ...\n", "f"),
    "mac": (b"def f(): ...\rdef g(): ...\r", "g"),
    "windows": (b"def f(): ...\r\ndef g(): ...\r\n", "g"),
    "feed": (b"\x0cdef f(): ...\n", "f"),
    "line": (b"x = '" + b"a" * 1_000_000 + b"'\ndef f(): ...\n", "f"),
    "list": (b"x = [" + b"1," * 200_000 + b"]\ndef f(): ...\n", "f"),
    "strings": (b"x = (" + b"'a' " * 50_000 + b")\ndef f(): ...\n", "f"),
    "sum": (b"x = 1" + b"+1" * 700 + b"\ndef f(a=x" + b"+1" * 700 + b"): ...\n", "f"),
    "branches": (b"def f():\n if a: pass\n" + b" elif a: f()\n" * 700, "f"),
    "decorators": (b"@a\n" * 5_000 + b"def f(): ...\n", "f"),
    "parameters": (b"def f(" + b",".join(b"a%d" % n for n in range(5_000)) + b"): ...\n", "f"),
    "surrogate": (b"def f(a='\\ud800'):\n    '''\\udfff'''\n", "f"),
    "name": ("def ﬁ(): ...\n".encode(), "fi"),
    "shadows": (b"class property: ...\nimport sys\ndef f(): ...\n", "f"),
}


@pytest.mark.parametrize("name", _UNREADABLE)
def test_a_source_that_does_not_parse_is_said_and_costs_itself_only(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/good.py": "def f(): ...\n", "pkg/bad.py": _UNREADABLE[name]})
    found = read(tmp_path)
    assert [one.place for one in found.unread] == ["pkg/bad.py"]
    assert found.unread[0].reason
    assert len(found.unread[0].reason) <= 300
    assert set(found.files) == {"pkg", "pkg.good"}


@pytest.mark.parametrize("name", _READABLE)
def test_an_odd_source_that_parses_is_read(tmp_path: Path, name: str) -> None:
    source, last = _READABLE[name]
    write(tmp_path, {"pkg/__init__.py": "", "pkg/odd.py": source})
    found = read(tmp_path, cache=tmp_path / "cache")
    assert found.unread == ()
    module = found.module("pkg.odd")
    assert [symbol.path.rpartition(".")[2] for symbol in module.symbols][-1:] == ([last] if last else [])
    assert all(len(symbol.value or "") <= 1_000 for symbol in module.symbols)
    assert found.names["pkg.odd"].module == "pkg.odd"


def test_links_that_lead_out_or_round_are_said_and_not_followed(tmp_path: Path) -> None:
    root = write(tmp_path / "co", {"pkg/__init__.py": "", "pkg/m.py": "def f(): ...\n", "pkg/inner/x.py": ""})
    write(tmp_path, {"outside/secret.py": "SECRET = 1\n"})
    (root / "pkg" / "out.py").symlink_to(tmp_path / "outside" / "secret.py")
    (root / "pkg" / "outside").symlink_to(tmp_path / "outside")
    (root / "pkg" / "inner" / "loop").symlink_to(root / "pkg")
    (root / "pkg" / "zero.py").symlink_to("/dev/zero")
    (root / "pkg" / "dangling.py").symlink_to("nowhere.py")
    (root / "pkg" / "self.py").symlink_to("self.py")
    (root / "pkg" / "same.py").symlink_to("m.py")
    (root / "linked").symlink_to(tmp_path / "outside")
    found = read(root)
    assert {one.place for one in found.unread} == {
        "linked",
        "pkg/out.py",
        "pkg/outside",
        "pkg/inner/loop",
        "pkg/zero.py",
        "pkg/dangling.py",
        "pkg/self.py",
    }
    assert set(found.files) == {"pkg", "pkg.m", "pkg.same", "pkg.inner.x"}


def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/folder.py/x.py": "", "pkg/large.py": b"#" * 5_000_001})
    os.mkfifo(tmp_path / "pkg" / "pipe.py")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket is short
        server.bind("pkg/socket.py")
        found = read(tmp_path)
    assert {one.place for one in found.unread} == {"pkg/folder.py", "pkg/large.py", "pkg/pipe.py", "pkg/socket.py"}
    assert set(found.files) == {"pkg"}


_AS_NOBODY = """
import os, sys
from pathlib import Path
from tasks.code import extract, read, rows, worker
if os.geteuid() == 0:  # who may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for packages in (None, ["pkg", "shut"]):
    found = read.read(Path(sys.argv[1]), packages)
    print(*sorted(one.place for one in found.unread), "|", *found.files)
"""


def test_what_may_not_be_read_is_said() -> None:
    home = Path(tempfile.mkdtemp())
    try:
        home.chmod(0o755)
        root = write(home / "co", {"pkg/__init__.py": "", "pkg/shut.py": "", "pkg/in/x.py": "", "pkg/closed/y.py": ""})
        write(root, {"shut/__init__.py": "", "listed/__init__.py": "", "pkg/listed/z.py": ""})
        for place in ("pkg/shut.py", "pkg/closed", "shut"):
            (root / place).chmod(0)
        for place in ("listed", "pkg/listed"):
            (root / place).chmod(0o744)  # its names are known, and nothing else of it
        told = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(root)],
            cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True,
        ).stdout.splitlines()  # fmt: skip
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", str(home)], check=True)
        shutil.rmtree(home)
    assert told == [
        "listed/__init__.py pkg/closed pkg/listed/z.py pkg/shut.py shut | pkg pkg.in.x",
        "pkg/closed pkg/listed/z.py pkg/shut.py shut | pkg pkg.in.x",
    ]


def test_a_file_that_vanishes_between_the_two_looks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/m.py": "def f(): ...\n"})
    real = reading.read_file

    def vanishing(path: str, *, inside: str | None = None) -> object:
        if path.endswith("m.py"):
            Path(path).unlink(missing_ok=True)
        return real(path, inside=inside)

    monkeypatch.setattr(reading, "read_file", vanishing)
    found = read(tmp_path)
    assert [one.place for one in found.unread] == ["pkg/m.py"]
    assert set(found.files) == {"pkg"}


def test_a_broken_stub_costs_itself_only(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/m.py": "def f(a): ...\n", "pkg/m.pyi": "def (:\n", "pkg/n.py": ""})
    (tmp_path / "pkg" / "n.pyi").symlink_to("/etc/hostname")
    for _ in range(2):
        found = read(tmp_path, cache=tmp_path / "cache")
        assert {one.place for one in found.unread} == {"pkg/m.pyi", "pkg/n.pyi"}
        assert "pkg.m.f" in found.names
        assert "pkg.n" in found.files


def test_two_files_of_one_module_are_one_module_and_one_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/x.py": "def a(): ...\n", "pkg/x/__init__.py": "def b(): ...\n"})
    found = read(tmp_path)
    assert "pkg.x.b" in found.names
    assert "pkg.x.a" not in found.names
    assert [one.place for one in found.unread] == ["pkg/x.py"]


def test_a_package_that_is_called_like_a_part_of_python_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n"
    names = ("json", "ast", "os", "orjson", "tasks", "sitecustomize")
    write(tmp_path, {f"{name}/__init__.py": trap + "x = 1\n" * 20_000 for name in names})
    monkeypatch.chdir(tmp_path)
    found = read(tmp_path)
    assert set(found.files) == set(names)
    assert not (tmp_path / "ran").exists()


def test_modules_that_import_each_other_in_a_circle_are_followed_to_an_end(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(12)]
    stars = {
        f"pkg/{name}.py": "".join(f"from .{other} import *\n" for other in names if other != name) for name in names
    }
    write(
        tmp_path,
        {
            "pkg/__init__.py": "from .a import x\n",
            "pkg/a.py": "from .b import x\nclass A(A): ...\n",
            "pkg/b.py": "from .a import x\nfrom .a import A as B\nclass C(B, D): ...\nclass D(C): ...\n",
            **stars,
            "pkg/m11.py": "def found(): ...\n" + stars["pkg/m11.py"],
        },
    )
    began = time.monotonic()
    found = read(tmp_path)
    assert found.resolve("pkg.x") is None
    assert found.resolve("pkg.b.B") == "pkg.a.A"
    assert found.resolve("pkg.b.C.gone") is None
    assert found.resolve("pkg.m0.gone") is None
    assert found.resolve("pkg.m0.found") == "pkg.m11.found"
    assert time.monotonic() - began < 5


def test_file_names_that_nobody_expects_are_read_or_said(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"pkg/__init__.py": "", "pkg/my-script.py": "x = 1\n", "pkg/a.b.py": "", "pkg/2024_01.py": ""}
    )
    for name in (b"pkg/\xff.py", b"pkg/new\nline.py", b"pkg/.py", b"pkg/sp ace.py"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_bytes(b"x = 1\n")
    found = read(root, cache=tmp_path / "cache")
    assert set(found.files) == {"pkg", "pkg.my-script", "pkg.2024_01"}
    assert len(found.unread) == 5
    assert not found.names["pkg.my-script"].public
    assert read(root, cache=tmp_path / "cache").unread == found.unread


_N = 20_000
_LABOURED = {
    "exports": "__all__ = []\n" + "__all__ += ['a']\n" * _N,
    "imports": "import a\n" * _N + "a.f()\n" * _N,
    "stars": "from a import *\n" * _N + "".join(f"def f{n}(): ...\nf{n}()\n" for n in range(_N // 4)),
    "typing": "if TYPE_CHECKING: import a\n" * _N,
    "dots": "from " + "a." * 10_000 + "a import x\nx()\n",
    "again": "def f(): ...\n" * _N + "f()\n" * _N,
    "self": "class C:\n def f(self):\n" + "  self.x = 1\n" * _N,
    "overloads": "from typing import overload\n" + "@overload\ndef f(a): ...\n" * (_N // 2),
    "classes": "".join(f"class C{n}(C{n + 1}): ...\n" for n in range(_N // 2)),
    "arguments": "f(" + "a," * _N + ")\n",
}


@pytest.mark.parametrize("name", _LABOURED)
def test_a_source_that_repeats_itself_takes_no_more_than_its_length(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/m.py": _LABOURED[name]})
    began = time.process_time()
    found = read(tmp_path)
    assert set(found.files) == {"pkg", "pkg.m"}
    assert time.process_time() - began < 10


def _many(root: Path, count: int) -> Path:
    files = {f"pkg/m{number}.py": f"def f{number}(): ...\n" + "#" * 30_000 for number in range(count)}
    return write(root, {"pkg/__init__.py": "", **files})


@pytest.mark.parametrize("harm", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_a_process_that_dies_of_a_file_costs_that_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    root = _many(tmp_path / "co", 60)
    (root / "pkg" / "m13.py").write_text("# deadly\n" + "#" * 30_000)
    (root / "pkg" / "m31.py").write_text("# deadly\n" + "#" * 30_000)
    worker = (
        "import os, tasks.code.worker as w\n"
        "real = w.extracted\n"
        "def extracted(module, **given):\n"
        f"    if given['data'].startswith(b'# deadly'): {harm}\n"
        "    return real(module, **given)\n"
        "w.extracted = extracted\n"
        "w.main()\n"
    )
    start = subprocess.Popen

    def started(command: list[str], **given: object) -> subprocess.Popen[bytes]:
        assert command[1:] == ["-m", "tasks.code.worker"]
        return start([sys.executable, "-c", worker], **given)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(pool.subprocess, "Popen", started)
    found = read(root, cache=tmp_path / "cache", jobs=2)
    assert {one.place for one in found.unread} == {"pkg/m13.py", "pkg/m31.py"}
    assert len(found.files) == 59
    monkeypatch.undo()
    again = read(root, cache=tmp_path / "cache", jobs=2)
    assert again.unread == ()
    assert again.changed == {"pkg.m13", "pkg.m31"}


def test_processes_that_cannot_start_leave_everything_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _many(tmp_path / "co", 30)
    monkeypatch.setattr(pool.sys, "executable", "/bin/false")
    found = read(root, jobs=2)
    assert len(found.unread) == 31
    assert found.files == {}


def test_many_files_take_bounded_time_and_memory(tmp_path: Path) -> None:
    count = int(os.environ.get("LAMA_CODE_FILES", "3000"))
    for folder in range(count // 500 + 1):
        write(tmp_path, {f"co/pkg/s{folder}/__init__.py": ""})
        for number in range(min(500, count - folder * 500)):
            text = f'"""Module."""\nfrom pkg import s{folder}\ndef run{number}(x: int = {number}):\n    """Run."""\n'
            (tmp_path / "co" / "pkg" / f"s{folder}" / f"m{number}.py").write_text(text)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tasks.code.read import read\n"
        "begin = time.monotonic()\n"
        "found = read(Path(sys.argv[1]), cache=Path(sys.argv[2]))\n"
        "print(len(found.files), len(found.changed), time.monotonic() - begin,\n"
        "      int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) // 1024,\n"
        "      len(found.unread))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "co"), str(tmp_path / "cache")]
    for first in (True, False):
        begun = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=600, check=True).stdout
        files, changed, seconds, megabytes, unread = begun.split()
        print(f"{files} files: {float(seconds):.1f} s, {megabytes} MB")
        assert int(files) == count + count // 500 + 1
        assert int(changed) == (int(files) if first else 0)
        assert int(unread) == 0
        assert float(seconds) < 20 + count / 400
        assert int(megabytes) < 150 + count / 100

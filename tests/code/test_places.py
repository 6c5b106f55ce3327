"""Where packages are found, and what of a checkout is code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.code.classes import Classes
from tasks.code.read import read
from tests.code.trees import write


def test_packages_modules_and_namespaces_are_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pkg/__init__.py": "",
            "pkg/inner/deep.py": "",
            "single.py": "",
            "typed.pyi": "",
            "space/part/__init__.py": "",
            "space/part/x.py": "",
            "src/below/__init__.py": "",
            "src/alone.py": "",
            "setup.py": "",
            "conftest.py": "",
            "tests/test_x.py": "",
            "docs/conf.py": "",
            ".hidden/x.py": "",
            "data/table.csv": "",
            "env2/pyvenv.cfg": "",
            "env2/x.py": "",
            "pkg/__pycache__/x.py": "",
            "pkg/node_modules/x.py": "",
            "not-a-name/x.py": "",
        },
    )
    found = read(tmp_path)
    assert found.packages == ("pkg", "single", "space", "typed", "alone", "below")
    assert set(found.files) == {
        "pkg",
        "pkg.inner.deep",
        "single",
        "typed",
        "space.part",
        "space.part.x",
        "below",
        "alone",
    }
    assert found.module("below").file == "src/below/__init__.py"
    assert found.unread == ()


def test_what_is_asked_for_is_read_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "tests/test_x.py": "", "src/below/x.py": "", "out/x.py": ""})
    found = read(tmp_path, ["tests", "below", "gone", "../out", "a.b", "/etc"])
    assert set(found.files) == {"tests.test_x", "below.x"}
    assert [one.place for one in found.unread] == ["../out", "/etc", "a.b", "gone"]


@pytest.mark.parametrize("glob", ["pkg/gen", "pkg/gen/", "pkg/g*", "pkg/gen/*"])
def test_what_is_excluded_is_not_read(tmp_path: Path, glob: str) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/gen/x.py": "def (:\n", "pkg/gen/in/y.py": ""})
    found = read(tmp_path, exclude=[glob])
    assert set(found.files) == {"pkg"}
    assert found.unread == ()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_checkout_reached_through_a_link_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"real/pkg/__init__.py": "def f(): ...\n"})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = read(tmp_path / "link")
    assert "pkg.f" in found.names
    assert found.unread == ()


def test_where_a_path_leads_is_followed_through_imports_stars_and_bases(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pkg/__init__.py": "from .core import Thing as Same, helper\nfrom .stars import *\nfrom . import core\n",
            "pkg/core.py": "from .base import Base\nclass Thing(Base):\n    def own(self): ...\ndef helper(): ...\n",
            "pkg/base.py": "from elsewhere import Mixin\nclass Root:\n    def far(self): ...\nclass Base(Root):\n"
            "    def near(self): ...\nclass Odd(Mixin, Root): ...\n",
            "pkg/stars.py": "def shown(): ...\ndef _hidden(): ...\n",
        },
    )
    resolve = read(tmp_path).resolve
    assert resolve("pkg.Same") == "pkg.core.Thing"
    assert resolve("pkg.Same.own") == "pkg.core.Thing.own"
    assert resolve("pkg.Same.near") == "pkg.base.Base.near"
    assert resolve("pkg.core.Thing.far") == "pkg.base.Root.far"
    assert resolve("pkg.core.helper") == resolve("pkg.helper") == "pkg.core.helper"
    assert resolve("pkg.shown") == "pkg.stars.shown"
    assert resolve("pkg.core") == "pkg.core"
    for unknown in ("pkg._hidden", "pkg.gone", "pkg.Same.gone", "elsewhere.x", "pkg.base.Odd.far", "", ".", "pkg."):
        assert resolve(unknown) is None


def test_a_class_has_what_its_bases_define_in_the_order_of_python(tmp_path: Path) -> None:
    levels = "class A0:\n    x = 0\nclass B0(A0):\n    x = 1\n" + "".join(
        f"class A{n}(A{n - 1}, B{n - 1}):\n    x{n} = 1\nclass B{n}(A{n - 1}, B{n - 1}):\n    y{n} = 1\n"
        for n in range(1, 40)
    )
    write(
        tmp_path,
        {
            "pkg/__init__.py": "",
            "pkg/m.py": "class A:\n    x = 'A'\n    y = 'A'\nclass B(A): ...\nclass C(A):\n    x = 'C'\n"
            "class D(B, C):\n    z = 'D'\nclass E(F): ...\nclass F(E):\n    x = 'F'\n",
            "pkg/deep.py": levels,
        },
    )
    classes = Classes(read(tmp_path))
    for name, lineage in {"D": ["A", "C", "B", "D"], "E": ["F", "E"]}.items():
        symbol = classes.symbol(f"pkg.m.{name}")
        assert symbol is not None
        assert [one.path.rpartition(".")[2] for one in classes.lineage(symbol)] == lineage
    last = classes.symbol("pkg.m.D")
    assert last is not None
    assert {name: member.value for name, (member, _) in classes.attributes(last).items()} == {
        "x": "'C'",
        "y": "'A'",
        "z": "'D'",
    }
    deepest = classes.symbol("pkg.deep.A39")
    assert deepest is not None
    assert len(classes.lineage(deepest)) == 79

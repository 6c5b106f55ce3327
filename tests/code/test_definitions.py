"""What a module defines, read from its syntax; griffe is the referee on installed packages."""

from __future__ import annotations

from pathlib import Path

import griffe
import pytest

from models.code import Kind
from tasks.code.read import read
from tests.code.trees import module_of, symbols_of

_SITE = Path(griffe.__file__).parent.parent


def test_signatures_are_told_in_full(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        '''
        import asyncio as aio

        async def f(a, /, b: "list[int]", *rest: int, c: str | None = None, **more) -> "aio.Task[None]":
            """Do it.

            At length.
            """
        ''',
    )
    f = symbols_of(module)["f"]
    assert [(p.name, p.kind, p.annotation, p.default) for p in f.parameters] == [
        ("a", "positional-only", None, None),
        ("b", "positional or keyword", "list[int]", None),
        ("rest", "variadic positional", "int", None),
        ("c", "keyword-only", "str | None", "None"),
        ("more", "variadic keyword", None, None),
    ]
    assert f.returns == "aio.Task[None]"
    assert f.labels == ("async",)
    assert f.docstring == "Do it.\n\nAt length."


def test_classes_have_their_bases_members_and_instance_attributes(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        '''
        from abc import ABC
        from . import base as b
        from typing import Generic, ClassVar, TypeVar

        T = TypeVar("T")

        class C(b.Base, Generic[T], ABC, metaclass=type):
            """A class."""

            count: ClassVar[int] = 0
            x: int = 1
            """The x."""

            class Inner:
                def deep(self): ...

            def __init__(self, y: float):
                self.y = y
                """The y."""
                self.z: int = 3
                if y:
                    self.w = 1

            @property
            def p(self) -> int: ...

            @p.setter
            def p(self, value): ...

            @staticmethod
            def s(): ...

            @classmethod
            def k(cls): ...
        ''',
        base="class Base: ...\n",
    )
    symbols = symbols_of(module)
    assert symbols["C"].bases == ("pkg.base.Base", "typing.Generic", "abc.ABC")
    assert symbols["C"].keywords == (("metaclass", "type"),)
    assert symbols["C.count"].labels == ("classvar",)
    assert symbols["C.x"].docstring == "The x."
    assert (symbols["C.y"].annotation, symbols["C.y"].docstring) == ("float", "The y.")
    assert symbols["C.z"].annotation == "int"
    assert "instance" in symbols["C.w"].labels
    assert symbols["C.Inner.deep"].kind is Kind.function
    assert symbols["C.p"].labels == ("property", "writable")
    assert symbols["C.s"].labels == ("staticmethod",)
    assert symbols["C.k"].labels == ("classmethod",)
    order = [symbol.path for symbol in module.symbols]
    assert order.index("pkg.m.C") < order.index("pkg.m.C.count") < order.index("pkg.m.C.k")


def test_the_first_branch_of_a_condition_is_what_is_defined(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        import sys
        try:
            from fast import loads
        except ImportError:
            def loads(text: str): ...
        if sys.version_info > (3, 12):
            def g(new): ...
        else:
            def g(old): ...
        try:
            LIMIT = 1
        except Exception:
            LIMIT = 2
        """,
    )
    symbols = symbols_of(module)
    assert [p.name for p in symbols["g"].parameters] == ["new"]
    assert symbols["g"].labels == ("conditional",)
    assert symbols["LIMIT"].value == "1"
    assert "loads" in symbols


def test_overloads_stand_before_their_implementation(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        from typing import overload
        @overload
        def f(a: int) -> int: ...
        @overload
        def f(a: str) -> str: ...
        def f(a): return a
        """,
    )
    assert [(s.path, "overload" in s.labels) for s in module.symbols] == [
        ("pkg.m.f", True),
        ("pkg.m.f", True),
        ("pkg.m.f", False),
    ]


@pytest.mark.parametrize(
    ("source", "exports"),
    [
        ("__all__ = ['a', 'b']\n", ("a", "b")),
        ("__all__ = ['a']\n__all__ += ['b']\n__all__.append('c')\n__all__.extend(('d',))\n", ("a", "b", "c", "d")),
        ("__all__ = ('a',) + ('b',)\n", ("a", "b")),
        ("import x\n__all__ = ['a'] + x.__all__\n", None),
        ("", None),
    ],
)
def test_exports_are_told_where_they_are_plain(tmp_path: Path, source: str, exports: object) -> None:
    assert module_of(tmp_path, source).exports == exports


def test_what_is_public_follows_names_and_exports(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        "__all__ = ['_a', 'C']\ndef _a(): ...\ndef b(): ...\nclass C:\n    def m(self): ...\n    def _n(self): ...\n",
    )
    assert {name: s.public for name, s in symbols_of(module).items() if name != "__all__"} == {
        "_a": True,
        "b": False,
        "C": True,
        "C.m": True,
        "C._n": False,
    }


def test_imports_are_absolute_and_say_when_they_run(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        import os.path
        import os.path as p
        from . import other
        from .other import thing as t
        from .other import *
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from decimal import Decimal
        def f():
            from ..outside import gone
            from json import loads
        """,
        other="thing = 1\n",
    )
    assert {(i.name, i.target, i.lazy, i.typing) for i in module.imports} == {
        ("os", "os.path", False, False),
        ("p", "os.path", False, False),
        ("other", "pkg.other", False, False),
        ("t", "pkg.other.thing", False, False),
        ("*", "pkg.other", False, False),
        ("TYPE_CHECKING", "typing.TYPE_CHECKING", False, False),
        ("Decimal", "decimal.Decimal", False, True),
        ("loads", "json.loads", True, False),
    }


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("def f(a: int = 1): return 1", "def f( a : int=1 ) :\n    '''Doc.'''\n    return 2", True),
        ("def f(a='x'): ...", 'def f(a="x"): ...', True),
        ("def f(a: 'int'): ...", "def f(a: int): ...", True),
        ("def f(a: int): ...", "def f(a: str): ...", False),
        ("def f(a=1): ...", "def f(a=2): ...", False),
        ("def f(a): ...", "def f(b): ...", False),
        ("def f(a): ...", "async def f(a): ...", False),
        ("f: int = 1", "f: int = 2", False),
        ("class f(Exception): ...", "class f(ValueError): ...", False),
    ],
)
def test_the_interface_changes_with_what_a_user_sees_and_nothing_else(
    tmp_path: Path, before: str, after: str, same: bool
) -> None:
    first = symbols_of(module_of(tmp_path / "a", before))["f"].interface
    second = symbols_of(module_of(tmp_path / "b", after))["f"].interface
    assert (first == second) is same


def test_a_stub_says_what_its_source_leaves_open(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "m.py").write_text("def f(a, b=1): ...\nclass C: ...\n")
    (tmp_path / "pkg" / "m.pyi").write_text(
        "def f(a: int, b: int = ...) -> str: ...\ndef native(x: bytes) -> None: ...\n"
    )
    (tmp_path / "pkg" / "only.pyi").write_text("def g() -> int: ...\n")
    found = read(tmp_path)
    symbols = symbols_of(found.module("pkg.m"))
    assert [p.annotation for p in symbols["f"].parameters] == ["int", "int"]
    assert symbols["f"].parameters[1].default == "1"
    assert symbols["f"].returns == "str"
    assert "native" in symbols
    assert found.module("pkg.only").file == "pkg/only.pyi"
    assert found.unread == ()


@pytest.mark.parametrize("package", ["click", "rich", "httpx", "griffe"])
def test_griffe_finds_nothing_that_is_not_found_here(package: str) -> None:
    found = read(_SITE, [package])
    ours = {s.path: s for path in found.files for s in found.module(path).symbols if "overload" not in s.labels}
    loader = griffe.GriffeLoader(search_paths=[str(_SITE)], allow_inspection=False, store_source=False)
    top = loader.load(package, try_relative_path=False)
    assert isinstance(top, griffe.Module)
    missing, differ = [], []
    total = 0
    todo: list[griffe.Object] = [top]
    while todo:
        scope = todo.pop()
        for member in scope.members.values():
            if isinstance(member, griffe.Alias):
                continue
            if isinstance(member, griffe.Module | griffe.Class):
                todo.append(member)
            if isinstance(member, griffe.Module) or not member.lineno:  # without a line: made up for a dataclass
                continue
            total += 1
            mine = ours.get(member.path)
            if mine is None:
                missing.append(member.path)
            elif isinstance(member, griffe.Function) and mine.kind is Kind.function and mine.line == member.lineno:
                theirs = [(p.name, p.kind.value if p.kind else "") for p in member.parameters]
                told = member.docstring.value.strip() if member.docstring else ""
                if theirs != [(p.name, p.kind) for p in mine.parameters] or told != (mine.docstring or "").strip():
                    differ.append(member.path)
    assert total > 200
    assert missing == []
    assert differ == []

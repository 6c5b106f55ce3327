"""Calls are told where the syntax says for sure what is called, and nowhere else."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path

import pytest

from blocks.settings import CHECKOUT
from tasks.code.read import read
from tests.code.trees import module_of

_HEAD = (
    "from pkg.other import thing\nimport pkg.other as o\nimport os\ndef own(): ...\nclass C:\n    def m(self): ...\n"
)


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ("thing()", {"pkg.other.thing"}),
        ("o.thing()", {"pkg.other.thing"}),
        ("own()", {"pkg.m.own"}),
        ("C()", {"pkg.m.C"}),
        ("C.m(None)", {"pkg.m.C.m"}),
        ("os.path.join()", {"os.path.join"}),
        ("[own() for _ in ()]", {"pkg.m.own"}),
        ("(lambda: own())", {"pkg.m.own"}),
        ("print(f'{own()}')", {"pkg.m.own"}),
        ("def inner():\n        own()", {"pkg.m.own"}),
        ("from json import loads\n    loads('')", {"json.loads"}),
        ("from json import loads as l\n    def inner():\n        l('')", {"json.loads"}),
        ("own(thing())", {"pkg.m.own", "pkg.other.thing"}),
        ("own().then()", {"pkg.m.own"}),
        # Not sure, and so not told.
        ("own = 1\n    own()", set()),
        ("for own in (): own()", set()),
        ("[own() for own in ()]", set()),
        ("(lambda own: own())", set()),
        ("with open('') as own: own()", set()),
        ("try: pass\n    except Exception as own: own()", set()),
        ("(own := 1)\n    own()", set()),
        ("import own\n    import json as own\n    own()", set()),
        ("def inner(own):\n        own()", set()),
        ("match 1:\n        case own: own()", set()),
        ("global own\n    own = 2\n    own()", set()),
        ("del own\n    own()", set()),
        ("C.gone()", set()),
        ("unknown()", set()),
        ("len([])", set()),
        ("thing[0]()", set()),
    ],
)
def test_what_a_function_calls(tmp_path: Path, body: str, calls: set[str]) -> None:
    module = module_of(tmp_path, f"{_HEAD}def f():\n    {body}\n", other="def thing(): ...\n")
    assert {call.callee for call in module.calls if call.caller == "pkg.m.f"} == calls


@pytest.mark.parametrize("parameter", ["own", "*own", "**own", "*, own=1", "own, /"])
def test_a_parameter_hides_what_the_module_defines(tmp_path: Path, parameter: str) -> None:
    module = module_of(tmp_path, f"{_HEAD}def f({parameter}):\n    own()\n", other="def thing(): ...\n")
    assert module.calls == ()


@pytest.mark.parametrize(
    "twice",
    [
        "def own(): ...\ndef own(): ...",
        "try:\n    from a import own\nexcept ImportError:\n    own = None",
        "try:\n    from a import own\nexcept ImportError:\n    from b import own",
        "def own(): ...\nown = deco(own)",
        "def own(): ...\nfrom x import *",
        "if 1:\n    def own(): ...\nelse:\n    own = 3",
    ],
)
def test_what_is_bound_twice_is_not_sure(tmp_path: Path, twice: str) -> None:
    module = module_of(tmp_path, f"{twice}\ndef f():\n    own()\n")
    assert [call for call in module.calls if call.caller == "pkg.m.f"] == []


def test_a_function_with_overloads_is_bound_once(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        from typing import overload
        @overload
        def own(a: int): ...
        @overload
        def own(a: str): ...
        def own(a): ...
        def f():
            own(1)
        """,
    )
    assert [call.callee for call in module.calls] == ["pkg.m.own"]


def test_what_comes_behind_a_star_is_sure(tmp_path: Path) -> None:
    module = module_of(tmp_path, "from x import *\ndef own(): ...\ndef f():\n    own()\n")
    assert [call.callee for call in module.calls] == ["pkg.m.own"]


def test_methods_of_self_are_told_where_the_class_defines_them(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        """
        class C(Base):
            def a(self):
                self.b()
                self.inherited()
                self.prop()
                self.b.deep()
                def inner():
                    self.b()
            def b(self):
                self = other
                self.a()
            @property
            def prop(self): ...
            @classmethod
            def k(cls):
                cls.b()
            @staticmethod
            def s(self):
                self.b()
        """,
    )
    assert [(call.caller, call.callee) for call in module.calls] == [
        ("pkg.m.C.a", "pkg.m.C.b"),
        ("pkg.m.C.a", "pkg.m.C.b"),
        ("pkg.m.C.k", "pkg.m.C.b"),
    ]


def test_a_class_body_is_no_scope_for_its_methods(tmp_path: Path) -> None:
    module = module_of(
        tmp_path, "def f(): ...\nclass C:\n    def f(self): ...\n    def g(self):\n        f()\n    x = f()\n"
    )
    assert [(call.caller, call.callee) for call in module.calls] == [("pkg.m.C.g", "pkg.m.f"), ("pkg.m.C", "pkg.m.C.f")]


def test_what_is_handed_on_is_told_apart_from_what_is_called(tmp_path: Path) -> None:
    module = module_of(tmp_path, "from x import run\ndef job(): ...\ndef f(given):\n    run(job, given, key=job)\n")
    assert {call.callee for call in module.calls} == {"x.run"}
    assert {given.callee for given in module.handed} == {"pkg.m.job"}


def test_every_sure_call_of_lama_into_the_standard_library_is_one_there() -> None:
    found = read(CHECKOUT, ["models", "blocks", "tasks", "flows"])
    checked = 0
    for path in found.files:
        for call in found.module(path).calls:
            if call.callee.partition(".")[0] in sys.stdlib_module_names:
                assert _exists(call.callee), call
                checked += 1
    assert checked > 1_000


def _exists(path: str) -> bool:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        try:
            functools.reduce(getattr, parts[length:], found)
        except AttributeError:
            return False
        return True
    return False

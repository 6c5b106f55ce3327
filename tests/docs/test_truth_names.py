"""Names as a package hands them on, makes them as it runs or is built, and as documents give them to something else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from tasks.code.read import read
from tasks.docs.truth import check
from tasks.docs.truth.resolve import Answer, Resolver, Verdict


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in {"acme/__init__.py": "", **files}.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def answer(root: Path, files: dict[str, str], name: str) -> Answer:
    write(root, files)
    return Resolver(read(root)).resolve(name).answer


def subjects(root: Path, files: dict[str, str]) -> set[str]:
    """What the findings about names and examples are about."""
    write(root, files)
    findings, _, _ = check(Checkout(name="shop", path=root), read(root), DocsSettings(documents=["README.md", "docs"]))
    return {
        one.key.rpartition("#")[2] for one in findings if one.key.startswith(("docs.name", "docs.example", "docs.doc"))
    }


@pytest.mark.parametrize(
    "span", [".bind(...)", ".match(a, /)", "class(a, /)", "None.x(a, *, b)", "a..b(c, /)", "1x(a, /)"]
)
def test_a_span_that_only_looks_like_a_call_is_no_name(tmp_path: Path, span: str) -> None:
    assert subjects(tmp_path, {"README.md": f"# Guide\n\nThen `{span}` it.\n"}) == set()


_TWO_STARS = {
    "acme/__init__.py": "from acme.early import *\nfrom acme.late import *\n",
    "acme/early/__init__.py": "from acme.early import group\n",
    "acme/early/group.py": "def first(): ...\n",
    "acme/late/__init__.py": "from acme.late import group\n",
    "acme/late/group.py": "def second(a): ...\n",
}


def test_of_two_stars_the_later_one_is_what_holds(tmp_path: Path) -> None:
    write(tmp_path, _TWO_STARS)
    resolver = Resolver(read(tmp_path))
    assert resolver.resolve("acme.group.second").path == "acme.late.group.second"
    assert resolver.resolve("acme.group").path == "acme.late.group"


def test_a_name_is_gone_when_it_is_so_whichever_star_holds(tmp_path: Path) -> None:
    write(tmp_path, _TWO_STARS)
    resolver = Resolver(read(tmp_path))
    assert resolver.resolve("acme.group.third").answer is Answer.gone
    assert resolver.resolve("acme.group.first").answer is Answer.defined


def test_a_name_that_is_imported_in_two_ways_has_the_members_of_both(tmp_path: Path) -> None:
    code = "try:\n    from acme.fast import run\nexcept ImportError:\n    from acme.slow import run\n"
    files = {
        "acme/__init__.py": code,
        "acme/fast.py": "class run:\n    quick = 1\n",
        "acme/slow.py": "class run:\n    safe = 1\n",
    }
    assert answer(tmp_path, files, "acme.run.quick") is not Answer.gone
    assert answer(tmp_path, files, "acme.run.safe") is not Answer.gone
    assert answer(tmp_path, files, "acme.run.other") is Answer.gone


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("from acme.deep import _path as path\n__all__ = ['other']\ndef other(): ...\n", Answer.gone),
        ("from acme.deep import _path as path\n", Answer.defined),
        ("from acme.deep import _path as path\n__all__ = sorted(['path'])\n", Answer.defined),
        (
            "from acme.deep import _path as path\n__all__ = []\nfor one in ['path']:\n    __all__.append(one)\n",
            Answer.defined,
        ),
    ],
)
def test_a_star_takes_what_the_module_hands_on(tmp_path: Path, module: str, wanted: Answer) -> None:
    files = {
        "acme/__init__.py": "from acme.inner import *\n",
        "acme/inner.py": module,
        "acme/deep.py": "def _path(a): ...\n",
    }
    assert answer(tmp_path, files, "acme.path") is wanted


def test_a_star_takes_nothing_private_unless_the_module_says_so(tmp_path: Path) -> None:
    files = {"acme/__init__.py": "from acme.inner import *\n", "acme/inner.py": "def _run(): ...\n"}
    assert answer(tmp_path, files, "acme._run") is Answer.gone
    said = {**files, "acme/inner.py": "__all__ = ['_run']\n\n\ndef _run(): ...\n"}
    assert answer(tmp_path, said, "acme._run") is Answer.defined


def test_an_example_is_held_against_what_the_star_brings(tmp_path: Path) -> None:
    """A module that imports something by the same name for itself does not hand that on."""
    files = {
        "acme/__init__.py": "from acme.paths import *\nfrom acme.rank import *\n",
        "acme/paths.py": '__all__ = ["path"]\n\n\ndef path(graph, source=None, target=None): ...\n',
        "acme/rank.py": "from acme.inner import _one as path\n\n__all__ = ['rank']\n\n\ndef rank(): ...\n",
        "acme/inner.py": "def _one(graph, s): ...\n",
        "README.md": "# Guide\n\n```python\nimport acme\n\nacme.path(1, source=2)\nacme.path(1, sauce=2)\n```\n",
    }
    assert subjects(tmp_path, files) == {"acme.path.sauce"}


def test_what_the_code_imports_is_there_though_its_source_is_not(tmp_path: Path) -> None:
    files = {
        "acme/__init__.py": "from acme._built import tree\nfrom ._other import *\n",
        "acme/user.py": "def late():\n    from acme import convolve\n    return convolve\n",
        "acme/sub/__init__.py": "",
    }
    assert answer(tmp_path, files, "acme.tree") is Answer.open
    assert answer(tmp_path, files, "acme.tree.leaf") is Answer.open
    assert answer(tmp_path, files, "acme.convolve") is Answer.open
    assert answer(tmp_path, files, "acme.anything") is Answer.open
    assert answer(tmp_path, files, "acme.sub.anything") is Answer.gone


@pytest.mark.parametrize(
    "file", ["fast.pyx", "fast.pyx.tp", "fast.cpp", "fast.cpython-311-x86_64-linux-gnu.so", "fastmodule.c"]
)
def test_a_module_that_is_compiled_is_a_module(tmp_path: Path, file: str) -> None:
    assert answer(tmp_path, {f"acme/{file}": ""}, "acme.fast.run") is Answer.open
    assert answer(tmp_path, {}, "acme.slow.run") is Answer.gone


def test_the_stub_of_a_compiled_module_may_leave_out_what_is_private(tmp_path: Path) -> None:
    files = {"acme/fast.pyi": "def run() -> int: ...\n"}
    assert answer(tmp_path, files, "acme.fast._kernel") is Answer.open
    assert answer(tmp_path, files, "acme.fast.kernel") is Answer.gone


@pytest.mark.parametrize(
    "code",
    [
        "import sys\n\n\ndef make():\n    me = sys.modules[__name__]\n    for n in TABLE:\n        setattr(me, n, 1)\n",
        "import sys\n\nfor name in REGISTRY:\n    setattr(sys.modules[__name__], name, 1)\n",
        "globals().update(REGISTRY)\n",
        "for name in REGISTRY:\n    globals()[name] = 1\n",
        "import sys\n\nsys.modules[__name__] = Lazy(__name__)\n",
    ],
)
def test_a_module_that_makes_computed_names_may_have_any(tmp_path: Path, code: str) -> None:
    assert answer(tmp_path, {"acme/__init__.py": code}, "acme.from_table") is Answer.open


@pytest.mark.parametrize(
    "code",
    [
        "import sys\n\nOTHER = sys.modules['json']\nsetattr(sys.modules[__name__], 'known', 1)\n",
        "def show(name):\n    return globals()[name]\n",
        "def show(name):\n    return globals()[name] == 1\n",
    ],
)
def test_a_module_that_spells_its_names_has_no_others(tmp_path: Path, code: str) -> None:
    assert answer(tmp_path, {"acme/__init__.py": code}, "acme.from_table") is Answer.gone


def test_stars_that_meet_again_and_again_are_followed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two modules a layer, each with stars from both of the next: thousands of ways down, and one back up."""
    files = {"acme/__init__.py": "from acme.a0 import *\nfrom acme.b0 import *\n"}
    for layer in range(15):
        stars = f"from acme.a{layer + 1} import *\nfrom acme.b{layer + 1} import *\n"
        files |= {f"acme/a{layer}.py": stars, f"acme/b{layer}.py": stars}
    files |= {"acme/a15.py": "from acme.a0 import *\n", "acme/b15.py": "def run(): ...\n"}
    write(tmp_path, files)
    codebase = read(tmp_path)
    resolver = Resolver(codebase)
    asked: list[str] = []
    follow = resolver._in_module

    def counted(path: str, name: str, rest: Sequence[str], depth: int) -> Verdict:
        asked.append(path)
        return follow(path, name, rest, depth)

    monkeypatch.setattr(resolver, "_in_module", counted)
    assert resolver.resolve("acme.run").path == "acme.b15.run"
    assert resolver.resolve("acme.nothing").answer is Answer.gone
    assert len(asked) < 2_000


_SERVER = {"acme/server.py": "class Server:\n    def tool(self): ...\n"}
_PAGE = "# Guide\n\nPut `@acme.tool()` on a function.\n\n```python\n@acme.tool()\ndef add(a): ...\n```\n"


@pytest.mark.parametrize(
    "beside",
    [
        {"docs/other.md": "# Other\n\n```python\nacme = Server()\n```\n"},
        {"docs_src/first.py": "from acme.server import Server\n\nacme: Server = Server()\n"},
        {"examples/deep/run.py": "def main():\n    with Server() as acme:\n        pass\n"},
        {"docs/other.rst": "Other\n\n>>> acme = Server()\n"},
    ],
)
def test_a_variable_that_is_called_like_the_package_accuses_nobody(tmp_path: Path, beside: dict[str, str]) -> None:
    assert subjects(tmp_path, {**_SERVER, "README.md": _PAGE, **beside}) == set()


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"docs/other.md": "# Other\n\n```python\nrun(acme=1)\nif acme == 2:\n    make(\n        acme=3,\n    )\n```\n"},
        {"tests/test_server.py": "acme = Server()\n"},
    ],
)
def test_without_such_a_variable_a_name_of_the_package_has_to_be_there(tmp_path: Path, beside: dict[str, str]) -> None:
    assert subjects(tmp_path, {**_SERVER, "README.md": _PAGE, **beside}) == {"acme.tool"}


def test_a_page_that_imports_the_package_means_the_package(tmp_path: Path) -> None:
    page = "# Guide\n\n```python\nimport acme\n\nacme.gone()\n```\n\nThen `acme.away`.\n"
    files = {**_SERVER, "README.md": page, "docs/other.md": "# Other\n\n```python\nacme = Server()\n```\n"}
    assert subjects(tmp_path, files) == {"acme.gone", "acme.away"}


def test_below_a_module_that_is_there_a_name_is_sure(tmp_path: Path) -> None:
    page = "# Guide\n\nSee `acme.server.Gone`.\n"
    files = {**_SERVER, "README.md": page, "docs/other.md": "# Other\n\n```python\nacme = Server()\n```\n"}
    assert subjects(tmp_path, files) == {"acme.server.Gone"}


def test_a_module_that_is_called_like_its_package_is_meant_where_the_page_imports_it(tmp_path: Path) -> None:
    page = "# Guide\n\n```python\nfrom acme import acme\n```\n\n`acme.Walk` walks, `acme.Run` runs.\n"
    files = {"acme/acme.py": "class Walk: ...\n", "README.md": page}
    assert subjects(tmp_path, files) == set()


def test_the_end_of_a_longer_name_is_no_lie(tmp_path: Path) -> None:
    page = "# Guide\n\n`acme.Walk` walks.\n"
    assert subjects(tmp_path, {"acme/acme.py": "class Walk: ...\n", "README.md": page}) == set()


def test_the_example_of_a_docstring_means_the_package_that_it_imports(tmp_path: Path) -> None:
    code = 'class Server:\n    def tool(self):\n        """Tool.\n\n        {}\n        >>> acme.tool()\n        """\n'
    assert subjects(tmp_path / "without", {"acme/server.py": code.format("")}) == set()
    told = subjects(tmp_path / "with", {"acme/server.py": code.format(">>> import acme")})
    assert told == {"example.acme.tool"}


def test_a_string_of_the_code_with_a_colon_is_no_place_of_an_object(tmp_path: Path) -> None:
    page = "# Guide\n\nRoutes that take `acme:draft`, and the script `acme:start`.\n"
    files = {"acme/routes.py": 'KINDS = ("acme:draft", "acme:sent")\n', "README.md": page}
    assert subjects(tmp_path, files) == {"acme.start"}


def test_the_star_of_an_example_brings_its_own_names(tmp_path: Path) -> None:
    """A module's own function may be handed on as the method of an object, without its first parameter."""
    code = 'def root(ctx, x0): ...\n\n\ndef find(ctx, x0):\n    """Find.\n\n    {}\n    >>> root(1)\n    """\n'
    files = {"acme/__init__.py": "from acme.context import mp\n\nroot = mp.root\n", "acme/context.py": "mp = make()\n"}
    with_star = {**files, "acme/roots.py": code.format(">>> from acme import *")}
    assert subjects(tmp_path / "star", with_star) == set()
    with_other = {**files, "acme/roots.py": code.format(">>> from elsewhere import *")}
    assert subjects(tmp_path / "other", with_other) == set()
    assert subjects(tmp_path / "none", {**files, "acme/roots.py": code.format("")}) == {"call.root.x0"}


def test_a_module_has_what_every_module_has(tmp_path: Path) -> None:
    assert answer(tmp_path, {}, "acme.__new__") is Answer.open
    assert answer(tmp_path, {}, "acme.__call__") is Answer.gone


def test_a_class_has_what_every_class_has(tmp_path: Path) -> None:
    files = {"acme/__init__.py": "class Box:\n    def __new__(cls, a): ...\n"}
    assert answer(tmp_path, files, "acme.Box.__init__") is Answer.open
    assert answer(tmp_path, files, "acme.Box.__enter__") is Answer.gone


_TOLD = '    """Buy.\n\n    Raises:\n        BasketError: when it is full.\n    """\n    print(BasketError=1)\n'


@pytest.mark.parametrize(
    ("body", "wanted"), [(_TOLD, Answer.gone), ("    global BasketError\n    BasketError = ValueError\n", Answer.open)]
)
def test_a_line_of_a_docstring_makes_no_name(tmp_path: Path, body: str, wanted: Answer) -> None:
    assert answer(tmp_path, {"acme/basket.py": f"def buy():\n{body}"}, "acme.basket.BasketError") is wanted


def test_an_import_of_a_submodule_brings_the_package(tmp_path: Path) -> None:
    docstring = '"""Use it.\n\n>>> acme.deep.run(1)\n>>> acme.deep.gone(1)\n"""\n'
    files = {"acme/deep.py": "def run(x): ...\n", "acme/user.py": f"{docstring}import acme.deep\n"}
    assert subjects(tmp_path, files) == {"example.acme.deep.gone"}


def test_a_package_may_have_something_else_by_the_name_of_its_module(tmp_path: Path) -> None:
    files = {
        "acme/__init__.py": "from acme.system import system\n",
        "acme/system.py": "class System:\n    def register(self): ...\n\nsystem = System()\n",
        "README.md": "# Guide\n\n`acme.system.register`, `acme.system.System` and `acme.system.system`.\n",
    }
    assert subjects(tmp_path, files) == set()


def test_a_name_that_is_spelled_in_data_of_the_package_is_no_name_of_the_code(tmp_path: Path) -> None:
    files = {
        "acme/schema.json": '{"properties": {"acme.plugins.enabled": {}}}',
        "acme/plugins.py": "",
        "README.md": "# Guide\n\nSet `acme.plugins.enabled`, not `acme.plugins.other`.\n",
    }
    assert subjects(tmp_path, files) == {"acme.plugins.other"}

"""The import graph: read from real files, never run, and judged by properties."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.health_check.architecture import graph as code
from tasks.health_check.architecture.drift import code_view, drift
from tasks.health_check.architecture.graph import CodeGraph, cycles, fan_in, fan_out, package_edges, violations
from tasks.health_check.architecture.look import read_imports
from tasks.health_check.architecture.packages import excluded

_NAMES = st.sampled_from([f"{a}.{b}" for a in "abc" for b in "xyz"] + ["a", "b", "c"])
_GRAPHS = st.lists(st.tuples(_NAMES, _NAMES).filter(lambda pair: pair[0] != pair[1]), unique=True).map(
    lambda pairs: CodeGraph(
        packages=("a", "b", "c"), modules=tuple(sorted({n for p in pairs for n in p})), imports=tuple(sorted(pairs))
    )
)


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen, waiting = set[str](), [start]
    while waiting:
        for following in edges[waiting.pop()] - seen:
            seen.add(following)
            waiting.append(following)
    return seen


@given(_GRAPHS)
def test_two_modules_are_in_one_cycle_exactly_when_each_reaches_the_other(graph: CodeGraph) -> None:
    edges = graph.edges()
    found = cycles(edges)
    members = [name for cycle in found for name in cycle]
    assert len(members) == len(set(members))
    together = {(a, b) for cycle in found for a in cycle for b in cycle if a != b}
    reach = {name: _reachable(edges, name) for name in edges}
    assert together == {(a, b) for a in edges for b in edges if a != b and b in reach[a] and a in reach[b]}


def test_a_cycle_as_long_as_a_large_program_is_found() -> None:
    edges = {str(number): {str((number + 1) % 20_000)} for number in range(20_000)}
    assert [len(cycle) for cycle in cycles(edges)] == [20_000]


@given(_GRAPHS)
def test_violations_are_exactly_the_imports_that_point_upwards(graph: CodeGraph) -> None:
    layers = ("a", "b", "c")
    found = {pair for pairs in violations(graph, layers).values() for pair in pairs}
    assert found == {pair for pair in graph.imports if layers.index(pair[0][0]) > layers.index(pair[1][0])}


@given(_GRAPHS)
def test_every_import_is_counted_once_on_both_sides(graph: CodeGraph) -> None:
    assert sum(fan_in(graph).values()) == sum(fan_out(graph).values()) == len(graph.imports)


@given(_GRAPHS)
def test_finding_keys_identify_and_do_not_depend_on_order(graph: CodeGraph) -> None:
    keys = [finding.key for finding in code.findings_of("shop", graph, ("a", "b"), 2)]
    turned = graph.model_copy(update={"imports": tuple(reversed(graph.imports)), "modules": graph.modules[::-1]})
    assert len(keys) == len(set(keys))
    assert set(keys) == {finding.key for finding in code.findings_of("shop", turned, ("a", "b"), 2)}


@given(_GRAPHS, _GRAPHS)
def test_drift_is_none_against_oneself_and_swaps_with_the_sides(one: CodeGraph, other: CodeGraph) -> None:
    assert drift("code:shop", code_view(one), code_view(one)) == []
    there = {f.key: f.evidence for f in drift("code:shop", code_view(one), code_view(other))}
    back = {f.key: f.evidence for f in drift("code:shop", code_view(other), code_view(one))}
    assert there.keys() == back.keys()
    for key, evidence in there.items():
        assert evidence["appeared"] == back[key]["disappeared"]


def test_only_relations_between_parts_count_at_the_second_depth() -> None:
    graph = CodeGraph(packages=("a",), modules=("a", "a.x", "a.y.z"), imports=(("a", "a.x"), ("a.y.z", "a.x")))
    assert package_edges(graph, 2) == {"a.y": {"a.x"}, "a.x": set()}


@given(st.lists(st.sampled_from(["a", "b", "build"]), min_size=1).map("/".join))
def test_what_is_in_an_excluded_folder_is_excluded(path: str) -> None:
    assert excluded(path, ("build",)) == (path.partition("/")[0] == "build")
    assert excluded(f"build/{path}", ("build/**",))


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A checkout with a src layout, a cycle, an import upwards, and code that must not run."""
    bomb = f"import pathlib; pathlib.Path({str(tmp_path / 'it-ran')!r}).touch()\n"
    _write(
        tmp_path / "shop",
        {
            "pyproject.toml": "[tool.setuptools.packages.find]\nwhere = ['src']\n",
            "json.py": bomb,
            "src/grimp/__init__.py": bomb,
            "src/web/__init__.py": bomb,
            "src/web/page.py": "import store.orders\nimport typing\nif typing.TYPE_CHECKING:\n import web.x\n",
            "src/web/x.py": "import web.page\nimport numpy\n",
            "src/store/__init__.py": "",
            "src/store/orders.py": "import store.stock\n",
            "src/store/stock.py": "def late():\n    import store.orders\n    import web.page\n",
            "src/store/loose/part.py": "import web.x\n",
            "tests/__init__.py": "import web\n",
        },
    )
    return tmp_path / "shop"


async def _read(path: Path, **more: object) -> CodeGraph:
    found = await read_imports.fn(Checkout.model_validate({"name": "shop", "path": path, **more}))
    assert isinstance(found, CodeGraph), found
    return found


def _of(findings: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.key.startswith(f"architecture.{kind}:")]


async def test_a_checkout_is_read_and_nothing_of_it_runs(shop: Path) -> None:
    graph = await _read(shop)
    assert graph.packages == ("grimp", "store", "web")
    assert ("web.page", "store.orders") in graph.imports
    assert ("store.loose.part", "web.x") in graph.imports, "a folder without __init__.py is not passed over"
    assert ("web.page", "web.x") not in graph.imports, "imports only for type checkers are not made at run time"
    assert graph.external == (("web.x", "numpy"),)
    assert not (shop.parent / "it-ran").exists()


async def test_cycles_and_imports_upwards_are_found(shop: Path) -> None:
    findings = code.findings_of("shop", await _read(shop), ("web", "store", "gone"), 40)
    assert [f.key for f in _of(findings, "cycle")] == [
        "architecture.cycle:shop:modules:store.orders",
        "architecture.cycle:shop:packages:store",
        "architecture.cycle:shop:subpackages:store.orders",
    ]
    (upwards,) = _of(findings, "layer")
    assert upwards.key == "architecture.layer:shop:store->web"
    assert upwards.severity is Severity.high
    assert upwards.evidence["imports"] == ["store.loose.part -> web.x", "store.stock -> web.page"]
    assert [f.key for f in _of(findings, "layer_unknown")] == ["architecture.layer_unknown:shop:gone"]


async def test_files_that_cannot_be_read_are_named_and_the_others_are_read(shop: Path) -> None:
    _write(shop, {"src/web/broken.py": "def (:  # password='hunter2'\n"})
    (shop / "src/web/bytes.py").write_bytes(b"\xff\xfe\x00")
    (shop / "src/web/outside.py").symlink_to("/etc/passwd")
    os.mkfifo(shop / "src/web/pipe.py")
    graph = await _read(shop)
    assert {unread.path: unread.broken for unread in graph.unread} == {
        "src/web/broken.py": True,
        "src/web/bytes.py": True,
        "src/web/outside.py": False,
        "src/web/pipe.py": False,
    }
    assert ("web.page", "store.orders") in graph.imports
    findings = code.findings_of("shop", graph, (), 40)
    assert [f.component for f in _of(findings, "syntax")] == ["shop", "shop"]
    assert code.skips_of("shop", graph)[0].may_hide("architecture.cycle:shop:modules:a")
    assert "hunter2" not in repr(findings)


async def test_an_import_has_not_gone_because_its_file_cannot_be_read(shop: Path) -> None:
    before = code_view(await _read(shop))
    _write(shop, {"src/web/x.py": "def (:\n"})
    assert drift("code:shop", before, code_view(await _read(shop))) == []


async def test_what_is_excluded_is_not_read(shop: Path) -> None:
    graph = await _read(shop, exclude=("src/grimp", "src/web/x.py"))
    assert graph.packages == ("store", "web")
    assert "web.x" not in {importer for importer, _ in graph.imports}


@pytest.mark.parametrize(
    ("files", "more", "expected"),
    [
        ({}, {"path": "missing"}, "does not exist"),
        ({"a.txt": ""}, {"path": "a.txt"}, "is not a folder"),
        ({"scripts/run.py": ""}, {}, "no packages were found"),
        ({"a/__init__.py": ""}, {"packages": ("b",)}, "there is no package 'b'"),
        ({"a/__init__.py": ""}, {"packages": ("../a",)}, "there is no package '../a'"),
    ],
)
async def test_what_cannot_be_looked_at_is_skipped_with_its_reason(
    tmp_path: Path, files: dict[str, str], more: dict[str, object], expected: str
) -> None:
    _write(tmp_path, files)
    path = tmp_path / str(more.pop("path", "."))
    found = await read_imports.fn(Checkout.model_validate({"name": "shop", "path": path, **more}))
    assert isinstance(found, Skip)
    assert expected in found.reason
    assert found.may_hide("architecture.drift:code:shop:modules")


async def test_a_folder_without_python_has_no_imports_to_look_at(tmp_path: Path) -> None:
    _write(tmp_path, {"index.js": ""})
    assert await _read(tmp_path) == CodeGraph()


@pytest.mark.parametrize("named", [(), ("run", "parts")])
async def test_a_checkout_of_modules_of_one_file_has_a_graph(tmp_path: Path, named: tuple[str, ...]) -> None:
    _write(tmp_path, {"run.py": "import parts\nimport yaml\n", "src/parts.py": "", "setup.py": "", "test_run.py": ""})
    graph = await _read(tmp_path, packages=named)
    assert graph.modules == ("parts", "run")
    assert graph.imports == (("run", "parts"),)
    assert graph.external == (("run", "yaml"),)
    (tmp_path / "run.py").write_text("def (:")
    graph = await _read(tmp_path, packages=named)
    assert [(unread.path, unread.broken) for unread in graph.unread] == [("run.py", True)]


async def test_a_package_with_the_name_of_ours_is_the_checkouts_own(tmp_path: Path) -> None:
    _write(tmp_path, {"tasks/__init__.py": "import tasks.only_here\n", "tasks/only_here.py": ""})
    assert (await _read(tmp_path)).modules == ("tasks", "tasks.only_here")
    assert "tasks.only_here" not in sys.modules

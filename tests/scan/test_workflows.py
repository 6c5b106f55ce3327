"""Workflows through the real zizmor: its findings with their places, and a skip for what it could not look at."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.health_check import Checkout
from models.report import Severity
from tasks.result_cache import ResultCache
from tasks.scan.contents import digests_of
from tasks.scan.looked import Looked
from tasks.scan.sources import list_sources
from tasks.scan.workflows import look_at_workflows

UNSAFE = """on: pull_request_target
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "${{ github.event.pull_request.title }}"
      - run: echo "${{ github.event.issue.title }}" # zizmor: ignore[template-injection]
"""
CLEAN = """on: push
permissions: {}
jobs:
  test:
    name: test
    runs-on: ubuntu-latest
    steps:
      - run: make test
"""
MARK = "hunter2hunter2"


async def look(root: Path, timeout_s: float = 60, *, cache: Path | None = None, **more: Path) -> Looked:
    sources = await list_sources(Checkout(name="app", path=root), timeout_s=20)
    digests = digests_of(sources.root, sources.files)
    return await look_at_workflows(sources, digests=digests, cache=ResultCache(cache), timeout_s=timeout_s, **more)


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("looked.sqlite*"))


async def test_an_unchanged_workflow_is_not_looked_at_twice_and_no_text_of_it_is_kept(tmp_path: Path) -> None:
    root, cache, broken = tmp_path / "app", tmp_path / "looked.sqlite", tmp_path / "zizmor"
    write(root, {".github/workflows/a.yml": UNSAFE.replace("ubuntu-latest", f"ubuntu-latest # {MARK}")})
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    first = await look(root, cache=cache)
    assert first.findings
    assert await look(root, cache=cache, zizmor=broken) == first
    assert await look(root) == first
    assert MARK.encode() not in stored(tmp_path)
    write(root, {".github/workflows/a.yml": CLEAN})
    assert (await look(root, cache=cache, zizmor=broken)).skipped
    # What a file is depends on its name as well.
    write(root, {".github/workflows/a.yml": UNSAFE, "action.yml": UNSAFE})
    assert len((await look(root, cache=cache, zizmor=broken)).skipped) == 2


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


async def test_unsafe_workflows_are_found_whatever_the_checkout_says_and_broken_ones_are_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence = "rules:\n  dangerous-triggers:\n    disable: true\n"
    write(
        tmp_path,
        {
            ".github/workflows/unsafe.yml": UNSAFE,
            ".github/workflows/clean.yaml": CLEAN,
            ".github/workflows/broken.yml": "on: [push\njobs:",
            ".github/workflows/odd.yml": f"on: push\njobs: {MARK}\n",
            ".github/workflows/bytes.yml": b"\xff\xfe\xff",
            ".github/zizmor.yml": silence,
            "zizmor.yml": silence,
            "act/action.yml": "name: a\ndescription: b\nruns:\n  using: composite\n  steps: []\n",
            "tests/.github/workflows/planted.yml": UNSAFE,
        },
    )
    (tmp_path / ".github/workflows/link.yml").symlink_to("/etc/hostname")
    monkeypatch.setenv("GH_TOKEN", MARK)
    monkeypatch.setenv("ZIZMOR_CONFIG", str(tmp_path / "zizmor.yml"))
    looked = await look(tmp_path)
    unsafe = "security.workflow:app/.github/workflows/unsafe.yml"
    found = {one.key: one for one in looked.findings}
    assert {key for key in found if not key.startswith(unsafe)} == set()
    trigger, injection = found[f"{unsafe}/dangerous-triggers"], found[f"{unsafe}/template-injection"]
    assert (trigger.severity, trigger.evidence["lines"]) == (Severity.high, [1])
    assert injection.evidence["lines"] == [7]
    assert found[f"{unsafe}/unpinned-uses"].severity is Severity.medium
    assert found[f"{unsafe}/WF001"].evidence["lines"] == [8]  # what a comment hides is told as hidden
    broken = {skip.component: skip for skip in looked.skipped}
    assert set(broken) == {f"app/.github/workflows/{name}.yml" for name in ("broken", "odd", "bytes")}
    assert broken["app/.github/workflows/odd.yml"].may_hide("security.workflow:app/.github/workflows/odd.yml/x")
    assert MARK not in "".join(map(str, looked.skipped))
    assert looked.engines["workflows"].startswith("zizmor 1.")


async def test_a_checkout_without_workflows_has_nothing_to_look_at(tmp_path: Path) -> None:
    write(tmp_path, {"workflows/ci.yml": "a", ".github/ISSUE_TEMPLATE/a.yml": "a"})
    looked = await look(tmp_path, zizmor=tmp_path / "none")
    assert (looked.findings, looked.skipped) == ((), ())


async def test_without_zizmor_the_skip_says_how_to_install_it(tmp_path: Path) -> None:
    write(tmp_path, {".github/workflows/a.yml": CLEAN})
    looked = await look(tmp_path, zizmor=tmp_path / "none")
    assert "pip install zizmor" in looked.skipped[0].reason
    assert looked.skipped[0].may_hide("security.workflow:app/.github/workflows/a.yml/artipacked")
    assert looked.engines["workflows"].startswith("did not run")


@pytest.mark.parametrize(
    "script",
    [
        "echo nonsense",
        "echo '[{\"ident\": 1}]'",
        "echo '{}'; exit 3",
        "exec sleep 30",
        "echo '[[]]'",
        "echo '{\"a\": 1}'",
        "echo 7",
    ],
)
async def test_a_zizmor_that_fails_is_a_skip_and_no_clean_answer(tmp_path: Path, script: str) -> None:
    write(tmp_path, {".github/workflows/a.yml": CLEAN})
    program = tmp_path / "zizmor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    begun = time.perf_counter()
    looked = await look(tmp_path, timeout_s=0.5, zizmor=program)
    assert time.perf_counter() - begun < 8
    assert looked.findings == ()
    assert [skip.component for skip in looked.skipped] == ["app/.github/workflows/a.yml"]


async def test_a_file_made_to_take_for_ever_does_not(tmp_path: Path) -> None:
    write(
        tmp_path, {".github/workflows/deep.yml": f"on: push\njobs: {'[' * 100_000}", ".github/workflows/b.yml": CLEAN}
    )
    looked = await look(tmp_path, timeout_s=1)
    assert [skip.component for skip in looked.skipped] == ["app/.github/workflows/deep.yml"]

"""A build after changes is the site of a first build; it writes only what differs, and never what is a person's."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from blocks.errors import UnavailableError
from blocks.settings import CHECKOUT
from models.docs import Form
from tasks.code.read import read
from tasks.docs.site import output as output_module
from tasks.docs.site.build import Wanted, build
from tests.bound import to_us
from tests.docs.packages import SHOP, broken_links, documented, site, write


def times(output: Path) -> dict[str, int]:
    """When each file was written, state and all."""
    return {str(path): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "code", SHOP)


def fresh(root: Path, tmp_path: Path, **wanted: Any) -> dict[str, bytes]:
    """The site that a first build makes."""
    place = tmp_path / f"fresh-{time.monotonic_ns()}"
    documented(root, place, **wanted)
    return site(place)


def test_a_build_of_what_has_not_changed_touches_nothing(root: Path, tmp_path: Path) -> None:
    first = documented(root, tmp_path / "site")
    before = times(tmp_path / "site")
    again = documented(root, tmp_path / "site")
    assert times(tmp_path / "site") == before
    assert (again.written, again.removed) == (0, 0)
    assert (again.objects, again.documented, again.pages) == (first.objects, first.documented, first.pages)


def test_a_change_rewrites_its_page_and_those_that_tell_of_it(root: Path, tmp_path: Path) -> None:
    documented(root, tmp_path / "site", forms=(Form.html,))
    before = times(tmp_path / "site")

    def written() -> set[str]:
        nonlocal before
        documented(root, tmp_path / "site", forms=(Form.html,))
        now = times(tmp_path / "site")
        changed = {Path(name).name for name in now if now[name] != before.get(name)} - {"manifest.json"}
        before = now
        return changed

    prices = root / "shop/prices.py"
    prices.write_text(prices.read_text().replace("LIMIT: int = 1_000", "LIMIT: int = 2_000"))
    assert written() == {"shop.prices.html"}
    prices.write_text(prices.read_text().replace('"""A price."""', '"""What one pays."""'))
    assert written() == {"shop.prices.html", "names.js"}
    prices.write_text(prices.read_text().replace("class Price", "class Cost"))
    assert written() >= {"shop.prices.html", "shop.orders.html", "names.js"}, "links to Price lead nowhere now"
    assert "shop.html" not in written()
    parts = root / "shop/_parts.py"
    parts.write_text(parts.read_text().replace("In kilograms", "In grams"))
    assert written() == {"shop.html", "names.js"}, "it has its place on the page of the package"


def test_pages_of_modules_that_are_gone_go(root: Path, tmp_path: Path) -> None:
    documented(root, tmp_path / "site")
    (root / "shop/prices.py").unlink()
    built = documented(root, tmp_path / "site")
    assert built.removed == 3
    assert not [name for name in site(tmp_path / "site") if "prices" in name]
    assert broken_links(tmp_path / "site/html") == []
    assert site(tmp_path / "site") == fresh(root, tmp_path)


def test_what_a_person_wrote_is_neither_replaced_nor_taken_away(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "site"
    write(output, {"html/index.html": "mine\n", "html/reference/notes.html": "mine too\n"})
    built = documented(root, output)
    assert built.kept == {"html/index.html": "there before"}
    page = output / "html/reference/shop.prices.html"
    page.write_text("corrected by hand")
    assert documented(root, output).kept == {
        "html/index.html": "there before",
        "html/reference/shop.prices.html": "changed",
    }
    (root / "shop/prices.py").unlink()
    assert "html/index.html" in documented(root, output).kept
    assert page.read_text() == "corrected by hand"
    assert (output / "html/index.html").read_text() == "mine\n"
    assert (output / "html/reference/notes.html").read_text() == "mine too\n"
    (output / "html/index.html").unlink()
    assert documented(root, output).kept == {}, "out of the way, and so it comes"
    assert "Index" in (output / "html/index.html").read_text()


def test_a_page_that_was_lost_or_a_broken_manifest_is_made_anew(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "site"
    documented(root, output)
    whole = site(output)
    (output / "html/reference/shop.html").unlink()
    (output / "markdown/docs/index.md").unlink()
    assert documented(root, output).written == 2
    assert site(output) == whole
    for garbage in (b"", b"\xff", b"[]", b'{"files": {"a": 1}, "state": 2}', b'{"files": {}, "state": {"key": 1}}'):
        (output / ".lama-docs/manifest.json").write_bytes(garbage)
        built = documented(root, output)
        assert built.kept == {}, "what is as it would be is taken for ours"
        assert site(output) == whole


def test_other_templates_or_wishes_make_it_anew(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "site"
    documented(root, output)
    own = write(tmp_path / "own", {"html/index.html": "own"})
    documented(root, output, templates=own)
    assert (output / "html/index.html").read_text() == "own"
    write(own, {"html/index.html": "other"})
    documented(root, output, templates=own, private=True)
    assert (output / "html/index.html").read_text() == "other"
    assert site(output) == fresh(root, tmp_path, templates=own, private=True)


def test_a_changed_schedule_changes_the_page_about_flows(tmp_path: Path) -> None:
    flow = 'from prefect import flow\n\n\n@flow\ndef nightly(a: int = 1) -> int:\n    """Runs."""\n    return a\n'
    yaml = "deployments:\n  - name: nightly\n    entrypoint: jobs.nightly\n    schedules:\n      - cron: '{}'\n"
    root = write(tmp_path / "code", {"jobs.py": flow, "prefect.yaml": yaml.format("0 1 * * *")})
    documented(root, tmp_path / "site")
    assert "0 1 * * *" in (tmp_path / "site/html/flows.html").read_text()
    write(root, {"prefect.yaml": yaml.format("0 2 * * *")})
    documented(root, tmp_path / "site")
    assert "0 2 * * *" in (tmp_path / "site/html/flows.html").read_text()
    write(root, {"jobs.py": flow.replace("@flow\n", "")})
    documented(root, tmp_path / "site")
    assert not (tmp_path / "site/html/flows.html").exists()
    assert site(tmp_path / "site") == fresh(root, tmp_path)


def test_files_beside_the_source_change_their_pages_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    source = 'import click\n\n\n@click.command()\ndef main() -> None:\n    """Goes."""\n'
    project = '[project]\nname = "x"\n\n[project.scripts]\n{} = "tool:main"\n'
    paths = {"/NAME": {"get": {"summary": "Gets."}}}
    api = json.dumps({"openapi": "3.1.0", "info": {"title": "Shop", "version": "1"}, "paths": paths})
    files = {"tool.py": source, "pyproject.toml": project.format("before"), "docs/openapi.json": api}
    root = write(tmp_path / "code", files)
    output = tmp_path / "site"
    assert documented(root, output).unread == []
    assert "before" in (output / "html/commands.html").read_text()
    assert "GET /NAME" in (output / "html/api.html").read_text()
    write(root, {"pyproject.toml": project.format("after")})
    documented(root, output)
    assert "after" in (output / "html/commands.html").read_text()
    write(root, {"docs/openapi.json": api.replace("NAME", "other")})
    documented(root, output)
    assert "GET /other" in (output / "html/api.html").read_text()
    write(root, {"docs/openapi.json": "{", "prefect.yaml": "deployments: [\n"})
    for _ in range(2):
        assert [place for place, _ in documented(root, output).unread] == ["prefect.yaml", "docs/openapi.json"]
    (root / "docs/openapi.json").unlink()
    (root / "prefect.yaml").unlink()
    assert documented(root, output).unread == []
    assert site(output) == fresh(root, tmp_path)


def test_several_processes_make_the_same_site(tmp_path: Path) -> None:
    files = {
        f"many/m{number}.py": f'"""Module {number}, see `many.m{number // 2}.C`."""\n\n\nclass C:\n    """C."""\n'
        for number in range(60)
    }
    root = write(tmp_path / "code", {"many/__init__.py": '"""Many."""\n', **files})
    code = read(root, jobs=1)
    build(code, Wanted("many"), tmp_path / "one", jobs=1)
    build(code, Wanted("many"), tmp_path / "two", jobs=2)
    assert site(tmp_path / "one") == site(tmp_path / "two")
    assert len(site(tmp_path / "one")) > 180


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_may_be_full_at_any_write_and_the_next_build_completes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    whole = fresh(root, tmp_path)
    replace = output_module.Output._replace
    output = tmp_path / "site"
    for number in range(1, 60):
        left = number

        def failing(self: Any, path: Path, content: bytes) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                half = self.folder / ".lama-docs" / "new-0-0"
                half.write_bytes(content[: len(content) // 2])
                raise OSError(code, os.strerror(code))
            replace(self, path, content)

        monkeypatch.setattr(output_module.Output, "_replace", failing)
        failed = None
        try:
            documented(root, output)
        except UnavailableError as error:
            failed = str(error)
        if failed is not None:
            assert os.strerror(code) in failed
            assert all(whole[name] == content for name, content in site(output).items()), "whole files only"
        else:
            break
        monkeypatch.setattr(output_module.Output, "_replace", replace)
        if number % 4 == 0:  # otherwise the next one goes on from where this ended
            assert documented(root, output).kept == {}
            assert site(output) == whole
            subprocess.run(["rm", "-r", str(output)], check=True)
    else:
        pytest.fail("it never came to an end")
    assert site(output) == whole


KILLED = """
import sys
from pathlib import Path
from tests.docs.packages import documented
documented(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_at_any_moment_the_next_build_completes(tmp_path: Path) -> None:
    """Between the kills sources change: what was written before must be known for ours all the same."""
    chance = random.Random(8)
    files = {
        f"many/m{number}.py": f'"""Module {number}."""\n\n\nclass C{number}:\n    """C."""\n' for number in range(150)
    }
    root = write(tmp_path / "code", {"many/__init__.py": '"""Many."""\n', **files})
    output = tmp_path / "site"
    begun = time.monotonic()
    documented(root, tmp_path / "timed")
    took = time.monotonic() - begun
    for number in range(8):
        path = root / f"many/m{chance.randrange(150)}.py"
        path.write_text(path.read_text().replace('"""C', f'"""Changed {number} C'))
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(root), str(output)],
            cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=to_us(),  # noqa: PLW1509 - it takes no locks
        )  # fmt: skip
        until = time.monotonic() + 60
        while not (output / "html").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)  # before that nothing is written
        time.sleep(chance.random() * took)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    built = documented(root, output)
    assert built.kept == {}
    assert site(output) == fresh(root, tmp_path)
    assert not list((output / ".lama-docs").glob("new-*"))


def test_two_builds_at_once_take_turns(root: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, str(root), str(tmp_path / "site")],
            cwd=CHECKOUT,
            preexec_fn=to_us(),  # noqa: PLW1509 - it takes no locks
        )
        for _ in range(3)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert site(tmp_path / "site") == fresh(root, tmp_path)


NAMES = ("a", "b", "c", "_p")
WORDS = ("Thing", "Other", "make", "value", "_hidden")


class Edits(RuleBasedStateMachine):
    """Any sequence of edits: after each, the site that was built on is the one that would be built anew."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory(prefix="lama-docs-")
        self.tmp = Path(self.folder.name)
        self.root = write(self.tmp / "code", {"pkg/__init__.py": '"""P."""\n'})
        documented(self.root, self.tmp / "site")

    def teardown(self) -> None:
        self.folder.cleanup()

    def path(self, name: str) -> Path:
        return self.root / "pkg" / f"{name}.py"

    @rule(
        name=st.sampled_from(NAMES),
        word=st.sampled_from(WORDS),
        about=st.sampled_from(WORDS),
        base=st.sampled_from(WORDS),
        documented=st.booleans(),
    )
    def define(self, name: str, word: str, about: str, base: str, documented: bool) -> None:
        text = self.path(name).read_text() if self.path(name).exists() else '"""M."""\n'
        doc = f'    """About `{about}`, `.{about}` and :meth:`{base}.run`."""\n' if documented else ""
        self.path(name).write_text(
            f"{text}\n\nclass {word}({base}):\n{doc}    def run(self, x: {about}) -> {base}:\n        pass\n"
        )

    @rule(
        name=st.sampled_from((*NAMES, "__init__")),
        source=st.sampled_from(NAMES),
        word=st.sampled_from((*WORDS, "*")),
        new=st.sampled_from((*WORDS, "")),
    )
    def take(self, name: str, source: str, word: str, new: str) -> None:
        path = self.path(name)
        text = path.read_text() if path.exists() else '"""M."""\n'
        renamed = f" as {new}" if new and word != "*" else ""
        line = f"from pkg.{source} import {word}{renamed}\n"
        path.write_text(text.replace('"""\n', f'"""\n{line}', 1))

    @rule(name=st.sampled_from((*NAMES, "__init__")), words=st.lists(st.sampled_from(WORDS), max_size=3))
    def offer(self, name: str, words: list[str]) -> None:
        if self.path(name).exists():
            self.path(name).write_text(f"{self.path(name).read_text()}\n__all__ = {words!r}\n")

    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    @rule(
        name=st.sampled_from(NAMES),
        text=st.sampled_from(('"""Else."""\n', "", "def (:\n", '"""See `pkg.a.Thing`, `Other`, `Thing.run`."""\n')),
    )
    def replace(self, name: str, text: str) -> None:
        self.path(name).write_text(text)

    @invariant()
    def is_as_built_anew(self) -> None:
        documented(self.root, self.tmp / "site")
        assert site(self.tmp / "site") == fresh(self.root, self.tmp)


Edits.TestCase.settings = settings(max_examples=10, stateful_step_count=8, deadline=None, phases=[Phase.generate])
TestEdits = Edits.TestCase


@given(st.lists(st.sampled_from(sorted(SHOP)), max_size=3, unique=True))
@settings(max_examples=8, deadline=None)
def test_whatever_files_are_taken_away(gone: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lama-docs-") as folder:
        root = write(Path(folder) / "code", SHOP)
        documented(root, Path(folder) / "site")
        for name in gone:
            (root / name).unlink()
        documented(root, Path(folder) / "site")
        assert site(Path(folder) / "site") == fresh(root, Path(folder))
        assert broken_links(Path(folder) / "site/html") == []

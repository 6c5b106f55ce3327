"""What could not be read is neither all clear nor forgotten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lama.cli import cli
from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Finding, Skip
from tasks.code.read import read
from tasks.docs.truth import judge
from tasks.docs.truth.judge import check, read_baseline

GUIDE = "# Guide\n\n`acme.other.load(path)` loads.\n\n## More\n\n`acme.run()` runs.\n"
OTHER = '"""Other."""\n\n\ndef load(path: str) -> None:\n    """Load."""\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "acme").mkdir(parents=True)
    (folder / "docs").mkdir()
    (folder / "acme" / "__init__.py").write_text('"""Acme."""\n\n\ndef run() -> None:\n    """Run."""\n')
    (folder / "acme" / "other.py").write_text(OTHER)
    (folder / "docs" / "guide.md").write_text(GUIDE)
    return folder


def lama(*words: str) -> int:
    code: int = cli.main(["docs", *words], standalone_mode=False)
    return code


def looked_at(root: Path, settings: DocsSettings | None = None) -> tuple[list[Finding], list[Skip]]:
    findings, skips, _ = check(Checkout(name="shop", path=root), read(root), settings or DocsSettings())
    return findings, skips


@pytest.mark.usefixtures("configured")
def test_source_that_cannot_be_read_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "acme" / "other.py").write_text("def x(:\n")
    assert lama("check", str(root)) == 2
    told = capsys.readouterr().err
    assert "acme/other.py" in told
    assert "What is in them was not judged." in told
    assert "page" not in told


@pytest.mark.usefixtures("configured")
def test_what_was_accepted_of_a_module_that_cannot_be_read_stays(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lama("accept", str(root)) == 0
    before = read_baseline(root / "docs" / ".truth.json")
    (root / "acme" / "other.py").write_text("def x(:\n")
    assert lama("accept", str(root)) == 2
    assert "as it was before: acme/other.py" in capsys.readouterr().err
    assert read_baseline(root / "docs" / ".truth.json") == before
    (root / "acme" / "other.py").write_text(OTHER.replace("path: str", "place: str"))
    assert lama("check", str(root)) == 1
    assert "`acme.other.load" in capsys.readouterr().out


@pytest.mark.usefixtures("configured")
def test_what_was_accepted_of_a_page_that_cannot_be_read_stays(root: Path) -> None:
    (root / "docs" / "gone.md").write_text("`acme.run()` runs.\n")
    assert lama("accept", str(root)) == 0
    before = read_baseline(root / "docs" / ".truth.json").pages
    (root / "docs" / "guide.md").write_bytes(GUIDE.encode() + b"\xff")
    (root / "docs" / "gone.md").unlink()
    assert lama("accept", str(root)) == 2
    assert read_baseline(root / "docs" / ".truth.json").pages == {"docs/guide.md": before["docs/guide.md"]}


def test_a_page_that_cannot_be_read_hides_whatever_was_found_in_it(root: Path) -> None:
    page = root / "docs" / "guide.md"
    project = '[project]\nname = "acme"\nversion = "1"\n[project.scripts]\nacme = "acme:go"\n'
    (root / "pyproject.toml").write_text(project)
    (root / "acme" / "__init__.py").write_text(
        '"""Acme."""\nimport click\n\n\n@click.command()\n@click.option("--force")\ndef go(force):\n    """Go."""\n'
    )
    page.write_text(
        "`acme --forc`, `acme.gone`, [x](away.md), `acme/gone.py`\n\n"
        "<!-- lama:prose acme.go -->\n<!-- /lama:prose -->\n"
    )
    found, skips = looked_at(root)
    kinds = {one.key.partition(":")[0] for one in found}
    assert kinds >= {"docs.option", "docs.name", "docs.link", "docs.path", "docs.prose"}
    assert not skips
    page.write_bytes(page.read_bytes() + b"\xff")
    still, skips = looked_at(root)
    assert not [one for one in still if "guide.md" in one.key]
    assert all(any(skip.may_hide(one.key) for skip in skips) for one in found)


def test_no_kind_of_finding_is_missing_among_those_that_may_be_hidden() -> None:
    """Those that are spelled whole; others take their kind from what found them."""
    source = Path(judge.__file__).read_text(encoding="utf-8")
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    spelled = {
        text.removeprefix("docs.").removesuffix(":")
        for text in texts
        if isinstance(text, str) and text.startswith("docs.") and text.endswith(":") and len(text) > len("docs.:")
    }
    assert spelled
    assert spelled <= set(judge._KINDS)


def test_documents_that_were_asked_for_and_are_not_there_are_said(root: Path) -> None:
    assert looked_at(root)[1] == [], "README.md is one of the defaults, and need not be there"
    _, skips = looked_at(root, DocsSettings(documents=("guide", "docs")))
    assert [skip.reason for skip in skips] == ["guide of `documents` in `[docs]` is not there."]


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("edited", [False, True])
def test_what_was_accepted_of_a_page_goes_with_it_to_its_new_name(root: Path, *, edited: bool) -> None:
    assert lama("accept", str(root)) == 0
    text = (root / "docs" / "guide.md").read_text()
    (root / "docs" / "guide.md").unlink()
    (root / "docs" / "manual.md").write_text(text.replace("`acme.run()` runs.", "`acme.run()` is run.", edited))
    (root / "acme" / "other.py").write_text(OTHER.replace("path: str", "place: str"))
    findings, skips = looked_at(root)
    assert [one.key for one in findings if one.severity.rank > 1] == [
        "docs.signature:shop/docs/manual.md#acme.other.load.path"
    ]
    assert [one for one in findings if one.key.startswith("docs.baseline:")] == []
    assert skips == []
    assert lama("accept", str(root), "--page", "docs/manual.md") == 0
    assert list(read_baseline(root / "docs" / ".truth.json").pages) == ["docs/manual.md"]


@pytest.mark.usefixtures("configured")
def test_a_page_of_the_baseline_that_is_nowhere_is_told_until_it_is_taken_out(root: Path) -> None:
    assert lama("accept", str(root)) == 0
    (root / "docs" / "guide.md").rename(root / "guide.md")
    (root / "docs" / "manual.md").write_text("# Another\n\n`acme.run()` it is.\n")
    findings, skips = looked_at(root)
    assert [one.key for one in findings] == ["docs.baseline:shop/docs/guide.md"]
    assert "`docs/guide.md`" in findings[0].title
    assert skips == []
    (root / "docs" / "guide.md").symlink_to("/dev/null")
    findings, skips = looked_at(root)
    assert findings == []
    assert skips[0].may_hide("docs.baseline:shop/docs/guide.md"), "it is there, and cannot be read"
    (root / "docs" / "guide.md").unlink()
    assert lama("accept", str(root)) == 0
    assert looked_at(root) == ([], [])

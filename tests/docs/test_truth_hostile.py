"""Documents of strangers: whatever they hold, a check ends soon, runs nothing, and says what it could not read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from tasks.code.read import read
from tasks.docs.truth import check

_LARGE = 100_000
_ENOUGH_S = 20.0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty lines in code", "```python\n" + "\n" * _LARGE + "x\n```\n"),
        ("an open bracket", "[" + "a" * _LARGE + "\n"),
        ("many open brackets", "[a" * (_LARGE // 2) + "\n"),
        ("an open tag", "<a " + "id " * (_LARGE // 3) + "\n"),
        ("one heading", "# " + "x " * (_LARGE // 2) + "\n"),
        ("many headings", "# x\n" * 20_000),
        ("one span", "`" + "acme." * (_LARGE // 5) + "x`\n"),
        ("many spans", "`acme.gone` " * 4_000 + "\n"),
        ("a deep quotation", ">" * 50_000 + " x\n"),
        ("a deep list", "".join(" " * n + "- x\n" for n in range(300))),
        ("a deep sum", "```python\nimport acme\nacme.run(" + "1+" * 20_000 + "1)\n```\n"),
        ("deep minuses", "`acme.run(" + "-" * 380 + "1)`\n"),
        ("deep parentheses", "```python\n" + "(" * 5_000 + ")" * 5_000 + "\n```\n"),
        ("a chain of attributes", "```python\nimport acme\nacme" + ".a" * 20_000 + "\n```\n"),
        ("one command line", "```sh\nacme run " + "--x " * (_LARGE // 4) + "\n```\n"),
        ("a large table", "|parameter|x|\n|---|---|\n" + "|`a`|b|\n" * 2_000),
        ("a deep TOML", "```toml\n[" + "a." * 5_000 + "a]\nx = 1\n```\n"),
        ("nested TOML", "```toml\nx = " + "[" * 5_000 + "]" * 5_000 + "\n```\n"),
        ("NUL and controls", "# \x00\x01\n`acme.\x00gone` \x7f\u2028 [x](\x00.md)\n"),
        ("regions without end", "<!-- lama:prose acme.run -->\n" * 5_000),
        ("an address that leads out", "[x](../../../../../../etc/passwd) [y](/etc/passwd) ![z](//evil/x)\n"),
        ("front matter without end", "---\n" + "a: b\n" * 20_000),
    ],
)
def test_a_check_of_a_hostile_document_ends(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "__init__.py").write_text('"""Acme."""\n\n\ndef run(x):\n    """Run."""\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "acme"\n[project.scripts]\nacme = "acme:run"\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x.md").write_text(text, encoding="utf-8")
    begun = time.process_time()
    findings, _, _ = check(Checkout(name="shop", path=tmp_path), read(tmp_path, ["acme"]), DocsSettings())
    assert time.process_time() - begun < _ENOUGH_S, name
    assert all(len(one.key) < 400 for one in findings)
    assert len(findings) < 1_500


@pytest.mark.parametrize(
    "docstring",
    [
        "Args:\n" + "        x" * 5_000,
        ":param " * 20_000,
        ">>> " + "acme.run(" * 500,
        "`acme.gone` " * 4_000,
        "[" * 50_000,
    ],
)
def test_a_check_of_a_hostile_docstring_ends(tmp_path: Path, docstring: str) -> None:
    (tmp_path / "acme.py").write_text(f'def run(x):\n    """Run acme.\n\n    {docstring}\n    """\n', encoding="utf-8")
    begun = time.process_time()
    check(Checkout(name="shop", path=tmp_path), read(tmp_path, ["acme"]), DocsSettings())
    assert time.process_time() - begun < _ENOUGH_S

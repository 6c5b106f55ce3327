"""What may be there for all that the syntax says, or is no link, or is another command's, accuses no document."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from tasks.code.read import read
from tasks.docs.truth import check

_COMMANDS = '''"""Commands."""

import click


@click.command()
@click.option("--force", is_flag=True, help="Whether.")
def go(force): ...
'''


def keys(root: Path, text: str, code: str = '"""Acme."""\n') -> set[str]:
    (root / "acme").mkdir(parents=True)
    (root / "acme" / "__init__.py").write_text(code)
    (root / "acme" / "commands.py").write_text(_COMMANDS)
    (root / "pyproject.toml").write_text('[project]\nname = "acme"\n[project.scripts]\nacme = "acme.commands:go"\n')
    (root / "README.md").write_text(f"# Guide\n\n{text}\n", encoding="utf-8")
    findings, _, _ = check(Checkout(name="shop", path=root), read(root), DocsSettings())
    return {one.key for one in findings}


@pytest.mark.parametrize(
    "body",
    [
        "def __init__(self, **kw):\n        self.__dict__.update(kw)",
        "def __init__(self, **kw):\n        self.__dict__ = kw",
        "def __init__(self, **kw):\n        known = self.__dict__\n        known |= kw",
        "def __init__(self, **kw):\n        vars(self).update(kw)",
        "def __init__(self, **kw):\n        for name, value in kw.items():\n            setattr(self, name, value)",
        "def __init__(self, kw):\n        for name in kw:\n            object.__setattr__(self, f'x_{name}', 1)",
        "for one in ('x', 'y'):\n        locals()[one + 'z'] = 1",
    ],
)
def test_a_class_that_gives_itself_attributes_by_computed_names_may_have_any(tmp_path: Path, body: str) -> None:
    for name, code in (("Dyn", ""), ("Sub", "\n\nclass Sub(Dyn):\n    pass\n")):
        found = keys(tmp_path / name, f"`acme.{name}.zap` zaps.", f"class Dyn:\n    {body}\n{code}")
        assert found == set(), name


def test_a_class_that_is_given_attributes_by_its_module_may_have_any(tmp_path: Path) -> None:
    code = "class Dyn:\n    pass\n\n\nfor one in open('names'):\n    setattr(Dyn, one, 1)\n"
    assert keys(tmp_path, "`acme.Dyn.zap` zaps.", code) == set()


@pytest.mark.parametrize(
    "body",
    [
        "def __init__(self):\n        setattr(self, 'other', 1)",
        'def __init__(self):\n        object.__setattr__(self, "other", 1)',
        "def __setattr__(self, name, value):\n        super().__setattr__(name, value)",
        "def __eq__(self, other):\n        return self.__dict__ == other.__dict__",
        "def make(self, x):\n        return dict(locals())",
        "def __str__(self):\n        return '{zip}'.format(**self.__dict__)",
        "def __repr__(self):\n        return ' '.join(vars(self).items())",
    ],
)
def test_a_class_that_spells_its_attributes_has_no_others(tmp_path: Path, body: str) -> None:
    code = f"class Dyn:\n    {body}\n\n\nclass Other:\n    def __init__(self, **kw):\n        vars(self).update(kw)\n"
    assert keys(tmp_path, "`acme.Dyn.zap` zaps.", code) == {"docs.name:shop/README.md#acme.Dyn.zap"}


@pytest.mark.parametrize(
    "text",
    [
        "It zaps[^1].\n\n[^1]: Foot.",
        "It zaps[^note].\n\n[^note]: Foot.",
        "See [the paper][^the paper].\n\n[^the paper]: A paper of some length.",
    ],
)
def test_footnotes_are_no_links(tmp_path: Path, text: str) -> None:
    assert keys(tmp_path, text) == set()


def test_a_label_beside_a_footnote_is_still_a_link(tmp_path: Path) -> None:
    text = "It zaps[^1], see [there][one].\n\n[^1]: Foot.\n[one]: gone.md"
    assert keys(tmp_path, text) == {"docs.link:shop/README.md#gone.md"}


@pytest.mark.parametrize(
    "line",
    [
        "$ acme --force; ls --all", "$ acme --force;ls --all", "$ acme --force&& ls --all", "$ acme --force|jq --raw",
        "$ acme --force & ls --all", "$ acme --force $(ls --all x)", "$ acme --force; echo don't --all",
    ],
)  # fmt: skip
def test_options_behind_the_end_of_a_command_are_another_ones(tmp_path: Path, line: str) -> None:
    assert keys(tmp_path / "fence", f"```console\n{line}\n```") == set()
    assert keys(tmp_path / "span", f"Type `{line[2:]}`.") == set()


@pytest.mark.parametrize(
    "line", ["acme <place> --all; ls", "acme 'a;b' --all", "acme a\\;b --all", "acme -- --x; acme", "acme --all;"]
)
def test_options_before_the_end_of_a_command_are_its_own(tmp_path: Path, line: str) -> None:
    expected = {"docs.option:shop/README.md#acme --all"} if "--all" in line else set()
    assert keys(tmp_path, f"```console\n$ {line}\n```") == expected

"""What a check of a checkout finds, what it leaves alone, and what it says that it could not see."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.code.read import read
from tasks.docs.truth import check
from tasks.docs.truth.baseline import Accepted, AcceptedSection, Baseline, BaselineError
from tasks.docs.truth.breakage import breakage
from tasks.docs.truth.judge import accepted, gather
from tasks.docs.truth.kept import keep
from tasks.docs.truth.page import github_slug, read_page
from tasks.docs.truth.past import speaks_of_the_past
from tests.programs import require

_APP = '''"""An application."""

from dataclasses import dataclass

from prefect import flow
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Store:
    """Keeps things.

    Args:
        place: Where.
    """

    def __init__(self, place, limit=10):
        self.place = place

    def put(self, key, value, *, replace=False):
        """Keep `value`.

        Args:
            key: Its name.
            value: What is kept.
            replace: Whether an old one goes.
        """

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *args): ...


@dataclass
class Point:
    """A point."""

    x: int
    y: int = 0


class Inner(BaseModel):
    """Of the inner table."""

    depth: int = Field(default=1, description="Depth.")


class More(BaseModel):
    """Of another table."""

    size: int = Field(default=1, description="Size.")


class Whole(BaseModel):
    """All tables."""

    inner: Inner = Field(default=Inner(), description="Inner.")
    more: More = Field(default=More(), description="More.")
    list_of: tuple[More, ...] = Field(default=(), description="Several.")


class Settings(BaseSettings):
    """Settings."""

    model_config = SettingsConfigDict(env_prefix="ACME_")

    home: str = Field(default="", description="Home.")


@flow(name="ship")
def ship(where: str, how: str = "fast"):
    """Ship it.

    Args:
        where: The place.
        how: The way.
    """


def run(name, *, loud=False):
    """Run it.

    >>> run("x", loud=True)
    """


def _private(): ...
'''
_COMMANDS = '''"""Commands."""

import click


@click.command()
@click.option("--loud/--quiet", help="Whether it is loud.")
@click.option("--place-of-it", help="Where.")
def bare(loud, place_of_it): ...
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "acme").mkdir(parents=True)
    (folder / "acme" / "__init__.py").write_text('from acme.app import Store, run\n__all__ = ["Store", "run"]\n')
    (folder / "acme" / "app.py").write_text(_APP)
    (folder / "acme" / "commands.py").write_text(_COMMANDS)
    (folder / "docs").mkdir()
    (folder / "docs" / "other.md").write_text(
        "# Other page\n\n## What it does\n\n## What it does\n\n<a id='here'></a>\n"
    )
    (folder / "CHANGELOG.md").write_text("# Changes\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "acme"\n[project.scripts]\nacme = "acme.commands:bare"\n')
    return folder


def look(root: Path, text: str | None = None, file: str = "docs/guide.md") -> tuple[list[Finding], list[Skip]]:
    if text is not None:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    findings, skips, _ = check(
        Checkout(name="shop", path=root), read(root), DocsSettings(documents=("README.md", "docs", "CHANGELOG.md"))
    )
    return findings, skips


def keys(root: Path, text: str, file: str = "docs/guide.md") -> set[str]:
    return {one.key.removeprefix("docs.").replace("shop/docs/guide.md#", "") for one in look(root, text, file)[0]}


def test_a_checkout_that_is_true_has_no_findings(root: Path) -> None:
    text = """# Guide

`acme.Store` keeps things, see [other](other.md#what-it-does-1) and [there](other.md#here).

```python
from acme import Store, run
from acme.app import Point, ship

with Store("x") as store:
    store.put("a", 1, replace=True)
point = Point(1, y=2)
run("name", loud=True)
ship("there", how="slow")
```

| parameter | what |
| --- | --- |
| `where` | the place |
| `how` | the way |

```sh
acme bare --loud --place-of-it=x   # a comment with --nothing
ACME_HOME=x acme bare --quiet --help
```

```toml
[inner]
depth = 3
[[list_of]]
size = 1
```

`ACME_HOME` says where.
"""
    findings, skips = look(root, text)
    assert [one.title for one in findings] == []
    assert skips == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`acme.Stor` keeps.", "name:acme.Stor"),
        ("`acme.app.Store.get` reads.", "name:acme.app.Store.get"),
        ("```python\nfrom acme.app import Shop\n```", "name:acme.app.Shop"),
        ("```python\nimport acme\nacme.run('x', quiet=1)\n```", "example:acme.run.quiet"),
        ("```python\nfrom acme import run\nrun()\n```", "example:run.name"),
        ("```python\nfrom acme import run\nrun('a', 'b')\n```", "example:run.1"),
        ("```python\nfrom acme.app import Point\nPoint(1, 2, 3)\n```", "example:Point.2"),
        ("```python\nfrom acme import Store\ns = Store('x')\ns.put('a', 1, force=True)\n```", "example:s.put.force"),
        ("```python\nfrom acme import Store\nwith Store('x') as s:\n    s.get('a')\n```", "name:acme.app.Store.get"),
        ("```pycon\n>>> import acme\n>>> acme.run('x', lod=True)\n```", "example:acme.run.lod"),
        ("`acme.run(name, quiet=True)` runs.", "example:acme.run.quiet"),
        ("[x](gone.md)", "link:gone.md"),
        ("[x](other.md#no-such)", "link:other.md#no-such"),
        ("[x](#no-such)", "link:#no-such"),
        ("![x](no.png)", "link:no.png"),
        ("See [the page][no such label] for more.", "link:no such label"),
        ("See [the store][acme.app.Shop].", "link:acme.app.Shop"),
        ("`acme/gone.py` is where.", "path:acme/gone.py"),
        ("Run `acme fly --now`.", "command:acme fly"),
        ("```sh\nacme bare --lod\n```", "option:acme --lod"),
        ("Say `acme bare --place`.", "option:acme --place"),
        ("```toml\n[inner]\ndept = 1\n```", "setting:inner.dept"),
        ("```toml\n[[list_of]]\nsze = 1\n[inner]\ndepth = 1\n```", "setting:list_of.sze"),
        ("Set `ACME_HOUSE`.", "setting:ACME_HOUSE"),
        (
            "```python\nfrom acme.app import ship\n```\n\n| parameter | x |\n|---|---|\n| `wher` | y |",
            "parameter:acme.app.ship.wher",
        ),
    ],
)
def test_what_is_not_true_is_found(root: Path, text: str, found: str) -> None:
    assert found in keys(root, f"# Guide\n\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "[x](https://example.com/gone)", "[x](mailto:a@b)", "[x](../../issues)", "[x](#guide)", "[x](#GUIDE)",
        "[x](../acme/app.py#L3)", "a[i][j] and x[0][key]", "[^1][note]", "[x](other)", "[x](other.html)",
        "[x](/docs/other.md)",
        "```toml\n[inner]\ndept = 1\n[stranger]\nx = 1\n```", "```toml\n[inner\n```", "`ACME_HOME=1`", "`OTHER_HOUSE`",
        "```sh\nother --gone; make --x\n```", "```sh\nacme bare | grep --gone\n```", "`acme.toml`",
        "`acme.example.com`",
        "```python\nfrom acme import run\nrun(*args)\nrun(...)\nrun('x', **more)\n```",
        "```python\nrun = print\nrun(1, 2, 3)\n```",
        "```python\nfrom acme import Store\nStore = fake\nStore.gone()\n```",
        "```python\ndef f(acme):\n    acme.gone()\n```", "```python\nthis is no Python, acme.gone\n```",
        "```python\nfrom acme import Store\ns = Store('x')\ns = other()\ns.gone()\n```",
        "```python\nwith suppress(AttributeError):\n    import acme\n    acme.gone()\n```",
        "<!-- `acme.gone` -->", "    `acme.gone`", "The event `acme.gone` is sent.", "`acme.your_plugin` is yours.",
        "`acme.app.Settings.anything` may be.", "> `acme.gone` they said.", "There is no `acme.gone`.",
    ],
)  # fmt: skip
def test_what_is_right_or_open_is_left_alone(root: Path, text: str) -> None:
    assert keys(root, f"# Guide\n\n{text}\n") == set()


def test_histories_may_speak_of_what_is_no_more(root: Path) -> None:
    text = "# Changes\n\n`acme.gone` came. `acme.app.Store.get` as well. [x](gone.md)\n"
    assert keys(root, text, "CHANGELOG.md") == {"link:shop/CHANGELOG.md#gone.md"}, (
        "a link leads somewhere, or it does not"
    )
    assert keys(root, "# Guide\n\n## Version 1.0\n\n`acme.gone` is new.\n") == {"link:shop/CHANGELOG.md#gone.md"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("            replace: Whether an old one goes.\n", ""), "missing.replace"),
        (("            replace: Whether an old", "            replac: Whether an old"), "misnamed.replac"),
        (("            value: What is kept.\n", "            value: What.\n            ttl: How long.\n"), "extra.ttl"),
        (('>>> run("x", loud=True)', '>>> run("x", lod=True)'), "call.run.lod"),
        (('"""Run it.\n', '"""Run it, as :func:`acme.app.walk` does.\n'), "name.acme.app.walk"),
        (('"""Run it.\n', '"""Run it like [that][acme.app.Store.get].\n'), "name.acme.app.Store.get"),
    ],
)
def test_docstrings_are_held_against_their_code(root: Path, change: tuple[str, str], found: str) -> None:
    source = root / "acme" / "app.py"
    assert change[0] in _APP
    source.write_text(_APP.replace(*change))
    told = [one for one in look(root, "# Guide\n")[0] if one.key.startswith("docs.docstring:")]
    assert [one.key.rpartition("#")[2] for one in told] == [found]
    assert told[0].severity is Severity.low


@pytest.mark.parametrize(
    "docstring",
    [
        "Args:\n        *args: All.\n        **more: Others.\n        key (str, optional): By name.",
        (
            "Parameters\n    ----------\n    a, b : int\n        Two.\n    c : {'x', 'y'}\n        One.\n    **kwargs\n"
            "        All."
        ),
        ":param int a: One.\n    :param b: Two.\n    :type b: int\n    :param c: Three.",
        (
            "Args:\n        a: One, see also\n            nested: this is no parameter.\n        b: Two.\n"
            "        c: Three."
        ),
    ],
)
def test_styles_of_docstrings_are_read_without_false_alarm(root: Path, docstring: str) -> None:
    source = f'"""A module."""\n\n\ndef f(a, b=1, c=2, *args, **kwargs):\n    """F.\n\n    {docstring}\n    """\n'
    (root / "acme" / "styles.py").write_text(source)
    assert [one.title for one in look(root, "# Guide\n")[0]] == []


def test_signatures_that_change_under_an_accepted_page_are_told_with_both(root: Path) -> None:
    text = "# Guide\n\n## Runs\n\n`acme.run(name, loud=False)` runs.\n\n## Other\n\n`acme.Store` keeps.\n"
    (root / "docs" / "guide.md").write_text(text)
    chosen = DocsSettings()
    checkout = Checkout(name="shop", path=root)
    keep(root / chosen.baseline, accepted(gather(checkout, read(root), chosen)))
    assert look(root, text)[0] == []
    (root / "acme" / "app.py").write_text(_APP.replace("*, loud=False", "*, loud=True"))
    told = look(root, text)[0]
    assert [one.key for one in told] == ["docs.signature:shop/docs/guide.md#acme.run.loud"]
    assert told[0].evidence["old"] == "acme.run(name, *, loud=False)"
    assert told[0].evidence["new"] == "acme.app.run(name, *, loud=True)"
    assert told[0].evidence["line"] == 5
    keep(root / chosen.baseline, accepted(gather(checkout, read(root), chosen)))
    assert look(root, text)[0] == []


def test_a_baseline_that_cannot_be_read_makes_the_report_incomplete(root: Path) -> None:
    (root / "docs" / ".truth.json").write_text('{"version": 1, "pages": ')
    _, skips = look(root, "# Guide\n")
    assert len(skips) == 1
    assert "docs accept" in skips[0].reason
    assert skips[0].may_hide("docs.signature:shop/x")


def test_documents_that_cannot_be_read_are_told(root: Path) -> None:
    (root / "docs" / "bad.md").write_bytes(b"\xff\xfe# x")
    (root / "docs" / "index.rst").write_text("x")
    os.mkfifo(root / "docs" / "pipe.md")
    (root / "docs" / "out.md").symlink_to("/etc/passwd")
    _, skips = look(root, "# Guide\n")
    assert len(skips) == 1
    for word in ("out.md", "pipe.md", "4 of its files"):
        assert word in skips[0].reason


_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.text("#*`[]()<>!\\\n ~|-=>.:aA1_{}\"'&\u00e9", max_size=300))
def test_any_text_is_a_page(text: str) -> None:
    page = read_page("docs/x.md", text)
    assert all(1 <= span.line <= text.count("\n") + 2 for section in page.sections for span in section.spans)
    assert len({section.key for section in page.sections}) == len(page.sections)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        _TEXTS,
        st.dictionaries(
            _TEXTS,
            st.builds(
                AcceptedSection, _TEXTS, st.dictionaries(_TEXTS, st.builds(Accepted, _TEXTS, _TEXTS, _TEXTS, _TEXTS))
            ),
        ),
    )
)
def test_a_baseline_is_read_as_it_was_written(pages: dict[str, dict[str, AcceptedSection]]) -> None:
    written = Baseline(pages).written
    assert json.loads(written)
    again = Baseline.read(written)
    assert again.written == written
    for file, sections in pages.items():
        for key, section in sections.items():
            assert again.pages[file][key].text == section.text
            assert set(again.pages[file][key].symbols) == set(section.symbols)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"version": 9, "pages": {}}', b'{"version": 1, "pages": [1]}']
)
def test_another_file_is_no_baseline(content: bytes) -> None:
    with pytest.raises(BaselineError):
        Baseline.read(content)


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("What it does", "what-it-does"), ("`lama docs check`: how?", "lama-docs-check-how"), ("A - B", "a---b"),
        ("C++ & D", "c--d"), ("Über_uns", "über_uns"), ("1. First", "1-first"),
    ],
)  # fmt: skip
def test_headings_have_the_anchors_that_github_gives_them(title: str, slug: str) -> None:
    assert github_slug(title) == slug


@pytest.mark.parametrize(
    "sentence",
    [
        "`x.y` was removed.", "Before 2.0 it was `x.y`.", "It used to be `x.y`.", "There is no `x.y`.",
        "In click 7 one wrote `x.y`.", "Use `x.new` instead of `x.y`.", "`x.y` is gone.", "`x.y` will be added soon.",
        "`x.y` does not exist.", "A plugin of your own, say `x.y`.", "Your own `x.y` comes first.",
        "`x.y` is a typo.", "Calling `x.y` raises an AttributeError.", "`x.y` has been renamed to `x.z`.",
        "The third-party `x.y` does that.", "Since it was renamed, `x.y` is called otherwise.",
        "Use ``x.new`` rather than :func:`x.y`.", "`x.y` is deprecated.", "The deprecated method `x.y` waits.",
    ],
)  # fmt: skip
def test_sentences_about_the_past_are_told_apart(sentence: str) -> None:
    assert speaks_of_the_past(sentence, "x.y")


@pytest.mark.parametrize(
    "sentence",
    [
        "`x.y` takes 0.5 s.", "Call `x.y` in 10 seconds.", "`x.y` never fails.", "Use `x.y`.",
        "An exception will be raised by `x.y`.", "Use `x.y` rather than `x.z`.", "Call `x.y` instead of looping.",
        "If the password is wrong, `x.y` says so.", "If it is gone, `x.y` says so.", "On mistake `x.y` raises.",
        "Copy `x.y` into your own module.", "`x.y` is used to read.", "Once a file was removed, `x.y` tells.",
        "There is no need to call `x.y`.", "`x.y` raises an ImportError if the extra is not there.",
        "`x.y` works with third-party packages.", "If the caller does not provide a key, `x.y` makes one.",
        "A page is made up of `x.y`.", "`x.y` gives the removed lines.",
        "The word behind a deprecated command is `x.y`.",
    ],
)  # fmt: skip
def test_sentences_about_the_present_are_too(sentence: str) -> None:
    assert not speaks_of_the_past(sentence, "x.y")


@pytest.mark.parametrize(
    ("above", "past"),
    [
        ("Instead of:", True), ("This was removed:", True), ("Put this into your own module:", True),
        ("Call it instead of looping, as here:", False), ("An exception will be raised by this:", False),
        ("If the password is wrong, say:", False),
    ],
)  # fmt: skip
def test_what_stands_above_a_block_says_whether_it_is_of_the_past(above: str, past: bool) -> None:
    assert speaks_of_the_past(above) is past


def test_what_broke_since_a_commit_is_what_a_user_notices(root: Path) -> None:
    require("git")
    git = "git"

    def run(*words: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run([git, "-C", str(root), *identity, *words], check=True, capture_output=True)

    run("init", "-q")
    (root / "acme" / "old.py").write_text(
        '"""Old."""\n\n\ndef gone():\n    """Gone."""\n\n\ndef moved():\n    """Moved."""\n'
    )
    (root / "acme" / "pay.py").write_text(
        'def pay(currency: str = "EUR", mode="A", way=Mode.A, key=b"A", kind=NOT_GIVEN, size=1E5):\n    """Pay."""\n'
    )
    (root / ".gitattributes").write_text("*.py filter=evil\n")
    run("add", "-A")
    run("commit", "-qm", "before")
    run("config", "filter.evil.smudge", f"touch {root}/evil; cat")
    changed = _APP.replace("value, *, replace=False", "value, ttl, *, force=False").replace(
        "class Point:", "class Spot:"
    )
    (root / "acme" / "app.py").write_text(changed)
    (root / "acme" / "new.py").write_text('"""New."""\n\n\ndef moved():\n    """Moved."""\n')
    (root / "acme" / "old.py").write_text('"""Old."""\n\nfrom acme.new import moved\n')
    (root / "acme" / "pay.py").write_text(
        'def pay(currency: str = "CHF", mode="B", way=Mode.B, key=b"B", kind=UNSET, size=1E6):\n    """Pay."""\n'
    )
    findings, skips = breakage(Checkout(name="shop", path=root), "HEAD")
    assert skips == []
    assert {one.key.removeprefix("docs.breaks:shop/") for one in findings} == {
        "acme.old.gone#removed", "acme.app.Point#removed", "acme.app.Store.put#ttl", "acme.app.Store.put#replace",
        "acme.pay.pay#currency", "acme.pay.pay#mode", "acme.pay.pay#way", "acme.pay.pay#key", "acme.pay.pay#size",
    }  # fmt: skip
    assert not (root / "evil").exists(), "no filter of the repository was run"

"""Links and paths are judged as a reader finds them: on the site that is made of the documents, or in the checkout."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from tasks.code.read import read
from tasks.docs.truth import check
from tasks.docs.truth.page import read_page
from tasks.docs.truth.past import is_history

_CODE = '''"""Acme."""


class Shop:
    """A shop."""
'''


def keys(root: Path, files: dict[str, str]) -> set[str]:
    """What is told of links and paths in a checkout of a package with `files`."""
    for name, text in {"acme/__init__.py": _CODE, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    findings, _, _ = check(Checkout(name="shop", path=root), read(root), DocsSettings())
    told = (one.key for one in findings)
    return {
        key.removeprefix("docs.").replace(":shop/", ":") for key in told if key.startswith(("docs.link", "docs.path"))
    }


@pytest.mark.parametrize(
    ("text", "anchor"),
    [
        ("[](){#task-3.x}\n\nText.", "task-3.x"),
        ("* **one**[](){#one-two} is first.", "one-two"),
        ("## Android {: android}", "android"),
        ("## Plain { .wide #odd }", "odd"),
        ("## `code` {: title='x' .icon} {:#:-soup}", ":-soup"),
        ("## Old {: #to-\\7.0}", "to-7.0"),
        ("    (inner)=\n    x", "inner"),
        ("!!! note\n\n    ## Within\n\n    Text.", "within"),
        ('=== "On Linux"\n\n    Text.', "on-linux"),
        ("<h2>Some title</h2>", "some-title"),
    ],
)
def test_an_anchor_may_be_given_anywhere_on_a_page(text: str, anchor: str) -> None:
    page = read_page("x.md", f"# Top\n\n{text}\n")
    assert anchor in page.anchors
    assert not page.open


def test_a_comment_in_an_indented_example_is_no_heading() -> None:
    page = read_page("x.md", "!!! note\n\n    ```sh\n    # install it\n    ```\n")
    assert "install-it" not in page.anchors


@pytest.mark.parametrize(
    "made",
    [
        "::: acme.Shop", "::: mkdocs-click\n    :module: acme", "!!! note\n\n    ::: acme.Shop",
        '{%\n  include-markdown "gone.md"\n%}', "{{ commands() }}", "{! gone.md !}", "<!--@include: gone.md-->",
        '--8<-- "gone.md"', "--8<--\ngone.md\n--8<--", "```{include} gone.md\n```", '```python exec="1"\nx()\n```',
        "```{eval-rst}\n.. automodule:: acme\n```",
    ],
)  # fmt: skip
def test_a_page_that_a_program_fills_may_have_any_heading(tmp_path: Path, made: str) -> None:
    told = keys(tmp_path, {"docs/a.md": "[x](b.md#usage)\n", "docs/b.md": f"# B\n\n{made}\n"})
    assert told == set()


@pytest.mark.parametrize(
    "shown",
    [
        '```python\n--8<-- "acme/__init__.py"\n```', "```jinja\n{% include 'x' %}\n```", "Say `{% include 'x' %}`.",
        "```md\n::: acme.Shop\n```", "::: note\nText.\n:::", '!!! note\n\n    ```py\n    {{ x }}\n    ```',
    ],
)  # fmt: skip
def test_what_only_shows_how_a_page_is_filled_fills_none(tmp_path: Path, shown: str) -> None:
    told = keys(tmp_path, {"docs/a.md": "[x](b.md#usage)\n", "docs/b.md": f"# B\n\n{shown}\n"})
    assert told == {"link:docs/a.md#b.md#usage"}


@pytest.mark.parametrize("way", ['--8<-- "part.md"', "--8<--\npart.md\n--8<--", "```{include} ../bits/part.md\n```"])
def test_headings_of_a_text_that_is_put_into_a_page_are_known(tmp_path: Path, way: str) -> None:
    files = {
        "docs/a.md": "[x](b.md#usage) and [y](b.md#gone)\n",
        "docs/b.md": f"# B\n\n{way}\n",
        "bits/part.md" if "bits" in way else "docs/.snippets/part.md": "## Usage\n",
    }
    assert keys(tmp_path, files) == {"link:docs/a.md#b.md#gone"}


def test_of_a_generated_page_a_name_that_the_code_lacks_is_gone(tmp_path: Path) -> None:
    files = {
        "mkdocs.yml": "plugins:\n- mkdocstrings\n",
        "docs/a.md": "[x](b.md#acme.Shop) and [y](b.md#acme.Store)\n",
        "docs/b.md": "# B\n\n::: acme\n",
    }
    assert keys(tmp_path, files) == {"link:docs/a.md#b.md#acme.Store"}


@pytest.mark.parametrize(
    "files",
    [
        {"docs/.snippets/links.txt": "[the law]: https://example.org\n"},
        {"docs/.snippets/links.md": "[The  Law]: https://example.org\n"},
        {
            "docs/below.md": "[the law]: x.md\n",
            "docs/x.md": "X",
            "mkdocs.yml": "    auto_append:\n    - docs/below.md\n",
        },
        {"mkdocs.yml": "    auto_append:\n    - elsewhere/below.md\n"},
        {"docs/a.md": '# A\n\n[x][the law]\n\n--8<-- "links.md"\n'},
    ],
)
def test_a_label_may_be_defined_in_a_text_that_is_put_below_each_page(tmp_path: Path, files: dict[str, str]) -> None:
    assert keys(tmp_path, {"docs/a.md": "# A\n\nSee [x][the law].\n", **files}) == set()


def test_a_label_that_only_another_page_defines_is_none(tmp_path: Path) -> None:
    files = {
        "mkdocs.yml": "extensions:\n- pymdownx.snippets:\n    auto_append:\n    - links.md\n- pymdownx.tabbed\n",
        "docs/links.md": "[one]: x.md\n",
        "docs/a.md": "See [x][the law].\n",
        "docs/b.md": "See [x][the law].\n\n[the law]: a.md\n",
    }
    assert keys(tmp_path, files | {"docs/x.md": "X"}) == {"link:docs/a.md#the law"}


def test_a_label_is_a_heading_of_any_page_where_the_builder_takes_it_for_one(tmp_path: Path) -> None:
    files = {"docs/a.md": "See [x][by-card] and [y][by-cash].\n", "docs/b.md": "# B\n\n## By card\n"}
    assert keys(tmp_path / "bare", files) == {"link:docs/a.md#by-card", "link:docs/a.md#by-cash"}
    settings = {"mkdocs.yml": "plugins:\n- autorefs\n"}
    assert keys(tmp_path / "autorefs", files | settings) == {"link:docs/a.md#by-cash"}
    commented = {"mkdocs.yml": "plugins:\n# - autorefs\n"}
    assert len(keys(tmp_path / "comment", files | commented)) == 2


def test_sphinx_takes_the_target_of_a_link_for_a_label_or_a_name(tmp_path: Path) -> None:
    files = {
        "docs/conf.py": 'extensions = ["myst_parser"]\n',
        "docs/a.md": (
            "[a](how-frozen) [b](api-parts) [c](genindex) [d](acme.Shop) [e](json.loads) [f](#how-frozen)\n\n"
            "[g](acme.Store) [h](how-thawed) [i](gone.md)\n"
        ),
        "docs/b.md": "# B\n\n(how-frozen)=\n## Frozen\n",
        "docs/api.rst": ".. _api-parts:\n\nParts\n=====\n",
    }
    expected = {"link:docs/a.md#acme.Store", "link:docs/a.md#how-thawed", "link:docs/a.md#gone.md"}
    assert keys(tmp_path / "sphinx", files) == expected
    told = keys(tmp_path / "other", {name: text for name, text in files.items() if name != "docs/conf.py"})
    assert {"link:docs/a.md#how-frozen", "link:docs/a.md#acme.Shop"} <= told


def test_what_is_made_with_the_site_need_not_lie_in_the_checkout(tmp_path: Path) -> None:
    files = {
        ".gitignore": "# made\n/docs/api/\n*.log\n!keep\n",
        "docs/a.md": "[x](api/acme/index.md) [y](apis/index.md) `docs/api/acme.md` `docs/apis/acme.md`\n",
    }
    assert keys(tmp_path / "listed", files) == {"link:docs/a.md#apis/index.md", "path:docs/a.md#docs/apis/acme.md"}
    made = {"mkdocs.yml": "plugins:\n- gen-files\n", "docs/a.md": "[x](api/index.md) [y](gone.md)\n"}
    assert keys(tmp_path / "generated", made) == {"link:docs/a.md#gone.md"}


def test_an_address_on_the_server_of_the_site_is_no_file(tmp_path: Path) -> None:
    told = keys(tmp_path, {"docs/guide/a.md": "[x](/dev/users/) [y](/guide/gone/) [z](/dev/gone.md) [w](../b/)\n"})
    assert told == {
        "link:docs/guide/a.md#/guide/gone/",
        "link:docs/guide/a.md#/dev/gone.md",
        "link:docs/guide/a.md#../b/",
    }


def test_a_page_becomes_a_folder_of_the_site(tmp_path: Path) -> None:
    assert keys(tmp_path, {"docs/a.md": "[x](../b/)\n", "docs/b.md": "B"}) == set()


def test_links_of_a_document_hold_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "contributing.md").symlink_to("../CONTRIBUTING.md")
    told = keys(tmp_path, {"CONTRIBUTING.md": "[x](LICENSE.md) [y](gone.md)\n", "LICENSE.md": "Free.\n"})
    assert told == {"link:docs/contributing.md#gone.md"}


def test_a_source_distribution_leaves_out_what_lies_at_the_top(tmp_path: Path) -> None:
    files = {"README.md": "[x](README_zh.md) [y](docs/gone.md)\n", "docs/a.md": "A"}
    assert keys(tmp_path / "checkout", files) == {"link:README.md#README_zh.md", "link:README.md#docs/gone.md"}
    packed = files | {"PKG-INFO": "Metadata-Version: 2.4\nName: acme\n"}
    assert keys(tmp_path / "packed", packed) == {"link:README.md#docs/gone.md"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Put it into `docs/test_myplugin/` or `docs/your-app/x.md`.", False),
        ("Put it into `docs/mysql/x.md`.", True),
        ("Create tests in `docs/parts/`.", False),
        ("1. Create a new file at `docs/parts/client.py`", False),
        ("Create the tables with `docs/parts/make.py`.", True),
        ("`docs/parts/make.py` creates the tables.", True),
        ("Created by `docs/parts/make.py`.", True),
        ("| Pattern | Example input |\n| --- | --- |\n| x | `docs/intro.md` |", False),
        ("| Example | Pattern |\n| --- | --- |\n| x | `docs/intro.md` |", True),
        ("| Example |\n| --- |\n| x |\n\nRead `docs/intro.md`.", True),
    ],
)
def test_a_path_that_is_invented_made_or_a_value_need_not_be_there(tmp_path: Path, text: str, told: bool) -> None:
    assert bool(keys(tmp_path, {"README.md": f"# Guide\n\n{text}\n", "docs/a.md": "A"})) is told


@pytest.mark.parametrize("file", ["docs/blog/a.md", "docs/_posts/x.md", "docs/2024-01-02-news.md", "docs/posts/x.md"])
def test_what_was_posted_tells_of_its_day(file: str) -> None:

    assert is_history(PurePosixPath(file))
    assert not is_history(PurePosixPath("docs/posts.md")), "that may be the reference of something that is so called"


@pytest.mark.parametrize(
    "text",
    [
        "{" + "#a" * 200_000, "{#" * 200_000, "<h1>" * 100_000, "<h1 " * 100_000, "--8<--\n" * 100_000,
        "--8<--\n\n" + "x\n" * 200_000, "{!" * 200_000, "-" * 400_000 + "x", "{{" + "}} " * 200_000 + "x",
        '--8<-- "a.md"\n\n' * 20_000, ":name:\n" * 100_000, "(x" * 200_000, "    " * 100_000 + "x", "<!--  " * 100_000,
    ],
    ids=range(14),
)  # fmt: skip
def test_a_page_is_read_in_a_time_that_grows_with_its_length(text: str) -> None:
    started = time.process_time()
    read_page("x.md", f"# Top\n\n{text}\n")
    assert time.process_time() - started < 10


def test_texts_that_are_put_into_each_other_end(tmp_path: Path) -> None:
    chain = {f"docs/p{number}.md": f'# P\n\n--8<-- "p{number + 1}.md"\n' for number in range(300)}
    ring = {"docs/p300.md": '# P\n\n--8<-- "p0.md"\n', "docs/a.md": "[x](b.md#c)\n", "docs/b.md": '--8<-- "b.md"\n'}
    assert keys(tmp_path, chain | ring) == {"link:docs/a.md#b.md#c"}


def test_what_settings_inherit_counts(tmp_path: Path) -> None:
    files = {
        "docs/mkdocs.en.yml": "INHERIT: config.yml\nsite_name: x\n",
        "docs/config.yml": "plugins:\n- autorefs\n",
        "docs/a.md": "# A\n\nSee [the guide][how-to] and [more][how-not-to].\n",
        "docs/b.md": "# How { #how-to }\n",
    }
    assert keys(tmp_path, files) == {"link:docs/a.md#how-not-to"}


def test_a_bare_anchor_may_be_an_object_where_sphinx_documents_the_code(tmp_path: Path) -> None:
    files = {
        "docs/conf.py": "extensions = ['myst_parser', 'sphinx.ext.autodoc']\n",
        "docs/a.md": "# A\n\nSee [](#Shop.open) and [there](b.md#Shop.close).\n",
        "docs/b.md": "# B\n",
    }
    assert keys(tmp_path, files) == {"link:docs/a.md#b.md#Shop.close"}


def test_documents_may_be_notebooks_and_sites_begin_where_their_settings_lie(tmp_path: Path) -> None:
    files = {
        "docs/src/.vitepress/config.js": "",
        "docs/src/a.md": "# A\n\n[One](tutorials/one), [two](/b), [three](tutorials/three.md).\n",
        "docs/src/b.md": "# B\n",
        "docs/src/tutorials/one.ipynb": "{}",
    }
    assert keys(tmp_path, files) == {"link:docs/src/a.md#tutorials/three.md"}


def test_a_path_of_an_example_of_the_checkout_is_there(tmp_path: Path) -> None:
    files = {
        "docs/a.md": "# A\n\nPut it into `src/example/__init__.py`, not into `src/example/gone.py`.\n",
        "src/other.py": "",
        "docs/examples/generated/src/example/__init__.py": "",
    }
    assert keys(tmp_path, files) == {"path:docs/a.md#src/example/gone.py"}

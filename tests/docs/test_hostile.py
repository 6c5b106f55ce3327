"""What sources say does nothing in a site: no tag, script, address, template or place of theirs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown import markdown
from markdown_it import MarkdownIt

from blocks.errors import ConfigurationError
from tasks.diagrams import Diagram, Edge, Node, mermaid, svg
from tasks.docs.site.names import file_name
from tasks.docs.site.output import STATE, Output
from tasks.docs.site.prose import Prose, code_span, escaped, fenced
from tests.docs.packages import SHOP, Page, broken_links, documented, site, write

EVIL = """<script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7*7 }} {% include 'x' %} {: onclick=alert(3) }
[a](javascript:alert(4)) [b](data:text/html,x) ![c](https://evil.example/pixel.png) <https://ok.example/>
<a href="javascript:alert(5)">x</a> &lt;b&gt; `<i>` ``{{ 6*6 }}``

    <iframe src=//evil.example></iframe>

- <svg/onload=alert(6)>

| <b> | x |
| --- | --- |
| `a|b` | <u> |

[ref]: javascript:alert(7)
[ref] </code></pre></section><script>alert(8)</script>

:param x: <script>alert(9)</script>
"""
MINE = {
    *("script", "a", "code", "pre", "span", "p", "section", "h1", "h2", "h3", "h4", "ul", "li", "ol", "dl", "dt", "dd"),
    *("html", "head", "meta", "title", "link", "body", "header", "div", "input", "button", "nav", "main", "noscript"),
    *("strong", "em", "table", "thead", "tbody", "tr", "th", "td", "blockquote", "hr", "figure", "svg", "rect", "path"),
    "text",
}


def evil_package(root: Path) -> Path:
    text = EVIL.replace("\\", "\\\\")
    doc = f'"""{text}"""'
    source = f"""{doc}


class C:
    {doc}

    x: "<script>alert(0)</script>" = "</code><script>"
    {doc}


def f(x="<script>", *, y: "</pre><b>" = '"><img src=x>') -> "{{{{ 1 }}}}":
    {doc}
"""
    return write(root, {"evil/__init__.py": source, "evil/deep.py": f'r"""{EVIL}"""\n\nimport evil\n'})


def assert_harmless(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag in MINE, tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "script":
            assert re.fullmatch(r"(\.\./)?assets/(site|modules)\.js", str(attributes.get("src")))
    for link in page.links:
        assert not re.match(r"\s*(javascript|data|vbscript|file):", link, re.IGNORECASE), link
        assert "pixel.png" not in link or ("a", {"href": link, "rel": "nofollow noopener noreferrer"}) in page.tags


def test_html_of_hostile_sources_is_text(tmp_path: Path) -> None:
    documented(evil_package(tmp_path / "code"), tmp_path / "site")
    pages = list((tmp_path / "site/html").rglob("*.html"))
    assert len(pages) >= 4
    for path in pages:
        assert_harmless(path.read_text(encoding="utf-8"))
    shown = Page((tmp_path / "site/html/reference/evil.html").read_text()).text
    assert "<script>alert(1)</script>" in shown, "shown as it is"
    assert "{{ 7*7 }}" in shown
    assert broken_links(tmp_path / "site/html") == []
    script = (tmp_path / "site/html/assets/names.js").read_text()
    assert script.startswith("globalThis.LAMA_NAMES = {")


def test_markdown_of_hostile_sources_is_text_whoever_renders_it(tmp_path: Path) -> None:
    documented(evil_package(tmp_path / "code"), tmp_path / "site")
    text = (tmp_path / "site/markdown/docs/reference/evil.md").read_text()
    extensions = ["tables", "fenced_code", "attr_list", "md_in_html", "toc", "meta"]
    for html in (MarkdownIt("commonmark").enable("table").render(text), markdown(text, extensions=extensions)):
        page = Page(html)
        for tag, attributes in page.tags:
            assert tag in MINE | {"a"}, tag
            assert not [name for name in attributes if name.startswith("on")]
        for link in page.links:
            assert not re.match(r"\s*(javascript|data):", link), link
    outside = re.sub(r"(?s)(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "{{" not in outside, "nothing for plugins that look for templates, but in code"
    assert "{%" not in outside


@given(st.text(alphabet=st.sampled_from("<>&\"'`*_[](){}#|~^$=@!:/\\-+.0123456789ab \n\t\0\u2028"), max_size=80))
@example("<b>")
@example("1. {{ x }}\n\n   <i>")
@example("`` ` `` ` <b> ``")
@example("a\n===\n<b>\n---")
@example("- - - <b>")
@example("    <b>\n\n\t<b>")
@example("[a]: <b>\n[a]")
@example("::\n\n  <b>\n\n.. note:: <b>\n\n  <b>")
@example("0.\n    <b>")
def test_no_prose_makes_a_tag(text: str) -> None:
    prose = Prose(text)
    allowed = {"p", "code", "pre", "ul", "ol", "li", "strong", "em", "blockquote", "hr", "a", "br",
               "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"}  # fmt: skip
    html = prose.html(lambda _: None)
    assert {tag for tag, _ in Page(html).tags} <= allowed
    written = prose.markdown(lambda _: None)
    for again in (
        MarkdownIt("commonmark").enable("table").render(written),
        markdown(written, extensions=["tables", "fenced_code", "attr_list"]),
    ):
        found = Page(again)
        assert {tag for tag, _ in found.tags} <= allowed
        assert not [found for _, attributes in found.tags if any(name.startswith("on") for name in attributes)]


@given(st.text(max_size=40))
def test_text_in_markdown_shows_as_it_is(text: str) -> None:
    line = " ".join(text.split())
    for made in (escaped(text), code_span(text)):
        shown = Page(MarkdownIt("commonmark").render(f"x {made} x")).text
        assert " ".join(shown.replace("\ufffd", "\0").split()) == f"x {line} x".replace("\ufffd", "\0").replace(
            "  ", " "
        )
    assert "\n```\n" not in fenced(text + "\n```\n```")[3:-4] or "````" in fenced(text + "\n```\n```")


@given(st.text(min_size=1, max_size=30))
def test_no_name_of_a_module_leads_out_of_the_folder(name: str) -> None:
    made = file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*", made)


def test_labels_of_diagrams_are_text() -> None:
    label = '"]; click n0 href "javascript:alert(1)" <script>'
    diagram = Diagram((Node("a", label, (label,)), Node("b", "b")), (Edge("a", "b", label),))
    drawn = svg(diagram, lambda _: None)
    assert {tag for tag, _ in Page(drawn).tags} <= {"svg", "rect", "text", "path"}
    assert label[:60] in Page(drawn).text
    lines = mermaid(diagram).splitlines()
    assert len(lines) == 4
    plain = r"(?:[\w ._,:/()…-]|#\d+;)*"
    assert re.fullmatch(rf' *n0\["{plain}<br>{plain}"\]', lines[1])
    assert re.fullmatch(rf' *n0 -->\|"{plain}"\| n1', lines[3])


def test_no_secret_of_a_default_is_on_a_page(tmp_path: Path) -> None:
    source = '''
        """Settings."""

        from pydantic import SecretStr
        from pydantic_settings import BaseSettings

        import os
        from typing import Annotated

        import click
        from pydantic import Field

        API_KEY = "sk-live-hunter2hunter2"
        SHOP_KEY_TOKEN = os.environ.get("SHOP_KEY", "hunter2secret")
        TOKENS = ["hunter2", b"hunter2secret"]
        USER, PASSWORD = "admin", "hunter2secret"
        SHOP = CLIENT_SECRET = "hunter2secret"
        LOGIN = {"user": "somebody", "password": os.getenv("SHOP_PASSWORD") or b"hunter2secret"}


        class Secrets:
            """What the shop knows."""

            DATABASE = "hunter2secret"


        class Settings(BaseSettings):
            """Of a node."""

            password: SecretStr = SecretStr("hunter2secret")
            database: str = "postgresql://admin:hunter2@db/x"
            limit: int = 10
            opener: str = Field(os.environ.get("OPENER", "hunter2secret"), alias="SHOP_TOKEN")
            key: Annotated[str, Field(default="hunter2secret", alias="api_key")]


        @click.command()
        @click.option("-p", "--password", default=os.getenv("SHOP_PW", "hunter2secret"), help="The word to get in.")
        @click.option("--opener", envvar="SHOP_TOKEN", default="hunter2secret")
        def main(password, opener):
            """Runs."""


        def connect(dsn: str = "postgresql://admin:hunter2@db/x", token="hunter2", size=3, mode="read"):
            """Connects."""
        '''
    documented(write(tmp_path / "code", {"shop.py": source}), tmp_path / "site")
    for name, content in site(tmp_path / "site").items():
        assert b"hunter2" not in content, name
    shown = Page((tmp_path / "site/html/reference/shop.html").read_text()).text
    assert "size=3" in shown, "what is none is shown"
    assert "mode='read'" in shown.replace('"', "'")
    assert "os.environ.get('SHOP_KEY', '***')" in shown, "and the rest of what is one"
    assert "'user': 'somebody'" in shown
    assert "os.getenv('SHOP_PW', '***')" in Page((tmp_path / "site/html/commands.html").read_text()).text
    assert (tmp_path / "site/html/settings.html").exists()


def test_an_inventory_leads_to_the_web_only(tmp_path: Path) -> None:
    from tasks.docs.site import inventory

    lines = [
        inventory.line("far.Script", "py:class", "javascript:alert(1)//"),
        inventory.line("far.Data", "py:class", "data:text/html,x"),
        inventory.line("far.Break", "py:class", "a.html)<b>(x'\"y"),
    ]
    (tmp_path / "objects.inv").write_bytes(inventory.written("far", "1", lines))
    text = '"""`far.Script`, `far.Data`, `far.Break`."""\n\nfrom far import Script\n\n\ndef f(x: Script): ...\n'
    root = write(tmp_path / "code", {"near.py": text})
    documented(root, tmp_path / "site", inventories=((tmp_path / "objects.inv", "https://far.example/"),))
    page = Page((tmp_path / "site/html/reference/near.html").read_text())
    assert_harmless((tmp_path / "site/html/reference/near.html").read_text())
    assert "https://far.example/a.html%29%3Cb%3E%28x%27%22y" in page.links
    again = Page(markdown((tmp_path / "site/markdown/docs/reference/near.md").read_text()))
    assert not [link for link in again.links if re.match(r"\s*(javascript|data):", link)]
    assert "b" not in {tag for tag, _ in again.tags}


def test_deep_directives_and_long_names_cost_nobody_else_a_page(tmp_path: Path) -> None:
    deep = "\n".join(f"{' ' * depth}.. note:: x" for depth in range(1500))
    quotes = "> " * 2000 + "x"
    long = "/".join(["n" * 90] * 4)
    packages = {f"{long[: 91 * count + 90]}/__init__.py": "" for count in range(4)}
    files = {
        "pkg/__init__.py": '"""P."""\n',
        "pkg/deep.py": f'"""D.\n\n{deep}\n\n{quotes}\n"""\n',
        "pkg/fine.py": '"""F."""\n',
    }
    root = tmp_path / "code"
    for name, text in {**files, **packages}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    built = documented(root, tmp_path / "site")
    assert built.modules == 7
    assert (tmp_path / "site/html/reference/pkg.fine.html").exists()
    assert len(list((tmp_path / "site/html/reference").iterdir())) == 7
    assert broken_links(tmp_path / "site/html") == []


def test_the_site_is_never_among_the_sources(tmp_path: Path) -> None:
    root = write(tmp_path / "code", SHOP)
    (tmp_path / "link").symlink_to(root / "shop")
    from tasks.docs.site.output import check_place

    packages = (root / "shop",)
    for place in (root / "shop", root / "shop" / "x", root, tmp_path, tmp_path / "link" / "site", root / ".git" / "x"):
        with pytest.raises(ConfigurationError, match="build/site"):
            check_place(place, root, packages)
    assert check_place(root / "build" / "site", root, packages) == (root / "build" / "site").resolve()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    root = write(tmp_path / "code", SHOP)
    outside = tmp_path / "outside"
    outside.mkdir()
    output = tmp_path / "site"
    (output / "html").mkdir(parents=True)
    (output / "html/reference").symlink_to(outside)
    (outside / "kept").write_text("x")
    (output / "html/index.html").symlink_to(outside / "kept")
    built = documented(root, output)
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "x"
    assert built.kept["html/index.html"] == "there before"
    assert built.kept["html/reference/shop.html"] == "in the way"


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a//b", ".lama-docs/manifest.json", "a/.git/x", "", "a\nb"]
)
def test_a_manifest_cannot_name_what_is_elsewhere(tmp_path: Path, name: str) -> None:
    """Whoever sends a folder with a site sends its manifest, too."""
    victim = tmp_path / "x"
    victim.write_text("mine")
    with Output(tmp_path / "site") as output:
        output.finish({})
    manifest = tmp_path / "site" / STATE / "manifest.json"
    import orjson

    from tasks.docs.site.output import content_hash

    manifest.write_bytes(orjson.dumps({"files": {name: [content_hash(b"mine"), 4, 0]}, "state": {}}))
    (tmp_path / "site" / STATE / "journal").write_text(f"{content_hash(b'mine')} {name}\n")
    with Output(tmp_path / "site") as output:
        assert output.files == frozenset()
        output.remove_all_but(frozenset())
        with pytest.raises(ValueError, match="no place"):
            output.write(name, b"evil")
    assert victim.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir(mode=0o500)
    with pytest.raises(Exception, match="cannot be written"):
        documented(write(tmp_path / "code", SHOP), tmp_path / "no" / "site")


def test_the_files_of_a_hostile_package_are_all_in_the_site(tmp_path: Path) -> None:
    documented(evil_package(tmp_path / "code"), tmp_path / "site")
    assert all(name.split("/")[0] in {"html", "markdown", "json"} for name in site(tmp_path / "site"))

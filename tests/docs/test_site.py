"""The site of a package: every form of it, links that lead somewhere, names of other projects."""

from __future__ import annotations

import json
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown import markdown
from markdown_it import MarkdownIt

from blocks.errors import ConfigurationError
from models.docs import Form
from tasks.diagrams import Diagram, Edge, Node, svg
from tasks.docs.site import inventory
from tests.docs.packages import SHOP, Page, broken_links, codebase, documented, site, write
from tests.programs import require


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The site of the shop, in all forms."""
    documented(write(tmp_path / "code", SHOP), tmp_path / "site")
    return tmp_path / "site"


def page(output: Path, name: str) -> Page:
    return Page((output / "html" / name).read_text(encoding="utf-8"))


def test_every_link_of_every_page_leads_somewhere(output: Path) -> None:
    assert broken_links(output / "html") == []
    pages = sorted(path.name for path in (output / "html/reference").iterdir())
    assert pages == ["shop.html", "shop.orders.html", "shop.prices.html"], "private modules have no page"


def test_a_page_shows_what_its_module_has(output: Path) -> None:
    orders = page(output, "reference/shop.orders.html")
    assert {"shop.orders.Order", "shop.orders.Order.price", "shop.orders.total"} <= orders.anchors
    for words in ("What customers order.", "a share, from 0 to 1", "the discount is none", ">>> total([]) < 1"):
        assert words in orders.text
    assert "shop.prices.html#shop.prices.Price" in orders.links, "the type of what comes back"
    assert "#shop.orders.Order.price" in "".join(orders.links), "Order.price, as the docstring of total has it"
    signature = "def total(orders: list[Order], *, rounded: bool = True) -> prices.Price"
    assert signature in orders.text


def test_the_index_shows_code_as_code_and_nothing_else_as_markup(output: Path) -> None:
    summary = "What things cost: <code>LIMIT</code> at most, &lt;b&gt;never&lt;/b&gt; more."
    assert summary in (output / "html/index.html").read_text(encoding="utf-8")
    assert "What things cost: `LIMIT` at most, " in (output / "markdown/docs/index.md").read_text(encoding="utf-8")


def test_a_label_of_a_diagram_ends_before_the_box_that_its_arrow_leads_to() -> None:
    nodes = (Node("a", "a"), Node("b", "b"))
    drawn = Page(svg(Diagram(nodes, (Edge("a", "b", "a_label_that_is_rather_long"),)), lambda _: None)).tags
    first, second = ((float(told["x"]), float(told["width"])) for tag, told in drawn if tag == "rect")
    end = next(float(told["x"]) for tag, told in drawn if tag == "text" and told.get("text-anchor") == "end")
    assert end < second[0]
    assert end - 7 * len("a_label_that_is_rather_long") > first[0] + first[1], "nor does it reach into the other"


def test_what_a_package_hands_on_of_a_private_module_has_its_place_there(output: Path) -> None:
    shop = page(output, "reference/shop.html")
    assert {"shop.Piece", "shop.Piece.weigh"} <= shop.anchors
    assert "shop.Order" not in shop.anchors, "that has a page of its own"
    assert "shop.html#shop.Piece" in page(output, "reference/shop.orders.html").links, "Part, by its private path"


def test_markdown_is_a_site_for_mkdocs(output: Path) -> None:
    folder = output / "markdown"
    told = yaml.safe_load((folder / "mkdocs.yml").read_text())
    assert told["site_name"] == "shop"
    named = [name for entry in told["nav"] for name in ([entry] if isinstance(entry, str) else entry.values())]
    flat = [
        place
        for name in named
        for place in ([name] if isinstance(name, str) else [p for one in name for p in one.values()])
    ]
    assert len(flat) >= 5
    assert all((folder / "docs" / place).is_file() for place in flat)
    text = (folder / "docs/reference/shop.orders.md").read_text()
    assert text.startswith('---\ntitle: "shop.orders"\n---\n')
    for html in (
        MarkdownIt("commonmark").enable("table").render(text),
        markdown(text, extensions=["tables", "fenced_code"]),
    ):
        assert 'id="shop.orders.Order.price"' in html
        assert "def total(orders" in html
        assert "&gt;&gt;&gt; total([]) &lt; 1" in html
        assert 'href="shop.orders.md#shop.orders.Order.price"' in html


def test_json_has_everything_that_was_read(output: Path) -> None:
    index = json.loads((output / "json/index.json").read_text())
    assert [one["path"] for one in index["modules"]] == ["shop", "shop.orders", "shop.prices"]
    document = json.loads((output / "json" / index["modules"][1]["document"]).read_text())
    total = next(one for one in document["objects"] if one["anchor"] == "shop.orders.total")
    assert total["object"]["parameters"][1] == {
        "name": "rounded", "kind": "keyword-only", "annotation": "bool", "default": "True",
    }  # fmt: skip


def test_the_inventory_leads_to_anchors_that_are_there(output: Path) -> None:
    content = (output / "html/objects.inv").read_bytes()
    names = inventory.read(content)
    assert names["shop.orders.Order.price"] == "reference/shop.orders.html#shop.orders.Order.price"
    assert "shop.Piece.weigh" in names
    assert "shop._parts.Part" not in names
    for name, address in names.items():
        place, _, anchor = address.partition("#")
        assert not anchor or anchor in page(output, place).anchors, name


def test_the_inventory_is_what_sphinx_writes() -> None:
    """Against the format as Sphinx documents and reads it: the four lines, zlib, and roles of its Python domain."""
    content = inventory.written("a shop\nof mine", "1", [inventory.line("shop", "py:module", "shop.html")])
    head, rest = content.split(b"zlib.\n")
    assert head.decode().splitlines() == [
        "# Sphinx inventory version 2",
        "# Project: a shop of mine",
        "# Version: 1",
        "# The remainder of this file is compressed using ",
    ]
    assert zlib.decompress(rest) == b"shop py:module 1 shop.html -\n"
    assert inventory.line("shop.f", "py:function", "shop.html#shop.f") == "shop.f py:function 1 shop.html#$ -\n"
    with pytest.raises(ValueError, match="version 2"):
        inventory.read(b"# Sphinx inventory version 1\n")


def test_names_of_other_projects_lead_to_their_pages(tmp_path: Path) -> None:
    root = write(
        tmp_path / "code",
        {"near/__init__.py": '"""Near."""\n\nfrom far.away import Thing\n\n\ndef f(x: Thing) -> str:\n    """X."""\n'},
    )
    known = tmp_path / "objects.inv"
    known.write_bytes(
        inventory.written("far", "", [inventory.line("far.away.Thing", "py:class", "api.html#far.away.Thing")])
    )
    documented(root, tmp_path / "site", inventories=((known, "https://far.example/docs"),))
    near = page(tmp_path / "site", "reference/near.html")
    assert "https://far.example/docs/api.html#far.away.Thing" in near.links
    known.write_bytes(b"garbage")
    with pytest.raises(ConfigurationError, match="version 2"):
        documented(root, tmp_path / "other", inventories=((known, "https://far.example/docs"),))


def test_templates_of_ones_own_come_first_and_what_is_wrong_with_them_is_said(tmp_path: Path) -> None:
    root = write(tmp_path / "code", SHOP)
    own = write(tmp_path / "own", {"html/module.html": "mine: {{ page.path }}"})
    documented(root, tmp_path / "site", templates=own)
    assert (tmp_path / "site/html/reference/shop.html").read_text() == "mine: shop"
    assert "<title>" in (tmp_path / "site/html/index.html").read_text()
    for text, said in (
        ("{{ page.path", "html/module.html:1"),
        ("{{ page.nothing }}", "nothing"),
        ("{{ page.path.__class__.__mro__ }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "passwd"),
    ):
        write(own, {"html/module.html": text})
        with pytest.raises(ConfigurationError, match=said):
            documented(root, tmp_path / "site", templates=own)


def test_only_what_is_asked_for_is_in_the_folder(tmp_path: Path) -> None:
    root = write(tmp_path / "code", SHOP)
    documented(root, tmp_path / "site", forms=(Form.json,))
    assert {name.partition("/")[0] for name in site(tmp_path / "site")} == {"json"}
    documented(root, tmp_path / "site", forms=(Form.html,))
    assert {name.partition("/")[0] for name in site(tmp_path / "site")} == {"html"}


def test_private_names_have_a_place_where_that_is_wanted(tmp_path: Path) -> None:
    documented(write(tmp_path / "code", SHOP), tmp_path / "site", private=True)
    assert "shop._parts.Part.weigh" in page(tmp_path / "site", "reference/shop._parts.html").anchors
    assert broken_links(tmp_path / "site/html") == []


def test_coverage_counts_what_others_may_use(tmp_path: Path) -> None:
    built = documented(write(tmp_path / "code", SHOP), tmp_path / "site")
    assert (built.objects, built.documented) == (10, 9), "of the private module the two that the package hands on"
    assert built.missing == {"shop.orders": ["shop.orders.undocumented"]}
    assert codebase(tmp_path / "code").unread == ()


@pytest.mark.parametrize("private", [False, True])
def test_what_packages_hand_on_of_private_modules_is_counted_once_and_where_its_page_is(
    tmp_path: Path, private: bool
) -> None:
    root = write(tmp_path / "code", {
        "shop/__init__.py": '"""Shop."""\n\nfrom shop._parts import _Hidden as Shown, weigh, Part\n\nALL = 1\n',
        "shop/again.py": '"""Again."""\n\nfrom shop._parts import Part\n\n__all__ = ["Part"]\n',
        "shop/_parts.py": (
            "class Base:\n    def told(self):\n        \"\"\"Told.\"\"\"\n\n\n"
            "class Part(Base):\n    def told(self): ...\n    def size(self): ...\n    def _inner(self): ...\n\n\n"
            "def weigh(): ...\n\n\ndef unused(): ...\n\n\nclass _Hidden:\n    \"\"\"Seen.\"\"\"\n"
        ),
    })  # fmt: skip
    built = documented(root, tmp_path / "site", private=private)
    assert built.missing == {"shop": ["shop.Part", "shop.Part.size", "shop.weigh"]}
    assert (built.objects, built.documented) == (7, 4), "`shop.again` shows `Part` as well"


def test_the_search_finds_names_and_its_scripts_are_sound(output: Path) -> None:
    """The page's own scripts, in a Node that has as much of a document as they need."""
    require("node")
    script = """
const fs = require("fs");
class Element {
  constructor(name) { Object.assign(this, { tagName: name.toUpperCase(), children: [], dataset: {}, attributes: {},
    listeners: {}, hidden: true, value: "" }); }
  append(...more) { for (const one of more) { one.parentElement = this; this.children.push(one); } }
  replaceChildren(...more) { this.children = []; this.append(...more); }
  get firstChild() { return this.children[0]; }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(name, call) { this.listeners[name] = call; }
  querySelector() { return null; }
  scrollIntoView() {}
  blur() {}
}
const known = Object.fromEntries(["theme", "tree", "search", "found"].map((id) => [id, new Element("div")]));
globalThis.document = { body: new Element("body"), documentElement: new Element("html"), head: new Element("head"),
  getElementById: (id) => known[id], createElement: (name) => new Element(name), addEventListener() {},
  activeElement: null };
document.body.dataset.up = "";
globalThis.location = { pathname: "/index.html" };
for (const name of ["modules", "names", "site"]) eval(fs.readFileSync(`${process.argv[2]}/${name}.js`, "utf8"));
known.search.value = process.argv[3];
known.search.listeners.input().then(() => console.log(JSON.stringify({
  found: known.found.children.map((row) => row.firstChild.href), tree: known.tree.children.length })));
"""
    place = output / "search.js"
    place.write_text(script)

    def search(words: str) -> dict[str, Any]:
        command = ["node", str(place), str(output / "html/assets"), words]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)

    told = search("order")
    assert told["found"][0] == "reference/shop.orders.html#shop.orders.Order"
    assert told["tree"] == 4, "the index, two overviews, and the package with its modules"
    assert search("price discount")["found"] == []
    assert "reference/shop.html#shop.Piece.weigh" in search("kilograms")["found"], "summaries as well"
    assert search("shop.prices")["found"][0] == "reference/shop.prices.html", "a module is its page"

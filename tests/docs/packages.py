"""A small package to document, and what is in a site."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent
from urllib.parse import unquote, urlsplit

from models.code import Codebase
from models.docs import Form
from tasks.code.read import read
from tasks.docs.site.build import Built, Wanted, build

SHOP = {
    "pyproject.toml": '[project]\nname = "shop"\n',
    "shop/__init__.py": '''
        """A shop.

        Orders are made with [`Order`][shop.orders.Order]; `shop.orders.total` adds them up.
        """

        from shop._parts import Part as Piece
        from shop.orders import Order, total

        __all__ = ["Order", "Piece", "total"]
        ''',
    "shop/orders.py": '''
        """What customers order."""

        from __future__ import annotations

        from shop import prices
        from shop._parts import Part


        class Order:
            """An order.

            Attributes:
                parts: what is in it.
            """

            parts: list[Part]

            def price(self, discount: float = 0.0) -> prices.Price:
                """What it costs.

                Args:
                    discount: a share, from 0 to 1; see `shop.prices.Price`.

                Returns:
                    The price, by `Order.price`.

                Raises:
                    ValueError: the discount is none.
                """
                raise ValueError(discount)


        def total(orders: list[Order], *, rounded: bool = True) -> prices.Price:
            """What all of `orders` cost, see `Order.price`.

            >>> total([]) < 1
            True
            """
            raise NotImplementedError(orders, rounded)


        def undocumented(): ...
        ''',
    "shop/prices.py": '''
        """What things cost: `LIMIT` at most, <b>never</b> more."""

        LIMIT: int = 1_000
        """Above this somebody has to agree."""


        class Price(float):
            """A price."""
        ''',
    "shop/_parts.py": '''
        """Not for others."""


        class Part:
            """A part; `Part.weigh` it."""

            def weigh(self) -> float:
                """In kilograms, of this :class:`~shop._parts.Part`."""
                return 0.0
        ''',
}
"""A package with what documentation has to show: links, a re-export out of a private module, sections, a doctest."""


def write(root: Path, files: dict[str, str]) -> Path:
    """Write `files` below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return root


def documented(root: Path, output: Path, **wanted: object) -> Built:
    """Read what is at `root` and bring `output` to it."""
    return build(codebase(root), Wanted(title="shop", **wanted), output, jobs=1)  # type: ignore[arg-type]


def codebase(root: Path) -> Codebase:
    """What is at `root`, read without a cache."""
    return read(root, jobs=1)


def site(output: Path) -> dict[str, bytes]:
    """Every file of the site, without its state."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and ".lama-docs" not in path.parts
    }


class Page(HTMLParser):
    """The links, anchors, tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.links += [str(given[name]) for name in ("href", "src") if given.get(name) is not None]
        if given.get("id"):
            self.anchors.add(str(given["id"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def broken_links(folder: Path) -> list[str]:
    """Links of the HTML pages below `folder` that lead to no file or anchor of it; those to the web are left out."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in {"http", "https", "mailto"}:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.is_file() and target.is_relative_to(folder.resolve())
            if parts.scheme or not there or (parts.fragment and unquote(parts.fragment) not in pages[target].anchors):
                broken.append(f"{path.name}: {link}")
    return broken


ALL = tuple(Form)

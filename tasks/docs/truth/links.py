"""Links of documents that lead nowhere: files, headings within them, images, labels that nobody defines. No network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from tasks.docs.truth.builder import Builder, folded
from tasks.docs.truth.page import Link, Page, read_page
from tasks.docs.truth.references import SUFFIXES, References, judge_link
from tasks.docs.truth.resolve import Answer, Resolver

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LINES = re.compile(r"L\d+(?:C\d+)?(?:-L?\d+(?:C\d+)?)?|:~:text=.*|user-content-.*", re.IGNORECASE)
_LARGEST = 2_000_000
_MOST_INCLUDED = 50
"""Texts that are put into one page, and into each other, before no more are followed."""
_SITE = re.compile(r"[<>{}*\0%$]")


@dataclass(frozen=True, slots=True)
class DeadLink:
    """A link that leads nowhere."""

    line: int
    target: str
    kind: str
    """`link`, `image`, `anchor` or `reference`."""
    repair: str | None = None
    """Where it leads for sure, when the file lies in one other place of the documents."""
    near: tuple[str, ...] = ()


class Links:
    """Judges the links of the pages of one checkout."""

    def __init__(self, root: Path, pages: Mapping[str, Page], known: References, resolver: Resolver | None) -> None:
        self._root = root
        self._pages = dict(pages)
        self._known = known
        self._resolver = resolver
        self._folders = sorted({file.partition("/")[0] for file in pages if "/" in file})
        self._builder = Builder.of(root, pages, (page.text for page in pages.values()))
        self._beside: dict[str, list[str]] = {}
        for file in self._builder.beside:
            self._beside.setdefault(PurePosixPath(file).name, []).append(file)
        self._read: dict[str, Page] = {}
        self._whole = {file: self._included(page, set()) for file, page in pages.items()}
        self._anchors = frozenset(one.lower() for known, _ in self._whole.values() for one in known)
        self._open = any(unknown for _, unknown in self._whole.values())

    def dead(self, page: Page) -> Iterator[DeadLink]:
        """The links of `page` that lead nowhere."""
        seen: set[tuple[str, str]] = set()
        for section in page.sections:
            for link in section.links:
                found = self._reference(page, link) if link.kind == "reference" else self._link(page, link)
                if found is not None and (found.kind, found.target) not in seen:
                    seen.add((found.kind, found.target))
                    yield found

    def _link(self, page: Page, link: Link) -> DeadLink | None:
        target = unquote(link.target)
        if _SCHEME.match(target) or target.startswith("//") or _SITE.search(target):
            return None
        place, _, anchor = target.partition("#")
        place = place.partition("?")[0]
        if not place:
            return self._anchor(page, link, anchor) if anchor else None
        named = self._cross_reference(page, place)
        if named is not None:
            return None if named else DeadLink(link.line, link.target, "reference")
        return self._file(page, link, place, anchor)

    def _file(self, page: Page, link: Link, place: str, anchor: str) -> DeadLink | None:
        verdict = judge_link(page.file, link.target, self._known)
        if verdict is None:
            return None
        if not verdict[2]:
            if self._elsewhere(page, place) or self._as_it_lies(page, link) or self._made(page, place):
                return None
            repair = self._moved(page, place)
            kind = "image" if link.kind == "image" else "link"
            return DeadLink(link.line, link.target, kind, f"{repair}#{anchor}" if repair and anchor else repair)
        other = self._page(page, place) if anchor else None
        return self._anchor(other, link, anchor) if other is not None else None

    def _cross_reference(self, page: Page, place: str) -> bool | None:
        """Whether what Sphinx takes for a label or a name of the code is one; None for a path, and for all else."""
        if not self._builder.reads(page.file) or "/" in place or place.rpartition(".")[2] in SUFFIXES:
            return None
        if folded(place) in self._builder.targets:
            return True
        if self._builder.objects and "." not in place:
            return True  # it may be any object
        return None if _DOTTED.fullmatch(place) is None else not self._is_gone(place)

    def _is_gone(self, name: str) -> bool:
        """Whether `name` is a dotted name of the checkout's own that is not defined."""
        if self._resolver is None or _DOTTED.fullmatch(name) is None or not self._resolver.is_ours(name):
            return False
        return self._resolver.resolve(name).answer is Answer.gone

    def _whole_of(self, page: Page) -> tuple[frozenset[str], bool]:
        if page.file not in self._whole or self._pages.get(page.file) is not page:
            return self._included(page, set())
        return self._whole[page.file]

    def _included(self, page: Page, seen: set[str]) -> tuple[frozenset[str], bool]:
        """The anchors of `page` with what is put into it, and whether there may be others."""
        known, unknown = page.anchors, page.open
        for name in page.includes:
            inner = self._file_named(page, name)
            if inner is None or len(seen) >= _MOST_INCLUDED:
                unknown = True
            elif inner.file not in seen:
                seen.add(inner.file)
                anchors, more = self._included(inner, seen)
                known |= anchors
                unknown |= more
        return known, unknown

    def _file_named(self, page: Page, name: str) -> Page | None:
        """The text that `page` has put into it by `name`, which lies in one of the places where builders look."""
        for start in (str(PurePosixPath(page.file).parent), "", *self._folders, *self._builder.starts):
            path = _joined(start, name)
            found = self._page(page, f"/{path}") if path is not None and path.endswith(".md") else None
            if found is not None:
                return found
        alike = [file for file in self._beside.get(PurePosixPath(name).name, ()) if f"/{file}".endswith(f"/{name}")]
        if len(alike) != 1:
            return None
        if alike[0] not in self._read:
            self._read[alike[0]] = read_page(alike[0], self._builder.beside[alike[0]])
        return self._read[alike[0]]

    def _as_it_lies(self, page: Page, link: Link) -> bool:
        """Whether the link leads somewhere from where the document lies, when it is shown here by a symbolic link."""
        file = self._root / page.file
        if not file.is_symlink():
            return False
        try:
            there = file.resolve().relative_to(self._root.resolve()).as_posix()
        except (OSError, ValueError):
            return False
        verdict = judge_link(there, link.target, self._known)
        return verdict is not None and verdict[2]

    def _made(self, page: Page, place: str) -> bool:
        """Whether a file that is not here may be made with the site, or is an address on its server."""
        if place.startswith("/") and PurePosixPath(place).suffix.lstrip(".") not in SUFFIXES:
            first = PurePosixPath(place).parts[1:2]
            starts = ("", *self._folders, *self._builder.starts)
            if not first or not any(self._exists(start, first[0]) for start in starts):
                return True
        path = _joined("" if place.startswith("/") else str(PurePosixPath(page.file).parent), place.lstrip("/"))
        return path is not None and self._moved(page, place) is None and self._builder.may_be_made(self._root, path)

    def _anchor(self, page: Page, link: Link, anchor: str) -> DeadLink | None:
        if anchor in {"top", ""} or _LINES.fullmatch(anchor):
            return None
        known, unknown = self._whole_of(page)
        if unknown:
            gone = (
                self._builder.cross_references and anchor.rpartition(".")[2] not in SUFFIXES and self._is_gone(anchor)
            )
            return DeadLink(link.line, link.target, "anchor") if gone else None
        if self._builder.reads(page.file) and folded(anchor) in self._builder.targets:
            return None
        if self._builder.objects and link.target.startswith("#") and self._builder.reads(page.file):
            return None  # it may be any object of any page
        if anchor in known or anchor.lower() in {one.lower() for one in known}:
            return None
        bare = re.sub(r"[-_]+", "-", anchor.lower()).strip("-")
        alike = sorted(one for one in known if re.sub(r"[-_]+", "-", one.lower()).strip("-") == bare)
        whole = alike[0] if len(alike) == 1 else None
        repair = (
            link.target.replace(f"#{anchor}", f"#{whole}")
            if whole is not None and f"#{anchor}" in link.target
            else None
        )
        return DeadLink(link.line, link.target, "anchor", repair, tuple(sorted(known)[:20]))

    def _reference(self, page: Page, link: Link) -> DeadLink | None:
        """A label that is not defined is shown as it stands; one that is a name of the code is a cross reference."""
        label = link.target.strip("`")
        if _DOTTED.fullmatch(label):
            return DeadLink(link.line, link.target, "reference") if self._is_gone(label) else None
        if self._resolver is not None and self._resolver.is_any(label):
            return None
        if not re.search(r"[A-Za-z]{2}", label) or re.fullmatch(r"[A-Za-z_]\w*", label):
            return None  # `x[i][key]` is code that somebody forgot to mark
        known = (
            self._whole_of(page)[1]
            or bool(page.includes)
            or self._builder.labels_unknown
            or folded(label) in self._builder.labels
        )
        if not known and self._builder.cross_references and " " not in label:
            # The anchor of a heading on any page, or of one that comes from a docstring.
            known = self._open or label.lower() in self._anchors
        return None if known else DeadLink(link.line, link.target, "reference")

    def _elsewhere(self, page: Page, place: str) -> bool:
        """Whether a site that shows the documents finds the file: from its root, or as the page that it becomes."""
        base = PurePosixPath(page.file).parent
        starts = [str(base), "", *self._folders, *self._builder.starts, page.file.rpartition(".")[0]]
        bare = place.strip("/")
        forms = {bare, f"{bare}.md", f"{bare}/index.md", f"{bare}/README.md"}
        if bare.endswith((".html", ".htm")):
            forms |= {f"{bare.rpartition('.')[0]}.md", f"{bare.rpartition('.')[0]}.rst"}
        for start in starts if place.startswith("/") or place.endswith("/") or bare.endswith((".html", ".htm")) else []:
            if any(self._exists(start, form) for form in forms):
                return True
        return any(self._exists(str(base), f"{bare}{suffix}") for suffix in (".md", ".rst", ".ipynb", "/index.md"))

    def _exists(self, start: str, form: str) -> bool:
        path = _joined(start, form)
        return path is not None and (self._root / path).exists()

    def _moved(self, page: Page, place: str) -> str | None:
        """The one document of the same name elsewhere, as a link from `page`."""
        name = PurePosixPath(place).name
        found = [file for file in self._pages if PurePosixPath(file).name == name and file != page.file]
        if len(found) != 1 or name.lower() in {"index.md", "readme.md"}:
            return None
        here = PurePosixPath(page.file).parent.parts
        there = PurePosixPath(found[0]).parts
        common = next(
            (i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there))
        )
        return "/".join([*[".."] * (len(here) - common), *there[common:]])

    def _page(self, page: Page, place: str) -> Page | None:
        """The Markdown document that a link leads to."""
        file = _joined("" if place.startswith("/") else str(PurePosixPath(page.file).parent), place.lstrip("/"))
        if file is None or not file.endswith(".md"):
            return None
        if file not in self._pages:
            path = self._root / file
            try:
                inside = path.is_file() and path.resolve().is_relative_to(self._root.resolve())
                text = path.read_bytes()[:_LARGEST].decode() if inside else None
            except (OSError, UnicodeDecodeError):
                text = None
            if text is None:
                return None
            self._pages[file] = read_page(file, text)
        return self._pages[file]


def _joined(start: str, path: str) -> str | None:
    """`path` as seen from `start`; None when it leaves the checkout."""
    parts: list[str] = []
    for part in (*PurePosixPath(start).parts, *PurePosixPath(path).parts):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)

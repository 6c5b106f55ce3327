"""Links of documents that lead nowhere: files, headings within them, images, labels that nobody defines. No network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from tasks.docs.truth.page import Link, Page, read_page
from tasks.docs.truth.references import References, judge_link
from tasks.docs.truth.resolve import Answer, Resolver

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LINES = re.compile(r"L\d+(?:C\d+)?(?:-L?\d+(?:C\d+)?)?|:~:text=.*|user-content-.*", re.IGNORECASE)
_LARGEST = 2_000_000
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
        verdict = judge_link(page.file, link.target, self._known)
        if verdict is None:
            return None
        if not verdict[2]:
            if self._elsewhere(page, place):
                return None
            repair = self._moved(page, place)
            kind = "image" if link.kind == "image" else "link"
            return DeadLink(link.line, link.target, kind, f"{repair}#{anchor}" if repair and anchor else repair)
        other = self._page(page, place) if anchor else None
        return self._anchor(other, link, anchor) if other is not None else None

    def _anchor(self, page: Page, link: Link, anchor: str) -> DeadLink | None:
        if anchor in {"top", ""} or _LINES.fullmatch(anchor):
            return None
        known = page.anchors
        if anchor in known or anchor.lower() in {one.lower() for one in known}:
            return None
        folded = re.sub(r"[-_]+", "-", anchor.lower()).strip("-")
        alike = sorted(one for one in known if re.sub(r"[-_]+", "-", one.lower()).strip("-") == folded)
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
            ours = self._resolver is not None and self._resolver.is_ours(label)
            if not ours or self._resolver is None or self._resolver.resolve(label).answer is not Answer.gone:
                return None
            return DeadLink(link.line, link.target, "reference")
        if self._resolver is not None and self._resolver.is_any(label):
            return None
        if not re.search(r"[A-Za-z]{2}", label) or re.fullmatch(r"[A-Za-z_]\w*", label):
            return None  # `x[i][key]` is code that somebody forgot to mark
        return DeadLink(link.line, link.target, "reference")

    def _elsewhere(self, page: Page, place: str) -> bool:
        """Whether a site that shows the documents finds the file: from its root, or as the page that it becomes."""
        base = PurePosixPath(page.file).parent
        starts = [str(base), "", *self._folders]
        bare = place.strip("/")
        forms = {bare, f"{bare}.md", f"{bare}/index.md", f"{bare}/README.md"}
        if bare.endswith((".html", ".htm")):
            forms |= {f"{bare.rpartition('.')[0]}.md", f"{bare.rpartition('.')[0]}.rst"}
        for start in starts if place.startswith("/") or place.endswith("/") or bare.endswith((".html", ".htm")) else []:
            if any(self._exists(start, form) for form in forms):
                return True
        return any(self._exists(str(base), f"{bare}{suffix}") for suffix in (".md", ".rst", "/index.md"))

    def _exists(self, start: str, form: str) -> bool:
        parts: list[str] = []
        for part in (*PurePosixPath(start).parts, *PurePosixPath(form).parts):
            if part == "..":
                if not parts:
                    return False
                parts.pop()
            elif part != ".":
                parts.append(part)
        return self._root.joinpath(*parts).exists()

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
        base = PurePosixPath() if place.startswith("/") else PurePosixPath(page.file).parent
        parts: list[str] = []
        for part in (*base.parts, *PurePosixPath(place.lstrip("/")).parts):
            if part == "..":
                parts.pop()
            elif part != ".":
                parts.append(part)
        file = "/".join(parts)
        if not file.endswith(".md"):
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

"""What the program that makes a site of the documents adds to them: labels, places that links start from, and pages.

Its settings are searched for words and never run or loaded: what they say for sure makes a link good, and what they
leave open makes nobody a liar.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_SETTINGS = re.compile(r"(?:mkdocs|zensical|properdocs)[\w.-]*\.(?:ya?ml|toml)", re.IGNORECASE)
_INHERITED = re.compile(r"^INHERIT:[ \t]*['\"]?([\w./-]+)", re.MULTILINE)
_MOST_SETTINGS = 50
_COMMENT = re.compile(r"(?:^|\s)#.*$", re.MULTILINE)
_CROSS_REFERENCES = re.compile(r"\b(?:autorefs|mkdocstrings)\b")
_PAGE_MAKERS = re.compile(r"\b(?:gen[-_]files|literate[-_]nav|api[-_]autonav|auto[-_]?api|autosummary|apidoc)\b")
_OBJECTS = re.compile(
    r"auto(?:doc|summary|api|class)|apidoc|swagger|openapi|redoc|jsonschema|configurable", re.IGNORECASE
)
_APPENDED = re.compile(r"\bauto_append\b['\"]?\s*[:=][ \t]*(\s?\[[^\]]*\]|\n([ \t]*)-[^\n]*(?:\n\2-[^\n]*)*)")
_NAMED_FILE = re.compile(r"[\w./-]+\.\w+")
_DOCUMENTS_AT = re.compile(r"\bdocs_dir\b['\"]?\s*[:=]\s*['\"]?([\w./-]+)")
_DEFINITION = re.compile(r"^ {0,3}\[([^\[\]\n^]{1,200})\]:\s*\S", re.MULTILINE)
_TARGET = re.compile(
    r"^[ \t]*(?:\(([^()\n]{1,200})\)=|\.\. _([^:\n]{1,200}):|:name:[ \t]*(\S+))[ \t]*\r?$", re.MULTILINE
)
_SITES = (".vitepress", ".vuepress")
_INCLUDED = frozenset({"includes", "_includes", "snippets", "_snippets", "partials", "_partials"})
_BUILT_IN = frozenset({"genindex", "modindex", "py-modindex", "search"})
_TEXTS = frozenset({".md", ".txt", ".rst"})
_LARGEST = 500_000
_MOST = 2_000


@dataclass(frozen=True)
class Builder:
    """What is known of how a site is made of the documents of one checkout."""

    starts: tuple[str, ...] = ()
    """Folders that addresses of the site may begin at."""
    labels: frozenset[str] = frozenset()
    """Labels that a text defines which is put below every page, folded."""
    targets: frozenset[str] = frozenset()
    """Labels that any document may refer to, where Sphinx makes the site; folded."""
    sphinx: tuple[str, ...] = ()
    """Folders whose Markdown Sphinx reads."""
    cross_references: bool = False
    """Whether a label may be the anchor of any page."""
    labels_unknown: bool = False
    """Whether what is put below every page cannot be read."""
    objects: bool = False
    """Whether Sphinx makes anchors of what no document says, such as names of the code."""
    makes_pages: bool = False
    ignored: frozenset[str] = frozenset()
    """What `.gitignore` lists, of what is spelt without a wildcard: it is made, and no part of the checkout."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Texts in the folders of the documents, by their files."""
    distribution: bool = False
    """Whether the checkout is a source distribution, which leaves out much of what lies at the top."""

    @classmethod
    def of(cls, root: Path, pages: Iterable[str], texts: Iterable[str] = ()) -> Builder:
        """What the checkout `root` says of it, whose documents are the files `pages` with the `texts`."""
        folders = sorted({file.partition("/")[0] for file in pages if "/" in file})
        settings = "\n".join(_COMMENT.sub("", one) for one in _settings(root, folders))
        places = {folder.as_posix() for file in pages for folder in PurePosixPath(file).parents}
        conf = {place: _text(root / place / "conf.py") for place in places}
        sphinx = tuple(sorted(place for place, text in conf.items() if "myst" in text))
        found = dict(_beside(root, folders))
        put_below = {file: text for file, text in found.items() if _is_included(file)}
        appended = {
            PurePosixPath(one).name for lines, _ in _APPENDED.findall(settings) for one in _NAMED_FILE.findall(lines)
        }
        put_below |= {file: text for file, text in found.items() if PurePosixPath(file).name in appended}
        return cls(
            starts=(
                *sorted(place.removeprefix("./") for place in _DOCUMENTS_AT.findall(settings)),
                *(place for place in sorted(places) if conf[place]),
                *("static", "public"),
                *(f"{place}/{inner}" for place in folders for inner in ("static", "public")),
                *(place for place in sorted(places) if any((root / place / one).is_dir() for one in _SITES)),
            ),
            labels=frozenset(folded(one) for text in put_below.values() for one in _DEFINITION.findall(text)),
            targets=_BUILT_IN | frozenset(_targets((*texts, *found.values())) if sphinx else ()),
            sphinx=sphinx,
            objects=any(_OBJECTS.search(conf[place]) for place in sphinx),
            cross_references=_CROSS_REFERENCES.search(settings) is not None,
            labels_unknown=not appended <= {PurePosixPath(file).name for file in found},
            makes_pages=_PAGE_MAKERS.search("\n".join((settings, *conf.values()))) is not None,
            ignored=ignored(root),
            beside=found,
            distribution=_text(root / "PKG-INFO").startswith("Metadata-Version:"),
        )

    def reads(self, file: str) -> bool:
        """Whether Sphinx reads the document `file`."""
        return any(place == "." or file.startswith(f"{place}/") for place in self.sphinx)

    def may_be_made(self, root: Path, path: str) -> bool:
        """Whether `path`, which is not in the checkout, may still be there once the site is made, or was left out."""
        parts = PurePosixPath(path).parts
        if is_ignored(path, self.ignored):
            return True
        if self.distribution and parts and not (root / parts[0]).exists():
            return True
        return self.makes_pages and len(parts) > 1 and not root.joinpath(*parts[:-1]).exists()


def folded(label: str) -> str:
    """`label` as Markdown compares it: neither case nor white space counts."""
    return " ".join(label.casefold().split())


def ignored(root: Path) -> frozenset[str]:
    """What the `.gitignore` of `root` lists without a wildcard: paths, and names of what lies anywhere, with `/`."""
    found = set()
    for line in _text(root / ".gitignore").splitlines():
        path = line.strip()
        if not path or path.startswith(("#", "!")) or re.search(r"[*?\[\]\\]", path):
            continue
        found.add(path.strip("/") if "/" in path.rstrip("/") else f"{path.rstrip('/')}/")
    return frozenset(found)


def is_ignored(path: str, listed: frozenset[str]) -> bool:
    """Whether `listed`, as `ignored` gives it, has `path`, or something that it lies in."""
    parts = PurePosixPath(path).parts
    return any("/".join(parts[:end]) in listed or f"{parts[end - 1]}/" in listed for end in range(1, len(parts) + 1))


def _settings(root: Path, folders: Iterable[str]) -> Iterator[str]:
    waiting: list[Path] = []
    for place in (root, root / "config", *(root / folder for folder in folders)):
        try:
            waiting += sorted(place / entry.name for entry in os.scandir(place) if _SETTINGS.fullmatch(entry.name))
        except OSError:
            continue
    seen: set[Path] = set()
    while waiting and len(seen) < _MOST_SETTINGS:
        path = waiting.pop(0)
        if path not in seen:
            seen.add(path)
            text = _text(path, root)
            waiting += [path.parent / match[1] for match in _INHERITED.finditer(text)]
            yield text


def _beside(root: Path, folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Texts in the folders of the documents, hidden ones too."""
    count = 0
    for folder in (*folders, ".snippets", "includes", "snippets"):
        for at, inner, names in os.walk(root / folder):
            inner[:] = sorted(name for name in inner if name not in {".git", "node_modules", "_build"})
            for name in sorted(names):
                path = Path(at, name)
                if path.suffix in _TEXTS and count < _MOST:
                    count += 1
                    yield path.relative_to(root).as_posix(), _text(path, root)


def _is_included(file: str) -> bool:
    """Whether `file` is a piece of text for other documents, and none by itself."""
    path = PurePosixPath(file)
    return path.suffix == ".txt" or any(part.startswith(".") or part in _INCLUDED for part in path.parts[:-1])


def _targets(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from (folded((one[0] or one[1] or one[2]).strip("`")) for one in _TARGET.findall(text))


def _text(path: Path, root: Path | None = None) -> str:
    """The text of a file; empty for what is none, is too large, or lies outside of `root`."""
    try:
        if not path.is_file() or (root is not None and not path.resolve().is_relative_to(root.resolve())):
            return ""
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", errors="replace")
    except OSError:
        return ""

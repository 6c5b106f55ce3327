"""References of Markdown documents to names, paths, commands and other documents, and which of them lead nowhere.

Only what is certainly ours is judged: names that begin with a package of the checkout, paths below one of its
top-level folders, its own commands, relative links. Code blocks, placeholders and addresses are left alone; a wrong
accusation costs a reader more than a missed one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote

from tasks.docs.truth.builder import ignored, is_ignored

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_CALL = re.compile(r"\([^()]*\)$")
_PATH = re.compile(r"(?:\./)?[\w.-]+(?:/[\w.-]+)*/?", re.ASCII)
_PLACE = re.compile(r"(?::\d+(?:-\d+)?|::[\w:.\[\]-]+|:[A-Za-z_][\w.]*|#[\w-]+)$")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
SUFFIXES = frozenset(
    {
        "py", "pyi", "md", "rst", "txt", "toml", "yaml", "yml", "json", "ini", "cfg", "conf", "sh", "sql", "html",
        "css", "js", "ts", "lock", "log", "env", "service", "socket", "plist", "xml", "csv", "db", "zip", "gz", "whl",
        "so", "pid", "jinja", "mako", "ipynb", "png", "svg", "jpg",
    }
)  # fmt: skip
"""Of files that documents name; what ends otherwise may be no file."""
_TARGET = re.compile(r"^([A-Za-z0-9][\w.-]*)\s*:(?!=)", re.MULTILINE)
_SHOUTED = frozenset({"README", "LICENSE", "CHANGELOG", "CONTRIBUTING", "SECURITY", "NOTICE"})
_INVENTED = re.compile(r"(?:^|.*[_-])(?:my(?!sql|py|st)|your)[\w-]*|foo|bar|baz", re.IGNORECASE)
_WORD = re.compile(r"[a-z][a-z0-9_-]*")
_MOST_FILES = 100_000


class Names(Protocol):
    """What a code base defines and spells."""

    def defines(self, name: str) -> bool:
        """Whether the dotted `name` is defined, or may be."""

    def spells(self, word: str) -> bool:
        """Whether the code has `word` in a string, or defines a function of that name."""


@dataclass(frozen=True)
class NameSets:
    """Names as sets."""

    defined: Collection[str]
    """Dotted names of modules, classes, functions, attributes and what modules import."""
    open: Collection[str]
    """Names below which anything may exist."""
    words: Collection[str]
    """Words in string literals, and names of functions."""

    def defines(self, name: str) -> bool:
        """Whether the dotted `name` is defined, or lies below one that is open."""
        parts = name.split(".")
        return name in self.defined or any(".".join(parts[:length]) in self.open for length in range(1, len(parts)))

    def spells(self, word: str) -> bool:
        """Whether the code spells `word`."""
        return word in self.words


@dataclass(frozen=True)
class Nowhere:
    """A reference that leads nowhere."""

    document: str
    """Relative to the checkout."""
    line: int
    """Where its paragraph begins."""
    kind: str
    """`name`, `path`, `command` or `link`."""
    text: str
    """As the document has it."""


@dataclass(frozen=True)
class References:
    """What references may lead to."""

    root: Path
    names: Names
    packages: frozenset[str]
    folders: frozenset[str]
    """Top-level folders of the checkout that hold source or documents."""
    scripts: frozenset[str]
    """Commands that the checkout installs."""
    targets: frozenset[str] = field(default=frozenset())
    """Targets of its Makefile; empty when they cannot be known."""
    ignored: frozenset[str] = field(default=frozenset())
    """What its `.gitignore` lists."""

    @classmethod
    def of(cls, root: Path, names: Names, packages: list[str], *, programs: bool = True) -> References:
        """Those of the checkout `root`; without `programs`, what is typed behind one of its own is not judged."""
        folders = {
            entry.name
            for entry in (root.iterdir() if root.is_dir() else ())
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in {"build", "dist", "node_modules"}
        }
        scripts = frozenset(scripts_of(root, names.defines)) if programs else frozenset()
        return cls(root, names, frozenset(packages), frozenset(folders), scripts, _targets(root), ignored(root))

    def has_tail(self, path: str) -> bool:
        """Whether some file of the checkout ends so, of an example or a template; also where there are too many."""
        return self._places is None or any(one.endswith(f"/{path.rstrip('/')}") for one in self._places)

    @cached_property
    def _places(self) -> tuple[str, ...] | None:
        """All files and folders of the checkout, each behind a slash."""
        found: list[str] = []
        for at, inner, names in os.walk(self.root):
            inner[:] = [one for one in inner if one not in {".git", "node_modules", ".venv", "__pycache__"}]
            here = Path(at).relative_to(self.root).as_posix()
            found += [f"/{here}/{name}" for name in (*names, *inner)]
            if len(found) > _MOST_FILES:
                return None
        return tuple(found)


def broken_references(document: str, text: str, known: References) -> tuple[list[Nowhere], int]:
    """References of the Markdown `document` (a path in the checkout) that lead nowhere, and how many were judged."""
    found: dict[tuple[str, str], Nowhere] = {}
    judged = 0
    for line, kind, content in references(text):
        verdicts = [judge_link(document, content, known)] if kind == "link" else list(_judge_code(content, known))
        for verdict in verdicts:
            if verdict is None:
                continue
            what, subject, exists = verdict
            judged += 1
            if not exists:
                found.setdefault((what, subject), Nowhere(document, line, what, subject))
    return list(found.values()), judged


def references(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, `code` or `link`, content) of every inline code span, link and image outside of code blocks."""
    from markdown_it import MarkdownIt  # noqa: PLC0415

    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = token.map[0] + 1 if token.map else 0
        for part in token.children or ():
            if part.type == "code_inline":
                yield line, "code", part.content.strip()
            elif part.type in {"link_open", "image"}:
                target = part.attrGet("href" if part.type == "link_open" else "src")
                yield line, "link", str(target or "")


def _judge_code(text: str, known: References) -> Iterator[tuple[str, str, bool] | None]:
    if len(text) > 200:
        return
    if " " in text:
        yield judge_command(text, known)
        return
    path = _PLACE.sub("", text)
    if "/" in text:
        yield judge_path(path, known)
        return
    name = _CALL.sub("", text)
    name = name.replace(":", ".") if name.count(":") == 1 else name  # entry points: package.module:object
    if text != name and known.names.spells(text):
        return  # the code spells it with its colon: it is data, such as the name of a source
    if _DOTTED.fullmatch(name) and name.rpartition(".")[2] not in SUFFIXES:
        yield _judge_name(name, known)


def _judge_name(name: str, known: References) -> tuple[str, str, bool] | None:
    if name.partition(".")[0] not in known.packages:
        return None
    return "name", name, known.names.defines(name) or _literal(name, known.names)


def _literal(name: str, names: Names) -> bool:
    """Whether the code spells `name` in a string, whole or up to a dot: then it is a name of something else."""
    if names.spells(name):
        return True
    parts = name.split(".")
    return any(names.spells(f"{'.'.join(parts[:length])}.") for length in range(2, len(parts)))


def judge_path(text: str, known: References) -> tuple[str, str, bool] | None:
    """(`path`, text, whether it is there) for a path below a top-level folder of the checkout; None for all else."""
    if not _PATH.fullmatch(text):
        return None
    parts = PurePosixPath(text).parts
    if len(parts) < 2 or parts[0] not in known.folders or ".." in parts or "..." in text:
        return None
    if any(_invented(_stem(part)) for part in parts) or is_ignored(text, known.ignored):
        return None  # a placeholder, or made by whoever works with the checkout
    if all(part in known.folders for part in parts):
        return None  # "tasks/flows": this or that
    suffix = parts[-1].rpartition(".")[2] if "." in parts[-1] else ""
    below = (known.root / parts[0] / parts[1]).is_dir() and len(parts) > 2
    if not (suffix in SUFFIXES or text.endswith("/") or below):
        return None
    exists = (known.root / text).exists() or known.names.defines(".".join(parts))
    return "path", text, exists or known.names.spells(text.rstrip("/")) or known.has_tail(text)


def _invented(stem: str) -> bool:
    """Whether a name stands for another, such as NAME.py or test_myplugin.py."""
    return (stem.isupper() and stem not in _SHOUTED) or _INVENTED.fullmatch(stem) is not None


def _stem(part: str) -> str:
    return part.partition(".")[0]


def judge_command(text: str, known: References) -> tuple[str, str, bool] | None:
    """(kind, text, whether it is there) for a command of the checkout, a target of `make`, or `python -m`."""
    words = text.split()
    words = words[words[0] == "$" :]
    if len(words) < 2:
        return None
    if words[0] in known.scripts and _WORD.fullmatch(words[1]):
        return "command", f"{words[0]} {words[1]}", known.names.spells(words[1])
    if words[0] == "make" and known.targets and _WORD.fullmatch(words[1]):
        return "command", f"make {words[1]}", words[1] in known.targets
    if words[0].startswith("python") and words[1] == "-m" and len(words) > 2 and _DOTTED.fullmatch(words[2]):
        return _judge_name(words[2], known)
    return None


def judge_link(document: str, target: str, known: References) -> tuple[str, str, bool] | None:
    """(`link`, target, whether it is there) for a link within the checkout; None for all else."""
    target = unquote(target)
    place = target.partition("#")[0].partition("?")[0]
    if not place or _SCHEME.match(target) or target.startswith("//") or re.search(r"[<>{}*\0]", target):
        return None
    base = PurePosixPath() if place.startswith("/") else PurePosixPath(document).parent
    parts: list[str] = []
    for part in (*base.parts, *PurePosixPath(place.lstrip("/")).parts):
        if part == "..":
            if not parts:
                return None  # leaves the checkout: an address on the site that shows it
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "link", target, known.root.joinpath(*parts).exists()


def scripts_of(root: Path, defines: Callable[[str], bool]) -> dict[str, str]:
    """The commands that the checkout `root` installs, each with the module that runs it.

    None where pyproject.toml does not say so, and none of a module that nothing here `defines`: what another
    distribution makes of its words and options nobody here can say.
    """
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        places = {str(name): str(place).partition(":")[0].strip() for name, place in project.get("scripts", {}).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # nothing that can be judged
    return {name: module for name, module in places.items() if defines(module)}


def _targets(root: Path) -> frozenset[str]:
    try:
        text = (root / "Makefile").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return frozenset()
    if re.search(r"^-?include\b|^[^\t#]*%[^=]*:", text, re.MULTILINE):
        return frozenset()  # targets may come from elsewhere
    return frozenset(_TARGET.findall(text))

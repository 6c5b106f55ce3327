"""What a section of a page says of the code: which names it spells, which calls and signatures it shows."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from models.code import Kind
from tasks.docs.truth.bound import bindings, is_imported
from tasks.docs.truth.code import PYTHON, CallUse, Example, Scope, UnreadableError, is_shallow, read_example
from tasks.docs.truth.page import Fence, Page, Section, Span
from tasks.docs.truth.resolve import Answer, Resolver

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_OBJECT = re.compile(r"[a-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_DATA = (".json", ".yaml", ".yml", ".toml", ".cfg", ".ini")
_MOST_DATA = 500
_SUFFIXES = frozenset(
    [
        "py",
        "pyi",
        "pyx",
        "md",
        "rst",
        "txt",
        "toml",
        "yaml",
        "yml",
        "json",
        "ini",
        "cfg",
        "conf",
        "sh",
        "sql",
        "html",
        "css",
        "js",
        "ts",
        "lock",
        "log",
        "env",
        "service",
        "socket",
        "plist",
        "xml",
        "csv",
        "db",
        "zip",
        "gz",
        "whl",
        "so",
        "pid",
        "jinja",
        "mako",
        "ipynb",
        "png",
        "svg",
        "jpg",
        "com",
        "org",
        "net",
        "io",
        "dev",
        "app",
    ]
)
_PLACEHOLDER = re.compile(
    r"^(?:foo|bar|baz|qux|spam|ham|eggs|xxx+|yyy+|something|anything|whatever|example|some_\w+|my_?\w*|your_?\w*|"
    r"[a-z_]*name|something_else|placeholder|thing|stuff|[A-Z]|[a-z]|My\w+|Your\w+|Foo|Bar|Some[A-Z]\w*)$"
)
_NOT_A_NAME = re.compile(
    r"(?:\b(?:events?|logger|loggers|topic|metric|entry[- ]points?|entry[- ]point group|group|key|keys|queue|channel|"
    r"environment|namespace|header|field|column|table|host|hostname|domain|address|file|folder|directory|script|branch|"
    r"tag|label|plugin|marker|section|setting|option|extension|project|distribution|image|container|bucket|prefix)"
    r"\s*(?:called|named|group|name)?\s*)$",
    re.IGNORECASE,
)
_NOT_A_NAME_BEHIND = re.compile(
    r"^\s*(?:events?|logger|topic|metric|entry[- ]points?|group|queue|channel|namespace|header|hostname|domain|file|"
    r"folder|branch|tag|marker|section|plugin|extension|distribution)\b",
    re.IGNORECASE,
)
_STRING = re.compile(r"""(?<!\w)[rbfuRBFU]{0,2}("|')((?:(?!\1|\\|\n).){2,200})\1""")
_LARGEST = 5_000_000


@dataclass(frozen=True, slots=True)
class Named:
    """A name of the code base that a section spells."""

    name: str
    """As the text has it."""
    full: str
    """What it stands for."""
    line: int
    in_code: bool
    """Whether an example takes or reaches it: then it can be no mere word."""
    sure: bool
    """Whether the text says by itself what it stands for: it begins with a package, or is imported."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A span or line that looks like a call or a signature of a name: `name(a, b=1)`."""

    name: str
    node: ast.Call
    line: int
    returns: str | None
    sentence: str


@dataclass
class Spoken:
    """What one section says."""

    section: Section
    names: list[Named] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    calls: list[tuple[CallUse, int]] = field(default_factory=list)
    """Calls of examples, with the line that their block begins at."""
    unread: int = 0
    """Examples that are no Python by themselves."""
    passed: int = 0
    """Names in what speaks of the past."""


class Literals:
    """Words in the string literals of a code base: such a name may stand for something else than a definition."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._words: frozenset[str] | None = None
        self._whole: set[str] | None = None
        self._dotted: frozenset[str] | None = None

    def has(self, name: str) -> bool:
        """Whether the code spells `name` in a string, whole or up to a dot behind which it puts something."""
        words = self._all()
        parts = name.split(".")
        heads = [".".join(parts[:length]) for length in range(2, len(parts))]
        # a module's name with a dot stands in messages about its members: that makes no member of it
        if name in words or any(f"{one}." in words for one in heads if one not in self._resolver.codebase.names):
            return True
        if len(parts) == 2 and f"{parts[0]}." in self._prefixes():
            return True
        return name in self._data()

    def has_word(self, word: str) -> bool:
        """Whether the code spells `word` in a string, or defines a function of that name."""
        return word in self._all() or self._resolver.is_any(word.replace("-", "_"))

    def options(self) -> set[str]:
        """Words in strings that look like options of a command, such as `--name`."""
        return {word for one in self._all() for word in one.split("/") if word.startswith("-")}

    def _all(self) -> frozenset[str]:
        if self._words is None:
            self._words = self._resolver.codebase.words()
        return self._words

    def _data(self) -> frozenset[str]:
        """Dotted words in the files of data that lie in the packages, such as keys of settings in a schema."""
        if self._dotted is None:
            found: set[str] = set()
            root = Path(self._resolver.codebase.root)
            folders = {Path(root, self._resolver.file_of(one)).parent for one in self._resolver.codebase.files}
            for file in islice((file for folder in sorted(folders) for file in _data_files(folder)), _MOST_DATA):
                found.update(_DOTTED.findall(_text(file)))
            self._dotted = frozenset(found)
        return self._dotted

    def _prefixes(self) -> set[str]:
        """Whole strings that end in a dot: what names are made with, such as `prefix="acme."`."""
        if self._whole is None:
            root = Path(self._resolver.codebase.root)
            files = {self._resolver.file_of(path) for path in self._resolver.codebase.files}
            self._whole = {text for file in files for text in _literals(root / file) if text.endswith(".")}
        return self._whole


def _data_files(folder: Path) -> list[Path]:
    try:
        return sorted(Path(one.path) for one in os.scandir(folder) if one.name.endswith(_DATA) and one.is_file())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return source.read(_LARGEST).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _literals(file: Path) -> Iterator[str]:
    for match in _STRING.finditer(_text(file)):
        yield match[2]


class _Said:
    """What a page says of the packages of the code base: those it imports, and names that it gives away."""

    def __init__(self, text: str, resolver: Resolver) -> None:
        self._resolver = resolver
        self._imported = {one for one in resolver.codebase.packages if one in text and is_imported(text, one)}
        self.other = {one: bound for one in resolver.codebase.packages if (bound := bindings(text, one))}

    def meaning(self, name: str) -> tuple[str, bool]:
        """What the dotted name in a text stands for, and whether that is sure."""
        first, _, rest = name.partition(".")
        for target in self.other.get(first, ()):
            other = f"{target}.{rest}" if rest else target
            if target and self._resolver.is_ours(target) and self._resolver.resolve(other).answer is Answer.defined:
                return other, True
        if first in self.other:
            return name, False
        verdict = self._resolver.resolve(name)
        if verdict.answer is not Answer.gone:
            return name, True
        if any(one.endswith(f".{name}") for one in self._resolver.candidates(name)):
            return name, False  # the end of a longer name
        sure = verdict.path != first or first in self._imported or not self._resolver.is_variable(first)
        return name, sure


def speak(page: Page, resolver: Resolver) -> Iterator[Spoken]:
    """What each section of `page` says of the code base."""
    said = _Said(page.text, resolver)
    scope = Scope(other=set(said.other), loose=True)
    for section in page.sections:
        spoken = Spoken(section)
        for span in section.spans:
            if span.past:
                spoken.passed += 1
            elif not _is_something_else(span):
                _of_span(span, spoken, resolver, said)
        for fence in section.fences:
            _of_fence(fence, spoken, resolver, scope)
        yield spoken


def is_python(fence: Fence) -> bool:
    """Whether a block of code is Python by its language, or by its prompts."""
    return fence.language in PYTHON or (not fence.language and fence.text.lstrip().startswith(">>> "))


def _of_span(span: Span, spoken: Spoken, resolver: Resolver, said: _Said) -> None:
    text = span.text.strip().lstrip("~!@")
    if len(text) > 400 or "\n" in text:
        return
    if _OBJECT.fullmatch(text):
        if text in resolver.codebase.words():
            return  # a string of the code, such as the kind of a message
        text = text.replace(":", ".")
    name, shown = text, None
    if "(" in text:
        shown = _shown(text, span)
        name = shown.name if shown is not None else re.sub(r"\(.*", "", text)
        if shown is None and not re.fullmatch(r"[\w.]+\([^()]*\)", text):
            return
    full = _full(name, resolver, called="(" in text)
    if full is None:
        return
    full, sure = said.meaning(full) if resolver.is_ours(name) else (full, False)
    spoken.names.append(Named(name, full, span.line, in_code=False, sure=sure))
    if shown is not None:
        spoken.shown.append(shown)


def _full(name: str, resolver: Resolver, *, called: bool) -> str | None:
    """What a name in prose stands for, as far as it can stand for one thing only."""
    parts = name.split(".")
    if any(_PLACEHOLDER.match(part) for part in parts[1:]) or parts[-1] in _SUFFIXES:
        return None
    if _DOTTED.fullmatch(name) and resolver.is_ours(name):
        return name
    if not _WORD.fullmatch(parts[0]) or not all(_WORD.fullmatch(part) for part in parts):
        return None
    first = resolver.unique(parts[0])
    if first is None or not _is_telling(parts, called, resolver.codebase.names[first].kind):
        return None
    full = ".".join((first, *parts[1:]))
    return full if resolver.resolve(full).answer is Answer.defined else None


def _is_telling(parts: Sequence[str], called: bool, kind: Kind) -> bool:  # noqa: FBT001
    """Whether a name without its package is said in a way that it can hardly mean something else."""
    first = parts[0]
    if kind is Kind.class_:
        return len(parts) > 1 or (called and first[:1].isupper())  # `Dockerfile` alone is a file, or anything
    if kind is Kind.function:
        return len(parts) == 1 and len(first) > 4 and (called or "_" in first)
    return kind is Kind.attribute and len(parts) == 1 and first.isupper() and "_" in first


def _shown(text: str, span: Span) -> Shown | None:
    """A span that is a call or a signature; `*`, `/` and annotations of a signature are read away."""
    head, arrow, returns = text.partition("->")
    head = re.sub(r"^(?:async )?(?:def |class )?", "", head.strip().rstrip(":"))
    try:
        node: ast.expr | None = ast.parse(head, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        node = _signature_as_call(head)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute) or not is_shallow(node):
        return None
    return Shown(ast.unparse(node.func), node, span.line, returns.strip(" :") if arrow else None, span.sentence)


def _signature_as_call(head: str) -> ast.Call | None:
    """`name(a, /, b: int = 1, *, c=2)` as the call `name(a, b=1, c=2)`."""
    name, _, rest = head.partition("(")
    if not re.fullmatch(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", name):
        return None
    try:
        tree = ast.parse(f"def _({rest}: ...")
        call = ast.parse(f"{name}()", mode="eval").body  # a keyword is no name
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef):
        return None
    plain = [*function.args.posonlyargs, *function.args.args]
    without = len(plain) - len(function.args.defaults)
    args: list[ast.expr] = [ast.Name(one.arg, ast.Load()) for one in plain[:without] if one.arg != "self"]
    pairs = [*zip(plain[without:], function.args.defaults, strict=True)]
    named = [ast.keyword(one.arg, value) for one, value in pairs]
    named += [
        ast.keyword(one.arg, value if value is not None else ast.Name(one.arg, ast.Load()))
        for one, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    ]
    if not isinstance(call, ast.Call):
        return None
    call.args, call.keywords = args, named
    return call


def _of_fence(fence: Fence, spoken: Spoken, resolver: Resolver, scope: Scope) -> None:
    if not is_python(fence):
        return
    try:
        found: Example = read_example(fence.text, resolver, scope)
    except UnreadableError:
        spoken.unread += 1
        return
    if fence.past:
        spoken.passed += len(found.uses)
        return
    for use in found.uses:
        if not any(_PLACEHOLDER.match(part) for part in use.name.split(".")[1:] if len(part) > 1):
            spoken.names.append(Named(use.name, use.name, fence.line + use.line - 1, in_code=True, sure=True))
    spoken.calls += [(call, fence.line) for call in found.calls]


def _is_something_else(span: Span) -> bool:
    """Whether the words around a span say that it names an event, a file, a group and so on."""
    before, found, behind = span.sentence.partition(f"`{span.text}`")
    if not found or not _DOTTED.fullmatch(span.text):
        return False
    return _NOT_A_NAME.search(before[-60:]) is not None or _NOT_A_NAME_BEHIND.match(behind[:40]) is not None

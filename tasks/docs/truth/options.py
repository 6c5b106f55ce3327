"""Options of commands, settings and parameters of flows: those that documents name and nobody has, and the reverse."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from models.code import Kind, Symbol
from tasks.code.docstrings import parse
from tasks.docs.truth.code import PYTHON, Scope, UnreadableError, read_example
from tasks.docs.truth.command_lines import CommandLines
from tasks.docs.truth.page import Page, Section, Table
from tasks.docs.truth.resolve import Answer, Resolver
from tasks.docs.truth.signature import Signature, without_self
from tasks.docs.truth.spoken import Literals

_DESCRIBED = re.compile(r"description|\bDoc\(")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_PREFIX = re.compile(r"""env_prefix\s*[=:]\s*["']([A-Z][A-Z0-9]*_)["']""")
_WORDS_OF_FILES = re.compile(r"[A-Z][A-Z0-9_]{3,80}")
_ELSEWHERE = frozenset(
    {".toml", ".yaml", ".yml", ".sh", ".cfg", ".ini", ".service", ".plist", ".conf", ".py", ".env", ""}
)
_NEVER = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", "build", "dist", ".mypy_cache", ".ruff_cache"}
)
_MOST_FILES = 20_000
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Unknown:
    """An option, setting or parameter that is named and not there, or there and not described."""

    kind: str
    """`option`, `setting` or `parameter`."""
    file: str
    line: int
    subject: str
    title: str
    remedy: str
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Options:
    """What commands, settings and flows of a checkout take."""

    root: Path
    resolver: Resolver
    literals: Literals
    command_lines: CommandLines

    @classmethod
    def of(cls, root: Path, resolver: Resolver, literals: Literals | None = None) -> Options:
        """Those of the checkout `root`."""
        literals = literals or Literals(resolver)
        return cls(root, resolver, literals, CommandLines(root, resolver, literals))

    def unknown(self, page: Page) -> tuple[list[Unknown], int]:
        """What `page` names and nobody has, and how many names were judged."""
        found: list[Unknown] = []
        judged = 0
        for section in page.sections:
            if section.past:
                continue
            for verdict in (
                *self._options(page, section), *self._variables(page, section), *self._tables(page, section),
                *self._settings(page, section),
            ):  # fmt: skip
                judged += 1
                if verdict is not None:
                    found.append(verdict)
        return found, judged

    def undocumented(self, pages: Iterable[Page], *, whole: bool = True) -> Iterator[Unknown]:
        """Parameters of flows and fields of settings that nobody described; a page that names them describes them.

        Where the pages are not the `whole` of what there is to read, fields may be described in what was not read.
        """
        for symbol in self._labelled("flow"):
            described = {one.name for one in parse(symbol.docstring).parameters}
            missing = [one.name for one in symbol.parameters if one.name not in described]
            if missing:
                file = self.resolver.file_of(symbol.path)
                yield Unknown(
                    "parameter", file, symbol.line, symbol.path,
                    f"the flow `{symbol.path}` has parameters that nobody describes: {', '.join(missing)}",
                    "Describe them under Args: in its docstring; Prefect's form shows that.", {"parameters": missing},
                )  # fmt: skip
        if not whole:
            return
        told = _told(pages)
        for symbol in self._labelled("settings"):
            docstring = parse(symbol.docstring)
            described = {one.name for one in (*docstring.attributes, *docstring.parameters)}
            missing = [
                name
                for name, one in self.resolver.members(symbol.path).items()
                if _is_field(name, one) and not one.docstring and name not in described and not _is_told(name, told)
                and _DESCRIBED.search(f"{one.annotation}{one.value}") is None
            ]  # fmt: skip
            if missing:
                file = self.resolver.file_of(symbol.path)
                yield Unknown(
                    "setting", file, symbol.line, symbol.path,
                    f"the settings `{symbol.path}` have fields that nobody describes: {', '.join(missing[:10])}",
                    "Give each a Field(description=...).", {"fields": missing},
                )  # fmt: skip

    def _options(self, page: Page, section: Section) -> Iterator[Unknown | None]:
        """Options and subcommands in command lines of our own commands."""
        for one in self.command_lines.judged(section):
            if one is None:
                yield None
                continue
            hint = f" Did you mean {' or '.join(f'`{n}`' for n in one.near)}?" if one.near else ""
            evidence = {"did_you_mean": list(one.near)} if one.near else {}
            remedy = f"Correct the document.{hint}"
            yield Unknown(one.kind, page.file, one.line, one.subject, one.title, remedy, evidence)

    def _variables(self, page: Page, section: Section) -> Iterator[Unknown | None]:
        """Environment variables that begin as those of our settings do."""
        if not self._prefixes:
            return
        for span in section.spans:
            name = span.text.partition("=")[0].strip().removeprefix("$")
            prefix = next((one for one in self._prefixes if name.startswith(one)), None)
            if span.past or prefix is None or not _VARIABLE.fullmatch(name):
                continue
            if name.removeprefix(prefix).lower() in self._prefixes[prefix] or self._is_spelt(name):
                yield None
                continue
            known = [f"{prefix}{one.upper()}" for one in self._prefixes[prefix]]
            near = difflib.get_close_matches(name, known, 2, 0.75)
            yield Unknown(
                "setting", page.file, span.line, name, f"names the variable `{name}`, which nothing reads",
                "Correct the document." + (f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""),
                {"did_you_mean": near} if near else {},
            )  # fmt: skip

    @cached_property
    def _prefixes(self) -> dict[str, set[str]]:
        """The prefix of each kind of settings, and its fields in lower case."""
        found: dict[str, set[str]] = {}
        for symbol in self._labelled("settings"):
            lines = self.resolver.source_of(symbol.path).splitlines()[symbol.line - 1 : symbol.end_line]
            for match in _PREFIX.finditer("\n".join(lines)):
                found.setdefault(match[1], set()).update(name.lower() for name in self.resolver.members(symbol.path))
        return found

    def _is_spelt(self, name: str) -> bool:
        return self.literals.has_word(name) or name in self._elsewhere

    @cached_property
    def _elsewhere(self) -> frozenset[str]:
        """Words in capitals of the checkout's other files: tests, scripts, configuration."""
        found: set[str] = set()
        count = 0
        for folder, folders, files in _walk(self.root):
            folders[:] = [one for one in folders if one not in _NEVER]
            for file in files:
                path = folder / file
                count += 1
                if path.suffix not in _ELSEWHERE or count > _MOST_FILES or path.is_symlink():
                    continue
                try:
                    with path.open("rb") as opened:
                        found.update(_WORDS_OF_FILES.findall(opened.read(_LARGEST).decode("utf-8", errors="replace")))
                except OSError:
                    continue
        return frozenset(found)

    def _tables(self, page: Page, section: Section) -> Iterator[Unknown | None]:
        """Tables of parameters under an example that calls one flow."""
        tables = [
            one for one in section.tables if re.fullmatch(r"parameters?", one.header[0].strip("*` "), re.IGNORECASE)
        ]
        flows = self._flows_called(section) if tables else set()
        if len(flows) != 1 or len(tables) != 1:
            return
        symbol = self.resolver.symbol(next(iter(flows)))
        if symbol is None:
            return
        names = {one.name for one in symbol.parameters}
        if any(one.kind.startswith("variadic") for one in symbol.parameters):
            return
        for line, name in _cells(tables[0]):
            if name in names:
                yield None
                continue
            near = difflib.get_close_matches(name, sorted(names), 2, 0.7)
            yield Unknown(
                "parameter", page.file, line, f"{symbol.path}.{name}",
                f"describes the parameter `{name}`, which the flow `{symbol.path}` does not have",
                "Correct the document." + (f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""),
                {"signature": Signature(without_self(symbol, method=False), symbol.returns).shown(symbol.path)},
            )  # fmt: skip

    def _flows_called(self, section: Section) -> set[str]:
        found: set[str] = set()
        for fence in section.fences:
            if fence.language not in PYTHON:
                continue
            try:
                example = read_example(fence.text, self.resolver, Scope(loose=True))
            except UnreadableError:
                continue
            for use in example.uses:
                verdict = self.resolver.resolve(use.name)
                symbol = self.resolver.symbol(verdict.path) if verdict.answer is Answer.defined else None
                if symbol is not None and "flow" in symbol.labels:
                    found.add(symbol.path)
        return found

    def _settings(self, page: Page, section: Section) -> Iterator[Unknown | None]:
        """Keys of TOML blocks under tables that the settings of the checkout know."""
        for fence in section.fences:
            if fence.language != "toml" or fence.past:
                continue
            try:
                told = tomllib.loads(fence.text)
            except (tomllib.TOMLDecodeError, RecursionError):
                continue
            root = self._root_of(told)
            if root is None:
                continue
            for path, owner in self._unknown_keys(told, (root,), ()):
                if owner is None:
                    yield None
                    continue
                name = ".".join(path)
                line = fence.line + next(
                    (
                        n
                        for n, text in enumerate(fence.text.split("\n"))
                        if re.search(rf"\b{re.escape(path[-1])}\b", text)
                    ),
                    0,
                )
                near = difflib.get_close_matches(path[-1], sorted(self._fields(owner) or ()), 2, 0.7)
                yield Unknown(
                    "setting", page.file, line, name, f"names the setting `{name}`, which `{owner}` does not have",
                    "Correct the document." + (f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""),
                    {"settings": owner},
                )  # fmt: skip

    def _root_of(self, told: Mapping[str, Any]) -> str | None:
        """The class whose fields are the tables of a TOML block: one that knows all of them, and there is only one."""
        tables = {key for key, value in told.items() if isinstance(value, dict | list)}
        found = [path for path, fields in self._roots.items() if tables and tables <= fields]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _roots(self) -> dict[str, set[str]]:
        """Models with at least three fields that are models themselves."""
        found: dict[str, set[str]] = {}
        for label in ("model", "settings"):
            for symbol in self._labelled(label):
                fields = self._fields(symbol.path)
                inner = [name for name in fields or () if self._classes(symbol.path, name)]
                if fields and len(inner) >= 3:
                    found[symbol.path] = fields
        return found

    def _unknown_keys(
        self, told: Mapping[str, Any], owners: Sequence[str], path: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], str | None]]:
        """Each key below `path`, with the class that lacks it; None where it is there."""
        fields = [self._fields(owner) for owner in owners]
        if not owners or any(one is None for one in fields):
            return
        for key, value in told.items():
            holders = [owner for owner, one in zip(owners, fields, strict=True) if one is not None and key in one]
            yield (*path, key), None if holders else owners[0]
            inner = [cls for owner in holders for cls in self._classes(owner, key)]
            values = value if isinstance(value, list) else [value]
            for one in values if inner else ():
                if isinstance(one, dict):
                    yield from self._unknown_keys(one, inner, (*path, key))

    def _fields(self, path: str) -> set[str] | None:
        """Fields of a model with those of its bases; None where others are allowed, or cannot be known."""
        if path in self._known_fields:
            return self._known_fields[path]
        found: set[str] | None = set()
        for symbol in self.resolver.lineage(path):
            if symbol is None:
                continue  # pydantic's own
            lines = self.resolver.source_of(symbol.path).splitlines()[symbol.line - 1 : symbol.end_line]
            text = "\n".join(lines)
            if re.search(r"""extra\s*=\s*["'](?:allow|ignore)["']|alias""", text):
                found = None
                break
            if found is not None:
                found |= {name for name, one in self.resolver.members(symbol.path).items() if _is_field(name, one)}
        self._known_fields[path] = found
        return found

    _known_fields: dict[str, set[str] | None] = field(default_factory=dict)

    def _classes(self, owner: str, name: str) -> list[str]:
        """Models of the code base that the annotation of a field names; none where it is a mapping."""
        member = self.resolver.method(owner, name)
        if member is None or not member.annotation or re.search(r"\b(?:dict|Dict|Mapping)\b", member.annotation):
            return []
        module = self.resolver.codebase.names[member.path].module
        found = []
        for word in re.findall(r"[A-Za-z_][\w.]*", member.annotation):
            verdict = self.resolver.resolve(f"{module}.{word}")
            symbol = self.resolver.symbol(verdict.path) if verdict.answer is Answer.defined else None
            if symbol is not None and symbol.kind is Kind.class_ and {"model", "settings"} & set(symbol.labels):
                found.append(symbol.path)
        return found

    def _labelled(self, label: str) -> Iterator[Symbol]:
        for path in self.resolver.codebase.files:
            for symbol in self.resolver.codebase.module(path).symbols:
                if label in symbol.labels and symbol.public:
                    yield symbol


def _cells(table: Table) -> Iterator[tuple[int, str]]:
    """Line and name of the first cells that are names in code, or several of them."""
    for number, row in enumerate(table.rows):
        for name in re.findall(r"`([A-Za-z_]\w*)`", row[0]) if row else ():
            yield table.line + 2 + number, name


def _told(pages: Iterable[Page]) -> set[str]:
    """Every name that code of the pages has, in spans and in blocks, in lower case."""
    sections = [section for page in pages for section in page.sections]
    texts = [span.text for section in sections for span in section.spans]
    texts += [fence.text for section in sections for fence in section.fences]
    return {word.lower() for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}


def _is_told(name: str, told: Collection[str]) -> bool:
    """Whether the pages have a field, or an environment variable that ends as it does."""
    return name in told or any(word.endswith(f"_{name}") for word in told)


def _is_field(name: str, symbol: Symbol) -> bool:
    if symbol.kind is not Kind.attribute or symbol.annotation is None or name.startswith("_"):
        return False
    return "ClassVar" not in symbol.annotation and name != "model_config" and "instance" not in symbol.labels


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, folders, files in os.walk(root):
        yield Path(folder), folders, files

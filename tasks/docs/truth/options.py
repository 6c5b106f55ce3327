"""Options of commands, settings and parameters of flows: those that documents name and nobody has, and the reverse."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from models.code import Kind, Symbol
from tasks.code.commands import Command, commands_of
from tasks.code.docstrings import parse
from tasks.docs.truth.code import PYTHON, Scope, UnreadableError, read_example
from tasks.docs.truth.page import Page, Section, Table
from tasks.docs.truth.references import scripts_of
from tasks.docs.truth.resolve import Answer, Resolver
from tasks.docs.truth.signature import Signature, without_self
from tasks.docs.truth.spoken import Literals

_SHELL = frozenset({"", "sh", "bash", "shell", "console", "shell-session", "zsh", "text"})
_OPTION = re.compile(r"--[a-z][a-z0-9-]*[a-z0-9]")
_ENDS = frozenset({">", ">>", "<", "--"})
_PUNCTUATION = "();|&"
"""What ends a command of a shell, alone or within a word; `<` does not: `<file>` stands for an argument."""
_SUBCOMMAND = re.compile(r"[a-z][a-z0-9-]*")
_ALWAYS = frozenset({"--help", "--version", "--verbose", "--quiet", "--install-completion", "--show-completion"})
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_PREFIX = re.compile(r"""env_prefix\s*[=:]\s*["']([A-Z][A-Z0-9]*_)["']""")
_WORDS_OF_FILES = re.compile(r"[A-Z][A-Z0-9_]{3,80}")
_ELSEWHERE = frozenset(
    {".toml", ".yaml", ".yml", ".sh", ".cfg", ".ini", ".service", ".plist", ".conf", ".py", ".env", ""}
)
_NEVER = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", "build", "dist", ".mypy_cache", ".ruff_cache"}
)
_LONGEST_LINE = 2_000
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
    scripts: frozenset[str]

    @classmethod
    def of(cls, root: Path, resolver: Resolver, literals: Literals | None = None) -> Options:
        """Those of the checkout `root`."""
        return cls(root, resolver, literals or Literals(resolver), scripts_of(root))

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

    def undocumented(self, pages: Iterable[Page]) -> Iterator[Unknown]:
        """Parameters of flows and fields of settings that nobody described; a page that names them describes them."""
        told = {span.text.partition("=")[0] for page in pages for section in page.sections for span in section.spans}
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
        for symbol in self._labelled("settings"):
            missing = [
                name
                for name, one in self.resolver.members(symbol.path).items()
                if _is_field(name, one) and not one.docstring and name not in told
                and "description" not in f"{one.annotation}{one.value}"
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
        lines = [(span.line, span.text) for span in section.spans if not span.past and " " in span.text]
        for fence in section.fences:
            if fence.language in _SHELL and not fence.past:
                text = re.sub(r"\\\n", "  ", fence.text)
                lines += [(fence.line + number, line) for number, line in enumerate(text.split("\n"))]
        for line, text in lines:
            words = _words(text) if len(text) <= _LONGEST_LINE else []
            if words and words[0] in self.scripts:
                end = next((n for n, word in enumerate(words) if word in _ENDS or _is_punctuation(word)), len(words))
                for verdict in self._command_line(words[:end]):
                    if verdict is None:
                        yield None
                        continue
                    kind, subject, title, near = verdict
                    hint = f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
                    evidence = {"did_you_mean": list(near)} if near else {}
                    yield Unknown(kind, page.file, line, subject, title, f"Correct the document.{hint}", evidence)

    def _command_line(self, words: Sequence[str]) -> Iterator[tuple[str, str, str, Sequence[str]] | None]:
        """(kind, subject, title, what may be meant) of each option and subcommand that is not there."""
        length = next((n for n in range(len(words), 0, -1) if tuple(words[:n]) in self._commands), 0)
        command = self._commands[tuple(words[:length])] if length else None
        called = " ".join(words[:length]) if length > 1 else words[0]
        # behind a group that one word more would lead out of, it may be another command that takes them
        known = self._options_of(words[:length]) if command is not None and not command.group else None
        for word in words[1:]:
            name = word.partition("=")[0]
            if not _OPTION.fullmatch(name):
                continue
            every = known if known is not None else self.known_options
            if name in every | _ALWAYS or (known is None and name.startswith("--no-") and f"--{name[5:]}" in every):
                yield None
                continue
            near = difflib.get_close_matches(name, sorted(every), 2, 0.75)
            yield "option", f"{called} {name}", f"gives `{called}` the option `{name}`, which it does not have", near
        if command is None or not command.group or not command.complete or command.arguments:
            return
        below = {one[length] for one in self._commands if len(one) == length + 1 and one[:length] == command.words}
        asked = words[length] if length < len(words) else ""
        if below and _SUBCOMMAND.fullmatch(asked) and not self.literals.has_word(asked):
            near = difflib.get_close_matches(words[length], sorted(below), 2, 0.6)
            name = f"{called} {words[length]}"
            yield "command", name, f"names the command `{name}`, which does not exist", near

    @cached_property
    def _commands(self) -> dict[tuple[str, ...], Command]:
        """The commands of the checkout by what is typed, from an installed script on."""
        return {
            one.words: one
            for one in commands_of(self.resolver.codebase)
            if one.words[:1] and one.words[0] in self.scripts
        }

    def _options_of(self, words: Sequence[str]) -> set[str] | None:
        """What a command and the groups above it take; None where that is not certain."""
        found: set[str] = set()
        for length in range(1, len(words) + 1):
            command = self._commands.get(tuple(words[:length]))
            if command is None or not command.complete:
                return None
            found |= {name for option in command.options for name in option.names}
        return found

    @cached_property
    def known_options(self) -> frozenset[str]:
        """Every option that the code spells, or that a parameter of a command stands for."""
        spelt = set(self.literals.options())
        for symbol in self._labelled("command"):
            spelt |= {f"--{one.name.replace('_', '-')}" for one in symbol.parameters}
        return frozenset(spelt)

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
                {"signature": Signature(without_self(symbol), symbol.returns).shown(symbol.path)},
            )  # fmt: skip

    def _flows_called(self, section: Section) -> set[str]:
        found: set[str] = set()
        for fence in section.fences:
            if fence.language not in PYTHON:
                continue
            try:
                example = read_example(fence.text, self.resolver, Scope())
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


def _words(text: str) -> list[str]:
    """The words of a command line, without its prompt and its comment."""
    text = re.sub(r"^\s*(?:\$|>|#)\s+", "", text)
    try:
        split = shlex.shlex(text, posix=True, punctuation_chars=_PUNCTUATION)
        split.whitespace_split = True
        words = list(split)
    except ValueError:
        words = re.findall(rf"[{_PUNCTUATION}]+|[^\s{_PUNCTUATION}]+", text)
    while words and re.fullmatch(r"[A-Z_]+=\S*|sudo|uv|run|poetry|nohup|time|exec", words[0]):
        words = words[1:]
    return words


def _is_punctuation(word: str) -> bool:
    return bool(word) and not word.strip(_PUNCTUATION)


def _cells(table: Table) -> Iterator[tuple[int, str]]:
    """Line and name of the first cells that are names in code, or several of them."""
    for number, row in enumerate(table.rows):
        for name in re.findall(r"`([A-Za-z_]\w*)`", row[0]) if row else ():
            yield table.line + 2 + number, name


def _is_field(name: str, symbol: Symbol) -> bool:
    if symbol.kind is not Kind.attribute or symbol.annotation is None or name.startswith("_"):
        return False
    return "ClassVar" not in symbol.annotation and name != "model_config" and "instance" not in symbol.labels


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, folders, files in os.walk(root):
        yield Path(folder), folders, files

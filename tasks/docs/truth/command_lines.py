"""Command lines in documents that call programs of the checkout: words and options that these do not take."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.code.commands import Command, commands_of
from tasks.docs.truth.page import Section
from tasks.docs.truth.references import scripts_of
from tasks.docs.truth.resolve import Resolver
from tasks.docs.truth.spoken import Literals

_SHELL = frozenset({"sh", "bash", "shell", "console", "shell-session", "zsh"})
_PLAIN = frozenset({"", "text"})
"""Languages of blocks that may as well be what a program prints."""
_PROMPT = re.compile(r"\s*[$>%]\s+")
_OPTION = re.compile(r"--[a-z][a-z0-9-]*[a-z0-9]")
_ENDS = frozenset({">", ">>", "<", "--"})
_PUNCTUATION = "();|&"
"""What ends a command of a shell, alone or within a word; `<` does not: `<file>` stands for an argument."""
_SUBCOMMAND = re.compile(r"[a-z][a-z0-9-]*")
_ALWAYS = frozenset({"--help", "--version", "--verbose", "--quiet", "--install-completion", "--show-completion"})
_LONGEST_LINE = 2_000
_SPELLING = frozenset({"click", "rich_click", "asyncclick", "argparse", "optparse", "getopt", "configargparse"})
"""Libraries to which a program spells its options as they are typed."""
_DERIVING = frozenset(
    {
        "absl", "argh", "arguably", "baker", "cappa", "cement", "cleo", "cliff", "clikit", "clipstick", "clize",
        "cyclopts", "defopt", "docopt", "fire", "hydra", "invoke", "jsonargparse", "knack", "plac", "plumbum",
        "simple_parsing", "tap", "traitlets", "typer", "tyro",
    }
)  # fmt: skip
"""Libraries that make options of names, annotations or texts: that no string spells an option says nothing."""
_HANDS_ON = re.compile(r"parse_known_|REMAINDER|ignore_unknown_options|allow_extra_args")
"""Of a program that takes options of others, and gives them to these."""

_MADE = re.compile(r"""["'](--[a-z0-9-]*)(?:\{|%s|["']\s*\+)""")
"""The beginning of an option of which the rest is put together as the program runs."""


@dataclass(frozen=True, slots=True)
class Untaken:
    """A word or an option of a command line that its program does not take."""

    kind: str
    """`option` or `command`."""
    line: int
    subject: str
    title: str
    near: Sequence[str] = ()
    """What may be meant."""


class CommandLines:
    """What the programs of the checkout `root` take."""

    def __init__(self, root: Path, resolver: Resolver, literals: Literals) -> None:
        self.resolver = resolver
        self.literals = literals
        self.scripts = scripts_of(root, lambda name: name in resolver.codebase.names)
        self._kept: dict[str, bool] = {}
        self._made: dict[str, frozenset[str]] = {}
        self._imported: dict[str, frozenset[str]] = {}

    def judged(self, section: Section) -> Iterator[Untaken | None]:
        """What command lines of `section` give to our programs; None for what they take."""
        if not self.scripts:
            return
        for line, text, typed in _lines(section):
            words = _words(text) if len(text) <= _LONGEST_LINE else []
            if words and words[0] in self.scripts:
                end = next((n for n, word in enumerate(words) if word in _ENDS or _is_punctuation(word)), len(words))
                yield from self._command_line(line, words[:end], typed=typed)

    def _command_line(self, line: int, words: Sequence[str], *, typed: bool) -> Iterator[Untaken | None]:
        length = next((n for n in range(len(words), 0, -1) if tuple(words[:n]) in self._commands), 0)
        command = self._commands[tuple(words[:length])] if length else None
        called = " ".join(words[:length]) if length > 1 else words[0]
        above = (self._commands.get(tuple(words[:n])) for n in range(1, length + 1))
        if any(one is not None and one.open for one in above):
            return
        if command is not None and _HANDS_ON.search(self.resolver.source_of(command.module)):
            return  # the rest of what is typed is read by somebody else
        own = self._options_of(words[:length]) if command is not None else None
        for place, word in enumerate(words[1:], start=1):
            name = word.partition("=")[0]
            if not _OPTION.fullmatch(name):
                continue
            # behind a group that one word more would lead out of, it may be another command that takes them
            known = own if command is not None and (not command.group or place == length) else None
            found = command is not None and not command.group and not self._imports(command.module, "argparse")
            every = known if known is not None else self._known_options(words[0], closed=found)
            if every is None:
                continue
            if known is None and any(name.startswith(one) for one in self._beginnings(words[0])):
                continue
            if self._takes(words[0], name, every, loose=known is None):
                yield None
                continue
            near = difflib.get_close_matches(name, sorted(every), 2, 0.75)
            title = f"gives `{called}` the option `{name}`, which it does not have"
            yield Untaken("option", line, f"{called} {name}", title, near)
        if command is None or not command.complete or command.arguments or not typed:
            return
        below = {one[length] for one in self._commands if len(one) == length + 1 and one[:length] == command.words}
        asked = words[length] if length < len(words) else ""
        if bool(below) == command.group and _SUBCOMMAND.fullmatch(asked) and not self.literals.has_word(asked):
            near = difflib.get_close_matches(asked, sorted(below), 2, 0.6)
            name = f"{called} {asked}"
            yield Untaken("command", line, name, f"names the command `{name}`, which does not exist", near)

    def _takes(self, script: str, name: str, every: frozenset[str], *, loose: bool) -> bool:
        if name in every or name in _ALWAYS:
            return True
        if loose and name.startswith("--no-") and f"--{name[5:]}" in every:
            return True
        # argparse takes the beginning of an option for the whole of it
        return "argparse" in self._libraries(script) and any(one.startswith(name) for one in every)

    @cached_property
    def _commands(self) -> dict[tuple[str, ...], Command]:
        """The commands of the checkout by what is typed, from an installed script on."""
        return {
            words: one
            for one in commands_of(self.resolver.codebase)
            if one.words[:1] and one.words[0] in self.scripts
            for words in (one.words, *one.aliases)
        }

    def _options_of(self, words: Sequence[str]) -> frozenset[str] | None:
        """What a command and the groups above it take; None where that is not certain."""
        found: set[str] = set()
        for length in range(1, len(words) + 1):
            command = self._commands.get(tuple(words[:length]))
            if command is None or not command.complete:
                return None
            found |= {name for option in command.options for name in option.names}
        return frozenset(found)

    def _known_options(self, script: str, *, closed: bool) -> frozenset[str] | None:
        """Every option that the code spells, or that a parameter of a command stands for.

        None where a program may take others than these: nothing is known of how it reads what is typed, its library
        makes options of names, or, unless the command is known to be `closed`, it hands on what it does not know.
        """
        libraries = self._libraries(script)
        if not libraries & _SPELLING or libraries & _DERIVING or not (closed or self._keeps(script)):
            return None
        return self._every_option

    def _keeps(self, script: str) -> bool:
        """Whether no command of a program takes options that are another one's."""
        if script not in self._kept:
            sources = map(self.resolver.source_of, self._modules(script))
            self._kept[script] = not any(map(_HANDS_ON.search, sources))
        return self._kept[script]

    def _beginnings(self, script: str) -> frozenset[str]:
        """How options begin that are put together where a program's options are made."""
        if script not in self._made:
            sources = (
                self.resolver.source_of(path) for path in self._modules(script) if self._imports(path, *_SPELLING)
            )
            self._made[script] = frozenset(found for text in sources for found in _MADE.findall(text))
        return self._made[script]

    @cached_property
    def _every_option(self) -> frozenset[str]:
        spelt = set(self.literals.options())
        codebase = self.resolver.codebase
        for path in codebase.files:
            for symbol in codebase.module(path).symbols:
                if "command" in symbol.labels and symbol.public:
                    spelt |= {f"--{one.name.replace('_', '-')}" for one in symbol.parameters}
        return frozenset(spelt)

    def _modules(self, script: str) -> Iterator[str]:
        """Modules of the package that a program is in."""
        package = self.scripts[script].partition(".")[0]
        return (path for path in self.resolver.codebase.files if path.partition(".")[0] == package)

    def _libraries(self, script: str) -> frozenset[str]:
        """Top-level names of what the modules of a program's package import."""
        package = self.scripts[script].partition(".")[0]
        if package not in self._imported:
            module = self.resolver.codebase.module
            self._imported[package] = frozenset(
                one.target.partition(".")[0] for path in self._modules(script) for one in module(path).imports
            )
        return self._imported[package]

    def _imports(self, module: str, *libraries: str) -> bool:
        return any(one.target.partition(".")[0] in libraries for one in self.resolver.codebase.module(module).imports)


def _lines(section: Section) -> Iterator[tuple[int, str, bool]]:
    """(line, text, whether it is certainly typed and not printed) of what may be command lines."""
    for span in section.spans:
        if not span.past and " " in span.text:
            yield span.line, span.text, True
    for fence in section.fences:
        if fence.past or fence.language not in _SHELL | _PLAIN:
            continue
        lines = list(_joined(fence.text))
        prompted = any(_PROMPT.match(text) for _, text in lines)
        for number, text in lines:
            if not prompted or _PROMPT.match(text):  # beside prompts all else is what is printed
                yield fence.line + number, text, prompted or fence.language in _SHELL


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with those that they go on in, and the number of the first."""
    begun: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n")):
        first = first if begun else number
        begun.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield first, " ".join(begun)
            begun = []
    if begun:
        yield first, " ".join(begun)


def _words(text: str) -> list[str]:
    """The words of a command line, without its prompt and its comment."""
    text = _PROMPT.sub("", text, count=1) if _PROMPT.match(text) else text
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

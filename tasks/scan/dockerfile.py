"""Reads Dockerfiles: instructions with their lines, stages, and what variables of the build stand for.

After the reference of the Dockerfile format (docs.docker.com/reference/dockerfile). Pure, and it never raises for what
is in the text: what is no instruction is listed as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

WORDS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)
_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(\S+)[ \t]*")
_HEREDOC = re.compile(r"(?<![<\w])\d?<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\2")
_VARIABLE = re.compile(r"\\?\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?([-+?])([^${}]*))?\})")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined."""

    line: int
    """Where it begins, from 1."""
    word: str
    """In capitals; empty for what is no instruction."""
    text: str
    """Its arguments, without flags; lines of a continued one are joined by a line break."""
    lines: tuple[int, ...]
    """Where each line of `text` stands in the file."""
    flags: tuple[tuple[str, str], ...] = ()
    documents: tuple[Document, ...] = ()

    def flag(self, name: str) -> str | None:
        """The value of `--name=value`; empty for a bare flag, None when it is not there."""
        return next((value for key, value in self.flags if key == name), None)

    @property
    def words(self) -> list[str]:
        """Its arguments: of the JSON form, or divided at blanks."""
        if self.text.lstrip().startswith("["):
            try:
                value = json.loads(self.text)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                return value
        return [_unquoted(word) for word in self.text.split()]


@dataclass(frozen=True, slots=True)
class Document:
    """The body of a heredoc."""

    name: str
    line: int
    """Of its first line in the file."""
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    line: int
    name: str
    """As FROM ... AS names it, in small letters; empty for none."""
    image: str
    """What it builds on, variables replaced as far as they have defaults."""
    base: Stage | None
    """The stage that it builds on, when that is one of this file."""
    instructions: tuple[Instruction, ...] = field(compare=False)

    @property
    def lineage(self) -> Iterator[Stage]:
        """Itself and the stages that it builds on: what ends up in its image."""
        stage: Stage | None = self
        while stage is not None:
            yield stage
            stage = stage.base


@dataclass(frozen=True, slots=True)
class Image:
    """The name of an image, taken apart."""

    name: str
    tag: str
    digest: str

    @property
    def floats(self) -> bool:
        """Whether the next pull may bring another release: no tag, or `latest`."""
        return not self.digest and self.tag in {"", "latest"}


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """What a Dockerfile says."""

    stages: tuple[Stage, ...]
    before: tuple[Instruction, ...]
    """ARG instructions before the first FROM."""
    unknown: tuple[int, ...]
    """Lines that are no instruction."""

    @property
    def instructions(self) -> Iterator[Instruction]:
        """All of them, in order; those behind ONBUILD count as if they stood there."""
        for instruction in (*self.before, *(one for stage in self.stages for one in stage.instructions)):
            yield _triggered(instruction) if instruction.word == "ONBUILD" else instruction


def read_dockerfile(text: str) -> Dockerfile:
    """What `text` says."""
    before: list[Instruction] = []
    unknown: list[int] = []
    stages: list[Stage] = []
    named: dict[str, Stage] = {}
    defaults: dict[str, str] = {}
    begun: tuple[Instruction, list[Instruction]] | None = None

    def end() -> None:
        if begun is not None:
            stage = _stage(begun[0], begun[1], named, defaults)
            stages.append(stage)
            if stage.name:
                named[stage.name] = stage

    for instruction in _instructions(text):
        if not instruction.word:
            unknown.append(instruction.line)
        elif instruction.word == "FROM":
            end()
            begun = (instruction, [])
        elif begun is not None:
            begun[1].append(instruction)
        elif instruction.word == "ARG":
            before.append(instruction)
            defaults.update({name: value for name, value in pairs(instruction) if value is not None})
        else:
            unknown.append(instruction.line)
    end()
    return Dockerfile(tuple(stages), tuple(before), tuple(unknown))


def pairs(instruction: Instruction) -> list[tuple[str, str | None]]:
    """The names and values of ENV, ARG or LABEL; None for an ARG that has no value."""
    tokens = list(_tokens(instruction.text))
    if instruction.word == "ENV" and tokens and "=" not in tokens[0]:
        name, _, value = instruction.text.strip().partition(tokens[0])[2].partition(" ")
        return [(tokens[0], (name + value).strip())]  # the old form: `ENV name value`
    found: list[tuple[str, str | None]] = []
    for token in tokens:
        name, given, value = token.partition("=")
        found.append((_unquoted(name), _unquoted(value) if given else None))
    return found


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with variables replaced by `values` and by the defaults that it gives; others stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match.group(0).startswith("\\"):
            return match.group(0)[1:]
        name, sign, other = match.group(1) or match.group(2), match.group(3), match.group(4)
        if sign == "+":
            return other if values.get(name) else ""
        return values.get(name) or (other if sign == "-" else match.group(0))

    return _VARIABLE.sub(value, text)


def read_image(reference: str) -> Image:
    """`registry:port/path:tag@digest`, taken apart."""
    rest, _, digest = reference.partition("@")
    folder, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return Image(f"{folder}{slash}{name}", tag, digest)


def _stage(
    first: Instruction, instructions: Sequence[Instruction], named: Mapping[str, Stage], defaults: Mapping[str, str]
) -> Stage:
    words = first.text.split()
    name = words[2].lower() if len(words) >= 3 and words[1].upper() == "AS" else ""
    image = expand(words[0], defaults) if words else ""
    return Stage(first.line, name, image, named.get(image.lower()), tuple(instructions))


def _instructions(text: str) -> Iterator[Instruction]:
    lines = text.replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    # Where each line stands last, without tabs before it and as it is: a heredoc without an end is not searched for.
    last = ({line.lstrip("\t"): at for at, line in enumerate(lines)}, {line: at for at, line in enumerate(lines)})
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begin = at
        parts: list[str] = []
        numbers: list[int] = []
        while True:
            bare = line.rstrip()
            continued = bare.endswith(escape)
            parts.append(bare[:-1] if continued else line)
            numbers.append(at)
            if not continued:
                break
            # Comments and empty lines between continued lines are left out.
            while at < len(lines) and (not lines[at].strip() or lines[at].lstrip().startswith("#")):
                at += 1
            if at >= len(lines):
                break
            line = lines[at]
            at += 1
        instruction = _instruction(begin, parts, numbers)
        if instruction.word in {"RUN", "COPY", "ADD"}:
            documents, at = _documents(instruction.text, lines, at, last)
            if documents:
                instruction = Instruction(
                    instruction.line,
                    instruction.word,
                    instruction.text,
                    instruction.lines,
                    instruction.flags,
                    documents,
                )
        yield instruction


def _instruction(line: int, parts: list[str], numbers: list[int]) -> Instruction:
    word, _, rest = parts[0].strip().replace("\t", " ").partition(" ")
    if word.upper() not in WORDS:
        return Instruction(line, "", "\n".join(parts), tuple(numbers))
    text = "\n".join([rest.lstrip(), *parts[1:]])
    flags: list[tuple[str, str]] = []
    if word.upper() in {"ADD", "COPY", "FROM", "RUN", "HEALTHCHECK"}:
        stripped = text.lstrip(" \t")
        while match := _FLAG.match(stripped):
            flags.append((match.group(1), match.group(2) or ""))
            # Line breaks that go with a flag go with their line's number.
            del numbers[: match.group(0).count("\n")]
            stripped = stripped[match.end() :]
        text = stripped if flags else text
    return Instruction(line, word.upper(), text, tuple(numbers), tuple(flags))


def _documents(
    text: str, lines: Sequence[str], at: int, last: tuple[Mapping[str, int], Mapping[str, int]]
) -> tuple[tuple[Document, ...], int]:
    found: list[Document] = []
    for match in _HEREDOC.finditer(text):
        tabs, name = bool(match.group(1)), match.group(3)
        if last[0 if tabs else 1].get(name, -1) < at:
            break  # without an end it is none: `1 << EOF` in arithmetic, say
        end = next(end for end in range(at, len(lines)) if (lines[end].lstrip("\t") if tabs else lines[end]) == name)
        found.append(Document(name, at + 1, "\n".join(lines[at:end])))
        at = end + 1
    return tuple(found), at


def _triggered(instruction: Instruction) -> Instruction:
    return _instruction(instruction.line, instruction.text.split("\n"), list(instruction.lines))


def _escape(lines: Sequence[str]) -> str:
    for line in lines:
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            return "\\"
        if match.group(1).lower() == "escape" and match.group(2) in {"\\", "`"}:
            return match.group(2)
    return "\\"


def _tokens(text: str) -> Iterator[str]:
    """`text` divided at blanks outside of quotes."""
    token: list[str] = []
    quote = ""
    escaped = False
    for letter in text:
        if escaped:
            token.append(letter)
            escaped = False
        elif letter == "\\" and quote != "'":
            token.append(letter)
            escaped = True
        elif quote:
            token.append(letter)
            quote = "" if letter == quote else quote
        elif letter.isspace():
            if token:
                yield "".join(token)
                token = []
        else:
            token.append(letter)
            quote = letter if letter in "\"'" else ""
    if token:
        yield "".join(token)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text

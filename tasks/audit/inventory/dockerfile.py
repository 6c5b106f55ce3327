"""What a Dockerfile builds on and installs (docs.docker.com/reference/dockerfile)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from tasks.advisories.package import DEBIAN, DOCKER
from tasks.audit.component import Component, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.image_names import UBUNTU, component, ecosystem_of
from tasks.audit.inventory.install_lines import installed
from tasks.audit.inventory.plain import Misread
from tasks.scan.dockerfile import Dockerfile, Instruction, expand, pairs, read_image
from tasks.scan.dockerfile import read_dockerfile as parse
from tasks.scan.shell import Command, pipelines

_LARGEST = 200_000
_LONGEST_VALUE = 256
"""Characters of a variable. Longer ones count as not known: `ENV A=$A$A` doubles each time that it is written."""
_MOUNT = "from="


def read_dockerfile(document: Document) -> Reading:
    """Base images, images that files are copied from, and what apt, pip, uv and npm install by name.

    Names of apt are those of binary packages, while advisories speak of source packages: that they are named here says
    what belongs to the image, and whoever wants to know what is wrong with them audits the image itself.
    """
    if document.name.endswith(".dockerignore"):
        return Reading()
    if len(document.content) > _LARGEST:
        return Reading(gaps=(document.gap(f"is larger than {_LARGEST} bytes."),))
    parsed = parse(document.text)
    if not parsed.stages:
        return Reading(gaps=(document.gap("has no FROM, and is read together with another file, if at all."),))
    reading = _Build(document, parsed)
    components = tuple(dict.fromkeys(reading.components()))
    gaps = [gap for misread in reading.misread.values() for gap in misread.gaps()]
    if parsed.unknown:
        lines = ", ".join(map(str, parsed.unknown[:3]))
        gaps.append(document.gap(f"has lines that are no instruction: {lines}."))
    for family in sorted({one.package.family for one in components} & {DEBIAN, UBUNTU}):
        reason = (
            "names binary packages of apt, and advisories are about source packages: audit the built image as well."
        )
        gaps.append(document.gap(reason, ecosystem=family, kind="apt"))
    return Reading(components, gaps=tuple(gaps))


class _Build:
    """One Dockerfile while it is read."""

    def __init__(self, document: Document, parsed: Dockerfile) -> None:
        self._document = document
        self._parsed = parsed
        self._defaults: dict[str, str] = {}
        for name, value in (pair for one in parsed.before for pair in pairs(one)):
            _set(self._defaults, name, None if value is None else expand(value, self._defaults))
        self._values: dict[int, Mapping[str, str]] = {}
        self.misread: dict[str, Misread] = {}

    def components(self) -> Iterator[Component]:
        """Everything that the stages bring in."""
        names = {stage.name for stage in self._parsed.stages if stage.name}
        names |= {str(number) for number in range(len(self._parsed.stages))}
        last = self._parsed.stages[-1]
        needed = {id(stage) for stage in last.lineage}
        releases: dict[int, str | None] = {}
        for stage in self._parsed.stages:
            scope = Scope.runtime if id(stage) in needed else Scope.build
            if stage.base is None:
                yield from self._image(stage.image, stage.line, "FROM", scope)
            apt = releases.get(id(stage.base)) if stage.base is not None else ecosystem_of(stage.image)
            releases[id(stage)] = apt
            values = dict(self._values.get(id(stage.base), {})) if stage.base else {}
            for instruction in _triggered(stage.instructions):
                yield from self._instruction(instruction, values, apt, names, scope)
            self._values[id(stage)] = values

    def _instruction(
        self, instruction: Instruction, values: dict[str, str], apt: str | None, names: set[str], scope: Scope
    ) -> Iterator[Component]:
        if instruction.word == "ARG":
            for name, value in pairs(instruction):
                if name not in values:
                    _set(values, name, self._defaults.get(name) if value is None else expand(value, values))
        elif instruction.word == "ENV":
            for name, value in pairs(instruction):
                _set(values, name, expand(value or "", values))
        elif instruction.word == "COPY" and (source := instruction.flag("from")):
            if expand(source, self._defaults).lower() not in names:
                yield from self._image(expand(source, self._defaults), instruction.line, "COPY", Scope.build)
        elif instruction.word == "RUN":
            for key, value in instruction.flags:
                source = next((part[len(_MOUNT) :] for part in value.split(",") if part.startswith(_MOUNT)), "")
                if key == "mount" and source and source.lower() not in names:
                    yield from self._image(expand(source, self._defaults), instruction.line, "RUN", Scope.build)
            for line, command in _commands(instruction):
                place = Place(self._document.file, line, "RUN")
                found = installed(command, place, apt, lambda text: expand(text, values))
                yield from (replace(one, scope=scope) for one in found.components)
                for what, ecosystem in found.unread:
                    self._told(ecosystem, f"line {line}: {what}")

    def _image(self, reference: str, line: int, table: str, scope: Scope) -> Iterator[Component]:
        if read_image(reference).name == "scratch":
            return
        found = component(reference, Place(self._document.file, line, table), scope=scope)
        if found is None:
            self._told(DOCKER, f"line {line}: the image {reference[:80]!r}")
        else:
            yield found

    def _told(self, ecosystem: str, what: str) -> None:
        self.misread.setdefault(ecosystem, Misread(self._document, ecosystem)).add(what)


def _triggered(instructions: Iterable[Instruction]) -> Iterator[Instruction]:
    """Those behind ONBUILD count as if they stood there; they cannot be nested."""
    for instruction in instructions:
        if instruction.word != "ONBUILD":
            yield instruction
            continue
        for stage in parse(f"FROM scratch\n{instruction.text}").stages[:1]:
            for one in stage.instructions:
                yield replace(one, line=instruction.line, lines=instruction.lines)


def _set(values: dict[str, str], name: str, value: str | None) -> None:
    if value is not None and len(value) <= _LONGEST_VALUE:
        values[name] = value
    else:
        values.pop(name, None)


def _commands(instruction: Instruction) -> Iterator[tuple[int, Command]]:
    """The commands of a RUN, each with its line: of a shell, of the JSON form, or of a document behind it."""
    if instruction.text.lstrip().startswith("[") and (words := _words(instruction.text)) is not None:
        yield instruction.line, Command(tuple(words), 0)
        return
    for pipeline in pipelines(instruction.text, breaks=False):
        for command in pipeline:
            yield _line(instruction, command.line), command
    for document in instruction.documents:
        for pipeline in pipelines(document.text, breaks=True):
            for command in pipeline:
                yield document.line + command.line, command


def _words(text: str) -> list[str] | None:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _line(instruction: Instruction, at: int) -> int:
    return instruction.lines[min(at, len(instruction.lines) - 1)] if instruction.lines else instruction.line

"""Reads `setup.cfg`; of a `setup.py`, which is a program and never run, only that it is one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Place, Scope
from tasks.audit.inventory.document import Document, Include, Reading
from tasks.audit.inventory.requirement import NotARequirementError, package, parse, shown, shown_name

_SETUP = re.compile(rb"^[ \t]*(?:import|from)[ \t]+(?:setuptools|distutils)\b", re.MULTILINE)
_EMPTY = re.compile(rb"\bsetup\(\s*\)")
_LARGEST = 1_000_000
_PROBLEMS = 3


def read_setup_py(document: Document) -> Reading:
    """That what it asks for is not known; nothing, when it asks for nothing or is another program of that name."""
    if _SETUP.search(document.content) is None or _EMPTY.search(document.content) is not None:
        return Reading()
    reason = "is a program, and is never run; declare dependencies in pyproject.toml."
    return Reading(gaps=(document.gap(reason, ecosystem=PYPI, kind="setup_py"),))


def read_setup_cfg(document: Document) -> Reading:
    """What the sections `[options]` and `[options.extras_require]` ask for."""
    import configparser  # noqa: PLC0415 - only for this format

    if b"[options" not in document.content and b"[metadata" not in document.content:
        return Reading()  # the settings of other tools
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    if len(document.content) > _LARGEST:
        return Reading(gaps=(document.gap(f"is larger than {_LARGEST} bytes.", ecosystem=PYPI),))
    try:
        parser.read_string(document.text)
    except configparser.Error as error:
        return Reading(gaps=(document.gap(f"is not valid: {shown(str(error).splitlines()[0])}.", ecosystem=PYPI),))
    file = _SetupCfg(document, parser.get("metadata", "name", fallback=""))
    file.take(parser.get("options", "install_requires", fallback=""), "", Scope.runtime)
    file.take(parser.get("options", "setup_requires", fallback=""), "setup_requires", Scope.build)
    file.take(parser.get("options", "tests_require", fallback=""), "tests_require", Scope.dev)
    for extra in parser["options.extras_require"] if parser.has_section("options.extras_require") else ():
        if extra not in parser.defaults():
            file.take(parser.get("options.extras_require", extra), extra, Scope.optional)
    return file.reading()


@dataclass
class _SetupCfg:
    """One file while it is read."""

    document: Document
    name: str
    components: list[Component] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, value: str, table: str, scope: Scope) -> None:
        """Read the requirements of one option."""
        if value.startswith("file:"):
            names = value.removeprefix("file:").replace("\n", ",").split(",")
            self.includes += [Include(name.strip(), scope=scope) for name in names if name.strip()]
            return
        for line in value.replace(";\n", "\n").split("\n"):
            text = line.partition("#")[0].strip() if " @ " not in line else line.strip()
            if not text:
                continue
            try:
                requirement = parse(text)
            except NotARequirementError as error:
                self.problems.append(f"({shown_name(text)}): {error}")
            else:
                place = Place(self.document.file, self._line_of(line.strip()), table)
                self.components.append(requirement.component(place, scope=scope))

    def reading(self) -> Reading:
        known = package(self.name)
        own: frozenset[Package] = frozenset() if known is None else frozenset({known})
        gaps = []
        if self.problems:
            more = len(self.problems) - _PROBLEMS
            told = "; ".join(self.problems[:_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
            gaps.append(self.document.gap(f"has requirements that are not understood: {told}.", ecosystem=PYPI))
        return Reading(tuple(self.components), own, tuple(self.includes), tuple(gaps))

    def _line_of(self, text: str) -> int | None:
        whole = self.document.text
        at = whole.find(text)
        return None if at < 0 or len(whole) > 200_000 else whole.count("\n", 0, at) + 1

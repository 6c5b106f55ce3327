"""Reads what a checkout declares: `pyproject.toml`, requirements and constraints files, lock files. Nothing is run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from models.report import Skip
from tasks.health_check.dependencies.inventory import Declared

_LARGEST = 5_000_000  # bytes of one file; the locks of very large projects have some 2 MB
_DEPTH = 20
_FOREIGN = {
    "package-lock.json": "npm",
    "yarn.lock": "npm",
    "pnpm-lock.yaml": "npm",
    "Cargo.lock": "crates.io",
    "go.sum": "Go",
    "Gemfile.lock": "RubyGems",
    "composer.lock": "Packagist",
}
_LOCKS = {"uv.lock": "package", "poetry.lock": "package", "pylock.toml": "packages"}
_OPTION = re.compile(r"\s--?[a-zA-Z][a-zA-Z-]*(?:[= ]|$)")  # --hash=..., --config-settings ...: options of one line
_ARCHIVE = re.compile(r"^(?:\.{0,2}/|[a-zA-Z][a-zA-Z0-9+.-]*://|git\+)|\.(?:whl|zip|tar\.gz)$")


class Declarations:
    """What one checkout declares, collected while its files are read.

    Files that cannot be read, that lead out of the checkout, or that only running code could understand become
    skips.
    """

    def __init__(self, checkout: str, root: Path) -> None:
        self.checkout = checkout
        self.root = root.resolve()
        self.declared: list[Declared] = []
        self.locked: list[tuple[str, str]] = []
        self.own: set[str] = set()
        self.skipped: list[Skip] = []
        self._seen: set[tuple[Path, bool]] = set()

    def read(self) -> None:
        """Read everything there is."""
        if (self.root / "pyproject.toml").is_file():
            self._pyproject()
        elif (self.root / "setup.py").is_file() or (self.root / "setup.cfg").is_file():
            self._skip("setup.py", "is a program, and is never run; declare dependencies in pyproject.toml.")
        for pattern, constraint in (("requirements*.txt", False), ("constraints*.txt", True)):
            for path in sorted(self.root.glob(pattern)):
                self._lines(path, optional=path.name != "requirements.txt", constraint=constraint)
        for path in sorted(self.root.glob("requirements/*.txt")):
            self._lines(path, optional=True, constraint=False)
        for name, table in _LOCKS.items():
            if (self.root / name).is_file():
                self._lock(name, table)
        if (self.root / "Pipfile.lock").is_file():
            self._skip("Pipfile.lock", "is not understood yet.")
        for name, ecosystem in _FOREIGN.items():
            if (self.root / name).is_file():
                self._skip(name, f"packages of {ecosystem} are not looked at yet.", ecosystem)

    def _pyproject(self) -> None:
        data = self._toml("pyproject.toml")
        project = _table(data, "project")
        if name := project.get("name"):
            self.own.add(canonicalize_name(str(name)))
        self._requirements(project.get("dependencies", []), "pyproject.toml", optional=False)
        for extra, requirements in _table(project, "optional-dependencies").items():
            self._requirements(requirements, f"pyproject.toml [{extra}]", optional=True)
        for group, requirements in _table(data, "dependency-groups").items():
            # An included group is read as itself, so the include adds nothing.
            plain = [item for item in requirements if isinstance(item, str)] if isinstance(requirements, list) else 0
            self._requirements(plain, f"pyproject.toml [{group}]", optional=True)
        if "dependencies" in project.get("dynamic", []):
            self._dynamic(_table(_table(_table(data, "tool"), "setuptools"), "dynamic").get("dependencies"))
        if "dependencies" in _table(_table(data, "tool"), "poetry"):
            self._skip("pyproject.toml", "its [tool.poetry.dependencies] are not understood yet; use [project].")

    def _dynamic(self, described: Any) -> None:
        files = described.get("file") if isinstance(described, dict) else None
        if not files:
            self._skip("pyproject.toml", "its dependencies are dynamic: only running its build would tell them.")
            return
        for name in [files] if isinstance(files, str) else files:
            self._lines(self.root / str(name), optional=False, constraint=False)

    def _lock(self, name: str, table: str) -> None:
        packages = self._toml(name).get(table, [])
        for package in packages if isinstance(packages, list) else []:
            if isinstance(package, dict) and isinstance(package.get("version"), str):
                source = package.get("source")
                if isinstance(source, dict) and {"editable", "virtual", "directory"} & set(source):
                    continue  # the project itself
                self.locked.append((canonicalize_name(str(package.get("name", ""))), package["version"]))

    def _requirements(self, lines: Any, place: str, *, optional: bool) -> None:
        if not isinstance(lines, list):
            self._skip(place, "its dependencies are not a list.")
            return
        for line in lines:
            self._requirement(str(line), place, optional=optional, constraint=False)

    def _lines(self, path: Path, *, optional: bool, constraint: bool, depth: int = 0) -> None:
        place = self._inside(path)
        if place is None or (path.resolve(), constraint) in self._seen:
            return
        self._seen.add((path.resolve(), constraint))
        text = self._text(place)
        if text is None:
            return
        for line in _logical_lines(text):
            include = re.match(r"(?:-r|--requirement|-c|--constraint)[= ]?\s*(.+)", line)
            if include is None:
                self._line(line, place, optional=optional, constraint=constraint)
            elif depth >= _DEPTH:
                self._skip(place, f"includes files more than {_DEPTH} deep.")
            elif "://" in include[1]:
                self._skip(place, "includes a file of another host, which is not fetched.")
            else:
                follow = constraint or line.startswith(("-c", "--constraint"))
                self._lines(path.parent / include[1].strip(), optional=optional, constraint=follow, depth=depth + 1)

    def _line(self, line: str, place: str, *, optional: bool, constraint: bool) -> None:
        if re.match(r"(?:-e|--editable)[= ]?\s*\.?/?$", line) or re.match(
            r"(?:-e|--editable)[= ]?\s*\.(?:\[.*\])?$", line
        ):
            return  # the checkout itself
        if line.startswith(("-e", "--editable")) or (_ARCHIVE.search(line) and " @ " not in line):
            self._skip(place, "requires a package by its place, of which the version is not known.")
        elif not line.startswith("-"):  # other options (--index-url ...) require nothing
            self._requirement(_OPTION.split(line, maxsplit=1)[0], place, optional=optional, constraint=constraint)

    def _requirement(self, text: str, place: str, *, optional: bool, constraint: bool) -> None:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            self._skip(place, f"has a requirement that cannot be understood: {_shown(text)}")
            return
        if canonicalize_name(requirement.name) not in self.own:
            self.declared.append(Declared(requirement, place, optional, constraint))

    def _toml(self, name: str) -> dict[str, Any]:
        text = self._text(name)
        try:
            return tomllib.loads(text or "")
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            self._skip(name, f"is not valid TOML: {_shown(str(error))}")
            return {}

    def _inside(self, path: Path) -> str | None:
        """`path` relative to the checkout; None, and a skip, when it is elsewhere or not there."""
        try:
            resolved = path.resolve()
            if not resolved.is_relative_to(self.root):
                self._skip(path.name, "leads out of the checkout, and is not followed.")
            elif not resolved.is_file():
                self._skip(str(resolved.relative_to(self.root)), "is included, but is not there.")
            else:
                return str(resolved.relative_to(self.root))
        except (OSError, RuntimeError, ValueError) as error:  # loops of links; names that no file can have
            self._skip(_shown(path.name), f"cannot be reached: {type(error).__name__}.")
        return None

    def _text(self, place: str) -> str | None:
        path = self.root / place
        if self._inside(path) is None:
            return None
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            self._skip(place, f"cannot be read: {error.strerror}.")
            return None
        if len(content) > _LARGEST:
            self._skip(place, f"is larger than {_LARGEST} bytes.")
            return None
        return content.decode("utf-8-sig", errors="replace")

    def _skip(self, place: str, reason: str, ecosystem: str | None = None) -> None:
        hidden = f"/{ecosystem}/" if ecosystem else "/"
        kinds = ("vulnerability",) if ecosystem else ("missing", "violated", "outdated", "vulnerability")
        self.skipped.append(
            Skip(
                area="dependencies",
                component=f"{self.checkout}/{place}",
                reason=reason,
                hides=tuple(f"dependencies.{kind}:{self.checkout}{hidden}" for kind in kinds),
            )
        )


def _logical_lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    for line in joined.splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if bare:
            yield bare


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _shown(text: str) -> str:
    """`text` for a message: one short line, without what may be the password of a URL."""
    return re.sub(r"//[^/@\s]*@", "//***@", " ".join(text.split()))[:120]

"""Reads the import graph of one checkout with grimp, as a process of its own.

Reads `{"root", "packages", "exclude"}` from standard input and writes `{"graph"}` or `{"problem"}` to standard output,
both JSON. Nothing of the checkout is imported: its folders never come onto `sys.path`, grimp is told where they are.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from grimp import _rustgrimp as rust  # type: ignore[attr-defined]  # grimp's own scanner has no public name
from grimp.adaptors.filesystem import FileSystem
from grimp.adaptors.modulefinder import ModuleFinder
from grimp.application.config import settings as grimp_settings
from grimp.application.graph import ImportGraph
from grimp.application.ports.filesystem import AbstractFileSystem
from grimp.application.ports.modulefinder import FoundPackage, ModuleFile
from grimp.application.ports.packagefinder import AbstractPackageFinder
from grimp.application.usecases import build_graph
from grimp.domain.valueobjects import Module
from grimp.exceptions import SourceSyntaxError

from tasks.health_check.architecture.graph import CodeGraph, Unread
from tasks.health_check.architecture.packages import excluded, find_packages, holds_python

_LARGEST = 10_000_000  # bytes of one source file


def main() -> None:
    """Answer the one question on standard input."""
    question = json.load(sys.stdin)
    try:
        graph = read_graph(Path(question["root"]), question["packages"], question["exclude"])
        answer: dict[str, Any] = {"graph": graph.model_dump(mode="json")}
    except _ProblemError as problem:
        answer = {"problem": str(problem)}
    json.dump(answer, sys.stdout)


def read_graph(root: Path, named: list[str], exclude: list[str]) -> CodeGraph:
    """The import graph of the checkout at `root`. Files that cannot be read are left out, and said so."""
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise _ProblemError(f"it cannot be read: {error.strerror}.") from error
    try:
        packages = find_packages(root, named, exclude)
    except FileNotFoundError as error:
        raise _ProblemError(f"there is no package {str(error)!r} in it; correct `packages` in lama.toml.") from error
    if not packages:
        if holds_python(root):
            raise _ProblemError("no packages were found in it; name them with `packages` in lama.toml.")
        return CodeGraph()
    files = _Files(root, exclude)
    finder = _Modules(files)
    grimp_settings.configure(FILE_SYSTEM=files, PACKAGE_FINDER=_Folders(packages), MODULE_FINDER=finder)
    unread: dict[str, Unread] = {}
    try:
        built = _build(packages)
    except (SourceSyntaxError, OSError, UnicodeError):
        # grimp stops at the first file that it cannot read: find all of them, then read the others.
        unread = _unreadable(packages, files, finder)
        finder.left_out = frozenset(unread)
        built = _build(packages)
    return _graph(built, packages, unread, files)


class _ProblemError(Exception):
    """Why there is no graph, as a sentence."""


class _Folders(AbstractPackageFinder):
    """Packages where we say they are, not where Python's path leads."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    def determine_package_directories(self, package_name: str, file_system: AbstractFileSystem) -> set[str]:
        return {str(self._folders[package_name])}


class _Files(FileSystem):
    """The checkout's own regular files: no pipes, no links that lead out of it, nothing that was excluded."""

    def __init__(self, root: Path, exclude: list[str]) -> None:
        self._root = root
        self._inside = root.resolve()
        self._exclude = exclude
        self.refused: dict[str, str] = {}

    def walk(self, directory_name: str) -> Iterator[tuple[str, list[str], list[str]]]:
        waiting = [Path(directory_name)]
        while waiting:
            folder = waiting.pop()
            try:
                entries = sorted(folder.iterdir())
            except OSError as error:
                self.refused[self.relative(folder)] = f"cannot be read: {error.strerror}"
                continue
            entries = [entry for entry in entries if not excluded(self.relative(entry), self._exclude)]
            folders = [entry.name for entry in entries if entry.is_dir() and not entry.is_symlink()]
            yield str(folder), folders, [entry.name for entry in entries if self.is_source(entry)]
            waiting.extend(folder / name for name in folders)  # the caller has taken out what it does not want

    def get_mtime(self, file_name: str) -> float:
        return 0.0  # only grimp's cache asks, and it is not used

    def relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def is_source(self, path: Path) -> bool:
        """Whether it is a source file to read; why not, when it looks like one, is remembered."""
        if path.suffix != ".py":
            return False
        try:
            facts = path.stat()
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(self._inside)
        except OSError as error:
            self.refused[self.relative(path)] = f"cannot be read: {error.strerror}"
            return False
        if stat.S_ISDIR(facts.st_mode):
            return False
        if leads_out:
            self.refused[self.relative(path)] = "a link that leads out of the checkout"
        elif not stat.S_ISREG(facts.st_mode):
            self.refused[self.relative(path)] = "not a regular file"
        elif facts.st_size > _LARGEST:
            self.refused[self.relative(path)] = f"larger than {_LARGEST} bytes"
        else:
            return True
        return False


class _Modules(ModuleFinder):
    """Grimp's finder, less the modules that cannot be read. It remembers the others, too."""

    def __init__(self, files: _Files) -> None:
        self.file_system: _Files = files
        self.left_out: Set[str] = frozenset()

    def _is_in_portion(self, directory: str, portions: Set[str]) -> bool:
        return False  # else folders without an __init__.py, which Python imports from, would be passed over in silence

    def find_package(self, package_name: str, package_directory: str, file_system: AbstractFileSystem) -> FoundPackage:
        base = Path(package_directory)
        if not base.is_dir():  # a module of one file: grimp takes `directory` with `.py` behind it for that
            there = self.file_system.is_source(base.with_name(f"{base.name}.py"))
            alone = {ModuleFile(module=Module(package_name), mtime=0.0)} if there else set()
            files = frozenset(file for file in alone if file.module.name not in self.left_out)
            return FoundPackage(package_name, package_directory, files, frozenset())
        found = super().find_package(package_name, package_directory, file_system)
        files = frozenset(file for file in found.module_files if file.module.name not in self.left_out)
        return FoundPackage(found.name, found.directory, files, found.namespace_packages)


def _build(packages: dict[str, Path]) -> ImportGraph:
    first, *others = sorted(packages)
    return build_graph(
        first, *others, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def _unreadable(packages: dict[str, Path], files: _Files, finder: _Modules) -> dict[str, Unread]:
    """The modules that grimp cannot read, by trying each."""
    found = {finder.find_package(name, str(folder), files) for name, folder in packages.items()}
    unread = {}
    for package in found:
        for file in package.module_files:
            try:
                _scan(file, found, files)
            except SourceSyntaxError as error:
                path = files.relative(Path(error.filename))
                # Without the line itself: it may hold anything.
                unread[file.module.name] = Unread(path=path, reason=f"line {error.lineno or '?'}", broken=True)
            except (OSError, UnicodeError) as error:
                decoding = isinstance(error, UnicodeError)
                path = _path_of(file.module.name, packages, files)
                reason = "not UTF-8" if decoding else f"cannot be read: {getattr(error, 'strerror', None) or 'refused'}"
                unread[file.module.name] = Unread(path=path, reason=reason, broken=decoding)
    return unread


def _scan(file: ModuleFile, packages: set[FoundPackage], files: _Files) -> None:
    rust.scan_for_imports(
        module_files=(file,),
        found_packages=packages,
        include_external_packages=True,
        exclude_type_checking_imports=True,
        file_system=files.convert_to_basic(),
    )


def _path_of(module: str, packages: dict[str, Path], files: _Files) -> str:
    name, _, rest = module.partition(".")
    base = packages[name].joinpath(*rest.split(".")) if rest else packages[name]
    return files.relative(base / "__init__.py" if base.is_dir() else base.with_name(f"{base.name}.py"))


def _graph(built: ImportGraph, packages: dict[str, Path], unread: dict[str, Unread], files: _Files) -> CodeGraph:
    inside, imports, external = set(unread), [], []
    for module in built.modules:
        if not built.is_module_squashed(module):
            inside.add(module)
    for module in inside - unread.keys():
        for imported in built.find_modules_directly_imported_by(module):
            if not built.is_module_squashed(imported):
                imports.append((module, imported))
            elif imported not in sys.stdlib_module_names:
                external.append((module, imported))
    refused = [Unread(path=path, reason=reason) for path, reason in files.refused.items()]
    return CodeGraph(
        packages=tuple(sorted(packages)),
        modules=tuple(sorted(inside)),
        imports=tuple(sorted(imports)),
        external=tuple(sorted(external)),
        unread=tuple(sorted((*unread.values(), *refused), key=lambda item: item.path)),
    )


if __name__ == "__main__":
    main()

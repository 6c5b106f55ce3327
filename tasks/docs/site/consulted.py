"""What a page about the whole was made from, so that it is only made anew when that is another thing today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from models.code import Codebase, Module, Named
from tasks.code.openapi import places_of

_BESIDE = ("prefect.yaml", "pyproject.toml")
_LARGEST = 2_000_000


class Consulted:
    """A code base that notes what of it is asked."""

    def __init__(self, codebase: Codebase, files: Sequence[str] = ()) -> None:
        """`files`: further files of the checkout that are looked into, relative to its root."""
        self._codebase = codebase
        self._files = files
        self._modules: set[str] = set()
        self._missed: set[str] = set()
        self._resolved: dict[str, str | None] = {}
        self.noting = replace(
            codebase,
            names=_Names(codebase.names, self._modules, self._missed),
            module=_Modules(self),
            resolve=self._resolve,
        )
        """What to ask instead."""

    def note(self, whole: Codebase) -> dict[str, Any]:
        """What was asked, and the answers, for `holds` of a later code base; `whole`: of what this is a part."""
        return {
            "modules": {path: whole.files.get(path) for path in sorted(self._modules)},
            "missed": sorted(self._missed),
            "resolved": self._resolved,
            "labels": labels_hash(self._codebase),
            "files": {name: file_hash(self._codebase, name) for name in self._files},
        }

    def decoded(self, path: str) -> Module:
        """The module at `path`."""
        self._modules.add(path)
        return self._codebase.module(path)

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Labels that follow from other modules."""
        return self._codebase.derived

    def _resolve(self, path: str) -> str | None:
        found = self._resolved[path] = self._codebase.resolve(path)
        return found


def holds(note: Mapping[str, Any], codebase: Codebase) -> bool:
    """Whether `codebase` would give the answers that `note` has."""
    return (
        note["labels"] == labels_hash(codebase)
        and all(codebase.files.get(path) == content for path, content in note["modules"].items())
        and all(file_hash(codebase, name) == known for name, known in note["files"].items())
        and not any(path in codebase.names for path in note["missed"])
        and all(codebase.resolve(path) == found for path, found in note["resolved"].items())
    )


def beside(codebase: Codebase) -> dict[str, str]:
    """Hashes of the files beside the source that pages are made from."""
    return {f"{name}:": file_hash(codebase, name) for name in (*_BESIDE, *places_of(Path(codebase.root)))}


class _Modules:
    """Calls are noted; the rest is as it is with what it stands for."""

    def __init__(self, consulted: Consulted) -> None:
        self._consulted = consulted
        self.labels = consulted.labels

    def __call__(self, path: str) -> Module:
        return self._consulted.decoded(path)


class _Names(Mapping[str, Named]):
    def __init__(self, names: Mapping[str, Named], modules: set[str], missed: set[str]) -> None:
        self._names = names
        self._modules = modules
        self._missed = missed

    def __getitem__(self, path: str) -> Named:
        try:
            named = self._names[path]
        except KeyError:
            self._missed.add(path)
            raise
        self._modules.add(named.module)
        return named

    def __contains__(self, path: object) -> bool:
        return self.get(str(path)) is not None

    def __iter__(self) -> Iterator[str]:
        for path in self._names:
            self._modules.add(self._names[path].module)
            yield path

    def __len__(self) -> int:
        return len(self._names)


def labels_hash(codebase: Codebase) -> str:
    """A hash of the labels that follow from other modules."""
    told = repr(sorted((path, list(labels)) for path, labels in codebase.derived.items()))
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_hash(codebase: Codebase, name: str) -> str:
    """The hash of a file of the checkout; empty where there is none."""
    path = Path(codebase.root, name)
    try:
        state = path.stat()
        if path.is_symlink() or state.st_size > _LARGEST:
            return f"{state.st_size} {state.st_mtime_ns}"
        return blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""

"""Small checkouts for tests of the reading of code."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from models.code import Codebase, Module, Symbol
from tasks.code.read import read


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Put `files` (by their place) below `root`."""
    for place, content in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(textwrap.dedent(content), encoding="utf-8")
    return root


def module_of(root: Path, source: str, **others: str) -> Module:
    """The module `pkg.m` with `source`; `others`: further modules of `pkg`."""
    write(root, {"pkg/__init__.py": "", "pkg/m.py": source, **{f"pkg/{n}.py": text for n, text in others.items()}})
    found = read(root)
    assert found.unread == ()
    return found.module("pkg.m")


def symbols_of(module: Module) -> dict[str, Symbol]:
    """Those of a module by their path in it; of overloads the implementation."""
    return {symbol.path.removeprefix(f"{module.path}."): symbol for symbol in module.symbols}


def whole(codebase: Codebase) -> dict[str, object]:
    """Everything that a code base says, for comparison."""
    return {
        "files": dict(codebase.files),
        "names": dict(codebase.names.items()),
        "modules": {path: codebase.module(path) for path in codebase.files},
        "unread": codebase.unread,
        "packages": codebase.packages,
        "derived": {path: list(labels) for path, labels in codebase.derived.items()},
        "words": codebase.words(),
    }

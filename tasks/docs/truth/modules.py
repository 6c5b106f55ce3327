"""What a module of a code base may hold beyond the names that its syntax lists, and what a star takes from it."""

from __future__ import annotations

import ast
import os
import re
import types
from dataclasses import dataclass, field
from pathlib import Path

from models.code import Codebase, Kind, Module
from tasks.docs.truth.hook import names_of_hook

_MANY = re.compile(r"\bglobals\(\)|\bsys\.modules\b|\bsetattr\(|\bvars\(\)|\blocals\(\)|\bexec\(|\b__dict__\b")
_COMPUTED = re.compile(
    r"\b(?:globals|vars|locals)\(\)\s*(?:\[\s*(?![\"'\s])[^\]\n]*\]\s*=(?!=)|\.(?:update|setdefault)\b|\|=)"
    r"|\bsetattr\(\s*sys\.modules\[__name__\]\s*,\s*(?![\"'\s])"
    r"|\bsys\.modules\[__name__\]\s*(?:\.__(?:dict|class)__\b|=(?!=))"
)
"""How a module gives itself names that stand nowhere, or puts something else at its own place."""
_ITSELF = re.compile(r"\b(\w+)\s*=\s*sys\.modules\[__name__\]")
_ALL_WORKED_OUT = re.compile(
    r"^[ \t]+.*\b__all__\b\s*(?:[+|]?=(?!=)|\.\w+\()|^__all__\.(?!append\(|extend\()", re.MULTILINE
)
_ATTRIBUTES = frozenset(
    {*dir(types.ModuleType), "__file__", "__path__", "__dict__", "__spec__", "__loader__", "__package__", "__all__",
     "__main__", "__version__", "__annotations__", "__builtins__", "__cached__"}
)  # fmt: skip
_COMPILED = (".so", ".pyd", ".pyx", ".pxd", ".pyx.tp", ".pyx.in", ".pxd.tp", ".pxd.in", ".c", ".cc", ".cpp", ".cxx",
             ".f", ".f90", ".pyf", ".rs")  # fmt: skip
"""Ends of files that a module is built of, or was."""
_LARGEST_SOURCE = 5_000_000


@dataclass
class Modules:
    """The modules of one code base: their texts, and what of them nobody can know from the syntax."""

    codebase: Codebase
    _texts: dict[str, str] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _hooks: dict[str, frozenset[str]] = field(default_factory=dict)
    _bodies: dict[str, tuple[str, bool, bool]] = field(default_factory=dict)
    _given: dict[str, frozenset[str] | None] = field(default_factory=dict)
    _beside: dict[Path, frozenset[str]] = field(default_factory=dict)
    _stars: dict[str, tuple[frozenset[str] | None, bool]] = field(default_factory=dict)
    _places: tuple[str, ...] | None = None
    _taken: frozenset[str] | None = None

    def text(self, file: str) -> str:
        """Text of a file, relative to the checkout; empty when it cannot be read."""
        if file not in self._texts:
            try:
                with (Path(self.codebase.root) / file).open("rb") as source:
                    self._texts[file] = source.read(_LARGEST_SOURCE).decode("utf-8", errors="replace")
            except OSError:
                self._texts[file] = ""
                self._lost.add(file)
        return self._texts[file]

    def may_hold(self, module: Module, name: str) -> bool:
        """Whether the module may have a member `name` that it does not define or import by name."""
        if name in _ATTRIBUTES or self._unread(module, name) or self._made_by_hook(module, name):
            return True
        if module.file.endswith(".pyi") and name.startswith("_"):
            return True  # stubs of compiled modules list what is for users
        return self._made_as_it_runs(module, name) or self.is_taken(f"{module.path}.{name}")

    def is_taken(self, name: str) -> bool:
        """Whether any module of the code base imports `name` from where it is said to be: then it is there."""
        if self._taken is None:
            targets = (one.target for path in self.codebase.files for one in self.codebase.module(path).imports)
            self._taken = frozenset(one for one in targets if one.partition(".")[0] in self.codebase.packages)
        return name in self._taken

    def is_handed_on(self, module: Module, name: str) -> bool | None:
        """Whether `from module import *` takes `name`, should it be there; None where `__all__` is worked out."""
        held = self._stars.get(module.path)
        if held is None:
            text = self.text(module.file)
            closed = module.exports is not None and not _ALL_WORKED_OUT.search(text)
            exports = frozenset(module.exports) if module.exports is not None and closed else None
            held = self._stars[module.path] = (exports, exports is None and "__all__" in text)
        exports, worked_out = held
        if exports is not None:
            return name in exports
        if name.startswith("_"):
            return None if worked_out and name in self.text(module.file) else False
        return None if worked_out else True

    def spells_all(self, module: Module) -> bool:
        """Whether what a star takes from the module is written out in it."""
        self.is_handed_on(module, "")
        return self._stars[module.path][0] is not None

    def _unread(self, module: Module, name: str) -> bool:
        if self._places is None:
            self._places = tuple(f"/{one.place}" for one in self.codebase.unread)
        if self._places:
            place = f"/{module.path.replace('.', '/')}/{name}"
            ends = (f"{place}.py", f"{place}.pyi", place, f"{place}/__init__.py")
            if any(one.endswith(ends) for one in self._places):
                return True
        return self._is_beside(module, name)

    def _is_beside(self, module: Module, name: str) -> bool:
        """Whether the folder of a package has a module of this name that is no Python source, such as an extension."""
        if not module.file.rpartition("/")[2].startswith("__init__."):
            return False
        folder = (Path(self.codebase.root) / module.file).parent
        held = self._beside.get(folder)
        if held is None:
            held = self._beside[folder] = _no_sources(folder)
        return name in held

    def _made_by_hook(self, module: Module, name: str) -> bool:
        """Whether the module's `__getattr__` may make `name`: it does not where it only knows names that it spells."""
        if any(one.name == "__getattr__" for one in module.imports):
            return True
        if f"{module.path}.__getattr__" not in self.codebase.names:
            return False
        known = self._hooks.get(module.path)
        if known is None:
            known = self._hooks[module.path] = names_of_hook(self.text(module.file)) or frozenset("*")
        return "*" in known or name in known

    def _made_as_it_runs(self, module: Module, name: str) -> bool:
        text, many, any_ = self._body(module)
        if any_ or module.file in self._lost:
            return True
        if name not in text:
            return False
        if many:
            return re.search(rf"\b{re.escape(name)}\b", text) is not None
        if module.path not in self._given:
            self._given[module.path] = _given_in(text)
        given = self._given[module.path]
        return given is None or name in given

    def _body(self, module: Module) -> tuple[str, bool, bool]:
        """Text of the module without its hook; whether it makes names as it runs; whether they stand nowhere."""
        held = self._bodies.get(module.path)
        if held is None:
            text = self.text(module.file)
            known = self.codebase.names.get(f"{module.path}.__getattr__")
            hook = next((one for one in module.symbols if one.path == f"{module.path}.__getattr__"), None)
            if known is not None and known.kind is Kind.function and hook is not None:  # it makes other names only
                lines = text.splitlines()
                text = "\n".join([*lines[: hook.line - 1], *lines[hook.end_line :]])
            held = self._bodies[module.path] = (text, _MANY.search(text) is not None, _makes_any(text))
        return held


def _given_in(text: str) -> frozenset[str] | None:
    """The names that a module gives to something, in whatever branch or function; None where it cannot be parsed."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
    return frozenset(found)


def _makes_any(text: str) -> bool:
    """Whether a module gives itself names that are computed."""
    if _COMPUTED.search(text):
        return True
    names = {match[1] for match in _ITSELF.finditer(text)}
    return any(re.search(rf"\bsetattr\(\s*{name}\s*,\s*(?![\"'\s])", text) for name in names)


def _no_sources(folder: Path) -> frozenset[str]:
    """Names of modules in a folder that are no Python source: folders, extensions and what those are built of."""
    found: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                first, _, end = entry.name.partition(".")
                if entry.is_dir():
                    found.add(entry.name)
                elif f".{end}".endswith(_COMPILED):
                    found |= {first, first.removesuffix("module")}
    except OSError:
        return frozenset()
    return frozenset(found)

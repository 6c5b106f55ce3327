"""What the code of a checkout defines and describes, from its syntax alone (griffe and the parser; no import)."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import griffe

from tasks.health_check.documentation.surveyed import Code, ModuleCoverage, Undocumented, Unread, excluded

_LARGEST_SOURCE = 5_000_000
_WORD = re.compile(r"[\w.:/-]{2,120}", re.ASCII)
_STYLES: tuple[Any, ...] = ("google", "numpy", "sphinx")
_SETTINGS_NAME = re.compile(r"(Settings|Config|Configuration)$")
_DEPTH = 20  # bases of bases; a cycle in broken code ends here


@dataclass
class Names:
    """Every name that a document may use."""

    defined: set[str] = field(default_factory=set)
    """Dotted names of modules, classes, functions, attributes and what modules import."""
    open: set[str] = field(default_factory=set)
    """Names below which anything may exist: values, classes with bases elsewhere, modules that could not be read."""
    words: set[str] = field(default_factory=set)
    """Words in string literals, and names of functions: commands, event names, keys."""


def read_code(root: Path, places: list[tuple[str, Path]], exclude: tuple[str, ...]) -> tuple[Code, Names, list[Unread]]:
    """The packages at `places` (name, search path) of the checkout `root`."""
    names = Names()
    unread: list[Unread] = []
    loader = griffe.GriffeLoader(
        search_paths=sorted({str(place) for _, place in places}), allow_inspection=False, store_source=False
    )
    tops = []
    for name, place in places:
        _read_words(root, name, place, exclude, names, unread)
        try:
            top = loader.load(name, try_relative_path=False)
        except (griffe.GriffeError, ImportError, OSError, RecursionError, ValueError) as error:
            unread.append(Unread(place=name, reason=f"{type(error).__name__}: {error}"[:300]))
            names.open.add(name)
            continue
        if isinstance(top, griffe.Module):
            tops.append(top)
    coverage, flows, settings = [], [], []
    for module in _modules(tops, root, exclude):
        _collect(module, names)
        coverage.append(_coverage(module))
        flows += [found for found in map(_undocumented_flow, module.functions.values()) if found]
        settings += [found for found in map(_undocumented_settings, _classes(module)) if found]
    code = Code(
        packages=tuple(top.name for top in tops),
        coverage=tuple(coverage),
        flows=tuple(flows),
        settings=tuple(settings),
    )
    return code, names, unread


def _read_words(
    root: Path, name: str, place: Path, exclude: tuple[str, ...], names: Names, unread: list[Unread]
) -> None:
    for path in _sources(name, place):
        relative = path.relative_to(root).as_posix()
        if excluded(relative, exclude):
            continue
        try:
            tree = _parsed(path, relative)
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
            unread.append(Unread(place=relative, reason=str(error)[:300]))
            module = path.relative_to(place).with_suffix("").as_posix().replace("/", ".")
            names.open.add(module.removesuffix(".__init__"))
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 20_000:
                names.words.update(_WORD.findall(node.value))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.words.update((node.name, node.name.replace("_", "-")))


def _parsed(path: Path, relative: str) -> ast.Module:
    if path.stat().st_size > _LARGEST_SOURCE:
        raise ValueError(f"larger than {_LARGEST_SOURCE} bytes")
    return ast.parse(path.read_bytes(), filename=relative)


def _sources(name: str, place: Path) -> Iterator[Path]:
    single = place / f"{name}.py"
    if not (place / name).is_dir():
        yield single
        return
    for folder, folders, files in os.walk(place / name):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        yield from (Path(folder) / file for file in sorted(files) if file.endswith(".py"))


def _modules(tops: list[griffe.Module], root: Path, exclude: tuple[str, ...]) -> Iterator[griffe.Module]:
    for module in tops:
        path = module.filepath[0] if isinstance(module.filepath, list) else module.filepath
        if not path.is_relative_to(root) or excluded(path.relative_to(root).as_posix(), exclude):
            continue
        yield module
        inner = [m for m in module.members.values() if isinstance(m, griffe.Module)]
        yield from _modules(inner, root, exclude)


def _collect(module: griffe.Module, names: Names) -> None:
    names.defined.add(module.path)
    if "__getattr__" in module.members or any(_wildcard(member) for member in module.members.values()):
        names.open.add(module.path)
    for name, member in module.members.items():
        if isinstance(member, griffe.Module):
            continue
        path = f"{module.path}.{name}"
        names.defined.add(path)
        if not isinstance(member, griffe.Class):
            names.open.add(path)
        else:
            _collect_class(member, names)


def _collect_class(cls: griffe.Class, names: Names) -> None:
    if cls.bases or cls.decorators:  # what bases and decorators add cannot be known for certain
        names.open.add(cls.path)
    for name, member in cls.members.items():
        names.defined.add(f"{cls.path}.{name}")
        if isinstance(member, griffe.Class):
            _collect_class(member, names)
        else:
            names.open.add(f"{cls.path}.{name}")


def _wildcard(member: griffe.Object | griffe.Alias) -> bool:
    return isinstance(member, griffe.Alias) and bool(member.wildcard)


def _classes(scope: griffe.Module | griffe.Class) -> Iterator[griffe.Class]:
    for member in scope.members.values():
        if isinstance(member, griffe.Class):
            yield member
            yield from _classes(member)


def _coverage(module: griffe.Module) -> ModuleCoverage:
    """Public objects of `module` itself: it, its classes, functions, methods and properties.

    A module without anything in it, such as the `__init__` of a folder, has nothing to say.
    """
    public = _private_free(module.path)
    own = [m for m in module.members.values() if not isinstance(m, griffe.Module | griffe.Alias)]
    counted: list[bool] = []
    if public and own:
        counted.append(module.has_docstring)
    if public:
        counted += list(_documented(module))
    return ModuleCoverage(name=module.path, total=len(counted), documented=sum(counted))


def _documented(scope: griffe.Module | griffe.Class) -> Iterator[bool]:
    for member in scope.members.values():
        if isinstance(member, griffe.Alias | griffe.Module) or not member.is_public or member.is_special:
            continue
        if isinstance(member, griffe.Class):
            yield member.has_docstring
            yield from _documented(member)
        elif isinstance(member, griffe.Function) or "property" in member.labels:
            yield member.has_docstring or (isinstance(scope, griffe.Class) and _inherited(scope, member.name))


def _inherited(cls: griffe.Class, name: str) -> bool:
    """Whether a base in the same packages documents the method that `cls` only implements."""
    return any(name in base.members and _own_docstring(base.members[name]) for base in _bases(cls))


def _own_docstring(member: griffe.Object | griffe.Alias) -> bool:
    return not isinstance(member, griffe.Alias) and member.has_docstring


def _bases(cls: griffe.Class, depth: int = _DEPTH) -> Iterator[griffe.Class]:
    if depth == 0:
        return
    for base in cls.bases:
        found = _resolved(cls, base)
        if found is not None and found is not cls:
            yield found
            yield from _bases(found, depth - 1)


def _resolved(cls: griffe.Class, base: str | griffe.Expr) -> griffe.Class | None:
    path = base if isinstance(base, str) else base.canonical_path
    try:
        found = cls.modules_collection.get_member(path)
        target = found.final_target if isinstance(found, griffe.Alias) else found
    except (KeyError, griffe.GriffeError):
        return None  # outside of what was read
    return target if isinstance(target, griffe.Class) else None


def _private_free(path: str) -> bool:
    return not any(part.startswith("_") and not part.startswith("__") for part in path.split("."))


def _undocumented_flow(function: griffe.Function | griffe.Alias) -> Undocumented | None:
    if isinstance(function, griffe.Alias):
        return None
    if not any(d.callable_path in {"prefect.flow", "prefect.flows.flow"} for d in function.decorators):
        return None
    described: set[str] = set()
    if function.docstring is not None:
        for style in _STYLES:
            for section in function.docstring.parse(style):
                if isinstance(section, griffe.DocstringSectionParameters):
                    described |= {item.name for item in section.value if item.description.strip()}
    missing = [parameter.name for parameter in function.parameters if parameter.name not in described]
    return Undocumented(name=function.path, parts=tuple(missing)) if missing else None


def _undocumented_settings(cls: griffe.Class) -> Undocumented | None:
    if not _is_settings(cls):
        return None
    described = {
        item.name
        for section in (cls.docstring.parse("google") if cls.docstring else ())
        if isinstance(section, griffe.DocstringSectionAttributes)
        for item in section.value
    }
    missing = [
        name
        for name, member in cls.members.items()
        if isinstance(member, griffe.Attribute) and _is_field(member) and name not in described
        if not member.has_docstring and "description=" not in f"{member.annotation}{member.value}".replace(" ", "")
    ]
    return Undocumented(name=cls.path, parts=tuple(missing)) if missing else None


def _is_field(member: griffe.Attribute) -> bool:
    return (
        member.annotation is not None
        and not member.name.startswith("_")
        and member.name != "model_config"
        and not str(member.annotation).startswith(("ClassVar", "typing.ClassVar"))
        and "property" not in member.labels
    )


def _is_settings(cls: griffe.Class) -> bool:
    """A class that inherits from `BaseSettings`, or is called settings and inherits from pydantic's `BaseModel`."""
    roots = {path for one in (cls, *_bases(cls)) for path in map(_base_path, one.bases)}
    if any(path.endswith("BaseSettings") for path in roots):
        return True
    return _SETTINGS_NAME.search(cls.name) is not None and any(path.endswith("pydantic.BaseModel") for path in roots)


def _base_path(base: str | griffe.Expr) -> str:
    return base if isinstance(base, str) else base.canonical_path

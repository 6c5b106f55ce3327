"""A code base in a few words, as reading one gives it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from models.code import Call, Codebase, Import, Kind, Module, Named, Symbol, Unread


def symbol(path: str, kind: Kind = Kind.function, **more: object) -> Symbol:
    return Symbol(path=path, kind=kind, line=1, end_line=2, public=True, **more)  # type: ignore[arg-type]


def module(
    path: str,
    symbols: Iterable[Symbol] = (),
    *,
    imports: Mapping[str, str] | Iterable[Import] = (),
    calls: Iterable[tuple[str, str]] = (),
    content: str = "",
) -> Module:
    taken = (
        tuple(Import(name, target, 1) for name, target in imports.items())
        if isinstance(imports, Mapping)
        else tuple(imports)
    )
    said = Module(
        path=path,
        file=f"{path.replace('.', '/')}.py",
        content=content,
        public=True,
        symbols=tuple(symbols),
        imports=taken,
        calls=tuple(Call(caller, callee, 1) for caller, callee in calls),
    )
    if content:
        return said
    digest = hashlib.sha256(repr(said).encode()).hexdigest()[:12]
    return Module(**{name: getattr(said, name) for name in Module.__slots__} | {"content": digest})  # type: ignore[attr-defined]


def codebase(*modules: Module, unread: Iterable[str] = ()) -> Codebase:
    by_path = {one.path: one for one in modules}
    names = {
        path: Named(one.path, kind, True, "", "", "", 1)
        for one in modules
        for path, kind in ((one.path, Kind.module), *((s.path, s.kind) for s in one.symbols))
    }
    return Codebase(
        root="/checkout",
        packages=tuple(sorted({path.partition(".")[0] for path in by_path})),
        files={path: one.content for path, one in by_path.items()},
        names=names,
        module=by_path.__getitem__,
        resolve=lambda path: path if path in names else None,
        unread=tuple(Unread(place, "it is not valid Python") for place in unread),
    )

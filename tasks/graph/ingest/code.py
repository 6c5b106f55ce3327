"""Source code as facts: what modules define, import, call and inherit, as far as the syntax alone is sure. Pure.

Lines and columns are left out: every edit moves those of what is below it, and the history of a function would tell of
changes that were none. That a function has changed is told by the hashes of its source and of its interface.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from models.code import Codebase, Kind, Module, Symbol
from models.graph import Label, Ref, Type
from tasks.advisories.package import PYPI
from tasks.graph.ingest.facts import Facts, Saying, ref
from tasks.graph.ingest.names import Names, dependency

VERSION = 3
"""Of what the mapping makes of a module; raise it when it makes something else."""
_OWN = frozenset({"abstractmethod", "async", "classmethod", "dataclass", "property", "staticmethod"})
"""Labels that the module's own file gives. Others, such as `task`, follow from what decorators elsewhere do."""
_LABELS = {Kind.class_: Label.class_, Kind.function: Label.function}


@dataclass(frozen=True, slots=True)
class Mark:
    """What a module was like when its facts were last kept: decides whether it has to be looked at again."""

    content: str
    """Hash of its file."""
    joints: str
    """Hash of what the facts of other modules depend on: what it defines, has from elsewhere, and builds on."""
    facts: str
    """Digest of its facts."""

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """The mark that `str` made; None: it is none of this form."""
        parts = text.split(" ")
        return cls(*parts) if len(parts) == 3 else None

    def __str__(self) -> str:
        return f"{self.content} {self.joints} {self.facts}"


def checkout_facts(checkout: str, path: str, brought: Mapping[str, str], *, configured: bool) -> Facts:
    """That there is a checkout, and the packages that its environment has (`brought`, as in `Names`).

    A checkout that is `configured` goes when it is that no more; one that was given by its path stays.
    """
    said = Saying()
    said.node(ref(Label.checkout, checkout), name=checkout, path=path, configured=configured)
    for package in sorted({*brought.values()} - {""}):
        said.node(dependency(checkout, package), name=package.rpartition("/")[2], ecosystem=PYPI)
    return said.facts()


def module_facts(module: Module, names: Names) -> Facts:
    """What `module` says."""
    said = Saying()
    checkout = names.checkout
    own = said.node(
        ref(Label.module, checkout, module.path),
        name=_last(module.path),
        file=module.file,
        public=module.public,
        summary=_summary(module.docstring),
        source=module.content,
    )
    said.hang(Type.contains, ref(Label.checkout, checkout), own)
    above = module.path.rpartition(".")[0]
    if above and (package := names.node(above)) is not None and package.label is Label.module:
        said.hang(Type.contains, package, own)
    defined = {module.path: own} | {
        symbol.path: ref(_LABELS[symbol.kind], checkout, symbol.path)
        for symbol in module.symbols
        if symbol.kind in _LABELS
    }
    for symbol in module.symbols:
        if symbol.kind in _LABELS:
            _symbol(said, symbol, defined, names)
    _imports(said, module, own, names)
    for call in module.calls:
        caller, callee = _inside(call.caller, defined), names.node(call.callee)
        if caller is not None and callee is not None and callee.label is not Label.module:
            said.hang(Type.calls, caller, callee)
    for given in module.handed:
        # `to_thread(save, ...)` runs it as well as `save(...)` does, only that somebody else calls it.
        user, used = _inside(given.caller, defined), names.node(given.callee)
        if user is not None and used is not None and used.label is not Label.module:
            said.hang(Type.uses, user, used)
    return said.facts()


def mark_of(module: Module, facts: Facts) -> Mark:
    """The mark of `module`, whose facts these are."""
    joints = [
        sorted({(one.name, one.target) for one in module.imports if not one.lazy}),
        sorted((one.path, one.kind, one.bases) for one in module.symbols if one.kind is not Kind.attribute),
    ]
    return Mark(module.content, _digest(joints), facts.digest())


def shape_of(codebase: Codebase, names: Names, *, configured: bool) -> str:
    """What the facts of every module depend on beside its own file: what there is to import, and who brings the rest.

    While it stays as it is, and the joints of every other module do, a module whose file is unchanged has unchanged
    facts.
    """
    others = sorted(names.brought.items()), sorted(names.unread.items())
    names_ = sorted(codebase.names), sorted(codebase.files), sorted(codebase.packages)
    return _digest([VERSION, configured, *names_, *others])


def _symbol(said: Saying, symbol: Symbol, defined: dict[str, Ref], names: Names) -> None:
    own = said.node(
        defined[symbol.path],
        name=_last(symbol.path),
        public=symbol.public,
        summary=_summary(symbol.docstring),
        interface=symbol.interface,
        source=symbol.source,
        is_a=[label for label in symbol.labels if label in _OWN],
    )
    said.hang(Type.contains, defined.get(symbol.path.rpartition(".")[0], defined[next(iter(defined))]), own)
    for decorator in symbol.decorators:
        if (maker := names.node(decorator)) is not None and maker.label is not Label.module:
            said.hang(Type.uses, own, maker)
    for base in symbol.bases:
        if (above := names.node(base)) is not None and above.label is Label.class_:
            said.hang(Type.inherits, own, above)


def _imports(said: Saying, module: Module, own: Ref, names: Names) -> None:
    """Imports that happen when the program runs. One that is for type checkers alone breaks nothing when it goes.

    A module that only takes members of another by their names imports these, and depends on the other: it does not
    hang on the rest of what is in there.
    """
    running = [one for one in module.imports if not one.typing]
    at_once = {one.target for one in running if not one.lazy}
    ends: dict[tuple[Type, Ref], bool] = {}
    for one in running:
        lazy = one.target not in at_once
        for kind, end in _imported(one.target, names):
            ends[kind, end] = ends.get((kind, end), True) and lazy
    for (kind, end), lazy in ends.items():
        if kind is not Type.depends_on or (Type.imports, end) not in ends:
            said.hang(kind, own, end, **({"lazy": True} if lazy else {}))


def _imported(target: str, names: Names) -> Iterable[tuple[Type, Ref]]:
    if (module := names.module_of(target)) is not None:
        member = None if module == target else names.node(target)
        taken = ref(Label.module, names.checkout, module)
        if member is None or member.label is Label.module:
            yield Type.imports, taken
            if member is not None:
                yield Type.imports, member
            return
        yield Type.imports, member
        home = names.home_of(member)
        yield Type.depends_on, home
        if home != taken:
            yield Type.imports, taken  # what hands a member on has a say of its own in what its name means
    elif (brought := names.dependency(target)) is not None:
        yield Type.uses, brought


def _inside(dotted: str, defined: dict[str, Ref]) -> Ref | None:
    """The innermost thing of the module that `dotted` lies in."""
    while dotted and dotted not in defined:
        dotted = dotted.rpartition(".")[0]
    return defined.get(dotted)


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _summary(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]


def _digest(value: object) -> str:
    return hashlib.blake2b(orjson.dumps(value), digest_size=12).hexdigest()

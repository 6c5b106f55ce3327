"""Which names a module's scopes bind, and to what: what imports, decorators, bases and calls are resolved by.

One walk over the whole tree, without recursion: a source may nest as deep as the parser lets it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from models.code import Import
from tasks.code.expressions import dotted
from tasks.code.statements import statements


class Bound(Enum):
    """How a name comes to its value."""

    imported = 1
    function = 2
    class_ = 3
    first_parameter = 4
    """The instance or class that a method is called on."""
    value = 5
    """Anything of which the syntax does not say what it is."""


@dataclass(slots=True)
class Binding:
    """One statement that binds a name."""

    how: Bound
    target: str
    """Dotted path of what it is bound to; empty when that has none."""
    line: int
    decorated: bool = False
    property: bool = False
    """It is read and not called."""
    overload: bool = False
    """It only says how what follows may be called."""


@dataclass(slots=True, eq=False)
class Scope:
    """The module, a class body, a function, a lambda or a comprehension."""

    kind: str
    """`module`, `class`, `function`, `inner` (lambda and comprehension), or `inner class` in the body of a function."""
    owner: str
    """Dotted path of the function or method, class or module that its code belongs to."""
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    """Names declared `global`."""
    called: list[tuple[str, int]] = field(default_factory=list)
    """(dotted chain of names, line) of every call of one."""
    handed: list[tuple[str, int]] = field(default_factory=list)
    """Likewise of every argument that is one."""
    last_star: int = 0
    """Line of the last `from x import *`; 0 without one."""
    single: dict[str, Binding | None] = field(default_factory=dict)
    """By name the one binding that is sure, as far as anybody has asked."""

    def bind(self, name: str, binding: Binding) -> None:
        """Note that a statement of this scope binds `name`."""
        if name in self.elsewhere:
            root = self
            while root.parent is not None:
                root = root.parent
            root.bindings.setdefault(name, []).append(Binding(Bound.value, "", binding.line))
            return
        self.bindings.setdefault(name, []).append(binding)

    def find(self, name: str) -> tuple[Scope, list[Binding]] | None:
        """The scope that `name` is looked up in from here, and what binds it there."""
        scope: Scope | None = self
        while scope is not None:
            if (
                (scope is self or scope.kind not in {"class", "inner class"})
                and name not in scope.elsewhere
                and name in scope.bindings
            ):
                return scope, scope.bindings[name]
            scope = scope.parent
        return None


@dataclass(slots=True)
class Scopes:
    """All scopes of a module."""

    module: Scope
    every: list[Scope] = field(default_factory=list)
    classes: dict[str, Scope] = field(default_factory=dict)
    """Class bodies by dotted path; of several with one path the last."""
    imports: list[Import] = field(default_factory=list)
    strings: list[str] = field(default_factory=list)
    """String literals, docstrings included."""


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LEFT_OUT = frozenset({"ctx", "op", "ops", "type_comment", "type_ignores", "type_params"})
_LEAVES = (ast.Pass, ast.Break, ast.Continue, ast.expr_context, ast.operator)
_LONGEST = 1_000
_CHILDREN: dict[type[ast.AST], tuple[str, ...]] = {}


class _Walk:
    def __init__(self, module: str, *, package: bool) -> None:
        self.module = module
        self.package = module if package else module.rpartition(".")[0]
        self.scopes = Scopes(Scope("module", module))
        self.typing: set[int] = set()
        """Statements that only type checkers see."""
        self.todo: list[tuple[Scope, list[ast.AST]]] = []

    def run(self, tree: ast.Module) -> Scopes:
        self.todo.append((self.scopes.module, list(tree.body)))
        while self.todo:
            scope, nodes = self.todo.pop()
            self.scopes.every.append(scope)
            nodes.reverse()
            self.walk(scope, nodes)
        self.scopes.imports.sort(key=lambda one: one.line)
        return self.scopes

    def walk(self, scope: Scope, stack: list[ast.AST]) -> None:  # noqa: PLR0912 - one case a kind of node
        while stack:
            node = stack.pop()
            kind = node.__class__
            if kind is ast.Constant:
                if node.value.__class__ is str:  # type: ignore[attr-defined]
                    self.scopes.strings.append(node.value)  # type: ignore[attr-defined]
                continue
            if kind is ast.Name:
                if node.ctx.__class__ is not ast.Load:  # type: ignore[attr-defined]
                    scope.bind(node.id, Binding(Bound.value, "", node.lineno))  # type: ignore[attr-defined]
                continue
            if kind is ast.Call:
                chain = dotted(node.func)  # type: ignore[attr-defined]
                if chain is not None:
                    scope.called.append((chain, node.lineno))  # type: ignore[attr-defined]
                else:
                    stack.append(node.func)  # type: ignore[attr-defined]
                for given in (*node.args, *(keyword.value for keyword in node.keywords)):  # type: ignore[attr-defined]
                    if (chain := dotted(given)) is not None:
                        scope.handed.append((chain, given.lineno))
                    stack.append(given)
                continue
            if kind is ast.Attribute:
                stack.append(node.value)  # type: ignore[attr-defined]
                continue
            if isinstance(node, _FUNCTIONS):
                self.function(scope, node, stack)
            elif isinstance(node, ast.ClassDef):
                self.class_(scope, node, stack)
            elif isinstance(node, ast.Lambda):
                self.inner(scope, [node.body], node.args)
                stack.extend(_defaults(node.args))
            elif isinstance(node, _COMPREHENSIONS):
                self.comprehension(scope, node)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.import_(scope, node)
            elif isinstance(node, ast.Global):
                for name in node.names:
                    scope.elsewhere.add(name)
                    for binding in scope.bindings.pop(name, ()):
                        self.scopes.module.bind(name, Binding(Bound.value, "", binding.line))
            elif isinstance(node, ast.Nonlocal):
                for name in node.names:
                    scope.bind(name, Binding(Bound.value, "", node.lineno))
            else:
                if isinstance(node, ast.If) and _is_type_checking(node.test):
                    self.typing.update(id(inner.node) for inner in statements(node.body))
                elif isinstance(node, ast.NamedExpr) and scope.kind == "inner":
                    self.walrus(scope, node.target.id, node.lineno)
                elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                    scope.bind(node.name, Binding(Bound.value, "", node.lineno))
                elif isinstance(node, ast.MatchMapping) and node.rest:
                    scope.bind(node.rest, Binding(Bound.value, "", node.lineno))
                _push_children(node, stack)

    def function(self, scope: Scope, node: ast.FunctionDef | ast.AsyncFunctionDef, stack: list[ast.AST]) -> None:
        decorators = [dotted(d.func if isinstance(d, ast.Call) else d) or "" for d in node.decorator_list]
        described = scope.kind in {"module", "class"}
        path = f"{scope.owner}.{node.name}"
        last = {d.rpartition(".")[2] for d in decorators}
        known = scope.bindings.get(node.name, [])
        if known and known[-1].overload:
            known.pop()  # with its overloads, and where they have it with its implementation, it is bound once
        if not (known and last & {"setter", "deleter", "getter"}):
            target = path if described else ""
            read = any(name.endswith("property") for name in last)
            overload = "overload" in last
            scope.bind(node.name, Binding(Bound.function, target, node.lineno, bool(decorators), read, overload))
        stack.extend(node.decorator_list)
        stack.extend(_defaults(node.args))
        stack.extend(_annotations(node))
        inner = Scope("function", path if described else scope.owner, scope)
        method = scope.kind == "class" and "staticmethod" not in decorators
        positional = [*node.args.posonlyargs, *node.args.args]
        for name in _parameters(node.args):
            inner.bind(name, Binding(Bound.value, "", node.lineno))
        if method and positional:
            inner.bindings[positional[0].arg] = [Binding(Bound.first_parameter, scope.owner, node.lineno)]
        self.todo.append((inner, list(node.body)))

    def class_(self, scope: Scope, node: ast.ClassDef, stack: list[ast.AST]) -> None:
        described = scope.kind in {"module", "class"}
        path = f"{scope.owner}.{node.name}"
        scope.bind(node.name, Binding(Bound.class_, path if described else "", node.lineno))
        stack.extend(node.decorator_list)
        stack.extend(node.bases)
        stack.extend(keyword.value for keyword in node.keywords)
        # The body of a class inside of a function has no path of its own: its methods run for the function.
        inner = Scope("class", path, scope) if described else Scope("inner class", scope.owner, scope)
        if described:
            self.scopes.classes[path] = inner
        self.todo.append((inner, list(node.body)))

    def inner(self, scope: Scope, nodes: list[ast.AST], arguments: ast.arguments) -> None:
        inner = Scope("inner", scope.owner, scope)
        for name in _parameters(arguments):
            inner.bind(name, Binding(Bound.value, "", 0))
        self.todo.append((inner, nodes))

    def comprehension(self, scope: Scope, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        nodes: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for part in node.generators:
            nodes += [part.target, part.iter, *part.ifs]
        self.todo.append((Scope("inner", scope.owner, scope), nodes))

    def walrus(self, scope: Scope, name: str, line: int) -> None:
        """Inside of a comprehension, `:=` binds in the function around it."""
        outer = scope.parent
        while outer is not None and outer.kind == "inner":
            outer = outer.parent
        if outer is not None:
            outer.bind(name, Binding(Bound.value, "", line))

    def import_(self, scope: Scope, node: ast.Import | ast.ImportFrom) -> None:
        typing = id(node) in self.typing
        lazy = scope.kind in {"function", "inner", "inner class"} or _inside_function(scope)
        for name, target, bound in _imported(node, self.package):
            if len(target) > _LONGEST:
                continue  # no file system has room for such a module
            if name == "*":
                scope.last_star = max(scope.last_star, node.lineno)
            else:
                scope.bind(name, Binding(Bound.imported, bound, node.lineno))
            self.scopes.imports.append(Import(name=name, target=target, line=node.lineno, lazy=lazy, typing=typing))


def scopes_of(tree: ast.Module, module: str, *, package: bool) -> Scopes:
    """The scopes of the module `module`; `package`: it is an `__init__`, and its relative imports begin at itself."""
    return _Walk(module, package=package).run(tree)


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str, str]]:
    """(name in the module, absolute target, what the name is bound to) of each part of an import.

    Nothing for a relative one that leads out of the top-level package.
    """
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield (alias.asname or top, alias.name, alias.name if alias.asname else top)
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".") if package else []
        if node.level > len(parts):
            return
        kept = parts[: len(parts) - node.level + 1]
        base = ".".join([*kept, base] if base else kept)
    for alias in node.names:
        target = base if alias.name == "*" else f"{base}.{alias.name}"
        yield (alias.asname or alias.name, target, target)


def _inside_function(scope: Scope) -> bool:
    return scope.parent is not None and (scope.parent.kind in {"function", "inner"} or _inside_function(scope.parent))


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    for one in (*arguments.posonlyargs, *arguments.args):
        yield one.arg
    if arguments.vararg:
        yield arguments.vararg.arg
    for one in arguments.kwonlyargs:
        yield one.arg
    if arguments.kwarg:
        yield arguments.kwarg.arg


def _defaults(arguments: ast.arguments) -> Iterator[ast.expr]:
    yield from arguments.defaults
    yield from (default for default in arguments.kw_defaults if default is not None)


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
    arguments = node.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    yield from (one.annotation for one in every if one is not None and one.annotation is not None)
    if node.returns is not None:
        yield node.returns


def _is_type_checking(test: ast.expr) -> bool:
    name = dotted(test)
    return name is not None and name.rpartition(".")[2] == "TYPE_CHECKING"


def _push_children(node: ast.AST, stack: list[ast.AST]) -> None:
    kind = node.__class__
    fields = _CHILDREN.get(kind)
    if fields is None:
        fields = _CHILDREN[kind] = tuple(f for f in reversed(kind._fields) if f not in _LEFT_OUT)
    for name in fields:
        value = getattr(node, name, None)
        if value.__class__ is list:
            stack.extend(item for item in reversed(value) if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
            stack.append(value)

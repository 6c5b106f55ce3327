"""What a module defines: its classes, functions, methods and attributes, as `models.code` has them."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from models.code import Kind, Parameter, Symbol
from tasks.code.expressions import Source, annotation_of, dotted, text_of
from tasks.code.scopes import Bound, Scope, Scopes
from tasks.code.statements import Statement, statements

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DECORATED = {
    "property": "property",
    "functools.cached_property": "property",
    "abc.abstractproperty": "property",
    "classmethod": "classmethod",
    "staticmethod": "staticmethod",
    "abc.abstractmethod": "abstractmethod",
    "typing.overload": "overload",
    "typing_extensions.overload": "overload",
    "typing.final": "final",
    "typing.override": "override",
    "typing_extensions.override": "override",
    "warnings.deprecated": "deprecated",
    "typing_extensions.deprecated": "deprecated",
    "dataclasses.dataclass": "dataclass",
    "pydantic.dataclasses.dataclass": "dataclass",
    "contextlib.contextmanager": "contextmanager",
    "contextlib.asynccontextmanager": "contextmanager",
}
_INTERFACE_LABELS = frozenset({"async", "property", "classmethod", "staticmethod", "abstractmethod", "overload"})
_CLASS_VARIABLE = ("ClassVar", "typing.ClassVar", "t.ClassVar")


@dataclass
class _Body:
    """What a module or class body has defined so far, in the order of the source."""

    path: str
    scope: Scope
    public: bool
    exports: frozenset[str] | None = None
    groups: dict[str, list[Symbol]] = field(default_factory=dict)
    """By name: the symbol, its overloads before it and, for a class, its members behind it."""


class Definitions:
    """Reads the definitions of one module."""

    def __init__(self, tree: ast.Module, module: str, data: bytes, scopes: Scopes) -> None:
        self._tree = tree
        self._module = module
        self._source = Source(data)
        self._scopes = scopes
        self.exports = _exports(tree)
        # What no import statement can name, such as a migration that begins with its date, is for no user.
        self.public = not any(_is_private(part) or not part.isidentifier() for part in module.split("."))
        self.docstring = docstring_of(tree.body)

    def symbols(self) -> list[Symbol]:
        """Everything that is defined, in the order of the source; members of a class right behind it."""
        exports = frozenset(self.exports) if self.exports else None
        body = _Body(self._module, self._scopes.module, self.public, exports)
        self._read(body, self._tree.body)
        return [symbol for group in body.groups.values() for symbol in group]

    def _read(self, body: _Body, nodes: list[ast.stmt]) -> None:
        for statement in statements(nodes):
            node = statement.node
            if isinstance(node, _FUNCTIONS):
                self._function(body, node, statement)
            elif isinstance(node, ast.ClassDef):
                self._class(body, node, statement)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in _targets(node):
                    if isinstance(target, ast.Name):
                        self._attribute(body, target.id, node, statement, frozenset())

    def _put(self, body: _Body, name: str, group: list[Symbol], *, alternative: bool) -> None:
        known = body.groups.get(name)
        if known is not None:
            if alternative:
                return
            overloads = [symbol for symbol in known if "overload" in symbol.labels and symbol.path == group[0].path]
            group = [*overloads, *group]
            del body.groups[name]
        body.groups[name] = group

    def _is_public(self, body: _Body, name: str) -> bool:
        if body.exports is not None:
            return body.public and name in body.exports
        return body.public and not _is_private(name)

    def _function(self, body: _Body, node: ast.FunctionDef | ast.AsyncFunctionDef, statement: Statement) -> None:
        heads = [dotted(d.func if isinstance(d, ast.Call) else d) or "" for d in node.decorator_list]
        if any(head in {f"{node.name}.setter", f"{node.name}.deleter"} for head in heads):
            self._writable(body, node, heads)
            return
        paths, arguments = self._decorators(body.scope, node)
        labels = {label for path in paths if (label := _DECORATED.get(path))}
        if any(path.rpartition(".")[2].endswith("property") for path in paths):
            labels.add("property")
        if isinstance(node, ast.AsyncFunctionDef):
            labels.add("async")
        if statement.conditional:
            labels.add("conditional")
        parameters = tuple(self._parameters(node.args))
        returns = None if node.returns is None else annotation_of(node.returns, self._source)
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        symbol = Symbol(
            path=f"{body.path}.{node.name}",
            kind=Kind.function,
            line=node.lineno,
            end_line=node.end_lineno or node.lineno,
            public=self._is_public(body, node.name),
            docstring=docstring_of(node.body),
            parameters=parameters,
            returns=returns,
            decorators=paths,
            labels=tuple(sorted(labels)),
            interface=_hash(
                "function",
                *(f"{p.kind} {p.name}:{p.annotation}={p.default}" for p in parameters),
                f"-> {returns}",
                *sorted(labels & _INTERFACE_LABELS),
            ),
            source=self._hash_of(first, node),
            decorator_arguments=arguments,
        )
        known = body.groups.get(node.name)
        if "overload" in labels and known is not None and "overload" in known[-1].labels:
            known.append(symbol)
        else:
            self._put(body, node.name, [symbol], alternative=statement.alternative)
        if body.scope.kind == "class":
            self._instance_attributes(body, node)

    def _writable(self, body: _Body, node: ast.FunctionDef | ast.AsyncFunctionDef, heads: list[str]) -> None:
        known = body.groups.get(node.name)
        if known and any(head.endswith(".setter") for head in heads):
            known[-1] = replace(known[-1], labels=tuple(sorted({*known[-1].labels, "writable"})))

    def _class(self, body: _Body, node: ast.ClassDef, statement: Statement) -> None:
        path = f"{body.path}.{node.name}"
        paths, arguments = self._decorators(body.scope, node)
        labels = {label for decorator in paths if (label := _DECORATED.get(decorator))}
        if statement.conditional:
            labels.add("conditional")
        bases = tuple(self._base(body.scope, base) for base in node.bases)
        keywords = tuple((k.arg or "**", text_of(k.value, self._source)) for k in node.keywords)
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        written = [text_of(base, self._source) for base in node.bases]
        symbol = Symbol(
            path=path,
            kind=Kind.class_,
            line=node.lineno,
            end_line=node.end_lineno or node.lineno,
            public=self._is_public(body, node.name),
            docstring=docstring_of(node.body),
            bases=bases,
            decorators=paths,
            labels=tuple(sorted(labels)),
            interface=_hash("class", *bases, *written, *(f"{name}={value}" for name, value in keywords)),
            source=self._hash_of(first, node),
            decorator_arguments=arguments,
            keywords=keywords,
        )
        scope = self._scopes.classes.get(path)
        inner = _Body(path, scope if scope is not None else Scope("class", path, body.scope), symbol.public)
        self._read(inner, node.body)
        members = [member for group in inner.groups.values() for member in group]
        self._put(body, node.name, [symbol, *members], alternative=statement.alternative)

    def _attribute(
        self,
        body: _Body,
        name: str,
        node: ast.Assign | ast.AnnAssign,
        statement: Statement,
        labels: frozenset[str],
        annotation: str | None = None,
    ) -> None:
        known = body.groups.get(name)
        before = known[-1] if known and known[-1].kind is Kind.attribute else None
        if known and before is None and (statement.alternative or "instance" in labels or _wraps(node.value, name)):
            return
        if isinstance(node, ast.AnnAssign):
            annotation = annotation_of(node.annotation, self._source)
        marks = set(labels)
        if annotation is not None and annotation.startswith(_CLASS_VARIABLE):
            marks.add("classvar")
        if statement.conditional:
            marks.add("conditional")
        value = None if node.value is None else text_of(node.value, self._source)
        docstring = _string(statement.behind)
        symbol = Symbol(
            path=f"{body.path}.{name}",
            kind=Kind.attribute,
            line=node.lineno,
            end_line=node.end_lineno or node.lineno,
            public=self._is_public(body, name),
            docstring=None if docstring is None else inspect.cleandoc(docstring),
            annotation=annotation,
            value=value,
            labels=tuple(sorted(marks)),
            interface=_hash("attribute", str(annotation), self._value_hash(node.value, value)),
            source=self._hash_of(node.lineno, node),
        )
        if before is not None:
            if statement.alternative or "instance" in labels:
                # The first branch, and what the class itself says, go before it; what they leave open is taken.
                kept, other = before, symbol
            else:
                kept, other = symbol, before
            symbol = replace(
                kept,
                docstring=kept.docstring if kept.docstring is not None else other.docstring,
                annotation=kept.annotation if kept.annotation is not None else other.annotation,
            )
            if symbol.annotation != kept.annotation:
                symbol = replace(symbol, interface=_hash("attribute", str(symbol.annotation), str(symbol.value)))
            body.groups[name] = [symbol]
            return
        self._put(body, name, [symbol], alternative=statement.alternative)

    def _instance_attributes(self, body: _Body, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """`self.x = ...` in a method: an attribute of the class."""
        positional = [*node.args.posonlyargs, *node.args.args]
        if not positional or any(dotted(d) in {"classmethod", "staticmethod"} for d in node.decorator_list):
            return
        me = positional[0].arg
        annotations = {a.arg: a.annotation for a in (*positional, *node.args.kwonlyargs) if a.annotation is not None}
        for statement in statements(node.body):
            inner = statement.node
            if not isinstance(inner, ast.Assign | ast.AnnAssign):
                continue
            for target in _targets(inner):
                if not (isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)):
                    continue
                if target.value.id != me:
                    continue
                given = annotations.get(inner.value.id) if isinstance(inner.value, ast.Name) else None
                annotation = None if given is None else annotation_of(given, self._source)
                statement.conditional = False
                self._attribute(body, target.attr, inner, statement, frozenset({"instance"}), annotation)

    def _parameters(self, arguments: ast.arguments) -> Iterator[Parameter]:
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
        defaults += arguments.defaults
        for place, (one, default) in enumerate(zip(positional, defaults, strict=True)):
            kind = "positional-only" if place < len(arguments.posonlyargs) else "positional or keyword"
            yield self._parameter(one, kind, default)
        if arguments.vararg is not None:
            yield self._parameter(arguments.vararg, "variadic positional", None)
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            yield self._parameter(one, "keyword-only", default)
        if arguments.kwarg is not None:
            yield self._parameter(arguments.kwarg, "variadic keyword", None)

    def _parameter(self, one: ast.arg, kind: str, default: ast.expr | None) -> Parameter:
        return Parameter(
            one.arg,
            kind,
            None if one.annotation is None else annotation_of(one.annotation, self._source),
            None if default is None else text_of(default, self._source),
        )

    def _decorators(
        self, scope: Scope, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> tuple[tuple[str, ...], tuple[tuple[tuple[str, str], ...], ...]]:
        paths, arguments = [], []
        for one in node.decorator_list:
            given: tuple[tuple[str, str], ...] = ()
            head = one
            if isinstance(one, ast.Call):
                head = one.func
                positional = [("", text_of(value, self._source)) for value in one.args]
                given = (*positional, *((k.arg or "**", text_of(k.value, self._source)) for k in one.keywords))
            chain = dotted(head)
            paths.append(text_of(head, self._source) if chain is None else resolved(scope, chain))
            arguments.append(given)
        return tuple(paths), tuple(arguments) if any(arguments) else ()

    def _base(self, scope: Scope, node: ast.expr) -> str:
        inner = node
        while isinstance(inner, ast.Subscript):
            inner = inner.value
        chain = dotted(inner)
        return text_of(node, self._source) if chain is None else resolved(scope, chain)

    def _hash_of(self, first: int, node: ast.stmt) -> str:
        return _hash(b"\n".join(self._source.lines[first - 1 : node.end_lineno]))

    def _value_hash(self, node: ast.expr | None, text: str | None) -> str:
        if node is None or text is None or len(text) < 1_000:
            return str(text)
        return _hash(self._source.piece(node))


def resolved(scope: Scope, chain: str) -> str:
    """The absolute path of a dotted chain as `scope` says where its head comes from; the chain itself otherwise."""
    head, _, rest = chain.partition(".")
    found = scope.find(head)
    if found is None:
        return chain
    for binding in found[1]:
        if binding.how in {Bound.imported, Bound.class_, Bound.function} and binding.target:
            return f"{binding.target}.{rest}" if rest else binding.target
        if found[0].kind in {"module", "class"}:
            return f"{found[0].owner}.{chain}"
    return chain


def _wraps(value: ast.expr | None, name: str) -> bool:
    """Whether an assignment only wraps what `name` was, as `f = deprecated(f)` does."""
    return isinstance(value, ast.Call) and any(isinstance(one, ast.Name) and one.id == name for one in value.args)


def docstring_of(body: list[ast.stmt]) -> str | None:
    """The docstring that a body begins with, without its indentation."""
    text = _string(body[0]) if body else None
    return None if text is None else inspect.cleandoc(text)


def _string(node: ast.stmt | None) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None


def _targets(node: ast.Assign | ast.AnnAssign) -> Iterator[ast.expr]:
    todo: list[ast.expr] = [node.target] if isinstance(node, ast.AnnAssign) else list(reversed(node.targets))
    while todo:
        target = todo.pop()
        if isinstance(target, ast.Tuple | ast.List):
            todo.extend(reversed(target.elts))
        elif isinstance(target, ast.Starred):
            todo.append(target.value)
        else:
            yield target


def _exports(tree: ast.Module) -> tuple[str, ...] | None:
    """`__all__` where it is built of plain lists and tuples; None when there is none, or when it is worked out."""
    found: list[str] | None = None
    for statement in statements(tree.body):
        node = statement.node
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            if not any(dotted(target) == "__all__" for target in _targets(node)):
                continue
            names, added = _strings(node.value), False
        elif isinstance(node, ast.AugAssign) and dotted(node.target) == "__all__":
            names, added = _strings(node.value), True
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args:
            call = dotted(node.value.func)
            if call not in {"__all__.append", "__all__.extend"}:
                continue
            value = node.value.args[0]
            names, added = _strings(ast.List([value]) if call == "__all__.append" else value), True
        else:
            continue
        if names is None:
            return None
        if added and found is not None:
            found.extend(names)
        else:
            found = list(names)
    return None if found is None else tuple(dict.fromkeys(found))


def _strings(node: ast.expr) -> list[str] | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _strings(node.left), _strings(node.right)
        return None if left is None or right is None else left + right
    if not isinstance(node, ast.List | ast.Tuple | ast.Set):
        return None
    names = [element.value for element in node.elts if isinstance(element, ast.Constant)]
    return names if len(names) == len(node.elts) and all(isinstance(name, str) for name in names) else None  # type: ignore[return-value]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _hash(*parts: str | bytes) -> str:
    """32 hexadecimal digits of BLAKE2b over `parts` and their lengths."""
    return digest(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts)


def digest(parts: Iterable[bytes]) -> str:
    """32 hexadecimal digits of BLAKE2b over `parts` and their lengths."""
    result = hashlib.blake2b(digest_size=16)
    for part in parts:
        result.update(b"%d " % len(part))
        result.update(part)
    return result.hexdigest()

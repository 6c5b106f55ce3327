"""What an example of code says for sure of names and calls: imports, chains of attributes, and how things are called.

Nothing runs. A name that is bound to something else, a branch that asks for a version, and what is meant to fail are
left alone.
"""

from __future__ import annotations

import ast
import doctest
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from models.code import Kind, Parameter, Symbol
from tasks.docs.truth.resolve import Answer, Resolver, is_plain, takes_keyword
from tasks.docs.truth.signature import KEYWORD_ONLY, PLAIN, POSITIONAL_ONLY, VARIADIC, without_self

PYTHON = frozenset({"python", "py", "python3", "py3", "pycon", "python-console", "python-repl", "doctest", "ipython"})
_MEANT = re.compile(
    r"#.*\b(?:errors?|raises?|wrong|fails?|invalid|old|before|deprecated|removed|bad|TypeError|AttributeError|"
    r"ImportError|not allowed|doesn't|does not|no longer|until|legacy)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"version|hasattr|TYPE_CHECKING|find_spec|platform", re.IGNORECASE)
_EXPECTED = re.compile(r"raises|suppress|assertRaises|warns", re.IGNORECASE)
_OLD_CODE = re.compile(r"^\s*#.*\b(?:old|before|deprecated|legacy|previously|until|removed)\b", re.IGNORECASE)
_DEEPEST = 90
_SELF = frozenset({"Self", "T", "U", "typing.Self", "typing_extensions.Self", "_T", "SelfT"})


class UnreadableError(ValueError):
    """A piece of code that is no Python by itself, such as a fragment with an ellipsis in the wrong place."""


@dataclass(frozen=True, slots=True)
class Use:
    """A name of the code base that an example takes or reaches."""

    name: str
    """Dotted, as far as the example spells it."""
    line: int
    imported: bool


@dataclass(frozen=True, slots=True)
class CallUse:
    """A call of something of the code base."""

    path: str
    """Where it is defined."""
    name: str
    """As the example says it."""
    node: ast.Call
    line: int
    bound: bool
    """Whether the first parameter of a method is given already."""


@dataclass
class Example:
    """What one piece of code says."""

    uses: list[Use] = field(default_factory=list)
    calls: list[CallUse] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a call does not fit."""

    kind: str
    """`keyword`, `positional` or `missing`."""
    name: str

    @property
    def sentence(self) -> str:
        """In words."""
        return {
            "keyword": f"it takes no parameter `{self.name}`",
            "positional": f"it takes {self.name} by position at most",
            "missing": f"it has to be given `{self.name}`",
        }[self.kind]


@dataclass
class Scope:
    """What names mean in the examples of a page, which build on each other."""

    modules: dict[str, str] = field(default_factory=dict)
    """Names that were imported, and what they stand for."""
    instances: dict[str, str] = field(default_factory=dict)
    """Names that hold an instance of a class of the code base."""
    other: set[str] = field(default_factory=set)
    """Names that mean something else, or several things."""
    loose: bool = False
    """Whether a package may be used without an import, as pages do that have shown it before."""

    def meaning(self, name: str, resolver: Resolver) -> str | None:
        """The dotted name that `name` stands for; in a page, a package stands for itself where nothing else does."""
        if name in self.other:
            return None
        if name in self.modules or not self.loose or not resolver.is_ours(name) or resolver.is_variable(name):
            return self.modules.get(name)
        return name


def parse(text: str) -> ast.Module:
    """The syntax of a piece of code or of an interactive session, lines where they are.

    Raises:
        UnreadableError: it is no Python by itself.
    """
    text = textwrap.dedent(text)
    try:
        if re.search(r"^[ \t]*>>>", text, re.MULTILINE):
            lines = [""] * (text.count("\n") + 2)
            for one in doctest.DocTestParser().get_examples(text):
                for offset, line in enumerate(one.source.rstrip("\n").split("\n")):
                    lines[one.lineno + offset] = line
            text = "\n".join(lines)
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError(str(error)[:200]) from error
    if not is_shallow(tree):
        raise UnreadableError("it is nested too deeply.")
    return tree


def is_shallow(tree: ast.AST) -> bool:
    """Whether a tree can be walked by functions that call themselves."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return True
    return False


def read_example(text: str, resolver: Resolver, scope: Scope) -> Example:
    """What `text` says; `scope` learns what it imports and binds.

    Raises:
        UnreadableError: it is no Python by itself.
    """
    tree = parse(text)
    first = next((line for line in text.splitlines() if line.strip()), "")
    reader = _Reader(resolver, scope, textwrap.dedent(text).splitlines())
    reader.bind(tree)
    if not _OLD_CODE.match(first):
        reader.statements(tree.body)
    return reader.example


class _Reader:
    def __init__(self, resolver: Resolver, scope: Scope, lines: Sequence[str]) -> None:
        self.resolver = resolver
        self.scope = scope
        self.lines = lines
        self.example = Example()

    def bind(self, tree: ast.Module) -> None:
        """Learn which names are imports, instances, or something else; a name with two meanings has none."""
        bound: dict[str, list[str]] = {}
        assigned: list[tuple[str, ast.expr, str]] = []
        stars: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                stars.append(node.module or "" if not node.level else "")
            for name, meaning in _bindings(node):
                bound.setdefault(name, []).append(meaning)
            assigned += _instances(node)
        for module in stars:
            self._open_star(module)
        for name, meanings in bound.items():
            self.scope.instances.pop(name, None)
            if meanings[0] and len(set(meanings)) == 1:
                self.scope.modules[name] = meanings[0]
                self.scope.other.discard(name)
            else:
                self.scope.modules.pop(name, None)
                self.scope.other.add(name)
        for name, value, entered in assigned:
            path = self._class_of(value, entered=entered) if len(bound[name]) == 1 else None
            if path is not None:
                self.scope.instances[name] = path

    def _open_star(self, module: str) -> None:
        """Let the names of a star stand for what it brings; of one that is not of the code base nobody can say."""
        for name in [*self.scope.modules]:
            ours = bool(module) and self.resolver.is_ours(module)
            verdict = self.resolver.resolve(f"{module}.{name}") if ours else None
            if verdict is not None and verdict.answer is Answer.defined:
                self.scope.modules[name] = verdict.path
            elif verdict is None or verdict.answer is Answer.open:
                del self.scope.modules[name]
                self.scope.other.add(name)

    def _class_of(self, value: ast.expr, *, entered: str) -> str | None:
        """The class whose instance `value` is, for sure; after `entered`, its method that gives it, if there is one."""
        if not isinstance(value, ast.Call):
            return None
        name = _dotted(value.func)
        meaning = self._meaning(name) if name else None
        if meaning is None:
            return None
        verdict = self.resolver.resolve(meaning)
        symbol = self.resolver.symbol(verdict.path) if verdict.answer is Answer.defined else None
        if symbol is None or symbol.kind is not Kind.class_:
            return None
        if self.resolver.method(symbol.path, "__new__") is not None:
            return None
        if entered:
            given = self.resolver.method(symbol.path, entered)
            if given is None or (given.returns or "").strip("'\"") not in {*_SELF, symbol.path.rpartition(".")[2]}:
                return None
        return symbol.path

    def _meaning(self, name: str) -> str | None:
        first, _, rest = name.partition(".")
        meaning = self.scope.meaning(first, self.resolver)
        if meaning is None or not self.resolver.is_ours(meaning):
            return None
        return f"{meaning}.{rest}" if rest else meaning

    def statements(self, body: Sequence[ast.stmt]) -> None:
        """Read statements in order, but for those that are not meant to hold now."""
        for node in body:
            if isinstance(node, ast.Try) and any(map(_catches_absence, node.handlers)):
                continue
            if isinstance(node, ast.If) and _CONDITION.search(ast.unparse(node.test)):
                continue
            if isinstance(node, ast.With) and any(_EXPECTED.search(ast.unparse(i.context_expr)) for i in node.items):
                continue
            last = node.end_lineno or node.lineno
            single = not hasattr(node, "body")
            if single and any(_MEANT.search(line) for line in self.lines[node.lineno - 1 : last]):
                continue
            if single and node.lineno > 1 and _OLD_CODE.match(self.lines[node.lineno - 2]):
                continue
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if self.resolver.is_ours(alias.name):
                    self.example.uses.append(Use(alias.name, node.lineno, imported=True))
            return
        if isinstance(node, ast.ImportFrom):
            if node.module and not node.level and self.resolver.is_ours(node.module):
                self.example.uses += [
                    Use(f"{node.module}.{alias.name}" if alias.name != "*" else node.module, node.lineno, imported=True)
                    for alias in node.names
                ]
            return
        for name, value in ast.iter_fields(node):
            parts = value if isinstance(value, list) else [value]
            if name in {"body", "orelse", "finalbody"} and all(isinstance(part, ast.stmt) for part in parts):
                self.statements(parts)
                continue
            for part in parts:
                if isinstance(part, ast.ExceptHandler | ast.match_case):
                    self.statements(part.body)
                elif isinstance(part, ast.AST):
                    self._expression(part)

    def _expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call):
            self._call(node)
        if isinstance(node, ast.Attribute | ast.Name):
            name = _dotted(node)
            if name is not None:
                self._chain(name, node)
                return
        if isinstance(node, ast.Lambda):
            node = node.body
            self._expression(node)
            return
        for child in ast.iter_child_nodes(node):
            self._expression(child)

    def _chain(self, name: str, node: ast.Attribute | ast.Name) -> None:
        first, _, rest = name.partition(".")
        if first in self.scope.instances and rest:
            if isinstance(node.ctx, ast.Load):
                self.example.uses.append(Use(f"{self.scope.instances[first]}.{rest}", node.lineno, imported=False))
            return
        meaning = self._meaning(name)
        if meaning is not None and rest and isinstance(node.ctx, ast.Load):
            self.example.uses.append(Use(meaning, node.lineno, imported=False))

    def _call(self, node: ast.Call) -> None:
        name = _dotted(node.func)
        if name is None:
            return
        first, _, rest = name.partition(".")
        if first in self.scope.instances:
            if rest and "." not in rest:
                found = self.resolver.method(self.scope.instances[first], rest)
                if found is not None:
                    self.example.calls.append(CallUse(found.path, name, node, node.lineno, bound=True))
            return
        meaning = self._meaning(name)
        verdict = self.resolver.resolve(meaning) if meaning is not None else None
        if verdict is not None and verdict.answer is Answer.defined:
            self.example.calls.append(CallUse(verdict.path, name, node, node.lineno, bound=False))


def parameters_for(call: CallUse, resolver: Resolver) -> tuple[Parameter, ...] | None:
    """What the called one takes; None where that is not certain."""
    symbol = resolver.symbol(call.path)
    if symbol is None:
        return None
    if symbol.kind is Kind.class_:
        return resolver.constructor(symbol.path)
    if symbol.kind is not Kind.function or not is_plain(symbol) or "overload" in symbol.labels:
        return None
    if "property" in symbol.labels:
        return None
    owner = resolver.codebase.names.get(symbol.path.rpartition(".")[0])
    if owner is not None and owner.kind is Kind.class_:
        return without_self(symbol) if call.bound or _is_bound_by_class(symbol) else None
    return symbol.parameters


def misfits(node: ast.Call, parameters: Sequence[Parameter], *, arity: bool) -> Iterator[Misfit]:
    """Why a call does not fit `parameters`; `arity`: also whether too few or too many are given."""
    if any(isinstance(arg, ast.Constant) and arg.value is Ellipsis for arg in node.args):
        arity = False
    named = {keyword.arg for keyword in node.keywords if keyword.arg}
    for name in sorted(named):
        if not takes_keyword(parameters, name):
            yield Misfit("keyword", name)
    if not arity or any(isinstance(arg, ast.Starred) for arg in node.args):
        return
    positional = [one for one in parameters if one.kind in {PLAIN, POSITIONAL_ONLY}]
    if len(node.args) > len(positional) and not any(one.kind == VARIADIC for one in parameters):
        yield Misfit("positional", str(len(positional)))
        return
    if any(keyword.arg is None for keyword in node.keywords):
        return
    given = {one.name for one in positional[: len(node.args)]}
    for one in parameters:
        needed = one.default is None and one.kind in {PLAIN, POSITIONAL_ONLY, KEYWORD_ONLY}
        if needed and one.name not in given | named:
            yield Misfit("missing", one.name)


def _is_bound_by_class(symbol: Symbol) -> bool:
    return "classmethod" in symbol.labels or "staticmethod" in symbol.labels


def _dotted(node: ast.AST) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join((node.id, *reversed(parts)))


def _bindings(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that `node` binds, with what they import; empty for everything else."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}" if node.module and not node.level else ""
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, ""
    elif isinstance(node, ast.arg):
        yield node.arg, ""
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        yield node.id, ""
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name, ""


def _instances(node: ast.AST) -> Iterator[tuple[str, ast.expr, str]]:
    """Names that `node` binds to a value, the value, and the method that gives it where a block is entered."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        yield node.targets[0].id, node.value, ""
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value, ""
    elif isinstance(node, ast.With | ast.AsyncWith):
        hook = "__enter__" if isinstance(node, ast.With) else "__aenter__"
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name):
                yield item.optional_vars.id, item.context_expr, hook


def _catches_absence(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type is not None else "Exception"
    return any(
        word in caught for word in ("ImportError", "ModuleNotFoundError", "AttributeError", "TypeError", "Exception")
    )

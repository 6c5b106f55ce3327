"""The parsers that a module makes with argparse, from the source alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.code.literals import Written, call_of, constant

_FLAGS = frozenset({"store_true", "store_false", "store_const", "append_const", "count", "help", "version"})


@dataclass(frozen=True, slots=True)
class Given:
    """An option or a positional argument."""

    names: tuple[str, ...]
    """As they are typed; an option's begin with a dash."""
    help: str = ""
    default: str | None = None
    """Source text."""
    required: bool = False
    flag: bool = False
    multiple: bool = False
    kind: str | None = None
    """Source text of its type."""
    hidden: bool = False

    @property
    def is_option(self) -> bool:
        """Whether it is one, and no positional argument."""
        return self.names[0].startswith("-")


@dataclass(slots=True)
class Parser:
    """A parser, or one of its subcommands."""

    owner: str
    """Path of the function that makes it, or of the module."""
    words: tuple[str, ...]
    help: str
    line: int
    given: list[Given] = field(default_factory=list)
    group: bool = False
    complete: bool = True
    open: bool = False
    """It leaves what it does not know to somebody else."""
    aliases: tuple[tuple[str, ...], ...] = ()


_ADDS = frozenset(
    {"add_argument", "add_parser", "add_subparsers", "add_argument_group", "add_mutually_exclusive_group"}
)


def parsers_of(tree: ast.Module, module: str, stem: str) -> Iterator[Parser]:
    """The parsers of a module; each function is looked at alone, a variable for its parser is assigned once."""
    bodies: list[tuple[str, list[ast.stmt]]] = [(module, tree.body)]
    bodies += [
        (f"{module}.{node.name}", node.body)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    added_to = _added_to(tree)
    program = f"python -m {module.removesuffix('.__main__')}" if "." in module else stem
    for owner, body in bodies:
        found = _Body(owner, tuple(program.split()))
        seen: set[ast.AST] = set()
        for name, call in _calls(body):
            written = call_of(call)
            if written is not None:
                seen.add(call)
                found.take(name, written, call.lineno)
        found.add_unseen(body, seen, returned=owner.rpartition(".")[2] in added_to)
        yield from found.made


class _Body:
    """The parsers that one body makes."""

    def __init__(self, owner: str, program: tuple[str, ...]) -> None:
        self.owner = owner
        self.program = program
        self.parsers: dict[str, Parser] = {}
        self.groups: dict[str, Parser] = {}
        self.made: list[Parser] = []
        self.called: list[tuple[str, Parser]] = []
        """Every name that a parser, or a group of it, has had."""

    def take(self, name: str, written: Written, line: int) -> None:
        """A call of which the result is called `name`."""
        holder = written.name.rpartition(".")[0]
        if written.last == "ArgumentParser":
            self.new(name, str(written.value("prog") or "").split() or list(self.program), written, line)
        elif written.last == "add_parser" and holder in self.groups and written.arguments:
            word = constant(written.arguments[0])
            if isinstance(word, str):
                above = self.groups[holder].words
                self.new(name, [*above, word], written, line)
                others = written.value("aliases") or ()
                self.parsers[name].aliases = tuple((*above, str(other)) for other in others)
            else:
                self.groups[holder].complete = False
        elif holder in self.parsers:
            self.within(name, self.parsers[holder], written)

    def add_unseen(self, body: list[ast.stmt], seen: set[ast.AST], *, returned: bool) -> None:
        """Say of parsers that are handed on, or are added to in ways that are not followed, that they may take more."""
        names: set[str] = set()
        for statement in body:
            kept = {id(one) for one in ast.walk(statement) if isinstance(one, ast.Return)} if not returned else set()
            todo: list[ast.AST] = [statement]
            while todo:
                node = todo.pop()
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    names.add(node.id)
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    continue  # what is done with it is looked at where it is called
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    base = node.func.value
                    while isinstance(base, ast.Attribute | ast.Call):
                        base = base.func if isinstance(base, ast.Call) else base.value
                    if node not in seen and node.func.attr in _ADDS and isinstance(base, ast.Name):
                        names.add(base.id)
                if id(node) in kept and isinstance(node, ast.Return) and isinstance(node.value, ast.Name):
                    continue
                todo += ast.iter_child_nodes(node)
        for name, parser in self.called:
            if name in names:
                parser.complete = False

    def new(self, name: str, words: list[str], written: Written, line: int) -> None:
        """A parser is made."""
        told = _words(written, "description") or _words(written, "help")
        made = Parser(self.owner, tuple(words), told, line, complete="parents" not in written.options)
        self.parsers[name] = made
        self.made.append(made)
        self.called.append((name, made))

    def within(self, name: str, parser: Parser, written: Written) -> None:
        """Something is called of a parser that is known."""
        if written.last == "add_subparsers":
            parser.group = True
            self.groups[name] = parser
            self.called.append((name, parser))
        elif written.last in {"add_argument_group", "add_mutually_exclusive_group"}:
            self.parsers[name] = parser
            self.called.append((name, parser))
        elif written.last.startswith("parse_known_"):
            parser.open = True
        elif written.last == "add_argument":
            parser.open = parser.open or "REMAINDER" in (written.text("nargs") or "")
            one = _given(written)
            if one is None:
                parser.complete = False
            else:
                parser.given.append(one)


def _calls(body: list[ast.stmt]) -> Iterator[tuple[str, ast.Call]]:
    """(name that it is assigned to, or empty; call), in the order of the source; not in inner functions and classes."""
    todo: list[ast.AST] = list(reversed(body))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.targets) == 1:
            target = node.targets[0]
            yield (target.id if isinstance(target, ast.Name) else ""), node.value
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield "", node.value
        todo.extend(reversed([one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]))


def _added_to(tree: ast.Module) -> set[str]:
    """Functions of the module that make something to which another function adds arguments."""
    found: set[str] = set()
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        makers = {name: made.name for name, call in _calls(function.body) if name and (made := call_of(call))}
        for node in ast.walk(function):
            written = call_of(node) if isinstance(node, ast.Call) else None
            if written is not None and written.last in _ADDS:
                found.add(makers.get(written.name.partition(".")[0], ""))
    return found


def _given(written: Written) -> Given | None:
    names = tuple(value for one in written.arguments if isinstance(value := constant(one), str))
    if not names or len(names) != len(written.arguments):
        return None
    if "BooleanOptionalAction" in (written.text("action") or ""):
        names += tuple(f"--no-{name[2:]}" for name in names if name.startswith("--"))
    nargs = written.value("nargs")
    action = written.value("action")
    positional = not names[0].startswith("-")
    required = nargs not in {"?", "*"} if positional else written.value("required") is True
    return Given(
        names=names,
        help=_words(written, "help"),
        default=written.text("default"),
        required=required,
        flag=isinstance(action, str) and action in _FLAGS,
        multiple=nargs in {"*", "+"} or action in {"append", "extend"},
        kind=written.text("type"),
    )


def _words(written: Written, option: str) -> str:
    value = written.value(option)
    return value if isinstance(value, str) else ""

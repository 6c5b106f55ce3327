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
    help: str
    default: str | None
    required: bool
    flag: bool
    multiple: bool
    kind: str | None


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


def parsers_of(tree: ast.Module, module: str, stem: str) -> Iterator[Parser]:
    """The parsers of a module; each function is looked at alone, a variable for its parser is assigned once."""
    bodies: list[tuple[str, list[ast.stmt]]] = [(module, tree.body)]
    bodies += [
        (f"{module}.{node.name}", node.body)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    program = f"python -m {module.removesuffix('.__main__')}" if "." in module else stem
    for owner, body in bodies:
        found = _Body(owner, tuple(program.split()))
        for name, call in _calls(body):
            written = call_of(call)
            if written is not None:
                found.take(name, written, call.lineno)
        yield from found.made


class _Body:
    """The parsers that one body makes."""

    def __init__(self, owner: str, program: tuple[str, ...]) -> None:
        self.owner = owner
        self.program = program
        self.parsers: dict[str, Parser] = {}
        self.groups: dict[str, Parser] = {}
        self.made: list[Parser] = []

    def take(self, name: str, written: Written, line: int) -> None:
        """A call of which the result is called `name`."""
        holder = written.name.rpartition(".")[0]
        if written.last == "ArgumentParser":
            self.new(name, str(written.value("prog") or "").split() or list(self.program), written, line)
            self.parsers[name].complete = "parents" not in written.options
        elif written.last == "add_parser" and holder in self.groups and written.arguments:
            word = constant(written.arguments[0])
            if isinstance(word, str):
                self.new(name, [*self.groups[holder].words, word], written, line)
        elif holder in self.parsers:
            self.within(name, self.parsers[holder], written)
        else:
            for given in written.arguments:  # another function may add to it
                if isinstance(given, ast.Name) and given.id in self.parsers:
                    self.parsers[given.id].complete = False

    def new(self, name: str, words: list[str], written: Written, line: int) -> None:
        """A parser is made."""
        told = _words(written, "description") or _words(written, "help")
        self.parsers[name] = Parser(self.owner, tuple(words), told, line)
        self.made.append(self.parsers[name])

    def within(self, name: str, parser: Parser, written: Written) -> None:
        """Something is called of a parser that is known."""
        if written.last == "add_subparsers":
            parser.group = True
            self.groups[name] = parser
        elif written.last in {"add_argument_group", "add_mutually_exclusive_group"}:
            self.parsers[name] = parser
        elif written.last == "add_argument":
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


def _given(written: Written) -> Given | None:
    names = tuple(value for one in written.arguments if isinstance(value := constant(one), str))
    if not names or len(names) != len(written.arguments):
        return None
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

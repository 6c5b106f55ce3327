"""The command lines of a checkout, of click, argparse and Typer: commands, options and arguments with their help.

What a decorator of the checkout's own adds is found where it is put together from `click.option`; where that is not
known, the command says that it is not `complete`.
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from models.code import Codebase, Module
from tasks.code.arguments import Given, parsers_of
from tasks.code.lazy_groups import loaded, takes_its_own
from tasks.code.literals import Written, call_of, constant
from tasks.code.places import read_file
from tasks.code.typer_commands import Applications, Said
from tasks.code.veil import veiled_source


@dataclass(frozen=True, slots=True)
class Option:
    """An option."""

    names: tuple[str, ...]
    """As they are typed, `--no-x` of a pair included."""
    help: str = ""
    default: str | None = None
    """Source text."""
    required: bool = False
    flag: bool = False
    """It takes no value."""
    multiple: bool = False
    kind: str | None = None
    """Source text of its type."""
    hidden: bool = False
    variables: tuple[str, ...] = ()
    """Environment variables that set it."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument."""

    name: str
    required: bool = True
    multiple: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of them."""

    path: str
    """Of the function that it is."""
    words: tuple[str, ...]
    """What is typed, from the program on, as far as that is known."""
    help: str
    module: str
    file: str
    line: int
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    group: bool = False
    complete: bool = True
    """Whether all that it takes is known: no decorator, and no class of its own, may add to it."""
    parent: str | None = None
    """Path of the group that it belongs to."""
    open: bool = False
    """Whether it takes options that it does not know, and hands them on."""
    aliases: tuple[tuple[str, ...], ...] = ()
    """What may be typed instead of `words`."""


_CLICK = frozenset({"click", "rich_click", "asyncclick"})
"""Packages that have click's own names."""
_MAKES = frozenset({"command", "group"})
_NOTHING = frozenset({"pass_context", "pass_obj", "make_pass_decorator", "pass_meta_key", "wraps", "result_callback"})
_READY = {
    "version_option": ("--version", "Show the version and exit."),
    "confirmation_option": ("--yes", "Confirm the action without prompting."),
    "password_option": ("--password", ""),
    "help_option": ("--help", "Show this message and exit."),
}
_SUFFIX = re.compile(r"_(?:command|cmd|group|grp)$")
_DEPTH = 8


def commands_of(codebase: Codebase) -> tuple[Command, ...]:
    """The commands of `codebase`, by their path."""
    reader = _Reader(codebase)
    return tuple(sorted(reader.commands(), key=lambda one: (one.words, one.path)))


class _Reader:
    def __init__(self, codebase: Codebase) -> None:
        self._codebase = codebase
        self._module = functools.cache(codebase.module)
        self._tree = functools.cache(self._read_tree)
        self._found: dict[str, Command] = {}
        self._names: dict[str, str] = {}
        """What a command is called in its group, by its path."""
        self._parents: dict[str, str] = {}
        self._applications = Applications(codebase, self._tree)

    def commands(self) -> Iterator[Command]:
        users: list[tuple[Module, str]] = []
        for path in self._codebase.files:
            module = self._module(path)
            tops = {one.target.partition(".")[0] for one in module.imports}
            users += [(module, library) for library in ("argparse", "typer") if library in tops]
            users += [(module, "click")] if tops & _CLICK else []
        for said in self._applications.read([module for module, library in users if library == "typer"]):
            self._names[said.path] = said.name
            self._found[said.path] = _of_typer(said, self._module(said.module).file)
            if said.parent is not None:
                self._parents[said.path] = said.parent
        clicks = [module for module, library in users if library == "click"]
        for module in clicks:
            self._in_module(module)
        for module in clicks:
            self._joined(module)
        programs = self._programs()
        for command in self._found.values():
            yield replace(command, words=self._words(command, programs), parent=self._parents.get(command.path))
        for module, library in users:
            tree = self._tree(module.path) if library == "argparse" else None
            if tree is not None:
                yield from _of_argparse(module, tree)

    def _read_tree(self, path: str) -> ast.Module | None:
        root = self._codebase.root
        try:
            return ast.parse(read_file(f"{root}/{self._module(path).file}", inside=f"{root}/")[0])
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return None  # it is not what was read, and the next read says so

    def _in_module(self, module: Module) -> None:
        tree = self._tree(module.path)
        for node in tree.body if tree is not None else ():
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for place, decorator in enumerate(node.decorator_list):
                if (made := self._made(module.path, decorator)) is not None:
                    self._command(module, node, place, made)
                    break

    def _made(self, module: str, decorator: ast.expr) -> tuple[str, Written] | None:
        """(group that it is put into, or empty; call) of a decorator that makes a command."""
        call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
        written = call_of(call)
        if written is None or written.last not in _MAKES:
            return None
        owner = written.name.rpartition(".")[0]
        if self._is_click(module, written.name):
            return "", written
        target = self._codebase.resolve(f"{module}.{owner}") if owner else None
        return None if target is None or target in self._applications.apps else (target, written)

    def _is_click(self, module: str, name: str) -> bool:
        head, _, rest = name.partition(".")
        target = next((one.target for one in self._module(module).imports if one.name == head), "")
        return target.partition(".")[0] in _CLICK and bool(rest) == (target in _CLICK)

    def _command(
        self,
        module: Module,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        place: int,
        made: tuple[str, Written],
    ) -> None:
        group, written = made
        path = f"{module.path}.{node.name}"
        name = written.value("name") or (constant(written.arguments[0]) if written.arguments else None)
        default = _SUFFIX.sub("", node.name).replace("_", "-").lower()
        self._names[path] = name if isinstance(name, str) else default
        if group:
            self._parents[path] = group
        options: list[Option] = []
        arguments: list[Argument] = []
        own = written.options.get("cls")
        complete = "params" not in written.options
        if own is not None:
            owner = self._codebase.resolve(f"{module.path}.{ast.unparse(own)}")
            known = self._codebase.names.get(owner) if owner is not None else None
            tree = self._tree(known.module) if known is not None else None
            complete = complete and not takes_its_own(tree, owner.rpartition(".")[2] if owner is not None else "")
        for decorator in [*node.decorator_list[:place], *node.decorator_list[place + 1 :]]:
            parts = self._parts(module.path, decorator, 0)
            if parts is None:
                complete = False
                continue
            options += [one for one in parts if isinstance(one, Option)]
            arguments += [one for one in parts if isinstance(one, Argument)]
        told = written.value("help") or ast.get_docstring(node) or ""
        context = self._context(module.path, written.options.get("context_settings"))
        self._found[path] = Command(
            path=path,
            words=(),
            help=str(told).partition("\f")[0].strip(),
            module=module.path,
            file=module.file,
            line=node.lineno,
            options=tuple(options),
            arguments=tuple(arguments),
            group=written.last == "group",
            complete=complete and context is not None,
            open=context is not None and ("ignore_unknown_options" in context or "allow_extra_args" in context),
        )

    def _context(self, module: str, node: ast.expr | None) -> str | None:
        """Source text of how a command reads what is typed; None where it is made elsewhere."""
        if isinstance(node, ast.Name):
            definition = self._definition(module, node.id)
            return None if definition is None else ast.unparse(definition)
        return "" if node is None else ast.unparse(node)

    def _parts(self, module: str, node: ast.expr, depth: int) -> list[Option | Argument] | None:
        """What a decorator adds to a command; None when that is not known."""
        written = call_of(node if isinstance(node, ast.Call) else ast.Call(node, [], []))
        if written is None or depth > _DEPTH:
            return None
        if self._is_click(module, written.name):
            return _of_click(written)
        if written.last in _NOTHING:
            return []
        target = self._codebase.resolve(f"{module}.{written.name}")
        return None if target is None else self._of_own(target, called=isinstance(node, ast.Call), depth=depth)

    def _of_own(self, target: str, *, called: bool, depth: int) -> list[Option | Argument] | None:
        home = self._codebase.names[target].module
        definition = self._definition(home, target.rpartition(".")[2])
        if isinstance(definition, ast.Assign | ast.AnnAssign) and definition.value is not None and not called:
            return self._parts(home, definition.value, depth + 1)
        return self._of_function(home, definition, depth) if isinstance(definition, ast.FunctionDef) else None

    def _definition(self, module: str, name: str) -> ast.stmt | None:
        tree = self._tree(module)
        for node in tree.body if tree is not None else ():
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node
        return None

    def _of_function(self, module: str, node: ast.FunctionDef, depth: int) -> list[Option | Argument] | None:
        """What a decorator adds that puts options on its function: one inside of the other, or in a loop over them."""
        found: list[Option | Argument] = []
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Call) and inner.args:
                parts = self._parts(module, inner.func, depth + 1)
                if parts is None:
                    return None
                found += parts
            elif isinstance(inner, ast.For) and isinstance(inner.target, ast.Name):
                source = inner.iter
                while isinstance(source, ast.Call) and source.args:
                    source = source.args[0]
                elements: list[ast.expr] = []
                if isinstance(source, ast.Name):
                    held = self._definition(module, source.id)
                    value = held.value if isinstance(held, ast.Assign | ast.AnnAssign) else None
                    elements = value.elts if isinstance(value, ast.Tuple | ast.List) else []
                elif isinstance(source, ast.Tuple | ast.List):
                    elements = source.elts
                for element in elements:
                    if (parts := self._parts(module, element, depth + 1)) is None:
                        return None
                    found += parts
        return found or None

    def _joined(self, module: Module) -> None:
        """Commands that a call, or a table of names and places, puts into a group."""
        tree = self._tree(module.path)
        if tree is None:
            return
        groups = [path for path, one in self._found.items() if one.module == module.path and one.group]
        each: dict[str, list[ast.expr]] = {}
        """What a loop's variable stands for in turn."""
        for node in ast.walk(tree):
            if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
                each[node.target.id] = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List) else []
        for node in ast.walk(tree):
            written = call_of(node) if isinstance(node, ast.Call) else None
            if written is not None and written.last == "add_command" and written.arguments:
                first = written.arguments[0]
                for one in each.get(first.id, [first]) if isinstance(first, ast.Name) else [first]:
                    self._added(module.path, written, one)
        for name, place in loaded(tree) if len(groups) == 1 else ():
            target = self._codebase.resolve(place)
            if target in self._found and target not in self._parents:
                self._parents[target], self._names[target] = groups[0], name

    def _added(self, module: str, written: Written, command: ast.expr) -> None:
        owner = self._codebase.resolve(f"{module}.{written.name.rpartition('.')[0]}")
        target = self._codebase.resolve(f"{module}.{ast.unparse(command)}")
        if owner is None or target not in self._found:
            if owner in self._found and target is None:  # a command that is made as it runs
                self._found[owner] = replace(self._found[owner], complete=False)
            return
        self._parents.setdefault(target, owner)
        name = constant(written.arguments[1]) if len(written.arguments) > 1 else written.value("name")
        if isinstance(name, str):
            self._names[target] = name

    def _programs(self) -> dict[str, str]:
        """Programs that the checkout installs, by the path of the command that they run."""
        try:
            data, _ = read_file(f"{self._codebase.root}/pyproject.toml", inside=f"{self._codebase.root}/")
            scripts = tomllib.loads(data.decode()).get("project", {}).get("scripts", {})
            places = {str(place): str(name) for name, place in scripts.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}
        programs: dict[str, str] = {}
        for place, name in places.items():
            target = self._codebase.resolve(place.replace(":", "."))
            if target is None:
                continue
            home = self._module(self._codebase.names[target].module)
            called = [self._codebase.resolve(_owner(c.callee)) for c in home.calls if c.caller == target]
            for path in (target, *called):
                if path in self._found:
                    programs[path] = name
        return programs

    def _words(self, command: Command, programs: dict[str, str]) -> tuple[str, ...]:
        words: list[str] = []
        path: str | None = command.path
        for _ in range(_DEPTH):
            if path is None or path not in self._found:
                break
            words.append(programs.get(path, self._names[path]))
            path = self._parents.get(path)
        return tuple(reversed(words))


def _owner(callee: str) -> str:
    return callee.removesuffix(".main")


def _of_click(written: Written) -> list[Option | Argument] | None:
    if written.last in _NOTHING:
        return []
    texts = [value for one in written.arguments if isinstance(value := constant(one), str)]
    if written.last in _READY:
        name, told = _READY[written.last]
        given = tuple(text for text in texts if text.startswith("-"))
        return [Option(given or (name,), str(written.value("help") or told), flag=written.last != "password_option")]
    if written.last == "argument":
        many = written.value("nargs") == -1
        required = written.value("required")
        optional = required is False or (required is None and (many or "default" in written.options))
        return [Argument(texts[0] if texts else "", not optional, many)]
    if written.last != "option" or len(texts) != len(written.arguments):
        return None  # names that are put together as it runs
    names = tuple(part.strip() for text in texts if text.startswith("-") for part in text.split("/") if part.strip())
    pair = any("/" in text for text in texts)
    variables = written.value("envvar")
    return [
        Option(
            names=names,
            help=_said(written.options.get("help")),
            default=written.text("default"),
            required=written.value("required") is True,
            flag=pair or written.value("is_flag") is True or written.value("count") is True,
            multiple=written.value("multiple") is True,
            kind=written.text("type"),
            hidden=written.value("hidden") is True,
            variables=(variables,) if isinstance(variables, str) else tuple(map(str, variables or ())),
        )
    ]


def _said(node: ast.expr | None) -> str:
    """The words of a help text; of one that is put together from parts, those that are constants."""
    if node is None:
        return ""
    value = constant(node)
    if isinstance(value, str):
        return value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "..." for p in node.values)
    return veiled_source("", None, ast.unparse(node))


def _options(given: Iterable[Given]) -> tuple[Option, ...]:
    return tuple(
        Option(one.names, one.help, one.default, one.required, one.flag, one.multiple, one.kind, one.hidden)
        for one in given
        if one.is_option
    )


def _arguments(given: Iterable[Given]) -> tuple[Argument, ...]:
    return tuple(Argument(one.names[0], one.required, one.multiple, one.help) for one in given if not one.is_option)


def _of_typer(said: Said, file: str) -> Command:
    return Command(
        path=said.path,
        words=(),
        help=said.help,
        module=said.module,
        file=file,
        line=said.line,
        options=_options(said.given),
        arguments=_arguments(said.given),
        group=said.group,
        complete=said.complete,
        open=said.open,
    )


def _of_argparse(module: Module, tree: ast.Module) -> Iterator[Command]:
    for parser in parsers_of(tree, module.path, Path(module.file).stem):
        yield Command(
            path=parser.owner,
            words=parser.words,
            help=parser.help,
            module=module.path,
            file=module.file,
            line=parser.line,
            options=_options(parser.given),
            arguments=_arguments(parser.given),
            group=parser.group,
            complete=parser.complete,
            open=parser.open,
            aliases=parser.aliases,
        )

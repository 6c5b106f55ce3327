"""The command lines that a checkout makes with Typer: options and arguments are the parameters of functions.

Names follow Typer's rules: `--two-words` of the parameter `two_words` with a default, `--no-two-words` beside it where
it is true or false, and an argument of a parameter that has to be given; `typer.Option("--x", "-x")` says others.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from models.code import Codebase, Kind, Module
from tasks.code.arguments import Given
from tasks.code.literals import Written, call_of, constant, parsed

_LIBRARY = "typer"
_MAKES = frozenset({"command", "callback"})
_KNOWN = frozenset({"command", "callback", "add_typer", "pretty_exceptions_enable"})
_GIVEN = frozenset({"Context", "typer.Context", "click.Context", "CallbackParam", "typer.CallbackParam"})
"""Types of parameters that nobody types."""
_TOGGLES = frozenset({"bool", "Optional[bool]", "typing.Optional[bool]", "bool | None", "None | bool"})


@dataclass(slots=True)
class Said:
    """A command: a function, or an application."""

    path: str
    name: str
    """Empty where nobody says it."""
    module: str
    line: int
    help: str = ""
    given: list[Given] = field(default_factory=list)
    complete: bool = True
    open: bool = False
    group: bool = False
    parent: str | None = None


class Applications:
    """The applications of Typer in a code base, and their commands."""

    def __init__(self, codebase: Codebase, tree: Callable[[str], ast.Module | None]) -> None:
        self._codebase = codebase
        self._tree = tree
        self.apps: dict[str, Said] = {}
        self._commands: dict[str, Said] = {}
        self._callbacks: set[str] = set()

    def read(self, modules: list[Module]) -> list[Said]:
        """Every application and command of these modules."""
        for module in modules:
            for node in self._statements(module):
                self._application(module, node)
        for module in modules if self.apps else ():
            for node in self._statements(module):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    self._function(module, node)
                elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                    self._joined(module, node.value)
            self._elsewhere(module)
        return list(self._finished())

    def _statements(self, module: Module) -> Iterator[ast.stmt]:
        """What a module does when it is imported, whatever the branch."""
        tree = self._tree(module.path)
        todo: list[ast.stmt] = list(reversed(tree.body)) if tree is not None else []
        while todo:
            node = todo.pop()
            yield node
            if isinstance(node, ast.If | ast.Try | ast.With):
                todo += reversed([one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)])

    def _application(self, module: Module, node: ast.stmt) -> None:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            return
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        written = call_of(node.value)
        if written is None or not isinstance(target, ast.Name) or not self._is(module, written, "Typer"):
            return
        path = f"{module.path}.{target.id}"
        name, told = written.value("name"), written.value("help")
        self.apps[path] = Said(
            path,
            name if isinstance(name, str) else "",
            module.path,
            node.lineno,
            told if isinstance(told, str) else "",
            complete=not {"cls", "callback", "context_settings"} & written.options.keys(),
            group=True,
        )

    def _is(self, module: Module, written: Written, name: str) -> bool:
        """Whether a call is of `typer.<name>`, by whatever name the module knows it."""
        head, _, rest = written.name.partition(".")
        target = next((one.target for one in module.imports if one.name == head), "")
        return f"{target}.{rest}".removesuffix(".") in {f"{_LIBRARY}.{name}", f"{_LIBRARY}.main.{name}"}

    def _app(self, module: Module, name: str) -> Said | None:
        found = self._codebase.resolve(f"{module.path}.{name}") if name else None
        return self.apps.get(found) if found is not None else None

    def _function(self, module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
            written = call_of(call)
            if written is None or written.last not in _MAKES:
                continue
            app = self._app(module, written.name.rpartition(".")[0])
            if app is not None:
                self._made(module, node, app, written, alone=len(node.decorator_list) == 1)

    def _made(
        self,
        module: Module,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        app: Said,
        written: Written,
        *,
        alone: bool,
    ) -> None:
        """A function becomes a command of an application, or what is done before any of them."""
        said = written.value("name") or (constant(written.arguments[0]) if written.arguments else None)
        told = written.value("help") or ast.get_docstring(node) or ""
        context = written.text("context_settings") or ""
        one = Said(
            f"{module.path}.{node.name}",
            said if isinstance(said, str) else node.name.lower().replace("_", "-"),
            module.path,
            node.lineno,
            str(told).strip(),
            complete=alone and "cls" not in written.options and (not context or context.startswith("{")),
            open="ignore_unknown_options" in context or "allow_extra_args" in context,
            parent=app.path,
        )
        for parameter, default in _parameters(node):
            self._parameter(module, one, parameter, default)
        if node.args.vararg is not None or node.args.kwarg is not None:
            one.complete = False
        if written.last == "callback":
            app.given += one.given
            app.help = app.help or one.help
            app.complete = app.complete and one.complete
            app.open = app.open or one.open
            self._callbacks.add(app.path)
        elif one.path in self._commands:
            app.complete = False  # one function under two names
        else:
            self._commands[one.path] = one

    def _parameter(self, module: Module, one: Said, node: ast.arg, default: ast.expr | None) -> None:
        annotation = self._meant(module, node.annotation)
        inner, told = annotation, None
        if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Annotated"):
            parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
            inner = parts[0]
            told = next((found for part in parts[1:] if (found := self._says(module, part)) is not None), None)
            if told is None and any(not isinstance(part, ast.Constant) for part in parts[1:]):
                one.complete = False  # said by something that is not known here
        kind = ast.unparse(inner) if inner is not None else "str"
        if kind in _GIVEN:
            return
        first = told is None
        if told is None and default is not None:
            told = self._says(module, default)
            if told is None and isinstance(self._followed(module, default) or default, ast.Call | ast.Name):
                one.complete = False  # it may be an option that is made elsewhere
        value = default
        names: list[ast.expr] = []
        if told is not None:
            names = list(told.arguments)
            if first:  # the default stands before the names
                value = names[0] if names else told.options.get("default")
                names = names[1:]
        one.given.append(_typed(node.arg, kind, told, value, names))
        if any(not isinstance(constant(name), str) for name in names):
            one.complete = False

    def _meant(self, module: Module, node: ast.expr | None) -> ast.expr | None:
        """What an annotation stands for: a string is read, and a name of the code base's own is followed."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = parsed(node.value)
        return self._followed(module, node) or node

    def _followed(self, module: Module, node: ast.expr | None) -> ast.expr | None:
        """The value of the attribute that a name stands for; None where it stands for none of ours."""
        if not isinstance(node, ast.Name | ast.Attribute):
            return None
        path = self._codebase.resolve(f"{module.path}.{ast.unparse(node)}")
        known = self._codebase.names.get(path) if path is not None else None
        if path is None or known is None or known.kind is not Kind.attribute:
            return None
        tree = self._tree(known.module)
        for statement in tree.body if tree is not None else ():
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
            if any(isinstance(one, ast.Name) and f"{known.module}.{one.id}" == path for one in targets):
                return statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        return None

    def _says(self, module: Module, node: ast.expr) -> Written | None:
        """The call of `typer.Option` or `typer.Argument` that this is, or stands for."""
        written = call_of(self._followed(module, node) or node)
        if written is None or written.last not in {"Option", "Argument"}:
            return None
        own = self._is(module, written, written.last) or isinstance(node, ast.Name | ast.Attribute)
        return written if own else None

    def _joined(self, module: Module, call: ast.Call) -> None:
        written = call_of(call)
        if written is None:
            self._applied(module, call)
            return
        above = self._app(module, written.name.rpartition(".")[0])
        if above is None or written.last != "add_typer":
            return
        first = written.arguments[0] if written.arguments else written.options.get("typer_instance")
        app = self._app(module, ast.unparse(first)) if isinstance(first, ast.Name | ast.Attribute) else None
        name = written.value("name")
        if app is None or app.parent is not None or {"cls", "callback"} & written.options.keys():
            above.complete = False
            return
        app.parent = above.path
        app.name = name if isinstance(name, str) else app.name
        told = written.value("help")
        app.help = told if isinstance(told, str) else app.help

    def _applied(self, module: Module, call: ast.Call) -> None:
        """`app.command("x")(function)`."""
        written = call_of(call.func)
        app = self._app(module, written.name.rpartition(".")[0]) if written is not None else None
        if app is None or written is None or written.last not in _MAKES:
            return
        first = call.args[0] if len(call.args) == 1 else None
        path = self._codebase.resolve(f"{module.path}.{ast.unparse(first)}") if isinstance(first, ast.Name) else None
        known = self._codebase.names.get(path) if path is not None else None
        tree = self._tree(known.module) if known is not None else None
        for node in tree.body if known is not None and tree is not None else ():
            function = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None
            if known is not None and function is not None and path == f"{known.module}.{function.name}":
                alone = not function.decorator_list
                self._made(self._codebase.module(known.module), function, app, written, alone=alone)
                return
        app.complete = False

    def _elsewhere(self, module: Module) -> None:
        """Applications that a module hands on, or adds to within a function: these may have other commands."""
        tree = self._tree(module.path)
        top = {id(one) for node in self._statements(module) for one in _own(node)}
        for node in ast.walk(tree) if tree is not None else ():
            if not isinstance(node, ast.Call):
                continue
            written = call_of(node)
            for given in (*node.args, *(one.value for one in node.keywords)):
                if isinstance(given, ast.Name | ast.Attribute) and (written is None or written.last != "add_typer"):
                    app = self._app(module, ast.unparse(given))
                    if app is not None:
                        app.complete = False
            if written is not None and written.last in _KNOWN and id(node) not in top:
                app = self._app(module, written.name.rpartition(".")[0])
                if app is not None:
                    app.complete = False

    def _finished(self) -> Iterator[Said]:
        below: dict[str, list[Said]] = {}
        for one in (*self._commands.values(), *self.apps.values()):
            if one.parent is not None:
                below.setdefault(one.parent, []).append(one)
        gone: set[str] = set()
        for app in self.apps.values():
            inner = below.get(app.path, [])
            if app.parent is not None and not app.name:  # its commands are those of the one above
                self.apps[app.parent].complete = False
                app.complete = False
            alone = app.parent is None and app.path not in self._callbacks and len(inner) == 1
            if alone and app.complete and not inner[0].group:  # the only command is the application itself
                only = inner[0]
                app.given, app.help, app.complete, app.open = only.given, only.help, only.complete, only.open
                app.group = False
                gone.add(only.path)
        for one in (*self.apps.values(), *self._commands.values()):
            if one.path not in gone:
                one.name = one.name or one.path.rpartition(".")[2]
                yield one


def _own(node: ast.stmt) -> Iterator[ast.AST]:
    """What a statement does itself: its decorators, or the call that it is."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from node.decorator_list
    elif isinstance(node, ast.Expr):
        yield from ast.walk(node)


def _parameters(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    places = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(places) - len(node.args.defaults))
    for one, default in zip(places, [*defaults, *node.args.defaults], strict=True):
        yield one, default
    for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        yield one, default


def _typed(name: str, kind: str, told: Written | None, value: ast.expr | None, names: list[ast.expr]) -> Given:
    required = value is None or (isinstance(value, ast.Constant) and value.value is ...)
    many = kind.startswith(("list", "List", "typing.List", "Optional[list", "Optional[List", "tuple", "set"))
    default = None if required or value is None else ast.unparse(value)
    hint = told.value("help") if told is not None else None
    said = hint if isinstance(hint, str) else ""
    if (told.last if told is not None else "Argument" if required else "Option") == "Argument":
        return Given((name,), said, default, required, multiple=many, kind=kind)
    spelt = [text for one in names if isinstance(text := constant(one), str) and text.strip().startswith("-")]
    toggle = kind in _TOGGLES
    long = f"--{name.replace('_', '-')}"
    ready = tuple(part.strip() for text in spelt for part in text.replace(";", "/").split("/") if part.strip())
    if not ready:
        ready = (long, f"--no-{long[2:]}") if toggle else (long,)
    counted = told is not None and (told.value("count") is True or told.value("is_flag") is True)
    hidden = told is not None and told.value("hidden") is True
    return Given(ready, said, default, required, toggle or counted, many, kind, hidden)

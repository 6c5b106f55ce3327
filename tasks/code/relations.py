"""What follows for a module from others: flows and tasks by decorators, settings and tables by bases.

Each module says what it knows alone (`tasks.code.related`), and is kept with that; what follows from all of them
together is worked out anew when any of them has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DECORATORS = {
    "prefect.flow": "flow",
    "prefect.flows.flow": "flow",
    "prefect.task": "task",
    "prefect.tasks.task": "task",
    "click.command": "command",
    "click.group": "group",
    "click.decorators.command": "command",
    "click.decorators.group": "group",
}
BASES = {
    "pydantic.BaseModel": "model",
    "pydantic.main.BaseModel": "model",
    "pydantic_settings.BaseSettings": "settings",
    "pydantic_settings.main.BaseSettings": "settings",
    "pydantic.BaseSettings": "settings",
    "pydantic.env_settings.BaseSettings": "settings",
    "sqlmodel.SQLModel": "sqlmodel",
    "sqlmodel.main.SQLModel": "sqlmodel",
    "sqlalchemy.orm.DeclarativeBase": "declarative",
    "sqlalchemy.orm.DeclarativeBaseNoMeta": "declarative",
    "sqlalchemy.orm.declarative_base": "declarative",
    "sqlalchemy.ext.declarative.declarative_base": "declarative",
    "enum.Enum": "enum",
    "enum.IntEnum": "enum",
    "enum.StrEnum": "enum",
    "enum.Flag": "enum",
    "enum.IntFlag": "enum",
    "Exception": "exception",
    "BaseException": "exception",
    "typing.Protocol": "protocol",
    "typing_extensions.Protocol": "protocol",
    "typing.TypedDict": "typeddict",
    "typing_extensions.TypedDict": "typeddict",
    "prefect.blocks.core.Block": "block",
}
_NOTHING_OF_THEIRS = frozenset({"object", "typing.Generic", "typing.Protocol", "abc.ABC"})
_DEPTH = 30


class Relations:
    """The relations of all modules of a code base, and what follows from them."""

    def __init__(self, modules: Mapping[str, Mapping[str, Any]]) -> None:
        self._modules = modules
        self._classes: dict[str, Any] = {}
        self._makers: dict[str, str] = {}
        for module, relations in modules.items():
            for name, row in relations.get("c", {}).items():
                self._classes[f"{module}.{name}"] = row
            for name, root in relations.get("m", {}).items():
                self._makers[f"{module}.{name}"] = root

    def labels(self) -> dict[str, list[str]]:
        """Labels that follow from decorators and bases, by path."""
        found: dict[str, list[str]] = {}
        for module, relations in self._modules.items():
            for name, decorators in relations.get("d", {}).items():
                if marks := {label for path in decorators if (label := self._decorator(path))}:
                    found[f"{module}.{name}"] = sorted(marks)
        for path, marks in self._of_classes().items():
            _, told, names = self._classes[path]
            if ("sqlmodel" in marks and told) or ("declarative" in marks and names):
                marks.add("table")
            if "sqlmodel" in marks:
                marks.add("model")
            if "settings" in marks:
                marks.discard("model")
            found[path] = sorted(marks)
        return found

    def _of_classes(self) -> dict[str, set[str]]:
        """The labels of classes: from those whose bases give one down to all that inherit from them, each once."""
        below: dict[str, list[str]] = {}
        marks: dict[str, set[str]] = {}
        todo: list[tuple[str, str]] = []
        for path, (bases, _, _) in self._classes.items():
            for base in bases:
                target = base if base in BASES else self.followed(base)
                label = BASES.get(target) or BASES.get(self._makers.get(target, ""))
                if label is None and target.endswith(".BaseSettings"):
                    label = "settings"
                if label is None:
                    below.setdefault(target, []).append(path)
                else:
                    todo.append((path, label))
        while todo:
            path, label = todo.pop()
            own = marks.setdefault(path, set())
            if label not in own:
                own.add(label)
                todo.extend((inner, label) for inner in below.get(path, ()))
        return marks

    def _decorator(self, path: str) -> str | None:
        for _ in range(_DEPTH):
            path = self.followed(path)
            if path in DECORATORS:
                return DECORATORS[path]
            if path not in self._makers:
                return None
            path = self._makers[path]
        return None

    def followed(self, path: str) -> str:
        """Where `path` leads through what modules import from each other; itself where that is not known."""
        for _ in range(_DEPTH):
            module, name, rest = self.split(path)
            if module is None:
                return path
            relations = self._modules[module]
            target = relations.get("i", {}).get(name)
            if target is None:
                return path
            following = f"{target}.{rest}" if rest else target
            if following == path:
                return path
            path = following
        return path

    def split(self, path: str) -> tuple[str | None, str, str]:
        """The longest module that `path` begins with, the name in it, and what is behind that."""
        module = path
        while module:
            module, _, _ = module.rpartition(".")
            if module in self._modules:
                name, _, rest = path[len(module) + 1 :].partition(".")
                return module, name, rest
        return None, "", ""

    def bases(self, path: str) -> Sequence[str]:
        """The bases of the class at `path`, but for `object` and what only types are told by."""
        row = self._classes.get(path)
        return [] if row is None else [one for one in row[0] if one not in _NOTHING_OF_THEIRS]

    def stars(self, module: str) -> Iterable[str]:
        """The modules that `module` takes everything from."""
        return self._modules[module].get("s", ())  # type: ignore[no-any-return]

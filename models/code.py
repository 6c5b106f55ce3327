"""What the source of a checkout says, from its syntax alone: modules, what they define, import and call.

Plain frozen dataclasses with slots and not pydantic models: a large package has a hundred thousand of them, they are
made from our own parse, and `orjson` writes them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a name stands for."""

    module = "module"
    class_ = "class"
    function = "function"
    attribute = "attribute"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function, as its signature has it."""

    name: str
    kind: str
    """`positional-only`, `positional or keyword`, `variadic positional`, `keyword-only` or `variadic keyword`."""
    annotation: str | None = None
    default: str | None = None
    """Source text of its default; None: it has to be given."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """Something that a module defines: a class, a function or method, an attribute."""

    path: str
    """Dotted, from the top-level package on."""
    kind: Kind
    line: int
    end_line: int
    public: bool
    docstring: str | None = None
    """Without its indentation."""
    parameters: tuple[Parameter, ...] = ()
    returns: str | None = None
    bases: tuple[str, ...] = ()
    """Of a class: dotted paths where the module says where they come from, source text otherwise."""
    decorators: tuple[str, ...] = ()
    """Dotted paths of what decorates it, without arguments."""
    annotation: str | None = None
    value: str | None = None
    """Of an attribute: source text, at most 1,000 characters."""
    labels: tuple[str, ...] = ()
    """`async`, `property`, `classmethod`, `staticmethod`, `abstractmethod`, `dataclass`, `flow`, `task`, `settings`,
    `table` and so on, sorted."""
    interface: str = ""
    """Hash of what a user of it sees: kind, parameters, returns, bases, annotation, default value. A change of its body
    or docstring leaves it as it was."""
    source: str = ""
    """Hash of its source text."""
    decorator_arguments: tuple[tuple[tuple[str, str], ...], ...] = ()
    """For each of `decorators`, what it is called with: (name, source text), the name empty for positional ones."""
    keywords: tuple[tuple[str, str], ...] = ()
    """Of a class: keyword arguments of its head, such as `table=True`; of a function that makes a decorator of another
    one: what it hands on to that. (name, source text)."""


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module takes from elsewhere."""

    name: str
    """As it is known in the module."""
    target: str
    """Dotted and absolute: a module, or a member of one."""
    line: int
    lazy: bool = False
    """Inside of a function: only when that runs."""
    typing: bool = False
    """Under `TYPE_CHECKING`: never at run time."""

    @property
    def meaning(self) -> str:
        """What the name stands for: the package `a` where it says `import a.b`, the target otherwise."""
        top, _, rest = self.target.partition(".")
        return top if rest and self.name == top and rest != top else self.target


@dataclass(frozen=True, slots=True)
class Call:
    """A call of which the syntax alone says for sure what is called."""

    caller: str
    """Dotted path of the function or method, or of the module for calls at its top."""
    callee: str
    """Dotted path; it may lie outside of what was read."""
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """One source file."""

    path: str
    """Dotted."""
    file: str
    """Relative to the root of the checkout, with slashes."""
    content: str
    """Hash of the file's bytes."""
    public: bool
    docstring: str | None = None
    symbols: tuple[Symbol, ...] = ()
    """In the order of the source; members of a class right behind it."""
    imports: tuple[Import, ...] = ()
    calls: tuple[Call, ...] = ()
    exports: tuple[str, ...] | None = None
    """`__all__`, where it is a plain list."""
    handed: tuple[Call, ...] = ()
    """What is given by its name to something that is called, such as `run(job)`; told as a call is, and as sure."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the index of a code base knows of one name."""

    module: str
    """Dotted path of the module that defines it."""
    kind: Kind
    public: bool
    interface: str
    source: str
    summary: str
    """First line of its docstring; empty without one."""
    line: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A file or folder that could not be read, and why."""

    place: str
    """Relative to the checkout."""
    reason: str


@dataclass(frozen=True, slots=True)
class Codebase:
    """Everything that was read of one checkout.

    Modules are decoded when they are asked for: of a large code base a build after a small change needs only a few.
    """

    root: str
    packages: tuple[str, ...]
    """Top-level packages and modules."""
    files: Mapping[str, str]
    """Dotted path of each module to the hash of its file's bytes."""
    names: Mapping[str, Named]
    """Dotted path of everything that is defined, modules included."""
    module: Callable[[str], Module]
    """The module at a dotted path. Raises KeyError."""
    unread: tuple[Unread, ...] = ()
    changed: frozenset[str] = field(default=frozenset())
    """Modules that differ from the last read with the same cache, or are new."""
    gone: frozenset[str] = field(default=frozenset())
    """Modules of the last read that are no more."""
    resolve: Callable[[str], str | None] = field(default=lambda path: None)
    """The definition that a dotted path leads to, through what modules import from each other: a key of `names`.

    None: outside of what was read, or not sure."""
    derived: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Labels that follow from other modules, such as those of a class whose base has them, by dotted path."""
    words: Callable[[], frozenset[str]] = field(default=frozenset)
    """Words in string literals and names of functions, of all modules: commands, event names, keys."""

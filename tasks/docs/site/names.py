"""Where names lead: to a page of this site, through what modules take from elsewhere, or to another project's pages.

Whatever is asked is remembered with its answer: a page is looked at again when an answer would be another one today.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from urllib.parse import quote

from models.code import Codebase, Kind, Module

_NAME = re.compile(r"\.?[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_DEEPEST = 12
_LONGEST = 300
_MOST_ENDS = 50
_BUILT_IN = frozenset({*dir(builtins), *keyword.kwlist, "self", "cls", "Any", "Optional", "Union", "Callable"})
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@dataclass(frozen=True, slots=True)
class Link:
    """Where a name leads to."""

    page: str
    """The module whose page it is on; empty: it is outside of this site."""
    anchor: str
    """On that page; outside: the full address."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a module takes from elsewhere, by the name that it has there."""

    names: Mapping[str, str]
    handed_on: Mapping[str, str]
    """Those of them that it offers to others: named in `__all__`, or public names of a package without one."""


def file_name(module: str) -> str:
    """The name of a module's file, without its suffix: other characters than plain ones become `~` and their code."""
    return "".join(letter if letter in _SAFE else f"~{ord(letter):x}" for letter in module).lstrip(".") or "~"


def fragment(anchor: str) -> str:
    """`anchor` as the part of an address behind `#`."""
    return quote(anchor, safe="._-")


class Names:
    """The names of a code base, as pages ask for them. Not safe for several threads: it notes who has asked what."""

    def __init__(
        self,
        codebase: Codebase,
        *,
        private: bool = False,
        outside: Mapping[str, str] | None = None,
        taken: Callable[[str], Taken | None] = lambda _: None,
    ) -> None:
        """Over `codebase`.

        Args:
            codebase: what was read.
            private: whether names that are not public have a place.
            outside: full addresses of names of other projects.
            taken: what is known already of what a module takes from elsewhere; None: its source has to be asked.
        """
        self.codebase = codebase
        self._private = private
        self._outside = outside or {}
        self._known = taken
        self._taken: dict[str, Taken] = {}
        self._found: dict[str, Link | None] = {}
        self._found_in: dict[tuple[str, str], Link | None] = {}
        self._asked: set[str] = set()

    def start(self) -> None:
        """Forget what was asked so far: another page begins."""
        self._asked = set()

    def questions(self) -> list[str]:
        """What was asked since `start`, sorted."""
        return sorted(self._asked)

    def answers(self, questions: list[str]) -> str:
        """A hash of what `questions` are answered with today."""
        digest = blake2b(digest_size=16)
        for question in questions:
            digest.update(self._answer(question).encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
        return digest.hexdigest()

    def _answer(self, question: str) -> str:
        kind, _, text = question.partition(":")
        if kind == "children":
            return repr(self._children_of(text))
        if kind == "source":
            return self.codebase.files.get(text, "")
        if kind == "told":
            return str(self._is_told(text))
        if kind == "in":
            scope, _, text = text.partition(" ")
            link = self._within(text, scope)
        else:
            link = self._lead(text)
        return f"{link.page}#{link.anchor}" if link else ""

    def find(self, path: str) -> Link | None:
        """Where the dotted `path` leads to."""
        self._asked.add(f"name:{path}")
        return self._lead(path)

    def find_in(self, text: str, scope: str) -> Link | None:
        """Where `text` leads to when it is written at `scope`: a member, a neighbour, a full path, or an end of one.

        An end begins with a dot, as Sphinx has it, and leads to the one name that ends so.
        """
        if len(text) > _LONGEST or _NAME.fullmatch(text) is None:
            return None
        if text in _BUILT_IN and text not in self._outside:
            return None
        self._asked.add(f"in:{scope} {text}")
        return self._within(text, scope)

    def module(self, path: str) -> Module:
        """The module at `path`, on whose source the page then depends."""
        self._asked.add(f"source:{path}")
        return self.codebase.module(path)

    def children(self, module: str) -> list[tuple[str, str]]:
        """Path and summary of the modules right below `module` that have a page."""
        self._asked.add(f"children:{module}")
        return self._children_of(module)

    def has_docstring(self, path: str) -> bool:
        """Whether there is something at `path`, and it has a docstring."""
        self._asked.add(f"told:{path}")
        return self._is_told(path)

    def _is_told(self, path: str) -> bool:
        named = self.codebase.names.get(path)
        return named is not None and bool(named.summary)

    def has_page(self, module: str) -> bool:
        """Whether `module` has a page of its own."""
        named = self.codebase.names.get(module)
        return module in self.codebase.files and (self._private or named is None or named.public)

    def shows(self, path: str) -> bool:
        """Whether what is defined at `path` has a place on the page of its own module."""
        named = self.codebase.names.get(path)
        if named is None or not self.has_page(named.module):
            return False
        if self._private:
            return True
        while path != named.module:
            inner = self.codebase.names.get(path)
            if inner is None or not inner.public:
                return False
            path = path.rpartition(".")[0]
        return True

    def taken(self, module: str) -> Taken:
        """What `module` takes from elsewhere."""
        found = self._taken.get(module)
        if found is None:
            found = self._known(module) or taken_by(self.codebase.module(module))
            self._taken[module] = found
        return found

    def handed_on(self, module: str) -> dict[str, str]:
        """What `module` offers of modules that have no page, by its name there: it has its place here."""
        found = {}
        for name, target in self.taken(module).handed_on.items():
            named = self.codebase.names.get(target)
            if named is not None and named.kind is not Kind.module and not self.has_page(named.module):
                found[name] = target
        return found

    def _lead(self, path: str) -> Link | None:
        if path not in self._found:
            self._found[path] = None  # what leads to itself leads nowhere
            self._found[path] = self._look(path, 0)
        return self._found[path]

    def _look(self, path: str, depth: int) -> Link | None:
        named = self.codebase.names.get(path)
        if named is not None:
            if self.shows(path):
                return Link(named.module, "" if named.kind is Kind.module else path)
            return self._shown_elsewhere(path)
        module = self._module_of(path)
        if module is not None and depth < _DEEPEST:
            first, dot, rest = path[len(module) + 1 :].partition(".")
            target = self.taken(module).names.get(first)
            if target is not None and target != f"{module}.{first}":
                return self._look(target + dot + rest, depth + 1)
        address = self._outside.get(path)
        return Link("", address) if address is not None else None

    def _shown_elsewhere(self, path: str) -> Link | None:
        """Where a member of a private module has its place: in a package above, which hands it on."""
        module = self.codebase.names[path].module
        above = module
        while "." in above:
            above = above.rpartition(".")[0]
            if above not in self.codebase.files or not self.has_page(above):
                continue
            rest = path[len(module) + 1 :]
            first, dot, further = rest.partition(".")
            for name, target in self.taken(above).handed_on.items():
                if target == f"{module}.{first}" and self._all_public(path, module):
                    return Link(above, f"{above}.{name}{dot}{further}")
        return None

    def _all_public(self, path: str, module: str) -> bool:
        """Whether no part of `path` below `module` begins with an underscore, but for what Python itself calls so."""
        return not any(is_private(part) for part in path[len(module) + 1 :].split(".")[1:])

    def _within(self, text: str, scope: str) -> Link | None:
        key = (scope, text)
        if key not in self._found_in:
            self._found_in[key] = self._seek(text, scope)
        return self._found_in[key]

    def _seek(self, text: str, scope: str) -> Link | None:
        if text.startswith("."):
            text = text[1:]
        place = scope
        for _ in range(_DEEPEST):
            if link := self._lead(f"{place}.{text}"):
                return link
            if place in self.codebase.files or "." not in place:
                break
            place = place.rpartition(".")[0]
        return self._lead(text) or (self._by_end(text) if "." in text or text[:1].isupper() else None)

    def _module_of(self, path: str) -> str | None:
        """The innermost module that `path` begins with, other than itself."""
        while "." in path:
            path = path.rpartition(".")[0]
            if path in self.codebase.files:
                return path
        return None

    def _children_of(self, module: str) -> list[tuple[str, str]]:
        return [(path, self.codebase.names[path].summary) for path in self._below.get(module, ())]

    @cached_property
    def _below(self) -> Mapping[str, list[str]]:
        below: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.codebase.files):
            if "." in path and path in self.codebase.names and self.has_page(path):
                below[path.rpartition(".")[0]].append(path)
        return below

    def _by_end(self, path: str) -> Link | None:
        wholes = self._ends.get(path.rpartition(".")[2], ())
        if len(wholes) > _MOST_ENDS:
            return None  # such as `get`: said everywhere, and of no one thing
        candidates = {self._lead(whole) for whole in wholes if whole == path or whole.endswith(f".{path}")}
        candidates.discard(None)
        return candidates.pop() if len(candidates) == 1 else None

    @cached_property
    def _ends(self) -> Mapping[str, list[str]]:
        ends: dict[str, list[str]] = defaultdict(list)
        for path in self.codebase.names:
            ends[path.rpartition(".")[2]].append(path)
        return ends


def is_private(name: str) -> bool:
    """Whether `name` says of itself that it is not for others."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def taken_by(module: Module) -> Taken:
    """What `module` takes from elsewhere when it is imported, and what of it it offers."""
    names = {taken.name: taken.target for taken in module.imports if not taken.lazy}
    if module.exports is not None:
        offered = {name: names[name] for name in module.exports if name in names}
    elif module.file.endswith(("/__init__.py", "/__init__.pyi")):
        offered = {name: target for name, target in names.items() if not is_private(name)}
    else:
        offered = {}
    return Taken(names, offered)

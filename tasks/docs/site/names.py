"""Where names lead: to a page of this site, through what modules take from elsewhere, or to another project's pages.

Whatever is asked is remembered with its answer: a page is looked at again when an answer would be another one today.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from urllib.parse import quote

from models.code import Codebase, Kind, Module

_NAME = re.compile(r"\.?[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PLAIN = re.compile(r"[A-Za-z0-9._-]*")
_DEEPEST = 12
_LONGEST = 300
_MOST_ENDS = 50
_LONGEST_FILE = 200
_BUILT_IN = frozenset({*dir(builtins), *keyword.kwlist, "self", "cls", "Any", "Optional", "Union", "Callable"})
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@dataclass(frozen=True, slots=True)
class Link:
    """Where a name leads to."""

    page: str
    """The module whose page it is on; empty: it is outside of this site."""
    anchor: str
    """On that page; outside: the full address."""


def file_name(module: str) -> str:
    """The name of a module's file, without its suffix: other characters than plain ones become `~` and their code.

    Names longer than file systems take are cut, and end in a hash.
    """
    made = "".join(letter if letter in _SAFE else f"~{ord(letter):x}" for letter in module).lstrip(".") or "~"
    if len(made) <= _LONGEST_FILE:
        return made
    mark = blake2b(module.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{made[: _LONGEST_FILE - 20]}~{mark}"


def fragment(anchor: str) -> str:
    """`anchor` as the part of an address behind `#`."""
    return anchor if _PLAIN.fullmatch(anchor) else quote(anchor, safe="._-")


class Names:
    """The names of a code base, as pages ask for them. Not safe for several threads: it notes who has asked what."""

    def __init__(
        self,
        codebase: Codebase,
        *,
        private: bool = False,
        outside: Mapping[str, str] | None = None,
        offered: Callable[[str], Sequence[str] | None] = lambda _: None,
    ) -> None:
        """Over `codebase`.

        Args:
            codebase: what was read.
            private: whether names that are not public have a place.
            outside: full addresses of names of other projects.
            offered: what is known already of what a module offers of others; None: its source has to be asked.
        """
        self.codebase = codebase
        self._private = private
        self._outside = outside or {}
        self._known = offered
        self._taken: dict[str, Mapping[str, str]] = {}
        self._of_private: dict[str, Mapping[str, str]] = {}
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
        if kind == "door":
            return self._door_of(text)
        if kind == "told":
            return str(self._is_told(text))
        if kind == "labels":
            return repr(self._derived.get(text, ""))
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

    def labels(self, module: str) -> None:
        """Note that what `module` defines is shown with its labels, of which some follow from other modules."""
        self._asked.add(f"labels:{module}")

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
        if module not in self.codebase.files:
            return False
        return self._private or _is_public(module)

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

    def handed_on(self, module: str) -> Mapping[str, str]:
        """What `module` offers of modules that have no page: definitions, and their names here, where they are."""
        return {} if self._private else self.of_private(module)

    def of_private(self, module: str) -> Mapping[str, str]:
        """What `module` offers of private modules: definitions, and their names here."""
        found = self._of_private.get(module)
        if found is None:
            offered = self._known(module)
            if offered is None:
                offered = offered_by(self.codebase.module(module))
            made: dict[str, str] = {}
            for name in offered:
                target = self.codebase.resolve(f"{module}.{name}")
                if target is None or target in made:
                    continue
                named = self.codebase.names[target]
                if named.kind is not Kind.module and not _is_public(named.module):
                    made[target] = name
            found = self._of_private[module] = made
        return found

    def door(self, target: str) -> str:
        """The nearest package above that hands on what is defined at `target` in a private module; empty: none does."""
        self._asked.add(f"door:{target}")
        return self._door_of(target)

    def _door_of(self, target: str) -> str:
        named = self.codebase.names.get(target)
        above = named.module if named is not None else ""
        while "." in above:
            above = above.rpartition(".")[0]
            if above in self.codebase.files and _is_public(above) and target in self.of_private(above):
                return above
        return ""

    def _lead(self, path: str) -> Link | None:
        if path not in self._found:
            self._found[path] = None  # what leads to itself leads nowhere
            self._found[path] = self._look(path)
        return self._found[path]

    def _look(self, path: str) -> Link | None:
        home = path if path in self.codebase.names else self.codebase.resolve(path)
        if home is None:
            address = self._outside.get(path)
            return Link("", address) if address is not None else None
        if self.shows(home):
            named = self.codebase.names[home]
            return Link(named.module, "" if named.kind is Kind.module else home)
        return self._shown_elsewhere(home)

    def _shown_elsewhere(self, path: str) -> Link | None:
        """Where a member of a private module has its place: in a package above, which hands it on."""
        module = self.codebase.names[path].module
        if self.has_page(module):
            return None
        first, dot, further = path[len(module) + 1 :].partition(".")
        above = self._door_of(f"{module}.{first}")
        if not above or not self._all_public(path, module):
            return None
        return Link(above, f"{above}.{self.of_private(above)[f'{module}.{first}']}{dot}{further}")

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
        if link := self._lead(text) or self._outside_of(text, scope):
            return link
        return self._by_end(text) if "." in text or text[:1].isupper() else None

    def _outside_of(self, text: str, scope: str) -> Link | None:
        """Where `text` leads to in another project, by what the module of `scope` takes from there."""
        if not self._outside:
            return None
        module = scope
        while module and module not in self.codebase.files:
            module = module.rpartition(".")[0]
        if not module:
            return None
        taken = self._taken.get(module)
        if taken is None:
            imports = self.codebase.module(module).imports
            taken = self._taken[module] = {one.name: one.target for one in imports}
        first, dot, rest = text.partition(".")
        address = self._outside.get(f"{taken[first]}{dot}{rest}") if first in taken else None
        return Link("", address) if address is not None else None

    def _children_of(self, module: str) -> list[tuple[str, str]]:
        return [(path, self.codebase.names[path].summary) for path in self._below.get(module, ())]

    @cached_property
    def _derived(self) -> Mapping[str, list[tuple[str, Sequence[str]]]]:
        """Labels that follow from other modules, by module."""
        derived: dict[str, list[tuple[str, Sequence[str]]]] = defaultdict(list)
        for path, labels in sorted(self.codebase.derived.items()):
            module = path
            while module and module not in self.codebase.files:
                module = module.rpartition(".")[0]
            derived[module].append((path, labels))
        return derived

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


def _is_public(module: str) -> bool:
    return not any(is_private(part) for part in module.split("."))


def is_private(name: str) -> bool:
    """Whether `name` says of itself that it is not for others."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def offered_by(module: Module) -> list[str]:
    """What `module` takes from elsewhere and offers to others: what `__all__` names; of a package without one, all
    that is public.
    """
    defined = {symbol.path for symbol in module.symbols}
    if module.exports is not None:
        return [name for name in module.exports if f"{module.path}.{name}" not in defined]
    if not module.file.endswith(("/__init__.py", "/__init__.pyi")):
        return []
    return [one.name for one in module.imports if not (one.lazy or one.name == "*" or is_private(one.name))]

"""The index of a code base: every name that is defined, and where a dotted path leads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from models.code import Named
from tasks.code.relations import Relations
from tasks.code.rows import named_of

_AT_ONCE = 64
_DEPTH = 30
_MOST = 500
"""Paths that one question may lead over."""


class Names(Mapping[str, Named]):
    """What is defined, by dotted path. Which names there are is known at once, the rest when it is asked for."""

    def __init__(self, quals: Mapping[str, str], entries: Callable[[Sequence[str]], Mapping[str, bytes]]) -> None:
        """`quals`: of each module the names in it, one a line; `entries`: their entries in the index, by module."""
        self._module_of: dict[str, str] = {}
        self._modules = list(quals)
        self._place = {module: place for place, module in enumerate(self._modules)}
        for module, joined in quals.items():
            if joined:
                self._module_of.update(dict.fromkeys([f"{module}.{qual}" for qual in joined.split("\n")], module))
        for module in quals:  # a module goes before a name in its package that is spelled the same
            self._module_of[module] = module
        self._entries = entries
        self._read: dict[str, dict[str, Named]] = {}

    def __getitem__(self, path: str) -> Named:
        module = self._module_of[path]
        if module not in self._read:
            place = self._place[module]
            ahead = [one for one in self._modules[place : place + _AT_ONCE] if one not in self._read]
            for one, data in self._entries(ahead).items():
                self._read[one] = dict(named_of(one, row) for row in orjson.loads(data)[0])
        return self._read[module][path]

    def __contains__(self, path: object) -> bool:
        return path in self._module_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_of)

    def __len__(self) -> int:
        return len(self._module_of)


class Resolver:
    """Follows dotted paths through imports, stars and bases to what is defined."""

    def __init__(self, names: Mapping[str, Named], relations: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self._names = names
        self._load = relations
        self._relations: Relations | None = None
        self._known: dict[str, str | None] = {}

    def __call__(self, path: str) -> str | None:
        """The key of `names` that `path` leads to; None when it leads elsewhere, or not for sure."""
        if path not in self._known:
            if self._relations is None and path not in self._names:
                self._relations = Relations(self._load())
            # What is remembered between questions are answers to whole questions: inside of one, a path that leads
            # back to itself counts as unknown, and where that happens depends on where the question began.
            self._known[path] = self._resolved(path, 0, {})
        return self._known[path]

    def _resolved(self, path: str, depth: int, met: dict[str, str | None]) -> str | None:
        if path in self._names:
            return path
        if path in met or depth >= _DEPTH or len(met) >= _MOST or self._relations is None:
            return met.get(path)
        met[path] = None
        following = self._relations.followed(path)
        if following in self._names:
            found: str | None = following
        else:
            found = self._through_star(following, depth, met) or self._through_base(following, depth, met)
        met[path] = found
        return found

    def _through_star(self, path: str, depth: int, met: dict[str, str | None]) -> str | None:
        assert self._relations is not None  # noqa: S101 - set before
        module, name, rest = self._relations.split(path)
        if module is None or name.startswith("_"):
            return None
        tail = f"{name}.{rest}" if rest else name
        found = {
            target
            for source in self._relations.stars(module)
            if source != module and (target := self._resolved(f"{source}.{tail}", depth + 1, met)) is not None
        }
        return found.pop() if len(found) == 1 else None

    def _through_base(self, path: str, depth: int, met: dict[str, str | None]) -> str | None:
        """A member that a class has from a base, when every base before that one is known and has it not."""
        assert self._relations is not None  # noqa: S101 - set before
        owner, _, name = path.rpartition(".")
        home = self._resolved(owner, depth + 1, met) if owner else None
        if home is None:
            return None
        if home != owner and f"{home}.{name}" in self._names:
            return f"{home}.{name}"
        for base in self._relations.bases(home):
            target = self._resolved(base, depth + 1, met)
            if target is None:
                return None  # it may come from there
            if (member := self._resolved(f"{target}.{name}", depth + 1, met)) is not None:
                return member
        return None

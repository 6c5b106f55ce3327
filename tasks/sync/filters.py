"""Which paths of a category are synced. Pure: what `.gitignore` files say is handed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

from blake3 import blake3

from tasks.sync.databases import SIDECARS
from tasks.sync.gitignore import Rules, effective, lines_of, rules
from tasks.sync.names import OWN, original_of
from tasks.sync.placeholders import LEFTOVERS

if TYPE_CHECKING:  # see `models.sync_versions`
    from models.sync import Category

_EDITION = 2
"""Counts how often the meaning of the same settings changed."""
_MOST_PLACES = 50_000
_COPY = " (conflict from "


class _Takes(IntEnum):
    no = 0
    passes = 1
    """A directory that is only gone through, for what could be below."""
    yes = 2


_Place = tuple[_Takes, tuple[tuple[Rules, int], ...]]
"""How a folder is taken, and what the `.gitignore` files from it upwards say: the nearest first, each with the place
in a path where what is relative to it begins."""


class Filter:
    """Decides by the name alone; the same for the same settings and `.gitignore` files, on every device.

    - What begins with a name of ours is never synced, nor what cloud drives leave behind (`placeholders.LEFTOVERS`; a
      `!pattern` in `exclude` has it back), nor, among databases, the files that SQLite keeps beside one.
    - A conflict copy is synced where the file is that it was made beside, or nobody would keep what lost its place.
    - `exclude` is as a `.gitignore` at the top: what is in an excluded folder is excluded.
    - `include` is like it: a folder includes what is in it, unless a longer path is excepted by `!`. Folders that may
      hold something that is included are gone through.
    - With `gitignore`, `.gitignore` files are followed, and are themselves synced whatever they say, since all devices
      have to decide alike. `core.excludesFile` and `.git/info/exclude` are one device's, and are not followed. `.git`
      is then not synced at all, in no form: a repository that is half here and half of another time is broken, and git
      has its own way to bring it elsewhere.
    """

    def __init__(self, include: Rules, exclude: Rules, *, gitignore: bool, ignores: Mapping[str, Rules]) -> None:
        self._include = include
        self._exclude = exclude
        self._gitignore = gitignore
        self._ignores = ignores
        self._places: dict[str, _Place] = {}

    @classmethod
    def of(cls, category: Category) -> Filter:
        """The filter of a category, before any `.gitignore` of it has been read."""
        beside = tuple(f"*{suffix}" for suffix in SIDECARS) if category.content == "databases" else ()
        exclude = rules(effective((*LEFTOVERS, *beside, *category.exclude)))
        return cls(rules(effective(category.include)), exclude, gitignore=category.gitignore, ignores={})

    def with_ignores(self, directory: str, text: str) -> Filter:
        """The filter that also follows the `.gitignore` in `directory` (the top: an empty string), whose text it is."""
        return self.following({directory: text})

    def following(self, texts: Mapping[str, str]) -> Filter:
        """The filter that also follows the `.gitignore` files whose texts these are, by the directory of each."""
        found = {directory: lines_of(text) for directory, text in texts.items()} if self._gitignore else {}
        new = {where: rules(lines) for where, lines in found.items() if lines or where in self._ignores}
        if not new:
            return self
        return Filter(self._include, self._exclude, gitignore=True, ignores={**self._ignores, **new})

    @property
    def follows_ignores(self) -> bool:
        """Whether `.gitignore` files count."""
        return self._gitignore

    @cached_property
    def fingerprint(self) -> str:
        """Equal for filters that decide alike: other settings read as no deletion of what they leave out."""
        decides = {
            "edition": _EDITION,
            "include": self._include.lines,
            "exclude": self._exclude.lines,
            "gitignore": self._gitignore,
            "ignores": sorted((directory, one.lines) for directory, one in self._ignores.items() if one),
        }
        return blake3(json.dumps(decides, sort_keys=True).encode()).hexdigest(length=16)

    def takes(self, path: str, is_directory: bool) -> bool:  # noqa: FBT001 - the two of an entry
        """Whether `path`, relative to the category's folder, is synced; of a directory, whether to look into it."""
        return self._decide(path, is_directory=is_directory) is not _Takes.no

    def passes(self, path: str) -> bool:
        """Whether the directory `path` is only looked into: empty it is nothing that is synced."""
        return self._decide(path, is_directory=True) is _Takes.passes

    def _decide(self, path: str, *, is_directory: bool) -> _Takes:
        folder = path.rpartition("/")[0]
        place = self._places.get(folder) or self._place(folder)
        if not path:
            return place[0]
        if not is_directory and _COPY in path:
            path = original_of(path)
        return self._within(place, path, is_directory=is_directory)

    def _place(self, folder: str) -> _Place:
        """That of `folder`; those of the folders that it lies in are found before, from the top down."""
        if len(self._places) > _MOST_PLACES:
            self._places.clear()
        top = self._ignores.get("")
        place: _Place = (_Takes.passes if self._include else _Takes.yes, ((top, 0),) if top is not None else ())
        self._places[""] = place
        end = 0 if folder else -1
        while end != -1:
            end = folder.find("/", end + 1)
            path = folder if end == -1 else folder[:end]
            known = self._places.get(path)
            place = known or self._below(place, path)
            self._places[path] = place
        return place

    def _below(self, place: _Place, path: str) -> _Place:
        taken = self._within(place, path, is_directory=True)
        found = self._ignores.get(path)
        if found is not None:
            return taken, ((found, len(path) + 1), *place[1])
        return place if taken is place[0] else (taken, place[1])

    def _within(self, place: _Place, path: str, *, is_directory: bool) -> _Takes:
        parent, ignores = place
        name = path[path.rfind("/") + 1 :]
        if parent is _Takes.no or name.startswith(OWN) or (self._gitignore and name == ".git"):
            return _Takes.no
        if self._exclude.verdict(path, 0, is_directory=is_directory):
            return _Takes.no
        if self._gitignore and name == ".gitignore" and not is_directory:
            return _Takes.yes
        for one, start in ignores:
            ignored = one.verdict(path, start, is_directory=is_directory)
            if ignored:
                return _Takes.no
            if ignored is not None:
                break
        return self._included(parent, path, is_directory=is_directory)

    def _included(self, parent: _Takes, path: str, *, is_directory: bool) -> _Takes:
        if not self._include:
            return _Takes.yes
        included = self._include.verdict(path, 0, is_directory=is_directory)
        if included or (included is None and parent is _Takes.yes):
            return _Takes.yes
        return _Takes.passes if is_directory and self._include.reaches(path) else _Takes.no

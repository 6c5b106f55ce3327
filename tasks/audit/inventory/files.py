"""Reads the files of a target: each once, from the cache where it is large and was read before, with its includes."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from models.gap import Gap
from tasks.advisories.package import Package
from tasks.audit.component import Component, Scope
from tasks.audit.inventory.document import Document, Include, Reading
from tasks.audit.inventory.requirement import scope_of
from tasks.audit.inventory.walk import open_document, reader, reader_of
from tasks.result_cache import ResultCache, content_key

REQUIREMENTS = "requirements:read_requirements"
CONSTRAINTS = "requirements:read_constraints"

_WORTH_CACHING = 32_768
"""Bytes from which asking the cache takes less time than reading again."""
_AT_ONCE = 32 * 1024 * 1024
"""Bytes of documents that are held in memory at a time."""
_MOST_INCLUDES = 2_000
_ORDER = tuple(Scope)

Asked = tuple[str, str]
"""A file, relative to the root, and its reader."""


class Files:
    """What the files of one target say, collected while they are read."""

    def __init__(self, target: str, root: Path, remembered: ResultCache) -> None:
        self._target = target
        self._root = root
        self._remembered = remembered
        self._readings: dict[Asked, Reading] = {}
        self._unread: list[Gap] = []
        self._included: dict[Asked, list[tuple[Asked, Include]]] = {}

    def read(self, files: Mapping[str, str]) -> None:
        """Read `files` with their readers, then what they include."""
        todo: list[Asked] = list(files.items())
        named = set(todo)
        while todo:
            self._read(todo)
            todo = list(self._fresh(todo))
        for asked in named:
            # What is only ever included as constraints is none of the requirements that its name promises, and the
            # other way round.
            if asked not in self._included and self._other(asked) in self._included:
                self._readings.pop(asked, None)

    @property
    def names(self) -> tuple[str, ...]:
        """What was read, in order."""
        return tuple(dict.fromkeys(file for file, _ in self._readings))

    @property
    def components(self) -> tuple[Component, ...]:
        """What the files say. A requirements file is needed whenever one that includes it is."""
        scopes = self._scopes()
        found: list[Component] = []
        for asked, reading in self._readings.items():
            scope = scopes.get(asked)
            if scope is None:
                found += reading.components
            else:
                found += [one if one.scope is scope else replace(one, scope=scope) for one in reading.components]
        return tuple(found)

    @property
    def own(self) -> frozenset[Package]:
        """What the projects in the target are called."""
        return frozenset(package for reading in self._readings.values() for package in reading.own)

    @property
    def homes(self) -> frozenset[tuple[Package, str]]:
        """The same with the folders of the files that say it."""
        return frozenset(
            (package, posixpath.dirname(file))
            for (file, _), reading in self._readings.items()
            for package in reading.own
        )

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was not read or not understood."""
        gaps = list(self._unread)
        for (file, _), reading in self._readings.items():
            if not (posixpath.basename(file) == "setup.py" and self._declares(posixpath.dirname(file))):
                gaps += reading.gaps
        return tuple(gaps)

    def _declares(self, folder: str) -> bool:
        """Whether another file of `folder` says what the `setup.py` beside it would ask for."""
        project = self._readings.get((posixpath.join(folder, "pyproject.toml"), "pyproject:read_pyproject"))
        settings = self._readings.get((posixpath.join(folder, "setup.cfg"), "setuptools_files:read_setup_cfg"))
        return bool((project and project.own) or (settings and settings.components))

    def _read(self, todo: list[Asked]) -> None:
        batch: list[tuple[Asked, Document]] = []
        size = 0
        for asked in todo:
            document = open_document(self._target, self._root, asked[0])
            if isinstance(document, Gap):
                self._unread.append(document)
                continue
            batch.append((asked, document))
            size += len(document.content)
            if size > _AT_ONCE:
                self._understand(batch)
                batch, size = [], 0
        self._understand(batch)

    def _understand(self, batch: list[tuple[Asked, Document]]) -> None:
        keys = {
            asked: content_key(asked[1].encode(), document.target.encode(), document.file.encode(), document.content)
            for asked, document in batch
            if len(document.content) >= _WORTH_CACHING
        }
        known = self._known(keys.values())
        fresh: dict[bytes, bytes] = {}
        for asked, document in batch:
            key = keys.get(asked)
            reading = known.get(key) if key is not None else None
            if reading is None:
                reading = _understood(asked[1], document)
                if key is not None and (content := _encoded(reading)) is not None:
                    fresh[key] = content
            self._readings[asked] = reading
        if fresh or known:
            self._remembered.put(_kind(), fresh, used=known)

    def _known(self, keys: Iterable[bytes]) -> dict[bytes, Reading]:
        wanted = list(keys)
        if not wanted:
            return {}
        from tasks.audit.inventory.stored import decode  # noqa: PLC0415 - small files do without

        found = {key: decode(content) for key, content in self._remembered.get(_kind(), wanted).items()}
        return {key: reading for key, reading in found.items() if reading is not None}

    def _fresh(self, asking: list[Asked]) -> Iterator[Asked]:
        """What those of `asking` include and nobody asked for before."""
        for asked in asking:
            reading = self._readings.get(asked)
            for include in reading.includes if reading is not None else ():
                file = self._resolved(asked[0], include.file)
                name = reader_of(file)
                if name in {None, REQUIREMENTS, CONSTRAINTS}:
                    name = CONSTRAINTS if include.constraint else REQUIREMENTS
                found: Asked = (file, str(name))
                is_new = found not in self._readings and found not in self._included
                self._included.setdefault(found, []).append((asked, include))
                if is_new and len(self._included) > _MOST_INCLUDES:
                    reason = f"is not read: more than {_MOST_INCLUDES} files are included."
                    self._unread.append(Document(self._target, file, b"").gap(reason))
                elif is_new:
                    yield found

    def _resolved(self, asking: str, file: str) -> str:
        """The file that `asking` calls `file`, relative to the root; what leads out of it is refused when opened."""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(asking), file))
        base = os.path.realpath(self._root)
        try:
            real = os.path.realpath(os.path.join(base, path))  # noqa: PTH118 - `file` may hold anything
        except (OSError, ValueError):
            return path
        return os.path.relpath(real, base).replace(os.sep, "/") if real.startswith(base + os.sep) else path

    def _scopes(self) -> dict[Asked, Scope]:
        """When each requirements file is needed: by its name if it was found by it, or by what includes it."""
        scopes: dict[Asked, Scope] = {}
        for asked in self._readings:
            if asked[1] == REQUIREMENTS and (asked not in self._included or reader_of(asked[0]) == REQUIREMENTS):
                scopes[asked] = scope_of(asked[0])
        todo = list(self._included)
        while todo:
            asked = todo.pop()
            if asked[1] != REQUIREMENTS:
                continue
            offers = [
                include.scope if by[1] != REQUIREMENTS else scopes.get(by) for by, include in self._included[asked]
            ]
            scope = min(
                (one for one in (*offers, scopes.get(asked)) if one is not None), key=_ORDER.index, default=None
            )
            if scope is not None and scope is not scopes.get(asked):
                scopes[asked] = scope
                todo += [other for other, by in self._included.items() if any(asked == one for one, _ in by)]
        return scopes

    @staticmethod
    def _other(asked: Asked) -> Asked | None:
        other = {REQUIREMENTS: CONSTRAINTS, CONSTRAINTS: REQUIREMENTS}.get(asked[1])
        return None if other is None else (asked[0], other)


def _understood(name: str, document: Document) -> Reading:
    try:
        return reader(name)(document)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # A form that its reader did not expect. It is somebody else's file: one of them must not end the audit.
        return Reading(gaps=(document.gap(f"is not understood ({type(error).__name__})."),))


def _encoded(reading: Reading) -> bytes | None:
    from tasks.audit.inventory.stored import encode  # noqa: PLC0415 - small files do without

    return encode(reading)


@cache
def _kind() -> str:
    """The version of the readers: what they are made of."""
    here = Path(__file__).parent
    parts = [*here.glob("*.py"), here.parent / "component.py", here.parent.parent / "masked.py"]
    sources = [path.read_bytes() for path in sorted(parts)]
    return f"inventory {content_key(*sources).hex()}"

"""The one reading of a checkout's source that documentation, the knowledge graph and the health check share.

Static: the source is parsed, and nothing of it is imported or run. What was read before is not read again: a file's
entry (times, size, inode) says whether its bytes have to be looked at, its bytes whether they have to be parsed.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from models.code import Codebase, Unread
from tasks.code.entries import FIELDS, Entry, Modules, New, key_of, row_of, same
from tasks.code.index import Names, Resolver
from tasks.code.kept import Kept, content_of
from tasks.code.places import Places, Source, packages_of, read_file
from tasks.code.relations import Relations
from tasks.result_cache import content_key

_RACY_NS = 2_000_000_000
"""A file that was written less than this before it was read may be written again without its times telling."""
_IN_PROCESS_BYTES = 600_000
"""Up to this much source is parsed here; starting processes would take longer."""
_FLUSH_BYTES = 48_000_000
_TOUCH_S = 86_400.0
_WHAT = ("module", "index", "words")


def read(
    root: Path,
    packages: Sequence[str] | None = None,
    *,
    exclude: Sequence[str] = (),
    cache: Path | None = None,
    jobs: int | None = None,
) -> Codebase:
    """What the source of the checkout at `root` says.

    Args:
        root: the checkout, or a folder of installed packages.
        packages: its top-level packages and modules; None: those that are found in it and in its `src`.
        exclude: globs of paths relative to `root` that are left out.
        cache: an SQLite file that remembers what was read, and how everything stood at the last read, by `root`,
            `packages` and `exclude`. It may be lost or broken: then everything is read again.
        jobs: processes that parse, when much has to be; by default one for each core, at most eight.

    Raises:
        OSError: `root` is no folder that can be read.
    """
    root = Path(os.path.realpath(root))
    with os.scandir(root):
        pass
    tops, unread = packages_of(root, packages, exclude)
    places = Places(root, exclude)
    sources = places.sources(tops)
    reading = _Reading(root, Kept(cache), _state_key(root, packages, exclude), jobs or _cores())
    return reading.run(tuple(name for name, _ in tops), sources, [*unread, *places.unread])


class _Reading:
    """One read, from the list of sources to the code base."""

    def __init__(self, root: Path, kept: Kept, key: bytes, jobs: int) -> None:
        self.root = root
        self.kept = kept
        self.key = key
        self.jobs = jobs
        self.before: dict[str, Entry] = {}
        self.entries: dict[str, Entry] = {}
        self.relations: dict[str, Any] | None = None
        self.labels: dict[str, list[str]] = {}
        self.fresh: dict[str, Any] = {}
        """Relations of the modules that this read has parsed, or found by their content."""
        self.new: dict[str, dict[bytes, bytes]] = {what: {} for what in _WHAT}
        """Entries that are still to be kept, and their size."""
        self.waiting = 0

    def run(self, packages: tuple[str, ...], sources: list[Source], unread: list[Unread]) -> Codebase:
        touched = self._load()
        suspects = []
        for source in sources:
            known = self.before.get(source.module)
            if known is not None and known.sure and same(known, source):
                self.entries[source.module] = known
            else:
                suspects.append(source)
        self._look(suspects)
        present = {source.module for source in sources}
        self._keep_hidden(present, unread)
        gone = frozenset(m for m, e in self.before.items() if m not in self.entries and e.last is not None)
        changed = {
            module
            for module, entry in self.entries.items()
            if entry.reason is None and (module not in self.before or self.before[module].last != entry.content)
        }
        stale = touched < time.time() - _TOUCH_S
        if changed or gone or self.fresh or not self.before:
            changed |= self._relate()
        if suspects or gone or stale or self.entries.keys() != self.before.keys():
            self._save(stale=stale)
        told = {one.place for one in unread}
        for entry in self.entries.values():
            if entry.reason and entry.place not in told:
                unread.append(Unread(entry.place, entry.reason))
            elif entry.stub and entry.reason is None:
                unread.append(Unread(f"{entry.place}i", entry.stub))
        return self._codebase(packages, tuple(sorted(unread, key=lambda one: one.place)), frozenset(changed), gone)

    def _load(self) -> float:
        """How everything stood at the last read; returns when what is kept was last said to be of use."""
        data = self.kept.get("state", [self.key]).get(self.key)
        if data is None:
            return 0.0
        state = orjson.loads(data)
        self.before = {module: Entry(*row) for module, row in state["modules"].items()}
        self.labels = state["labels"]
        return float(state["touched"])

    def _save(self, *, stale: bool) -> None:
        state = {
            "modules": {module: [getattr(entry, name) for name in FIELDS] for module, entry in self.entries.items()},
            "labels": self.labels,
            "touched": time.time(),
        }
        keys = []
        if stale:
            keys = [key_of(module, entry) for module, entry in self.entries.items() if entry.content]
            for what in _WHAT:
                self.kept.put(what, {}, used=keys)
            self.kept.put("relations", {}, used=[self.key])
        self.kept.put("state", {self.key: orjson.dumps(state)})

    def _look(self, suspects: list[Source]) -> None:
        """Read the files that may have changed, and parse those whose bytes are new."""
        new: list[New] = []
        held = 0
        for source in suspects:
            one = self._bytes(source)
            known = self.before.get(source.module)
            if one is None:
                continue
            self.entries[source.module] = one.entry
            if known is not None and (known.content, known.package) == (one.entry.content, source.package):
                one.entry.last, one.entry.quals, one.entry.reason = known.last, known.quals, known.reason
                one.entry.stub = one.entry.stub or known.stub
                continue
            held += one.size
            if held > _IN_PROCESS_BYTES:
                one.data, one.stub = b"", None  # a process reads it again
            new.append(one)
        by_key = {key_of(one.source.module, one.entry): one for one in new}
        found = self.kept.get("index", by_key)
        for key, data in found.items():
            self._take_index(by_key[key], data)
        missing = [one for key, one in by_key.items() if key not in found]
        if held <= _IN_PROCESS_BYTES:
            self._parse_here(missing)
        elif missing:
            self._parse_elsewhere(missing)

    def _bytes(self, source: Source) -> New | None:
        inside = f"{self.root}/"
        now = time.time_ns()
        known = self.before.get(source.module)
        entry = Entry(source.place, [None, None], sure=False, package=source.package, content="", last=None, quals="")
        if known is not None:
            entry.last, entry.quals = known.last, known.quals
        stub = stub_stamp = None
        try:
            data, stamp = read_file(f"{self.root}/{source.place}", inside=inside)
        except OSError as error:
            entry.reason = error.strerror or str(error)
            self.entries[source.module] = entry
            return None
        if source.stub is not None:
            try:
                stub, stub_stamp = read_file(f"{self.root}/{source.stub}", inside=inside)
            except OSError as error:
                entry.stub = error.strerror or str(error)
        entry.stamps = [row_of(stamp), None if stub_stamp is None else row_of(stub_stamp)]
        entry.sure = entry.stub is None
        entry.sure = entry.sure and all(row is None or max(row[:2]) < now - _RACY_NS for row in entry.stamps)
        entry.content = content_of(data, stub)
        return New(source, entry, len(data) + len(stub or b""), data, stub)

    def _parse_here(self, new: list[New]) -> None:
        if not new:
            return
        from tasks.code.worker import read_bytes  # noqa: PLC0415 - what reads is needed only when there is something

        for one in new:
            data, stub = one.data, one.stub
            self._take(one, read_bytes(one.source.module, data, stub, one.entry.content, package=one.entry.package))
        self._flush()

    def _parse_elsewhere(self, new: list[New]) -> None:
        from tasks.code.pool import PoolError, read_many  # noqa: PLC0415

        left = dict(enumerate(new))
        requests: list[list[object]] = [
            [number, one.source.module, one.source.package, one.source.place, one.source.stub]
            for number, one in left.items()
        ]

        def take(number: int, answer: tuple[int, list[bytes]]) -> None:
            self._take(left.pop(number), answer)
            if self.waiting > _FLUSH_BYTES:
                self._flush()

        try:
            read_many(str(self.root), requests, [one.size for one in new], self.jobs, take)
        except PoolError as error:
            for one in left.values():
                one.entry.content, one.entry.sure, one.entry.reason = "", False, str(error)
        self._flush()

    def _flush(self) -> None:
        for what in _WHAT:
            self.kept.put(what, self.new[what])
            self.new[what].clear()
        self.waiting = 0

    def _take(self, one: New, answer: tuple[int, list[bytes]]) -> None:
        failed, (first, second, *entries) = answer
        if failed:
            reason, content = first.decode("utf-8", "replace"), second.decode()
            one.entry.content, one.entry.reason = content, reason
            if content:  # the same bytes will say as little the next time
                self.new["index"][key_of(one.source.module, one.entry)] = orjson.dumps(reason)
            else:
                one.entry.sure = False
            return
        if one.entry.content != first.decode():  # written between the two looks
            one.entry.content, one.entry.sure = first.decode(), False
        key = key_of(one.source.module, one.entry)
        for what, data in zip(_WHAT, (second, *entries), strict=True):
            self.new[what][key] = data
            self.waiting += len(data)
        self._take_index(one, entries[0])

    def _take_index(self, one: New, data: bytes) -> None:
        found = orjson.loads(data)
        if isinstance(found, str):
            one.entry.reason = found
            return
        rows, relations, problem = found
        one.entry.stub = problem or one.entry.stub
        self.fresh[one.source.module] = relations
        one.entry.quals = "\n".join(row[0] for row in rows[1:])
        one.entry.last, one.entry.reason = one.entry.content, None

    def _keep_hidden(self, present: set[str], unread: list[Unread]) -> None:
        """What lies where nothing could be read is not known to be gone."""
        if not unread:
            return
        places = {one.place for one in unread}
        for module, entry in self.before.items():
            if module in present or entry.last is None:
                continue
            parts = entry.place.split("/")
            above = {"/".join(parts[:length]) for length in range(1, len(parts) + 1)} | {module.partition(".")[0]}
            if above & places:
                self.entries[module] = replace(entry, sure=False, content="", reason="")

    def _relate(self) -> set[str]:
        """What follows for modules from others; those for which something else follows than before."""
        relations = self._relations()
        for module in list(relations):
            if module not in self.entries:
                del relations[module]
        relations.update(self.fresh)
        self.relations = relations
        labels = Relations({m: r for m, r in relations.items() if self.entries[m].reason is None}).labels()
        self.kept.put("relations", {self.key: orjson.dumps(relations)})
        differ = {p for p in labels.keys() | self.labels.keys() if labels.get(p) != self.labels.get(p)}
        self.labels = labels
        return {m for m in map(self._module_of, differ) if m is not None}

    def _module_of(self, path: str) -> str | None:
        while path:
            path = path.rpartition(".")[0]
            entry = self.entries.get(path)
            if entry is not None and entry.reason is None:
                return path
        return None

    def _relations(self) -> dict[str, Any]:
        if self.relations is None:
            data = self.kept.get("relations", [self.key]).get(self.key)
            wanted = {module for module, entry in self.entries.items() if entry.reason is None} - self.fresh.keys()
            known = {} if data is None else orjson.loads(data)
            if lost := sorted(wanted - known.keys()):
                known.update({m: orjson.loads(d)[1] for m, d in self._indices(lost).items()})
            self.relations = known
        return self.relations

    def _indices(self, modules: Sequence[str]) -> dict[str, bytes]:
        """The index entries of these modules, read again where they are lost."""
        return self._fetched("index", modules)

    def _fetched(self, what: str, modules: Sequence[str]) -> dict[str, bytes]:
        keys = {key_of(module, self.entries[module]): module for module in modules}
        found = {keys[key]: data for key, data in self.kept.get(what, keys).items()}
        for module in modules:
            if module not in found:
                found[module] = self._again(module)[_WHAT.index(what)]
        return found

    def _words(self, modules: list[str]) -> frozenset[str]:
        found = self._fetched("words", modules).values()
        return frozenset(word for data in found for word in data.decode().split("\n") if word)

    def _again(self, module: str) -> tuple[bytes, bytes, bytes]:
        """Read a module whose entry the cache has lost.

        Raises:
            OSError: its file is not what it was.
        """
        from tasks.code.extract import UnreadableError, extracted  # noqa: PLC0415

        entry = self.entries[module]
        data, _ = read_file(f"{self.root}/{entry.place}", inside=f"{self.root}/")
        stub = None if entry.stamps[1] is None else read_file(f"{self.root}/{entry.place}i", inside=f"{self.root}/")[0]
        if content_of(data, stub) != entry.content:
            raise OSError(f"{entry.place} has changed since it was read")
        try:
            entries = extracted(module, package=entry.package, data=data, stub=stub)
        except UnreadableError as error:
            raise OSError(f"{entry.place}: {error}") from error
        key = key_of(module, entry)
        for what, one in zip(_WHAT, entries, strict=True):
            self.kept.put(what, {key: one})
        return entries

    def _codebase(
        self, packages: tuple[str, ...], unread: tuple[Unread, ...], changed: frozenset[str], gone: frozenset[str]
    ) -> Codebase:
        readable = {module: entry for module, entry in sorted(self.entries.items()) if entry.reason is None}
        names = Names({module: entry.quals for module, entry in readable.items()}, self._indices)
        return Codebase(
            root=str(self.root),
            packages=packages,
            files={module: entry.content for module, entry in readable.items()},
            names=names,
            module=Modules(readable, self._fetched, self.labels),
            unread=unread,
            changed=changed,
            gone=gone,
            resolve=Resolver(names, self._relations),
            derived=self.labels,
            words=functools.cache(lambda: self._words(list(readable))),
        )


def _state_key(root: Path, packages: Sequence[str] | None, exclude: Sequence[str]) -> bytes:
    asked = orjson.dumps([os.fsencode(root).hex(), None if packages is None else list(packages), list(exclude)])
    return content_key(b"state", asked)


def _cores() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

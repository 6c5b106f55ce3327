"""Builds the site of a code base: only pages are written of which anything that they tell has changed.

Of each page it is kept what it was made from: the content of its module, the templates, and every question that it
asked about other modules, with a hash of the answers. A page is current while all of that is as it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.code import Codebase
from models.docs import Form
from tasks.code.kept import version_of_all
from tasks.docs.site.consulted import beside, labels_hash
from tasks.docs.site.facts import Facts, facts_of, other_names_of, surface_of
from tasks.docs.site.inventory import read_all
from tasks.docs.site.names import Names
from tasks.docs.site.output import Output, check_place
from tasks.docs.site.render import module_place, pages_of
from tasks.docs.site.theme import Theme
from tasks.docs.site.view import entries_of, view_of

_FEW = 40
"""Pages up to which it is not worth to start processes."""
_AT_ONCE = 12
_MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a site is to be."""

    title: str
    forms: tuple[Form, ...] = tuple(Form)
    private: bool = False
    templates: Path | None = None
    inventories: tuple[tuple[Path, str], ...] = ()
    """`objects.inv` files of other projects, and where their pages are."""


@dataclass(slots=True)
class Built:
    """What a build did, and what is known of the code base now."""

    folder: Path
    modules: int = 0
    pages: int = 0
    written: int = 0
    removed: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    """Files that are a person's and not ours, by why they were left as they are."""
    objects: int = 0
    documented: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Files beside the source that could not be read, and why."""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """Public objects without a docstring, by module."""


@dataclass(slots=True)
class Page:
    """What became of one module."""

    facts: Facts
    surface: list[str]
    other_names: list[list[str]]
    questions: str
    """One a line."""
    answers: str
    files: dict[str, bytes]


class Painter:
    """Renders pages; processes of a pool have one each, made before they were started."""

    def __init__(self, codebase: Codebase, wanted: Wanted, theme: Theme, names: Names) -> None:
        self._codebase = codebase
        self._wanted = wanted
        self._theme = theme
        self._names = names
        self._site = {"title": wanted.title}

    def page(self, path: str) -> Page:
        """The page of the module at `path`."""
        names = self._names
        names.start()
        module = self._codebase.module(path)
        files: dict[str, bytes] = {}
        entries: list[tuple[str, str, str]] = []
        if names.has_page(path):
            view = view_of(module, names)
            files = pages_of(view, names, self._theme, self._wanted.forms, self._site)
            entries = entries_of(view)
        facts = facts_of(module, names, entries)
        questions = names.questions()
        answers = names.answers(questions)
        return Page(facts, surface_of(module, facts), other_names_of(module), "\n".join(questions), answers, files)

    def pages(self, paths: Sequence[str]) -> list[tuple[str, Page]]:
        """The pages of several modules."""
        return [(path, self.page(path)) for path in paths]


def build(
    codebase: Codebase, wanted: Wanted, output: Path, *, jobs: int | None = None, packages: tuple[Path, ...] = ()
) -> Built:
    """Bring the folder `output` to what `codebase` says.

    Args:
        codebase: what was read.
        wanted: how the site is to be.
        output: its folder; made where it is not there.
        jobs: processes that render; None: one a core, and none for a few pages.
        packages: folders of sources, in which the site may not be.

    Raises:
        ConfigurationError: the folder, the templates or an inventory cannot be used; nothing was written.
        UnavailableError: something cannot be written. What is there is whole, and the next build goes on from it.
    """
    folder = check_place(output, Path(codebase.root), packages)
    theme = Theme(wanted.templates)
    with Output(folder) as place:
        return _Build(codebase, wanted, theme, place).run(jobs)


class _Build:
    def __init__(self, codebase: Codebase, wanted: Wanted, theme: Theme, place: Output) -> None:
        self._codebase = codebase
        self._wanted = wanted
        self._theme = theme
        self._place = place
        self._key = _key(wanted, theme)
        state = place.state if place.state.get("key") == self._key else {}
        self._old: dict[str, dict[str, Any]] = state.get("modules", {})
        self._state = state
        self._facts: dict[str, Facts] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._labels = labels_hash(codebase)

    def run(self, jobs: int | None) -> Built:
        codebase, place = self._codebase, self._place
        files = _digest({**codebase.files, **beside(codebase)})
        if self._state.get("files") == files and not self._state.get("kept") and place.is_whole():
            return self._told(self._state["told"])
        for path, record in self._old.items():
            if codebase.files.get(path) == record["facts"]["content"]:
                self._facts[path] = Facts(**record["facts"])
                self._records[path] = record
        stale = [path for path in codebase.files if not self._is_current(path)]
        self._render(stale, jobs)
        self._render(self._with_other_answers(frozenset(stale)), jobs)
        from tasks.docs.site.about import About  # noqa: PLC0415 - needed only where something has changed

        about = About(codebase, self._facts, self._theme, self._wanted, self._names(), place)
        whole = about.bring(self._state.get("whole", {}))
        place.remove_all_but(frozenset(about.files(whole)).union(*map(self._files_of, self._facts)))
        told = {**self._summed(), "unread": [one for record in whole.values() for one in record.get("unread", ())]}
        place.finish(
            {
                "key": self._key,
                "files": files,
                "labels": self._labels,
                "modules": self._records,
                "told": told,
                "whole": whole,
                "kept": sorted(place.done.kept),
            }
        )
        return self._told(told)

    def _is_current(self, path: str) -> bool:
        record = self._records.get(path)
        if record is None:
            return False
        sources = record["sources"]
        if any(self._codebase.files.get(source) != content for source, content in sources.items()):
            return False
        return all(self._place.holds(name) for name in self._files_of(path))

    def _files_of(self, path: str) -> list[str]:
        if not self._facts[path].has_page:
            return []
        return [module_place(form, path) for form in self._wanted.forms if form is not Form.inventory]

    def _with_other_answers(self, done: frozenset[str]) -> list[str]:
        """The pages that would say something else today, because of what others say."""
        words = self._changed_words()
        if not words:
            return []
        every = "*" in words or len(words) > _MOST_WORDS
        mentioned = re.compile("" if every else "|".join(map(re.escape, sorted(words))))
        names = self._names()
        return [
            path
            for path, record in self._records.items()
            if path not in done
            and mentioned.search(record["questions"])
            and names.answers(_lines(record["questions"])) != record["answers"]
        ]

    def _changed_words(self) -> set[str]:
        """Words of which one is in every question that is answered otherwise than before; `*`: any may be."""
        if self._labels != self._state.get("labels"):
            return {"*"}
        changed: set[str] = set()
        for path in self._old.keys() | self._records.keys():
            before, now = self._old.get(path), self._records.get(path)
            if before is now:
                continue
            rows = set(before["surface"] if before else ()) ^ set(now["surface"] if now else ())
            changed |= {row.rpartition(" ")[0] for row in rows}
        # What has another name elsewhere is asked for by that name.
        pairs = [pair for record in self._records.values() for pair in record["other_names"]] if changed else []
        growing = bool(changed)
        while growing:
            more = {name for name, other in pairs if other in changed} - changed
            changed |= more
            growing = bool(more)
        return changed

    def _names(self) -> Names:
        facts = self._facts
        return Names(
            self._codebase,
            private=self._wanted.private,
            outside=_outside(self._wanted.inventories, _stamps(self._wanted.inventories)),
            offered=lambda path: facts[path].offered if path in facts else None,
        )

    def _render(self, paths: Sequence[str], jobs: int | None) -> None:
        """Write the pages of `paths`."""
        for path in paths:
            self._facts.pop(path, None)
        for path, page in self._painted(paths, jobs):
            self._facts[path] = page.facts
            questions = _lines(page.questions)
            self._records[path] = {
                "facts": page.facts.dumped(),
                "surface": page.surface,
                "other_names": page.other_names,
                "questions": page.questions,
                "answers": page.answers,
                "sources": {
                    source: self._codebase.files.get(source)
                    for question in questions
                    if (source := question.removeprefix("source:")) != question
                },
            }
            for name, content in page.files.items():
                self._place.write(name, content)

    def _painted(self, paths: Sequence[str], jobs: int | None) -> Iterator[tuple[str, Page]]:
        painter = Painter(self._codebase, self._wanted, self._theme, self._names())
        count = (os.cpu_count() or 1) if jobs is None else jobs
        if count > 1 and len(paths) > _FEW:
            from tasks.docs.site.pool import rendered_in_processes  # noqa: PLC0415 - slow to import

            batches = [paths[at : at + _AT_ONCE] for at in range(0, len(paths), _AT_ONCE)]
            yield from rendered_in_processes(painter, batches, count)
        else:
            for path in paths:
                yield path, painter.page(path)

    def _summed(self) -> dict[str, Any]:
        facts = self._facts.values()
        return {
            "modules": sum(one.has_page for one in facts),
            "objects": sum(one.objects for one in facts),
            "documented": sum(one.documented for one in facts),
            "missing": {path: one.missing for path, one in self._facts.items() if one.missing},
        }

    def _told(self, told: Mapping[str, Any]) -> Built:
        done = self._place.done
        return Built(
            folder=self._place.folder,
            pages=len(self._place.files),
            written=done.written,
            removed=done.removed,
            kept=dict(done.kept),
            **told,
        )


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _digest(files: Mapping[str, str]) -> str:
    digest = blake2b(digest_size=16)
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{content}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _key(wanted: Wanted, theme: Theme) -> str:
    """A hash of everything that all pages depend on."""
    inventories = (wanted.inventories, _stamps(wanted.inventories))
    told = (wanted.title, sorted(wanted.forms), wanted.private, inventories, theme.digest, _generator())
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@lru_cache(maxsize=1)
def _generator() -> str:
    """A hash of the code that reads sources and makes pages: another Lama makes them all anew."""
    digest = blake2b(digest_size=16)
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *(here.parents[1] / name for name in ("diagrams.py", "masked.py"))]):
        digest.update(path.read_bytes())
    digest.update(f"{version_of_all()} {version('markdown-it-py')}".encode())
    return digest.hexdigest()


def _stamps(inventories: tuple[tuple[Path, str], ...]) -> tuple[tuple[int, int], ...]:
    states = [path.stat() if path.exists() else None for path, _ in inventories]
    return tuple((0, 0) if state is None else (state.st_mtime_ns, state.st_size) for state in states)


@lru_cache(maxsize=4)
def _outside(inventories: tuple[tuple[Path, str], ...], _: tuple[tuple[int, int], ...]) -> Mapping[str, str]:
    """The names of other projects; read again when a file's time or size is another."""
    return read_all(inventories)

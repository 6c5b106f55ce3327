"""The part of a build that is about the whole: overviews and indexes, each made anew only where it has to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from models.code import Codebase
from tasks.code.openapi import places_of
from tasks.docs.site.api_page import api_page
from tasks.docs.site.commands_page import commands_page
from tasks.docs.site.consulted import Consulted, holds
from tasks.docs.site.data_pages import settings_page, tables_page
from tasks.docs.site.facts import Facts
from tasks.docs.site.flows_page import FILES, flows_page
from tasks.docs.site.names import Names
from tasks.docs.site.output import Output
from tasks.docs.site.overviews import Overview, coverage_of, imports_of
from tasks.docs.site.theme import Theme
from tasks.docs.site.whole import Head, Site, index_files, overview_files


@dataclass(frozen=True, slots=True)
class Subject:
    """Something of which a code base may have several, with a page for all of them."""

    page: Callable[[Codebase], Overview | None]
    concerns: Callable[[Facts], bool]
    """Whether a module may define one."""
    beside: Callable[[Codebase], Sequence[str]] = lambda _: ()
    """Files beside the source that are looked into."""
    anyway: bool = False
    """Whether there may be some without any module that defines one."""


_OF_CODE: Mapping[str, Subject] = {
    "flows": Subject(flows_page, lambda one: not {"flow", "task"}.isdisjoint(one.labels), lambda _: FILES, anyway=True),
    "commands": Subject(commands_page, lambda one: bool(one.libraries), lambda _: ("pyproject.toml",)),
    "api": Subject(api_page, lambda _: False, lambda codebase: places_of(Path(codebase.root)), anyway=True),
    "settings": Subject(settings_page, lambda one: "settings" in one.labels),
    "tables": Subject(tables_page, lambda one: "table" in one.labels),
}

_OF_FACTS: Mapping[str, tuple[Callable[[Mapping[str, Facts]], Overview | None], Callable[[Facts], Any]]] = {
    "imports": (imports_of, lambda one: one.imports),
    "coverage": (coverage_of, lambda one: (one.objects, one.documented, one.missing)),
}
"""What is told of facts that are known, and which facts those are."""


@dataclass(slots=True)
class About:
    """Of one build."""

    codebase: Codebase
    facts: Mapping[str, Facts]
    theme: Theme
    site: Site
    names: Names
    place: Output

    def bring(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Write what has to be written; `before` and what is returned is what was kept of the last such build."""
        records = {}
        for key, (page, _) in _OF_FACTS.items():
            records[key] = self._of_facts(key, page, before.get(key))
        for key in _OF_CODE:
            records[key] = self._of_code(key, before.get(key))
        heads: list[Head] = [record["head"] for record in records.values() if record["head"] is not None]
        records["index"] = self._index(heads, before.get("index"))
        return records

    @staticmethod
    def files(records: Mapping[str, Any]) -> set[str]:
        """The files of what was kept."""
        return {name for record in records.values() for name in record["files"]}

    def _of_facts(
        self,
        key: str,
        page: Callable[[Mapping[str, Facts]], Overview | None],
        before: Mapping[str, Any] | None,
    ) -> Mapping[str, Any]:
        told = _OF_FACTS[key][1]
        mark = _hash(sorted((path, one.has_page, told(one)) for path, one in self.facts.items()))
        if before is not None and before["mark"] == mark and self._is_current(before):
            return before
        return {"mark": mark, **self._written(page(self.facts))}

    def _of_code(self, key: str, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        subject = _OF_CODE[key]
        files = self.codebase.files
        among = sorted(path for path, one in self.facts.items() if path in files and subject.concerns(one))
        beside = list(subject.beside(self.codebase))
        asked = [among, beside]
        known = before is not None and before["asked"] == asked and holds(before["note"], self.codebase)
        if before is not None and known and self._is_current(before):
            return before
        part = replace(self.codebase, files={path: files[path] for path in among})
        consulted = Consulted(part, beside)
        shown = subject.page(consulted.noting) if among or (subject.anyway and beside) else None
        return {"asked": asked, "note": consulted.note(self.codebase), **self._written(shown)}

    def _is_current(self, before: Mapping[str, Any]) -> bool:
        return (
            all(map(self.place.holds, before["files"])) and self.names.answers(before["questions"]) == before["answers"]
        )

    def _written(self, shown: Overview | None) -> dict[str, Any]:
        self.names.start()
        files = []
        for name, content in overview_files(shown, self.theme, self.site, self.names) if shown is not None else ():
            self.place.write(name, content)
            files.append(name)
        questions = self.names.questions()
        return {
            "unread": [] if shown is None else [(one.place, one.reason) for one in shown.unread],
            "head": None if shown is None else (shown.title, shown.key, shown.summary),
            "files": files,
            "questions": questions,
            "answers": self.names.answers(questions),
        }

    def _index(self, heads: list[Head], before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        told = sorted(
            (path, one.has_page, one.summary, one.objects, one.documented, [tuple(entry) for entry in one.entries])
            for path, one in self.facts.items()
        )
        mark = _hash(([tuple(head) for head in heads], told))
        if before is not None and before["mark"] == mark and all(map(self.place.holds, before["files"])):
            return before
        files = []
        for name, content in index_files(self.facts, heads, self.theme, self.site, self.names):
            self.place.write(name, content)
            files.append(name)
        return {"mark": mark, "files": files}


def _hash(told: object) -> str:
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

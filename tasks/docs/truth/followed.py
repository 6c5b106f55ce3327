"""What was accepted of pages that have another name now, and of pages that are not there any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tasks.docs.truth.baseline import AcceptedSection, Baseline
from tasks.docs.truth.documents import ALL_DOCUMENTS
from tasks.docs.truth.page import Page

_SHARE = 0.5
"""Of the sections that were accepted of a page: what another has to have of them to be that page under a new name."""


def follow(before: Baseline, pages: Mapping[str, Page], unread: Collection[str]) -> tuple[Baseline, tuple[str, ...]]:
    """The baseline with what was accepted of pages put where they are now, and the files that are nowhere.

    Args:
        before: as it was written.
        pages: that are there, by file.
        unread: files and folders that could not be read: what was accepted of those stays as it is.
    """
    kept = dict(before.pages)
    gone = []
    for file, sections in sorted(before.pages.items()):
        if file in pages or ALL_DOCUMENTS in unread or within(file, unread):
            continue
        others = [page for name, page in pages.items() if name not in kept and not page.history]
        found = max((_carried(sections, page) for page in others), key=lambda one: len(one[1]), default=("", {}))
        if len(found[1]) < max(1.0, len(sections) * _SHARE):
            gone.append(file)
            continue
        del kept[file]
        kept[found[0]] = found[1]
    return Baseline(kept), tuple(gone)


def _carried(sections: Mapping[str, AcceptedSection], page: Page) -> tuple[str, dict[str, AcceptedSection]]:
    """What of the accepted `sections` stands in `page` with the same text; headings above it may be others."""
    by_text: dict[str, list[str]] = {}
    for section in page.sections:
        by_text.setdefault(section.hash, []).append(section.key)
    found: dict[str, AcceptedSection] = {}
    for key, one in sections.items():
        keys = by_text.get(one.text, [])
        if keys:
            found[keys.pop(keys.index(key) if key in keys else 0)] = one
    return page.file, found


def within(file: str, places: Collection[str]) -> bool:
    """Whether a file is one of these, or in a folder that is."""
    parts = file.split("/")
    return any("/".join(parts[:length]) in places for length in range(1, len(parts) + 1))

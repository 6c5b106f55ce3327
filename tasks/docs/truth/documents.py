"""The Markdown documents of a checkout: found, and read without following what leads out of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.code import Unread
from tasks.code.places import excluded

LARGEST_DOCUMENT = 2_000_000
"""Bytes above which a document is not read."""

ALL_DOCUMENTS = "all documents"
"""The place that is said when there are more than are read."""
_MOST_DOCUMENTS = 5_000
_OTHER_FORMS = frozenset({".rst", ".adoc", ".asciidoc", ".mdx", ".org", ".textile", ".ipynb"})


@dataclass
class Documents:
    """What there is to read."""

    texts: dict[str, str] = field(default_factory=dict)
    """File, relative to the checkout and with slashes, to its text."""
    missing: tuple[str, ...] = ()
    """Names that were asked for and are not there."""
    unread: list[Unread] = field(default_factory=list)


def read_documents(root: Path, names: Sequence[str], exclude: Sequence[str] = ()) -> Documents:
    """The documents that `names` (files and folders, relative to the checkout `root`) lead to."""
    found = Documents()
    paths, missing = _find(root, names, exclude, found.unread)
    found.missing = missing
    for path in paths:
        relative = path.relative_to(root).as_posix()
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_DOCUMENT + 1)
            if len(content) > LARGEST_DOCUMENT:
                found.unread.append(Unread(relative, f"larger than {LARGEST_DOCUMENT} bytes"))
                continue
            found.texts[relative] = content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            found.unread.append(Unread(relative, str(error)))
    return found


def _find(
    root: Path, names: Sequence[str], exclude: Sequence[str], unread: list[Unread]
) -> tuple[list[Path], tuple[str, ...]]:
    real = root.resolve()
    found: list[Path] = []
    others: list[Path] = []
    missing = []
    for name in names:
        place = root / name
        try:
            there = place.exists()
        except OSError as error:
            unread.append(Unread(name, error.strerror or str(error)))
            continue
        if not there:
            missing.append(name)
            others += sorted(one for one in place.parent.glob(f"{place.stem}.*") if one.suffix in _OTHER_FORMS)
            continue
        for path in _inside(place, root, unread) if place.is_dir() else [place]:
            relative = path.relative_to(root).as_posix()
            if excluded(relative, exclude) or (place.is_dir() and path.suffix not in {".md", *_OTHER_FORMS}):
                continue
            if path.suffix in _OTHER_FORMS:
                others.append(path)
                continue
            # A link may lead out of the checkout, or to a device that never ends.
            if not path.is_file() or not path.resolve().is_relative_to(real):
                unread.append(Unread(relative, "not a file of this checkout"))
            elif path not in found:
                found.append(path)
    if others:
        forms = ", ".join(sorted({path.suffix for path in others}))
        count = f"{len(others)} documents are" if len(others) > 1 else f"{others[0].name} is"
        reason = f"{count} not Markdown ({forms}), and no other form is read; `exclude` says that it is meant"
        unread.append(Unread("documents", reason))
    if len(found) > _MOST_DOCUMENTS:
        unread.append(Unread(ALL_DOCUMENTS, f"only {_MOST_DOCUMENTS} of {len(found)} were read"))
    return found[:_MOST_DOCUMENTS], tuple(missing)


def _inside(folder: Path, root: Path, unread: list[Unread]) -> list[Path]:
    """The files in `folder` and below it; what cannot be looked into is told, and not taken for empty."""

    def tell(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename or folder)).relative_to(root).as_posix()
        unread.append(Unread(place, error.strerror or str(error)))

    return sorted(Path(at, name) for at, _, names in os.walk(folder, onerror=tell) for name in names)

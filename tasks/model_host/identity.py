"""Which models of the catalogue are the same bytes, whatever their sources are called: they share one copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import LamaError
from models.model_host import CatalogueEntry, ModelPath
from tasks.model_host.headers import gguf_files
from tasks.model_host.sources import locate

_SMALL = 1 << 20
_CHUNK = 1 << 22
_READ = {".safetensors", ".json", ".txt", ".model", ".jinja", ".gguf"}
"""Files that what a model answers depends on."""


@dataclass
class _Group:
    """Entries of the same bytes."""

    found: ModelPath
    files: dict[str, Path]
    sources: set[str]

    @property
    def source(self) -> str | None:
        """The one of all; None: they have the same already."""
        # Each one's own may lead elsewhere later (a revision is pulled again); what was compared does not.
        return f"path:{self.found.gguf or self.found.folder}" if len(self.sources) > 1 else None


def one_source_each(entries: Iterable[CatalogueEntry]) -> tuple[CatalogueEntry, ...]:
    """The catalogue with one source for models of the same bytes: the files that were found for the first of them.

    Files are compared by their size and their ends first. Only those that agree in that, and are not one file under two
    names, are read as a whole, which takes a second for each gigabyte or so. What cannot be read keeps its source.
    """
    groups: dict[str, _Group] = {}
    kept: list[tuple[CatalogueEntry, _Group | None]] = []
    for entry in entries:
        try:
            found = locate(entry)
            files = _files(found)
            rough = hashlib.sha256(repr([(name, _rough(path)) for name, path in files.items()]).encode()).hexdigest()
            group = groups.setdefault(rough, _Group(found, files, {entry.source}))
            same = entry.source in group.sources or all(_same(path, group.files[name]) for name, path in files.items())
        except (LamaError, OSError):
            kept.append((entry, None))  # it is told when it is to be loaded
            continue
        if same:
            group.sources.add(entry.source)
        kept.append((entry, group if same else None))
    return tuple(
        entry if group is None or group.source is None else entry.model_copy(update={"source": group.source})
        for entry, group in kept
    )


def _files(found: ModelPath) -> dict[str, Path]:
    """What is compared, by a name that does not depend on where it is."""
    if found.gguf is not None:
        return {str(at): path.resolve() for at, path in enumerate(gguf_files(found.gguf))}
    places = [*found.folder.iterdir(), found.folder / "1_Pooling" / "config.json"]
    return {
        str(path.relative_to(found.folder)): path.resolve()
        for path in sorted(places)
        if path.suffix in _READ and path.is_file()
    }


def _rough(path: Path) -> tuple[int, str]:
    size = path.stat().st_size
    made = hashlib.sha256()
    with path.open("rb") as opened:
        made.update(opened.read(_SMALL))
        opened.seek(max(0, size - _SMALL))
        made.update(opened.read(_SMALL))
    return size, made.hexdigest()


def _same(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(_CHUNK):
            if chunk != right.read(_CHUNK):
                return False
        return not right.read(1)

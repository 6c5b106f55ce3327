"""Where contents of plain folders are had from: the folder of this device, and a trash."""

from __future__ import annotations

import contextlib
import json
import unicodedata
from pathlib import Path
from typing import BinaryIO

from models.sync import Kind, Tree
from tasks.sync.apply import INDEX
from tasks.sync.checked import copy
from tasks.sync.faults import Missing
from tasks.sync.scan import opened


class Local:
    """Contents from the folder of this device."""

    def __init__(self, folder: Path, tree: Tree) -> None:
        self._folder = folder
        self._tree = tree
        self._paths: dict[bytes, list[str]] | None = None

    def fetch(self, digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
        """Write a content.

        Raises:
            Missing: no file has it any more.
            Changed: the file has another content by now.
        """
        if self._paths is None:
            self._paths = {}
            for path, version in self._tree.items():
                if version.content is not None and version.content.kind is Kind.file:
                    self._paths.setdefault(version.content.digest, []).append(path)
        for path in self._paths.get(digest, ()):
            for form in ("NFC", "NFD"):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    with opened(self._folder, unicodedata.normalize(form, path)) as file:
                        copy(file, digest, into, size)
                    return
        raise Missing("the file is not here any more.")


def thrown_away(trash: Path) -> dict[bytes, Path]:
    """Files of the trash by what their content was when they came there."""
    found: dict[bytes, Path] = {}
    for index in trash.glob(f"*/{INDEX}"):
        with contextlib.suppress(OSError):
            for line in index.read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    told = json.loads(line)
                    name = str(told["name"])
                    if "/" not in name:
                        found[bytes.fromhex(told["digest"])] = index.parent / name
    return found

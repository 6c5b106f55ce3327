"""Which installed package brings a module, as the metadata of an environment says it. Read, never imported or run."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from models.health_check import Checkout

_MOST_BYTES = 32 * 1024 * 1024
_MOST_PACKAGES = 5_000
_DEPTH = 3
_CODE = re.compile(r"\.(py|pyi|so|pyd)$")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def brought_by(checkout: Checkout) -> dict[str, str]:
    """Dotted beginnings of modules (at most three parts) and the package in whose environment they are.

    An empty text stands for several: `google` is brought by many, `google.genai` by one.
    """
    found: dict[str, set[str]] = {}
    for folder in _site_packages(checkout):
        for metadata in sorted(folder.glob("*.dist-info"))[:_MOST_PACKAGES]:
            name = _name(metadata)
            if name:
                for dotted in _modules(metadata):
                    found.setdefault(dotted, set()).add(f"pypi/{name}")
    brought = {dotted: next(iter(names)) if len(names) == 1 else "" for dotted, names in found.items()}
    return {dotted: package for dotted, package in brought.items() if not _said_above(dotted, brought)}


def _said_above(dotted: str, brought: dict[str, str]) -> bool:
    """Whether a shorter beginning says it already."""
    parts = dotted.split(".")
    return any(brought.get(".".join(parts[:length])) for length in range(1, len(parts)))


def _site_packages(checkout: Checkout) -> list[Path]:
    environment = checkout.environment or checkout.path / ".venv"
    return sorted({*environment.glob("lib/python3*/site-packages"), *environment.glob("Lib/site-packages")})


def _name(metadata: Path) -> str:
    """Its name as PyPI normalises it (PEP 503), or nothing."""
    head = _read(metadata / "METADATA").partition("\n\n")[0]
    name = email.message_from_string(head).get("Name", "")
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _modules(metadata: Path) -> Iterator[str]:
    for line in _read(metadata / "RECORD").splitlines():
        file = line.partition(",")[0].strip('"')
        if not _CODE.search(file):
            continue
        parts = PurePosixPath(file).parts
        dotted = [*parts[:-1], parts[-1].partition(".")[0]]
        if dotted[-1] == "__init__":
            dotted.pop()
        if all(_NAME.fullmatch(part) for part in dotted):
            yield from (".".join(dotted[:length]) for length in range(1, min(len(dotted), _DEPTH) + 1))


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""

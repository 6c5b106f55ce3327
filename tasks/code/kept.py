"""What was read of a code base before: its modules by content, and how the whole of it stood at the last read."""

from __future__ import annotations

import functools
import hashlib
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

from tasks.result_cache import ResultCache, content_key

_MOST_FRESH = 192 * 1024 * 1024
_READ = (
    "calls", "definitions", "entries", "expressions", "extract", "read", "related", "relations", "rows", "scopes",
    "statements",
)  # fmt: skip
"""What decides how entries and states look."""


def content_of(data: bytes, stub: bytes | None) -> str:
    """The hash of a module's files: 32 hexadecimal digits."""
    digest = hashlib.blake2b(data, digest_size=16)
    if stub is not None:
        digest.update(b"\0stub\0")
        digest.update(stub)
    return digest.hexdigest()


def module_key(module: str, content: str, *, package: bool) -> bytes:
    """What the entry of a module is kept under: the same bytes say other things in another place."""
    return content_key(module.encode("utf-8", "surrogatepass"), b"\1" if package else b"\0", content.encode())


@functools.cache
def version() -> str:
    """Changes with whatever may change what a source is read as: our own code, and the parser."""
    digest = hashlib.blake2b(digest_size=6)
    for name in _READ:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return f"{digest.hexdigest()} {sys.version_info.major}.{sys.version_info.minor}"


@functools.cache
def version_of_all() -> str:
    """Changes with whatever may change what any module of this package tells, docstrings and commands included."""
    from importlib.metadata import version as version_of  # noqa: PLC0415 - slow to import

    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    griffe = version_of("griffe")
    return f"{digest.hexdigest()} {griffe} {sys.version_info.major}.{sys.version_info.minor}"


class Kept:
    """Entries of modules, and states, in a file that may be lost; what was put is there for as long as this lives.

    Each entry carries a check sum: a page of the file that a failing disk has changed is read again from the source.
    """

    def __init__(self, path: Path | None) -> None:
        self._cache = ResultCache(path)
        self._durable = path is not None
        self._fresh: dict[tuple[str, bytes], bytes] = {}
        self._size = 0

    def get(self, what: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The entries that are known, by key."""
        wanted = list(keys)
        found = {key: self._fresh[what, key] for key in wanted if (what, key) in self._fresh}
        if self._durable and (missing := [key for key in wanted if key not in found]):
            for key, value in self._cache.get(self._kind(what), missing).items():
                if len(value) >= 4 and zlib.crc32(value[4:]).to_bytes(4) == value[:4]:
                    found[key] = value[4:]
        return found

    def put(self, what: str, entries: dict[bytes, bytes], *, used: Iterable[bytes] = ()) -> None:
        """Keep `entries`, and those of the keys `used` for another while."""
        for key, value in entries.items():
            if not self._durable or self._size + len(value) < _MOST_FRESH:
                self._fresh[what, key] = value
                self._size += len(value)
        if self._durable and (entries or used):
            rows = {key: zlib.crc32(value).to_bytes(4) + value for key, value in entries.items()}
            self._cache.put(self._kind(what), rows, used=used)

    @staticmethod
    def _kind(what: str) -> str:
        return f"code {what} {version()}"

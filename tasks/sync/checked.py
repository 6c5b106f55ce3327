"""Contents on their way, hashed while they pass."""

from __future__ import annotations

from typing import IO, BinaryIO

from blake3 import blake3

from tasks.sync.calls import Calls
from tasks.sync.faults import Changed

_CHUNK = 1 << 20


class Checked:
    """Writes on, and knows the digest of what was written."""

    def __init__(self, file: IO[bytes], calls: Calls) -> None:
        self._file = file
        self._calls = calls
        self._hasher = blake3()
        self.size = 0

    def write(self, content: bytes) -> int:
        """Write `content`, and hash it."""
        self._calls.write(self._file, content)
        self._hasher.update(content)
        self.size += len(content)
        return len(content)

    def digest(self) -> bytes:
        """Of all that was written."""
        return self._hasher.digest()


def copy(file: BinaryIO, digest: bytes, into: BinaryIO, size: int | None) -> None:
    """Write what `file` holds.

    Raises:
        Changed: it has another digest or size; what was written is worth nothing.
    """
    hasher = blake3()
    length = 0
    while chunk := file.read(_CHUNK):
        length += len(chunk)
        if size is not None and length > size:
            break
        hasher.update(chunk)
        into.write(chunk)
    if hasher.digest() != digest or (size is not None and length != size):
        raise Changed("the file has another content by now.")

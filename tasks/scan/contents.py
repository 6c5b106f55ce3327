"""Reads files as every engine of the scan reads them: bounded, no link followed, hashed as a whole, decoded one way.

Of the standard library alone: the engines' processes load it by path.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

LARGEST = 2_000_000
"""Bytes of a text; what is longer is generated, or data, and is told instead of being looked at."""


class Reason:
    """Why there is nothing to look at."""

    def __init__(self, text: str) -> None:
        self.text = text


TOO_LARGE = Reason(f"is larger than {LARGEST} bytes.")


def read_content(path: Path) -> bytes | Reason:
    """The bytes of a file, or its first `LARGEST` + 1: enough to see that it is too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        return Reason(f"cannot be read: {error.strerror}.")


def digest_of(content: bytes) -> bytes:
    """What identifies `content`: 16 bytes of BLAKE2b. Whoever looks says by it what he has seen."""
    return hashlib.blake2b(content, digest_size=16).digest()


def text_of(content: bytes) -> str | Reason | None:
    """The text in `content`; None when it is binary; `TOO_LARGE` when it is text that nobody wrote by hand."""
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in content[:8192]:
        return None
    if len(content) > LARGEST:
        return TOO_LARGE
    if wide:
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def digests_of(root: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The digests of files below `root`, by name; of what cannot be read there is none."""
    digests: dict[str, bytes] = {}
    for name in names:
        content = read_content(root / name)
        if not isinstance(content, Reason):
            digests[name] = digest_of(content)
    return digests

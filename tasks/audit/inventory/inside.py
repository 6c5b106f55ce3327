"""Paths inside of an image's file system, as the image sees them: links never lead to the machine that looks at it."""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath

_MOST_LINKS = 40
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
)


def resolve(root: str, path: str) -> str | None:
    """Where `path` (relative to the image's root, or absolute in the image) is on this machine; None when it is not
    there. An absolute link begins at `root` again, and what leads above it stays there, as in a container.
    """
    real: list[str] = []
    todo = [*reversed(PurePosixPath(path).parts)]
    links = 0
    while todo:
        part = todo.pop()
        if part == "/":
            real = []
        elif part == "..":
            real = real[:-1]
        else:
            here = os.path.join(root, *real, part)  # noqa: PTH118 - names may hold any bytes
            try:
                is_link = stat.S_ISLNK(os.lstat(here).st_mode)
                target = os.readlink(here) if is_link else ""  # noqa: PTH115
            except (OSError, ValueError):
                return None
            if not is_link:
                real.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            todo += reversed(PurePosixPath(target).parts)
    return os.path.join(root, *real)  # noqa: PTH118


def content(real: str, largest: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it cannot be opened, or is a link.
        ValueError: it is no regular file, or larger than `largest` bytes; says which.
    """
    # Not blocking: opening a pipe would wait for somebody who writes into it.
    with os.fdopen(os.open(real, _FLAGS), "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no regular file")
        data = opened.read(largest + 1) if status.st_size <= largest else b""
    if max(status.st_size, len(data)) > largest:
        raise ValueError(f"is larger than {largest} bytes")
    return data

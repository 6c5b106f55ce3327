"""Files beneath a root, reached without following a link, so that what somebody else wrote leads nowhere else."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from blocks.errors import LamaError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class BeneathError(LamaError):
    """A file that is not read or written because of what it is."""


@contextlib.contextmanager
def open_folder(root: Path, file: str) -> Iterator[tuple[int, str]]:
    """The folder of `file`, opened part by part from `root` on, as a descriptor; and the bare name of the file.

    Raises:
        BeneathError: the path leads out of the root.
        OSError: a part is not there, or is a link.
    """
    parts = PurePosixPath(file).parts
    if not parts or PurePosixPath(file).is_absolute() or ".." in parts or "\0" in file:
        raise BeneathError("leads out of the target.", component=file)
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=opened)
            os.close(opened)
            opened = inner
        yield opened, parts[-1]
    finally:
        os.close(opened)


def read(folder: int, name: str, *, largest: int) -> tuple[bytes, os.stat_result]:
    """The content of a regular file of at most `largest` bytes, and what the system says of it.

    Raises:
        BeneathError: it is something else, or larger.
        OSError: it cannot be read, or is a link.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BeneathError("is not a regular file.", component=name)
        content = file.read(largest + 1)
    if len(content) > largest:
        raise BeneathError(f"is larger than {largest} bytes.", component=name)
    return content, status


def replace(folder: int, name: str, content: bytes, status: os.stat_result) -> None:
    """Put `content` in the place of a file at once, with the mode and, if that is allowed, the owner of `status`.

    Raises:
        OSError: it cannot be written; then the file is as it was.
    """
    temporary = f".{name[:100]}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)

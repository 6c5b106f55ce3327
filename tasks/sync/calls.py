"""The system calls that change something, in one place, so that a test can fail or end each of them."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import IO

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
_NOT_HERE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV})


def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return library if hasattr(library, "renameat2") else None


_LIBC = _libc()
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})
"""`f_type` of ext4, XFS, Btrfs, F2FS and tmpfs in statfs(2)."""


def sync_whole(fd: int) -> bool:
    """Everything that was written to the file system of `fd` is on the disk; False: fsync(2) has to be asked, of each.

    One call for thousands of files. syncfs(2) tells what could not be written since `fd` was opened as of Linux 5.8.
    Where a daemon keeps the files (FUSE), it reaches the daemon's pages and not its disk: so only for file systems that
    are known to be of the kernel's own.

    Raises:
        OSError: something could not be written since `fd` was opened.
    """
    if _LIBC is None or not _tells_errors(platform.release()):
        return False
    told = ctypes.create_string_buffer(256)  # struct statfs begins with the type, a long
    if _LIBC.fstatfs(fd, told) != 0 or ctypes.c_long.from_buffer(told).value not in _LOCAL:
        return False
    if _LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def _tells_errors(release: str) -> bool:
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0]
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= (5, 8)


class Calls:
    """The calls themselves. All names are relative to open directories, so that no link on the way is followed."""

    def open_new(self, name: str, at: int) -> int:
        """A new file, for writing and for us only."""
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)

    def write(self, file: IO[bytes], content: bytes) -> None:
        """Write all of `content`."""
        file.write(content)

    def permit(self, fd: int, mode: int) -> None:
        """Set permissions of an open file."""
        os.fchmod(fd, mode)

    def sync_files(self, fd: int) -> None:
        """Everything that was written to the file system of `fd` so far is on the disk."""
        if _LIBC is None or _LIBC.syncfs(fd) != 0:
            os.sync()

    def rename_new(self, name: str, at: int, to: str, to_at: int) -> None:
        """Rename to where nothing stands.

        Raises:
            FileExistsError: something stands there.
        """
        if not _rename(name, at, to, to_at, _NOREPLACE):
            # Without the call: a link fails where something stands. Directories cannot be linked, but an empty one
            # is all that a rename of a directory would replace.
            try:
                os.link(name, to, src_dir_fd=at, dst_dir_fd=to_at, follow_symlinks=False)
            except (PermissionError, OSError) as error:
                if isinstance(error, FileExistsError):
                    raise
                os.rename(name, to, src_dir_fd=at, dst_dir_fd=to_at)
                return
            os.unlink(name, dir_fd=at)

    def exchange(self, name: str, at: int, to: str, to_at: int) -> bool:
        """Two entries take each other's place in one step; False: the file system cannot do that."""
        return _rename(name, at, to, to_at, _EXCHANGE)

    def replace(self, name: str, at: int, to: str, to_at: int) -> None:
        """Rename over what stands there."""
        os.replace(name, to, src_dir_fd=at, dst_dir_fd=to_at)

    def link(self, name: str, at: int, to: str, to_at: int) -> None:
        """A second name for a file."""
        os.link(name, to, src_dir_fd=at, dst_dir_fd=to_at, follow_symlinks=False)

    def unlink(self, name: str, at: int) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=at)

    def mkdir(self, name: str, at: int) -> None:
        """A new directory."""
        os.mkdir(name, 0o700, dir_fd=at)

    def rmdir(self, name: str, at: int) -> None:
        """Remove an empty directory."""
        os.rmdir(name, dir_fd=at)

    def symlink(self, target: str, name: str, at: int) -> None:
        """A new symbolic link."""
        os.symlink(target, name, dir_fd=at)

    def chmod(self, name: str, at: int, mode: int) -> None:
        """Set permissions of what is no link."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        try:
            os.fchmod(fd, mode)
        finally:
            os.close(fd)


def _rename(name: str, at: int, to: str, to_at: int, flags: int) -> bool:
    """Rename with `flags` of renameat2(2); False: it is not to be had here."""
    if _LIBC is None:
        return False
    done = _LIBC.renameat2(at, os.fsencode(name), to_at, os.fsencode(to), flags)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), name, None, to)

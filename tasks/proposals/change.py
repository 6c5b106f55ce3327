"""Changes of files: shown as a diff, and applied only to what was read."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.masked import masked
from tasks.proposals.beneath import BeneathError, open_folder, read, replace

LARGEST = 5_000_000
"""Bytes of one file that is patched."""


class PatchError(BeneathError):
    """A patch that was not applied; nothing was changed unless the message says so."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file before and after."""

    file: str
    """Relative to the target, with `/`."""
    old: bytes
    new: bytes

    @property
    def diff(self) -> str:
        """The change as a unified diff, as `git apply` and `patch -p1` take it. Diffs are stored and shown: an address
        with a password, and whatever else in a line nearby may be a secret, is shown without, and the diff of that
        file is one to read.
        """
        told = difflib.unified_diff(
            _lines(self.old), _lines(self.new), fromfile=f"a/{self.file}", tofile=f"b/{self.file}"
        )
        told = (masked(line) for line in told)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in told)


def apply(root: Path, changes: Sequence[Change]) -> None:
    """Write the changes below `root`: each file at once or not at all, with its mode kept.

    Raises:
        PatchError: a file is no longer what was read, or is reached by a link; then none was changed. Or one could
            not be written; then those before it are changed, and the message says so.
    """
    with contextlib.ExitStack() as stack:
        opened = []
        for change in changes:
            try:
                folder, name = stack.enter_context(open_folder(root, change.file))
                content, status = read(folder, name, largest=LARGEST)
            except OSError as error:
                raise PatchError(f"cannot be read: {error.strerror}.", component=change.file) from error
            except BeneathError as error:
                raise PatchError(error.what, component=change.file) from error
            if content != change.old:
                raise PatchError(
                    "has changed since it was read.", component=change.file, remedy="Look again, and then patch."
                )
            opened.append((change, folder, name, status))
        done: list[str] = []
        for change, folder, name, status in opened:
            try:
                replace(folder, name, change.new, status)
            except OSError as error:
                before = f"; changed before it: {', '.join(done)}." if done else "; nothing was changed."
                raise PatchError(f"cannot be written: {error.strerror}{before}", component=change.file) from error
            done.append(change.file)


def _lines(content: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", content.decode(errors="replace"))

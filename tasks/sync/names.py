"""Names of paths: which may come from outside, how they look everywhere, and those of conflict copies. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable
from datetime import UTC, datetime

from models.sync_versions import Version

LONGEST_NAME = 255
"""Bytes that a name may have on the file systems that matter."""
_LONGEST_PATH = 4000
CONFLICT = re.compile(r" \(conflict from [^()/]{1,80}, \d{4}-\d{2}-\d{2} \d{6}(?:, [0-9a-f]{8})?\)")
OWN = (".lama-sync", ".lama-tmp-")
"""How names begin that are ours: never synced."""


def problem_of(path: str) -> str | None:  # noqa: PLR0911 - one a reason
    """Why `path` cannot be one of ours: it could leave the folder, or means something else elsewhere. None: it can."""
    if not path or path.startswith("/") or path.endswith("/") or "\x00" in path:
        return "it is no relative path"
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_PATH:
        return f"it is longer than {_LONGEST_PATH} bytes"
    for name in path.split("/"):
        if name in {"", ".", ".."}:
            return "it could leave its folder"
        if name.startswith(OWN):
            return "the name is one of ours"
        if len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
            return f"a name is longer than {LONGEST_NAME} bytes"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is no UTF-8"
    if unicodedata.normalize("NFC", path) != path:
        return "its name is not in the normal form NFC"
    return None


def folded(path: str) -> str:
    """Equal for paths that are one on file systems that ignore case and form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def conflict_path(path: str, loser: Version) -> str:
    """Where the content of `loser` goes, the same on every device: `name (conflict from DEVICE, TIME).ext`.

    Eight digits of its digest follow, so that two that lost in the same second have names of their own.
    """
    folder, slash, name = path.rpartition("/")
    when = datetime.fromtimestamp(min(max(loser.at, 0), 253_402_300_799), UTC).strftime("%Y-%m-%d %H%M%S")
    content = loser.content
    told = (content.digest or content.target.encode() or content.kind.encode()) if content else b""
    mark = f" (conflict from {_device(loser.device)}, {when}, {told[:4].hex().ljust(8, '0')})"
    bare = CONFLICT.sub("", name)
    stem, dot, extension = bare.rpartition(".")
    if not stem or len(extension) > 20 or not dot:
        stem, dot, extension = bare, "", ""
    room = LONGEST_NAME - len(f"{mark}{dot}{extension}".encode())
    return f"{folder}{slash}{_shortened(stem, room)}{mark}{dot}{extension}"


def is_conflict(path: str) -> bool:
    """Whether `path` is the name of a conflict copy."""
    return CONFLICT.search(path.rpartition("/")[2]) is not None


def original_of(path: str) -> str:
    """The path that the conflict copy `path` was made beside."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{CONFLICT.sub('', name)}"


def device_of(path: str) -> str | None:
    """The device that the conflict copy `path` is from; None: it is no conflict copy."""
    found = CONFLICT.search(path.rpartition("/")[2])
    return found.group().removeprefix(" (conflict from ").partition(",")[0] if found else None


def _shortened(text: str, room: int) -> str:
    return unicodedata.normalize("NFC", text.encode()[: max(room, 1)].decode("utf-8", "ignore"))


def _device(name: str) -> str:
    return re.sub(r"[^\w .-]", "-", name)[:60] or "device"


def colliding(paths: Iterable[str], here: Container[str]) -> set[str]:
    """Of `paths`, those that would be one with another where case is ignored; what is here already goes first."""
    taken: dict[str, str] = {}
    losers: set[str] = set()
    for path in sorted(paths, key=lambda one: (one not in here, one)):
        if taken.setdefault(folded(path), path) != path:
            losers.add(path)
    return losers

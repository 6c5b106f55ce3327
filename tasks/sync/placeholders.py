"""What cloud drives leave among the files: stand-ins for what is only online, temporary files, conflict copies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

_DATALESS = 0x40000000
"""SF_DATALESS of `<sys/stat.h>` on macOS: the content is only online, and reading it would fetch it."""
_PATIENCE = 10.0
"""Seconds that `brctl` has to take a request; it fetches afterwards."""

LEFTOVERS = (
    # iCloud Drive, Finder and Explorer
    ".DS_Store", "._*", "Icon\r", "desktop.ini", "Thumbs.db", ".Trashes/", ".fseventsd/", ".Spotlight-V100/",
    ".*.icloud",
    # Dropbox, Google Drive, Nextcloud, Syncthing, and NFS
    ".dropbox", ".dropbox.attr", ".dropbox.cache/", ".tmp.drivedownload/", ".tmp.driveupload/", ".sync_*.db*",
    ".syncthing.*.tmp", "~syncthing~*.tmp", ".stfolder/", ".nfs[0-9]*",
    # Office and LibreOffice, for as long as somebody has a document open
    "~$*", "~WR*.tmp", ".~lock.*#",
)  # fmt: skip
"""Patterns, as in `.gitignore`, of what is never anyone's work. Conflict copies are somebody's, and are not among them.

Stand-ins are: whoever looks through a folder asks `stands_for` first, or what they stand for reads as deleted.
"""

_STAND_IN = re.compile(r"\.(?P<name>.+)\.icloud", re.DOTALL)
_CONFLICT_COPIES = (
    # Dropbox, and Nextcloud: `name (Ann's conflicted copy 2024-05-01).txt`
    re.compile(r"(?P<stem>.+?) \([^()]*(?:conflicted copy|Case Conflict)[^()]*\)(?P<rest>\.[^.]*)?", re.IGNORECASE),
    # Syncthing: `name.sync-conflict-20240501-101500-ABCDEFG.txt`
    re.compile(r"(?P<stem>.+?)\.sync-conflict-\d{8}-\d{6}-[0-9A-Z]{7}(?P<rest>\.[^.]*)?"),
)


def stands_for(path: str) -> str | None:
    """The path that iCloud's stand-in `path` is for: `a/.b.txt.icloud` is what there is of `a/b.txt`. None: it is none.

    What is stood for is there, though it cannot be read: it was not deleted.
    """
    folder, slash, name = path.rpartition("/")
    match = _STAND_IN.fullmatch(name)
    return f"{folder}{slash}{match['name']}" if match else None


def is_dataless(status: os.stat_result) -> bool:
    """Whether the content of a file is only online (macOS 12 and later, where no stand-in has a name of its own)."""
    return bool(getattr(status, "st_flags", 0) & _DATALESS)


def cloud_conflict(path: str) -> str | None:
    """The path that `path` is a cloud drive's conflict copy of; None when it is none, or has a name like any other.

    iCloud's `name 2.txt` and OneDrive's `name-HOST.txt` are such names.
    """
    folder, slash, name = path.rpartition("/")
    for pattern in _CONFLICT_COPIES:
        if match := pattern.fullmatch(name):
            return f"{folder}{slash}{match['stem']}{match['rest'] or ''}"
    return None


def asks_for(path: Path, *, platform: str = sys.platform, command: str = "/usr/bin/brctl") -> bool:
    """Ask iCloud for the content of `path`, a file or its stand-in; it comes later. False: it could not be asked."""
    if platform != "darwin":
        return False
    try:
        done = subprocess.run(
            [command, "download", str(path.absolute())], capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0

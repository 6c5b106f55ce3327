"""Who else can read what should be ours alone: the home, its secrets, private keys and `.env` files in checkouts."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.scan.looked import Looked
from tasks.scan.sources import LEFT_OUT, MOST_FILES

_DELICATE = re.compile(
    r"^(?:\.env(?:\..+)?|\.envrc|id_(?:rsa|dsa|ecdsa|ed25519)|.+\.(?:pem|key|p12|pfx|jks|ppk)|\.netrc|\.pgpass|\.pypirc)$"
)
_PATTERN = re.compile(r"\.(?:example|sample|template|dist|defaults?|pub)$")
_KEYS = (".pem", ".key")  # endings of public certificates and of keyboard layouts too: their text decides
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def look_at_home(home: Path, secrets: Path) -> Looked:
    """Modes of the home, its folders and its secrets: nobody else may even enter."""
    findings: list[Finding] = []
    skipped: list[Skip] = []
    try:
        paths = [home, *(entry for entry in home.iterdir() if entry.is_dir() and not entry.is_symlink())]
        paths += _below(secrets)
        for path in paths:
            try:
                status = path.lstat()
            except FileNotFoundError:  # a secret that is being written has another name for a moment
                continue
            secret = secrets in path.parents
            open_to = stat.S_IMODE(status.st_mode) & _OTHERS
            if stat.S_ISLNK(status.st_mode):
                continue
            # Within a home that nobody else can enter, the modes of its folders do no harm.
            if open_to and (secret or path == home):
                findings.append(_home_finding(path, home, secret=secret, status=status))
            if status.st_uid not in {os.geteuid(), 0}:
                findings.append(_owner_finding(path, home, status.st_uid))
    except FileNotFoundError:
        return Looked()  # no home yet: there is nothing in it to protect
    except OSError as error:
        reason = f"Its modes cannot be read: {error.strerror}."
        skipped.append(Skip(area="security", component="home", reason=reason, hides=("security.mode:home",)))
    return Looked(tuple(findings), tuple(skipped))


def _below(secrets: Path) -> list[Path]:
    """Everything in the folder of secrets, at any depth: those of webhooks have one of their own.

    Raises:
        OSError: a folder cannot be read.
    """

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    walk = os.walk(secrets, onerror=failed)
    return [Path(folder, name) for folder, folders, files in walk for name in sorted([*folders, *files])]


def look_at_checkout(checkout: Checkout) -> Looked:
    """Private keys and `.env` files in a checkout that others on this machine can read, ignored by git or not."""
    root = checkout.path.resolve()
    findings: list[Finding] = []
    unread: list[str] = []
    count = 0
    for entry in _entries(root, unread):
        count += 1
        if count > MOST_FILES:
            unread.append(f"more than {MOST_FILES} files")
            break
        if not _DELICATE.match(entry.name) or _PATTERN.search(entry.name):
            continue
        try:
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            readers = _readers(Path(entry.path), mode)
            if readers and _holds_a_secret(entry):
                findings.append(_file_finding(checkout.name, os.path.relpath(entry.path, root), readers, mode))
        except OSError as error:
            unread.append(f"{os.path.relpath(entry.path, root)} ({error.strerror})")
    if not unread:
        return Looked(tuple(findings))
    reason = f"Not all files were seen: {', '.join(unread[:5])}."
    hides = (f"security.mode:{checkout.name}/",)
    return Looked(tuple(findings), (Skip(area="security", component=checkout.name, reason=reason, hides=hides),))


def _entries(folder: Path | str, unread: list[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in LEFT_OUT:
                        yield from _entries(entry.path, unread)
                elif entry.is_file(follow_symlinks=False):
                    yield entry
    except OSError as error:
        unread.append(f"{folder} ({error.strerror})")


def _readers(path: Path, mode: int) -> str:
    """Who besides the owner can read it: a folder above that cannot be entered protects what is in it."""
    group, others = bool(mode & stat.S_IRGRP), bool(mode & stat.S_IROTH)
    for parent in path.parents:
        above = parent.stat().st_mode
        group = group and bool(above & (stat.S_IXGRP | stat.S_IXOTH))
        others = others and bool(above & stat.S_IXOTH)
    return "everybody on this machine" if others else "its group" if group else ""


def _holds_a_secret(entry: os.DirEntry[str]) -> bool:
    if not entry.name.endswith(_KEYS):
        return entry.stat(follow_symlinks=False).st_size > 0
    with open(os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
        return b"PRIVATE KEY" in file.read(100_000)


def _home_finding(path: Path, home: Path, *, secret: bool, status: os.stat_result) -> Finding:
    mode = stat.S_IMODE(status.st_mode)
    name = str(path.relative_to(home)) if path != home else ""
    return Finding(
        key=f"security.mode:home/{name}".rstrip("/"),
        severity=Severity.high if secret or mode & stat.S_IWOTH else Severity.medium,
        component="home",
        title=f"{path} is open to others (mode {mode:04o}).",
        detail="It holds keys, logs and data of this node.",
        remedy=f"chmod {'700' if stat.S_ISDIR(status.st_mode) else '600'} {path}",
        evidence={"path": str(path), "mode": f"{mode:04o}"},
    )


def _owner_finding(path: Path, home: Path, owner: int) -> Finding:
    name = str(path.relative_to(home)) if path != home else ""
    return Finding(
        key=f"security.owner:home/{name}".rstrip("/"),
        severity=Severity.high,
        component="home",
        title=f"{path} belongs to another user.",
        detail="Its owner can read and change what this node relies on.",
        remedy="Find out how it came there; give it to the user that Lama runs as.",
        evidence={"path": str(path), "uid": owner},
    )


def _file_finding(checkout: str, name: str, readers: str, mode: int) -> Finding:
    return Finding(
        key=f"security.mode:{checkout}/{name}",
        severity=Severity.medium if readers.startswith("everybody") else Severity.low,
        component=checkout,
        title=f"{name} can be read by {readers} (mode {mode:04o}).",
        detail="Files of this name hold passwords or private keys.",
        remedy="chmod 600 it.",
        evidence={"file": name, "mode": f"{mode:04o}"},
    )

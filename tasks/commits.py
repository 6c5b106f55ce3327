"""Which commit of a checkout is looked at. Git is asked, and made to run nothing that the repository names."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from blocks.errors import ConfigurationError, UnavailableError
from models.health_check import Checkout
from models.report import Skip
from tasks.engine import run_engine
from tasks.scan.sources import GIT_ENVIRONMENT, git_command

_TIMEOUT_S = 20.0
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ENTRY = re.compile(rb"(\d{6}) ([0-9a-f]{40,64}) \d\t([^\0]+)\0.*\n  mtime: (\d+):(\d+)\n.*\n.*\n  size: (\d+)\t.*\n")
"""One file of `git ls-files --stage --debug -z`."""
CHANGED = " with changes"
"""What stands behind a commit when files that git tracks differ from it."""


async def commits_of(checkouts: Iterable[Checkout]) -> dict[str, str]:
    """The commit that each checkout is at, by its name, with `CHANGED` behind it; without those that git knows not."""
    chosen = tuple(checkouts)
    told = await asyncio.gather(*(_commit(checkout.path) for checkout in chosen))
    return {checkout.name: commit for checkout, commit in zip(chosen, told, strict=True) if commit is not None}


def check_commit(commit: str | None, *, component: str) -> str | None:
    """`commit` if one was asked for; None also for the noughts that a push names when it deletes a branch.

    Raises:
        ConfigurationError: it is no full id of a commit.
    """
    if commit is None or not commit.strip("0"):
        return None
    if _COMMIT.fullmatch(commit) is None:
        raise ConfigurationError(
            f"{commit[:80]!r} is no id of a commit.", component=component, remedy="Give all of its hexadecimal digits."
        )
    return commit


def not_at(commit: str | None, commits: Mapping[str, str], *, area: str, component: str) -> tuple[Skip, ...]:
    """That no checkout is at the `commit` that was asked for, so that something else was looked at."""
    if commit is None or commit in commits.values():
        return ()
    told = ", ".join(f"{name} is at {at[:12]}{CHANGED if at.endswith(CHANGED) else ''}" for name, at in commits.items())
    reason = f"The commit {commit[:12]} was asked for, and was not looked at: {told or 'no checkout is a repository'}."
    remedy = "Update the checkout, without changes of its own, and look again."
    return (Skip(area=area, component=component, reason=f"{reason} {remedy}"),)


async def _commit(path: Path) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        head = await _ask(git, path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if head is None or _COMMIT.fullmatch(commit := head.decode("ascii", "replace").strip()) is None:
            return None
        staged = await _ask(git, path, "diff-index", "--cached", "--name-only", "-z", "HEAD", "--", ".")
        listed = await _ask(git, path, "ls-files", "--stage", "--debug", "-z", "--", ".")
    except UnavailableError:
        return None
    is_changed = bool(staged) or staged is None or await asyncio.to_thread(_differs, path, listed or b"")
    return f"{commit}{CHANGED if is_changed else ''}"


def _differs(root: Path, listed: bytes) -> bool:
    """Whether a file differs from what the index says. Git itself would run the filters that the repository names."""
    for mode, oid, name, seconds, nanoseconds, size in _ENTRY.findall(listed):
        path = root / os.fsdecode(name)
        try:
            state = path.lstat()
            if state.st_size == int(size) and state.st_mtime_ns == int(seconds) * 10**9 + int(nanoseconds):
                continue
            if mode == b"160000":  # a repository of its own
                continue
            is_link = stat.S_ISLNK(state.st_mode)
            content = os.fsencode(path.readlink()) if is_link else path.read_bytes()
        except OSError:
            return True
        kind = hashlib.sha1(usedforsecurity=False) if len(oid) == 40 else hashlib.sha256()
        kind.update(b"blob %d\0" % len(content) + content)
        if kind.hexdigest().encode() != oid or is_link != (mode == b"120000"):
            return True
    return False


async def _ask(git: str, root: Path, *question: str) -> bytes | None:
    command = [*git_command(git, root), *question]
    outcome = await run_engine(command, timeout_s=_TIMEOUT_S, environment=GIT_ENVIRONMENT)
    return outcome.stdout if outcome.code == 0 else None

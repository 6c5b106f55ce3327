"""Where a checkout comes from: the repository that its `origin` names. Git is asked, and made to run nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from blocks.errors import ConfigurationError, UnavailableError
from tasks.engine import run_engine
from tasks.proposals.pull_request import Repository

_COMPONENT = "origin"
# https://host/owner/name(.git), ssh://git@host(:port)/owner/name, git@host:owner/name
_ADDRESS = re.compile(r"(?:https?|ssh|git)://(?:[^/@\s]*@)?([^/:\s]+)(?::\d+)?/([^/\s]+)/([^/\s]+?)(?:\.git)?/?")
_SCP = re.compile(r"(?:[^/@:\s]+@)?([^/:\s]+):/?([^/\s]+)/([^/\s]+?)(?:\.git)?/?")


def read_address(text: str) -> Repository | None:
    """The repository that an address of git's stands for; None when it is of another form. Credentials are dropped."""
    found = _ADDRESS.fullmatch(text) or (_SCP.fullmatch(text) if "://" not in text else None)
    if found is None:
        return None
    try:
        return Repository(found[1].lower(), found[2], found[3])
    except ConfigurationError:
        return None


async def repository_of(root: Path, *, timeout_s: float = 10.0) -> Repository:
    """The repository that the checkout at `root` was cloned from, and where in it `root` is.

    Raises:
        ConfigurationError: it is no checkout of git, or has no `origin` that can be understood.
        UnavailableError: there is no git, or it does not answer.
    """
    git = shutil.which("git")
    if git is None:
        raise UnavailableError("git is not installed here.", component=_COMPONENT)
    address = await _ask(git, root, ["remote", "get-url", "origin"], timeout_s)
    folder = await _ask(git, root, ["rev-parse", "--show-prefix"], timeout_s)
    found = read_address(address)
    if found is None:
        raise ConfigurationError(
            "its address is not that of a repository on a host.",
            component=_COMPONENT,
            remedy="It should look like `https://github.com/owner/name`.",
        )
    return Repository(found.host, found.owner, found.name, folder.rstrip("/"))


async def _ask(git: str, root: Path, question: list[str], timeout_s: float) -> str:
    # A checkout is not trusted: its configuration may name programs that git would run. And a variable of ours may
    # name another repository, so git gets an environment of its own.
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"]
    bare = {"HOME": str(root.anchor), "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1"}
    outcome = await run_engine(
        [git, "-C", str(root), *safe, *question], timeout_s=timeout_s, environment=bare, max_output=65_536
    )
    if outcome.code != 0:
        raise ConfigurationError(
            f"{root} has no `origin` that git knows.",
            component=_COMPONENT,
            remedy="Name the repository, or propose from a checkout of it.",
        )
    return outcome.stdout.decode(errors="replace").strip()

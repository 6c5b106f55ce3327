"""Which files of a checkout are looked at: what git tracks or would track, inside the checkout, and no link."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blocks.errors import UnavailableError
from models.health_check import Checkout
from models.report import Skip
from tasks.engine import run_engine

LEFT_OUT = frozenset({".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".direnv"})
"""Folders that hold what others wrote or what is made anew; left out where git does not say what belongs."""

MOST_FILES = 200_000
_KINDS = ("secret", "code", "rule", "container", "compose", "workflow")  # of findings about files
_LOCKS = frozenset(
    {
        *("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock", "package-lock.json", "yarn.lock"),
        *("npm-shrinkwrap.json", "pnpm-lock.yaml", "bun.lock", "Cargo.lock", "go.sum", "composer.lock", "Gemfile.lock"),
        *("flake.lock", "Podfile.lock", "packages.lock.json"),
    }
)
_TESTS = re.compile(
    r"(?:^|/)(?:tests?|testing|fixtures|examples?|docs?)/|(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.py$"
)


@dataclass(frozen=True)
class Sources:
    """The files of one checkout."""

    checkout: str
    root: Path
    """Resolved."""
    files: tuple[str, ...] = ()
    """Regular files, relative to the root, sorted."""
    skipped: tuple[Skip, ...] = ()

    @property
    def python(self) -> tuple[str, ...]:
        """Python files that are not tests."""
        return tuple(name for name in self.files if name.endswith((".py", ".pyw")) and not is_test(name))


def is_test(name: str) -> bool:
    """Whether a file belongs to tests, examples or documents: what is in it rarely guards or runs anything."""
    return _TESTS.search(name) is not None


def is_lock(name: str) -> bool:
    """Whether a file is full of hashes, and of nothing that people write."""
    return name.rpartition("/")[2] in _LOCKS


def shown(name: str) -> str:
    """A file's name as reports can carry it: bytes that are no UTF-8, which file names may hold, as an escape."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def git_command(git: str, root: Path) -> list[str]:
    """Git on a repository that is not trusted: nothing that its configuration names is run."""
    safe = ("core.fsmonitor=false", "core.untrackedCache=false", "core.hooksPath=/dev/null", "safe.directory=*")
    # What could hide objects, or make git take up any amount of memory, is the repository's to say as well.
    sound = ("core.commitGraph=false", "core.bigFileThreshold=16m", "core.packedGitLimit=1g", "log.showRoot=true")
    return [git, "-C", str(root), "--no-pager", *(word for one in (*safe, *sound) for word in ("-c", one))]


GIT_ENVIRONMENT = {
    "HOME": "/",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": "/dev/null",
}
"""All that git gets: a variable of ours (in a hook, say) may name another repository. Missing objects of a partial
clone are not fetched: that would run what the repository's configuration names as the way to its remote."""


async def list_sources(checkout: Checkout, *, timeout_s: float) -> Sources:
    """The files of `checkout`; one that is not there, and parts that are not followed, are among the skips."""
    if not checkout.path.is_dir():
        skip = Skip(area="security", component=checkout.name, reason="is not there or not a folder; correct its path.")
        return Sources(checkout.name, checkout.path, skipped=(skip,))
    root = checkout.path.resolve()
    try:
        # Without git on this machine, what it would ignore cannot be told apart: then all of it is looked at.
        git = shutil.which("git") if (root / ".git").exists() else None
        names = await _of_git(git, root, timeout_s) if git else _of_walk(root)
        files, skipped = _regular(checkout, root, names)
    except UnavailableError as error:
        skip = Skip(area="security", component=checkout.name, reason=f"its files cannot be listed: {error}")
        return Sources(checkout.name, root, skipped=(skip,))
    return Sources(checkout.name, root, files, skipped)


async def _of_git(git: str, root: Path, timeout_s: float) -> list[str]:
    command = [*git_command(git, root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    outcome = await run_engine(command, timeout_s=timeout_s, environment=GIT_ENVIRONMENT)
    if outcome.code != 0:
        raise UnavailableError(f"git says: {outcome.stderr.strip()[-200:]}", component=str(root))
    return [os.fsdecode(name) for name in outcome.stdout.split(b"\0") if name]


def _of_walk(root: Path) -> list[str]:
    names: list[str] = []
    for folder, folders, files in os.walk(root):  # follows no links
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        names += [os.path.relpath(os.path.join(folder, name), root) for name in files]  # noqa: PTH118
        if len(names) > MOST_FILES:
            raise UnavailableError(f"more than {MOST_FILES} files; make it a git repository.", component=str(root))
    return names


def _regular(checkout: Checkout, root: Path, names: Iterable[str]) -> tuple[tuple[str, ...], tuple[Skip, ...]]:
    inside: dict[Path, bool] = {}
    files: list[str] = []
    nested: list[str] = []
    for name in sorted(set(names)):
        if is_excluded(name, checkout.exclude):
            continue
        path = root / name
        if path.parent not in inside:
            inside[path.parent] = path.parent.resolve().is_relative_to(root)
        if not inside[path.parent] or path.is_symlink():
            continue  # what a link inside leads to is listed by itself; what is outside is not ours to look at
        if path.is_dir():
            nested.append(name.rstrip("/"))
        elif path.is_file():
            files.append(name)
    skipped = tuple(
        Skip(
            area="security",
            component=f"{checkout.name}/{shown(name)}",
            reason="is a repository of its own; name it in [[checkouts]] to have it looked at, or exclude it.",
            hides=tuple(f"security.{kind}:{checkout.name}/{shown(name)}/" for kind in _KINDS),
        )
        for name in nested
    )
    return tuple(files), skipped


def is_excluded(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of a checkout's `exclude` globs leaves a file out."""
    return any(PurePosixPath(name).match(pattern) or _below(name, pattern) for pattern in patterns)


def _below(name: str, pattern: str) -> bool:
    return name.startswith(pattern.rstrip("/*") + "/")

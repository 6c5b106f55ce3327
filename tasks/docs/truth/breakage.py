"""What of a checkout's public interface has broken since a commit: griffe compares, and what a user notices is told."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from blocks.errors import ConfigurationError, UnavailableError
from models.code import Kind
from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.code.read import read
from tasks.docs.truth.resolve import Answer, Resolver
from tasks.docs.truth.signature import Change, What, changes
from tasks.scan.sources import GIT_ENVIRONMENT, git_command

AREA = "docs"
_REF = re.compile(r"(?!-)[A-Za-z0-9._/@^~{}-]{1,200}")
_TIMEOUT_S = 60.0
_LARGEST = 5_000_000
_MOST_FILES = 50_000
_MOST_BYTES = 1_000_000_000
_DEPRECATED = re.compile(r"\bdeprecated\b", re.IGNORECASE)
_SEVERITIES = {"default": Severity.low, "returns": Severity.low, "bases": Severity.low}
"""Changes that most callers do not notice."""
_CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]*")
_SPECIAL = re.compile(r"__(?!init__|call__)\w+__$")


def breakage(checkout: Checkout, since: str) -> tuple[list[Finding], list[Skip]]:
    """What code that uses `checkout` as of the commit `since` finds gone or changed now.

    Args:
        checkout: as it lies there now.
        since: a commit, a tag or a branch.

    Raises:
        ConfigurationError: it is no checkout of git, or has no such commit.
        UnavailableError: there is no git, or it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="lama-breakage-") as folder:
        before = Path(folder)
        commit = take_out(checkout.path, since, before)
        old = Resolver(read(before, checkout.packages or None, exclude=checkout.exclude))
        new = Resolver(read(checkout.path, old.codebase.packages or None, exclude=checkout.exclude))
        findings = list(_findings(checkout, old, new, commit))
    unread = [*old.codebase.unread, *new.codebase.unread]
    if not unread:
        return findings, []
    first = "; ".join(f"{one.place}: {one.reason}" for one in unread[:3])
    reason = f"{len(unread)} files could not be read then or now ({first})."
    return findings, [Skip(area=AREA, component=checkout.name, reason=reason, hides=(f"docs.breaks:{checkout.name}/",))]


def take_out(root: Path, since: str, into: Path) -> str:
    """Write the Python sources of the commit `since` below `into`, as they are in git: no filter of anybody's is run.

    Returns:
        The id of the commit.

    Raises:
        ConfigurationError: it is no checkout of git, has no such commit, or more than is read.
        UnavailableError: there is no git, or it does not answer.
    """
    if not _REF.fullmatch(since):
        raise ConfigurationError(f"{since[:80]!r} names no commit.", component="git")
    git = shutil.which("git")
    if git is None:
        raise UnavailableError("git is not installed here.", component="git")
    asked = git_command(git, root)
    found = _git([*asked, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{since}^{{commit}}"])
    commit = found.decode("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        raise ConfigurationError(f"{root} has no commit {since[:80]!r}.", component="git", remedy="Fetch it first.")
    prefix = _git([*asked, "rev-parse", "--show-prefix"]).decode(errors="replace").strip()
    listed = _git([*asked, "ls-tree", "-r", "-z", "--full-tree", commit])
    wanted: dict[str, str] = {}
    for entry in listed.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        place = name.decode("utf-8", "surrogateescape")
        parts = head.split()
        is_source = len(parts) == 3 and parts[0] in {b"100644", b"100755"} and place.endswith((".py", ".pyi"))
        if is_source and place.startswith(prefix) and ".." not in PurePosixPath(place).parts:
            wanted[place.removeprefix(prefix)] = parts[2].decode("ascii")
    if len(wanted) > _MOST_FILES:
        raise ConfigurationError(f"that commit has more than {_MOST_FILES} sources.", component="git")
    contents = _git([*asked, "cat-file", "--batch"], "\n".join(wanted.values()).encode() + b"\n" if wanted else b"")
    for place, content in zip(wanted, _blobs(contents), strict=True):
        path = into / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:_LARGEST])
    return commit


def _git(command: list[str], given: bytes | None = None) -> bytes:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=_TIMEOUT_S, env=GIT_ENVIRONMENT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"does not answer ({type(error).__name__}).", component="git") from error
    if done.returncode not in {0, 1} or len(done.stdout) > _MOST_BYTES:
        raise ConfigurationError("it is no checkout of git, or a damaged one.", component="git")
    return done.stdout


def _blobs(contents: bytes) -> Iterator[bytes]:
    """The contents that `git cat-file --batch` wrote: a line with the size before each, a line end behind it."""
    position = 0
    while position < len(contents):
        end = contents.index(b"\n", position)
        size = int(contents[position:end].rsplit(b" ", 1)[-1])
        yield contents[end + 1 : end + 1 + size]
        position = end + 1 + size + 1


def _findings(checkout: Checkout, old: Resolver, new: Resolver, commit: str) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    doors = _doors(old)
    for path, kind, part in _compared(old, new):
        symbol = path.removesuffix(".__init__")
        known = old.codebase.names.get(symbol)
        public = _public(symbol, doors)
        if known is None or public is None or _SPECIAL.search(path) or part.startswith("_"):
            continue
        change = _confirmed(public, kind, part, old, new)
        if change is None or (symbol, change[1]) in seen:
            continue
        told, about, evidence = change
        seen.add((symbol, about))
        was = old.symbol(symbol)
        deprecated = was is not None and (
            any("deprecated" in one for one in was.decorators) or bool(_DEPRECATED.search(was.docstring or ""))
        )
        yield Finding(
            key=f"docs.breaks:{checkout.name}/{public}#{about or kind}",
            severity=Severity.info if deprecated else _SEVERITIES.get(str(evidence.pop("what", "")), Severity.medium),
            component=f"{checkout.name}: {symbol.partition('.')[0]}",
            title=f"`{public}` has changed since {commit[:12]}: {told}",
            detail="It was deprecated then." if deprecated else "",
            remedy="Say so in the changelog and raise the version, or keep what was there.",
            evidence={"file": old.file_of(symbol), "line": known.line, "since": commit, **evidence},
        )


def _compared(old: Resolver, new: Resolver) -> Iterator[tuple[str, str, str]]:
    """(path, kind, parameter) of everything that griffe finds broken in the packages of both."""
    import griffe  # noqa: PLC0415 - 0.1 s that only who compares pays

    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # it logs every oddity of a docstring
    try:
        for package in old.codebase.packages:
            loaded = [_loaded(griffe, Path(one.codebase.root), package) for one in (old, new)]
            if loaded[0] is None:
                continue
            if loaded[1] is None:
                yield package, "removed", ""
                continue
            for one in griffe.find_breaking_changes(*loaded):
                kind = "removed" if one.kind is griffe.BreakageKind.OBJECT_REMOVED else one.kind.name.lower()
                values = [value for value in (one.old_value, one.new_value) if isinstance(value, griffe.Parameter)]
                yield one.obj.path, kind, values[0].name if values else ""
    finally:
        logging.disable(level)


def _loaded(griffe: Any, root: Path, package: str) -> Any:
    places = [
        place for place in (root, root / "src") if (place / package).is_dir() or (place / f"{package}.py").is_file()
    ]
    if not places:
        return None
    loader = griffe.GriffeLoader(search_paths=[str(places[0])], allow_inspection=False, store_source=False)
    try:
        loaded = loader.load(package, try_relative_path=False)
        loader.resolve_aliases(implicit=False, external=False)
    except (griffe.GriffeError, ImportError, OSError, RecursionError, ValueError):
        return None
    return loaded


def _doors(resolver: Resolver) -> dict[str, str]:
    """Definitions in private modules that a public module hands on, each with the shortest name that it has there."""
    found: dict[str, str] = {}
    for path in sorted(resolver.codebase.files, key=lambda one: (one.count("."), one)):
        if _is_private(path):
            continue
        module = resolver.codebase.module(path)
        names = {one.name for one in module.imports if not (one.lazy or one.typing) and one.name != "*"}
        names |= set(module.exports or ())
        for name in sorted(names):
            verdict = resolver.resolve(f"{path}.{name}") if not name.startswith("_") else None
            if verdict is not None and verdict.answer is Answer.defined and verdict.path != f"{path}.{name}":
                found.setdefault(verdict.path, f"{path}.{name}")
    return found


def _public(path: str, doors: Mapping[str, str]) -> str | None:
    """The public name of what is defined at `path`; None where it has none."""
    if not _is_private(path):
        return path
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        door = doors.get(".".join(parts[:length]))
        if door is not None:
            public = ".".join((door, *parts[length:]))
            return None if _is_private(public) else public
    return None


def _is_private(path: str) -> bool:
    return any(part.startswith("_") for part in path.split("."))


def _confirmed(  # noqa: PLR0911 - a filter
    path: str, kind: str, part: str, old: Resolver, new: Resolver
) -> tuple[str, str, dict[str, Any]] | None:
    """What a user notices, in words, the part that it is about, and what proves it.

    None for what only looks broken: what moved and is still there, what is only said otherwise.
    """
    verdict = new.resolve(path)
    if kind == "removed":
        if verdict.answer is not Answer.gone:
            return None
        meant = (*new.candidates(path)[:3], *new.similar(path)[:3])
        return "it is gone", "", {"did_you_mean": list(meant)} if meant else {}
    origin = old.resolve(path).path
    before, after = old.signature(origin), new.signature(verdict.path) if verdict.answer is Answer.defined else None
    symbol, now = old.symbol(origin), new.symbol(verdict.path)
    if before is None or after is None or symbol is None or now is None:
        return None
    if symbol.kind is Kind.attribute or now.kind is not symbol.kind:
        return None
    if symbol.kind is Kind.class_ and (old.constructor(origin) is None or new.constructor(verdict.path) is None):
        return None
    found = _of_part(changes(before, after), part)
    if found is None or (found.what is What.default and _is_constant(found.old) and _is_constant(found.new)):
        return None  # one constant that stands for "not given" instead of another
    evidence = {"old": before.shown(path), "new": after.shown(verdict.path), "what": found.what.value}
    return found.sentence, found.name or found.what.value, evidence


def _is_constant(default: str) -> bool:
    return _CONSTANT.fullmatch(default) is not None


def _of_part(found: Iterable[Change], part: str) -> Change | None:
    for one in found:
        if part and part in {one.name, one.new}:
            return one
        if not part and not one.name:
            return one
    return None

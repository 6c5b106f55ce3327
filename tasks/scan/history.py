"""Secrets in the git history of a checkout: what was committed once stays readable to everybody who has a clone.

Looked at is every object that can be reached from a branch, a tag, a stash or any other reference, and each of them
once ever. Objects that no reference leads to any more (those of deleted branches, until git throws them away) are not
looked at: a clone does not get them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from blocks.errors import UnavailableError
from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.engine import Outcome, run_engine
from tasks.result_cache import ResultCache, content_key
from tasks.scan.contents import LARGEST
from tasks.scan.incremental import Examined, Memory, examine, run_program, turn
from tasks.scan.leaks import WEAK, blob_key, grade, kind_said_best, salt_key, secret_memory
from tasks.scan.looked import Looked
from tasks.scan.sources import GIT_ENVIRONMENT, git_command, is_excluded, is_lock, is_test, shown

_ENGINE = Path(__file__).with_name("history_engine.py")
_MOST_OUTPUT = 512 << 20
_AT_ONCE = 500  # objects that one run of git log is asked about


@dataclass(frozen=True)
class Place:
    """Where in the history a content came in."""

    commit: str
    """The id of the oldest commit that has it, shortened to 12 digits."""
    path: str
    day: str
    """Of the commit, in UTC."""
    age: int
    """Its rank among all commits; the oldest is 0."""


@dataclass(frozen=True)
class _Repository:
    git: str
    root: Path
    ends: float

    async def run(self, *arguments: str) -> Outcome:
        """One git command, whatever its exit code.

        Raises:
            UnavailableError: the time is over, or it says too much.
        """
        return await run_engine(
            [*git_command(self.git, self.root), *arguments],
            timeout_s=self.left_s,
            environment=GIT_ENVIRONMENT,
            max_output=_MOST_OUTPUT,
        )

    async def ask(self, *arguments: str) -> bytes:
        """What one git command prints.

        Raises:
            UnavailableError: it fails, too.
        """
        outcome = await self.run(*arguments)
        if outcome.code != 0:
            raise UnavailableError(f"{arguments[0]} says: {outcome.stderr.strip()[-200:]}", component="git")
        return outcome.stdout

    @property
    def left_s(self) -> float:
        return max(self.ends - time.monotonic(), 0.01)


async def find_leaks_in_history(
    checkout: Checkout, salt: str, *, in_tree: Collection[str], cache: ResultCache, timeout_s: float
) -> Looked:
    """The secrets in the history of `checkout` that are not in its files any more.

    Args:
        checkout: what to look at; without a repository at its top there is nothing to look at.
        salt: makes fingerprints useless to those who do not have it.
        in_tree: fingerprints of what its files hold; what is told of them suffices.
        cache: what was said about contents before.
        timeout_s: seconds for it.
    """
    root = checkout.path.resolve()
    if not (root / ".git").exists():
        return Looked(engines={"history": "no repository"})
    git = shutil.which("git")
    if git is None:
        return _unseen(checkout, "git is not installed; install it.")
    repository = _Repository(git, root, time.monotonic() + timeout_s)
    places: Mapping[str, Sequence[Place]] = {}
    try:
        version = (await repository.ask("version")).decode(errors="replace").split()[2]
        partly = await _partly(repository, checkout)
        blobs, absent = await _blobs(repository)
        wanted = {oid: name for oid, name in blobs.items() if not is_lock(name)}
        examined = await _examine(repository, wanted, salt, cache)
        guilty = [oid for oid, result in examined.results.items() if result.get("found")]
        with contextlib.suppress(UnavailableError):  # what it is called in the objects' list is enough to find it
            places = await _places(repository, guilty, cache if not partly else ResultCache(None))
    except PackageNotFoundError:
        return _unseen(checkout, "detect-secrets is not installed; install it.")
    except UnavailableError as error:
        return _unseen(checkout, f"{error.component} {error.what}")
    looked = judge_history(checkout, wanted, examined, places, in_tree=in_tree)
    skipped = [*looked.skipped, *partly]
    if absent and not partly:
        skipped.append(_skip(checkout, f"{absent} objects are missing from the repository; see `git fsck`."))
    how = f"git {version}" if not examined.broken else f"did not run to its end: {examined.broken[0]}"
    return replace(looked, skipped=tuple(skipped), engines={"history": how})


def judge_history(
    checkout: Checkout,
    blobs: Mapping[str, str],
    examined: Examined,
    places: Mapping[str, Sequence[Place]],
    *,
    in_tree: Collection[str],
) -> Looked:
    """Findings and skips of what is known about the objects `blobs` (names by id): one finding for each secret.

    `places` says where each came in, oldest first; without it the name of the object stands.
    """
    told: dict[str, list[tuple[Place, Mapping[str, Any]]]] = defaultdict(list)
    for oid, result in sorted(examined.results.items()):
        known = places.get(oid) or [Place("", blobs[oid], "", 0)]
        here = [place for place in known if not is_excluded(place.path, checkout.exclude)]
        for found in result.get("found", ()) if here else ():
            if found["fingerprint"] not in in_tree:
                told[found["fingerprint"]] += [(place, found) for place in here]
    findings: list[Finding] = []
    alike: set[str] = set()
    for fingerprint, seen in sorted(told.items()):
        seen.sort(key=lambda one: (one[0].commit == "", one[0].age, one[0].path))
        kind = kind_said_best(found for _, found in seen)
        paths = list(dict.fromkeys(place.path for place, _ in seen))
        if kind in WEAK and all(is_test(path) for path in paths):
            alike.update(paths)
            continue
        # It is as bad as where it was worst.
        worst = max((grade(kind, path, [one for _, one in seen]) for path in paths), key=lambda one: one.rank)
        findings.append(_finding(checkout.name, fingerprint, kind, worst, [place for place, _ in seen]))
    if alike:
        findings.append(_alike(checkout.name, alike))
    metrics = {"security_history_objects_total": float(len(examined.results))}
    return Looked(tuple(findings), tuple(_unread(checkout, blobs, examined)), metrics)


async def _partly(repository: _Repository, checkout: Checkout) -> list[Skip]:
    """Why the clone does not have the whole history."""
    found = []
    if (await repository.ask("rev-parse", "--is-shallow-repository")).strip() == b"true":
        reason = "this is a shallow clone, older commits are not in it; fetch them with `git fetch --unshallow`."
        found.append(_skip(checkout, reason))
    pattern = r"^(remote\..*\.(promisor|partialclonefilter)|extensions\.partialclone)$"
    partial = await repository.run("config", "--name-only", "--get-regexp", pattern)
    if partial.stdout.strip():
        reason = "this is a partial clone, some objects are not in it; look at a full clone."
        found.append(_skip(checkout, reason))
    return found


async def _blobs(repository: _Repository) -> tuple[dict[str, str], int]:
    """The name of every blob that a reference leads to, by id, and how many objects are missing."""
    listing = ("--objects", "--missing=print", "--filter=object:type=blob", "--filter-provided-objects")
    output = await repository.ask("rev-list", "--all", *listing)
    blobs: dict[str, str] = {}
    absent = 0
    for line in output.split(b"\n"):
        oid, _, name = line.partition(b" ")
        if oid.startswith(b"?"):
            absent += 1
        elif oid:
            blobs[oid.decode("ascii")] = os.fsdecode(name)
    return blobs, absent


async def _examine(repository: _Repository, blobs: Mapping[str, str], salt: str, cache: ResultCache) -> Examined:
    """What the secret engine says of each of the `blobs`."""
    order = {
        "git": git_command(repository.git, repository.root),
        "environment": GIT_ENVIRONMENT,
        "salt": salt_key(salt),
    }

    async def ask(batch: list[str]) -> dict[str, Any]:
        asked = {**order, "blobs": [[oid, blobs[oid]] for oid in batch]}
        answer = await run_program(_ENGINE, asked, timeout_s=repository.left_s)
        return {
            "told": {oid: {"result": result} for oid, result in answer["told"].items()},
            "failed": [{"file": one["blob"], "reason": one["reason"]} for one in answer["failed"]],
        }

    keys = {oid: blob_key(oid, name) for oid, name in blobs.items()}
    memory = await asyncio.to_thread(secret_memory, cache, salt)
    return await examine(list(blobs), keys, memory, ask, keys_read=lambda oid, _: (keys[oid],))


async def _places(repository: _Repository, oids: Sequence[str], cache: ResultCache) -> dict[str, list[Place]]:
    """Where each of the objects came in, by id, oldest first."""
    # Where the references point decides what is reachable, and so what every answer is.
    tips = await repository.ask("for-each-ref", "--format=%(objectname) %(refname)")
    tips += (await repository.run("rev-parse", "HEAD")).stdout
    memory = Memory(cache, "history places 1")
    keys = {oid: content_key(tips, oid.encode()) for oid in oids}
    known = await memory.known(keys)
    places = {oid: [Place(*one) for one in known[oid]["places"]] for oid in known}
    unknown = sorted(set(oids) - set(known))
    if not unknown:
        return places
    order = (await repository.ask("rev-list", "--all", "--date-order", "--reverse")).decode("ascii").split()
    ages = {commit: age for age, commit in enumerate(order)}
    for begin in range(0, len(unknown), _AT_ONCE):
        part = unknown[begin : begin + _AT_ONCE]
        found: dict[str, list[Place]] = {oid: [] for oid in part}
        wanted = [f"--find-object={oid}" for oid in part]
        # Merges as well (-m): what came in by one alone is in no other commit.
        shape = ("--raw", "-z", "-m", "--no-abbrev", "--no-renames", "--date-order", "--format=%x01%H %ct")
        quiet = ("--no-ext-diff", "--no-textconv", "--no-show-signature", "--no-mailmap", "--no-relative")
        async with turn():
            output = await repository.ask("log", "--all", *shape, *quiet, *wanted)
        for oid, place in _read_log(output, set(part), ages):
            if all(place.path != other.path for other in found[oid]):
                found[oid].append(place)
        fresh = {keys[oid]: {"places": [[p.commit, p.path, p.day, p.age] for p in found[oid]]} for oid in part}
        await memory.keep(fresh, used=[keys[oid] for oid in known])
        places |= found
    return places


def _read_log(output: bytes, wanted: Collection[str], ages: Mapping[str, int]) -> Iterable[tuple[str, Place]]:
    """The additions of the `wanted` objects in the output of git log in raw format, oldest first.

    The format is that of git-diff's manual, section "Raw output format".
    """
    found: list[tuple[str, Place]] = []
    commit = day = ""
    words = iter(output.split(b"\0"))
    for word in words:
        _, mark, head = word.rpartition(b"\x01")
        if mark:
            commit, _, when = head.decode("ascii", "replace").strip().partition(" ")
            day = datetime.fromtimestamp(int(when.split("\n")[0] or 0), UTC).date().isoformat()
            continue
        fields = word.lstrip(b"\n").decode("ascii", "replace").split(" ")
        if len(fields) == 5 and fields[0].startswith(":"):
            path = os.fsdecode(next(words, b""))
            if fields[3] in wanted:
                found.append((fields[3], Place(commit[:12], path, day, ages.get(commit, 0))))
    return reversed(found)


def _finding(checkout: str, fingerprint: str, kind: str, severity: Severity, places: Sequence[Place]) -> Finding:
    first = places[0]
    where = f"{shown(first.path)} of {first.day} (commit {first.commit})" if first.commit else shown(first.path)
    paths = list(dict.fromkeys(shown(place.path) for place in places))
    return Finding(
        key=f"security.secret_history:{checkout}/{fingerprint}",
        severity=severity,
        component=checkout,
        title=f"The git history holds what looks like a secret: {kind}, in {where}.",
        detail="It is not in the files any more, but in every clone. The value is not told here.",
        remedy="Withdraw it where it was issued: that alone makes it harmless. Then, if you must, take it out of the "
        "history with `git filter-repo`, and have every clone made anew. No secret after all? Then name this finding "
        "in [[suppressions]] of lama.toml.",
        evidence={
            "type": kind,
            "fingerprint": fingerprint,
            "files": list(paths[:20]),
            "commit": first.commit,
            "date": first.day,
            "commits": list(dict.fromkeys(place.commit for place in places if place.commit))[:20],
        },
    )


def _alike(checkout: str, paths: Collection[str]) -> Finding:
    return Finding(
        key=f"security.secret_history_alike:{checkout}",
        severity=Severity.info,
        component=checkout,
        title=f"Earlier versions of {len(paths)} tests, examples and documents hold what looks like passwords.",
        detail="Made up, most likely.",
        remedy="See that none of them is a real one.",
        evidence={"files": [shown(path) for path in sorted(paths)[:100]]},
    )


def _unread(checkout: Checkout, blobs: Mapping[str, str], examined: Examined) -> Iterable[Skip]:
    failed = dict(examined.failed)
    large = f"is larger than {LARGEST} bytes."
    failed |= {oid: large for oid, result in examined.results.items() if "large" in result}
    reasons: dict[str, list[str]] = defaultdict(list)
    for oid, reason in sorted(failed.items()):
        if not is_excluded(blobs[oid], checkout.exclude):
            reasons[reason].append(f"{shown(blobs[oid])} ({oid[:12]})")
    for reason, names in sorted(reasons.items()):
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        yield _skip(checkout, f"{', '.join(sorted(names)[:5])}{more}: {reason}")
    if examined.broken:
        yield _skip(checkout, examined.broken[0])


def _unseen(checkout: Checkout, reason: str) -> Looked:
    return Looked(skipped=(_skip(checkout, reason),), engines={"history": f"did not run: {reason}"})


def _skip(checkout: Checkout, reason: str) -> Skip:
    return Skip(
        area="security",
        component=f"{checkout.name}: history",
        reason=f"The git history was not searched for secrets, or not all of it: {reason}",
        hides=tuple(f"security.{kind}:{checkout.name}" for kind in ("secret_history", "secret_history_alike")),
    )

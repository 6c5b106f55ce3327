"""Secrets in real git histories: merges, stashes, tags, renames, partial clones, repositories that mean harm."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest

from models.health_check import Checkout
from models.report import Severity
from tasks.result_cache import ResultCache
from tasks.scan.history import find_leaks_in_history
from tasks.scan.looked import Looked
from tests.programs import require
from tests.scan.corpus import SECRETS, Maker

TOKENS = [SECRETS["GitHub"](Maker(seed)) for seed in range(6)]
WHO = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}


def git(root: Path, *arguments: str) -> str:
    require("git")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **WHO},
    )
    return done.stdout.strip()


def commit(root: Path, **files: str | None) -> str:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "change")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    return root


async def history(
    root: Path, *, in_tree: frozenset[str] = frozenset(), cache: Path | None = None, **more: object
) -> Looked:
    checkout = Checkout.model_validate({"name": "app", "path": root, **more})
    return await find_leaks_in_history(checkout, "salt", in_tree=in_tree, cache=ResultCache(cache), timeout_s=60)


async def test_what_was_committed_and_removed_is_told_with_its_commit_and_no_value(root: Path) -> None:
    first = commit(root, src__a_DOT_py=f"token = '{TOKENS[0]}'\n", tests__test_a_DOT_py="password = 'Tr0ub4dor&3x'\n")
    commit(root, src__a_DOT_py=None, src__b_DOT_py=f"# moved\ntoken = '{TOKENS[0]}'\n")
    commit(root, src__b_DOT_py="token = take()\n")
    found = await history(root)
    secret, alike = sorted(found.findings, key=lambda one: one.severity.rank, reverse=True)
    assert secret.severity is Severity.high
    assert (secret.evidence["commit"], secret.evidence["date"]) == (first[:12], "2026-01-02")
    assert secret.evidence["files"] == ["src/a.py", "src/b.py"]
    assert secret.key == f"security.secret_history:app/{secret.evidence['fingerprint']}"
    assert alike.key == "security.secret_history_alike:app"
    assert TOKENS[0][8:] not in "".join(one.model_dump_json() for one in found.findings)
    assert found.skipped == ()
    in_tree = frozenset({str(secret.evidence["fingerprint"])})
    assert {one.key for one in (await history(root, in_tree=in_tree)).findings} == {alike.key}
    assert (await history(root, exclude=("src/**", "tests"))).findings == ()


async def test_every_reference_counts_branches_merges_stashes_tags_of_objects(root: Path) -> None:
    commit(root, a="x")
    git(root, "checkout", "-q", "-b", "side")
    commit(root, side=f"'{TOKENS[0]}'\n")
    git(root, "rm", "-q", "side")
    git(root, "commit", "-q", "-m", "gone")
    git(root, "checkout", "-q", "main")
    commit(root, b="x")
    git(root, "merge", "-q", "--no-ff", "--no-commit", "side")
    evil = commit(root, evil=f"'{TOKENS[1]}'\n")  # comes in by the merge itself
    commit(root, evil="x")
    (root / "a").write_text(f"'{TOKENS[2]}'\n")
    git(root, "stash", "-q")
    blob = root.parent / "blob"
    blob.write_text(f"'{TOKENS[3]}'\n")
    git(root, "tag", "kept", git(root, "hash-object", "-w", str(blob)))
    commit(root, uv_DOT_lock=f"'{TOKENS[4]}'\n")
    found = {tuple(one.evidence["files"]): one for one in (await history(root)).findings}  # type: ignore[arg-type]
    assert len(found) == 4
    assert found["evil",].evidence["commit"] == evil[:12]
    assert {("side",), ("a",)} < set(found)


async def test_an_object_is_looked_at_once_and_answers_stay_the_same(root: Path, tmp_path: Path) -> None:
    commit(root, a_DOT_py=f"'{TOKENS[0]}'\n", b_DOT_py="b")
    commit(root, a_DOT_py="x")
    cache = tmp_path / "cache"
    first = await history(root, cache=cache)
    # Were they looked at again, objects that are gone would be missed now.
    again = await history(root, cache=cache)
    assert again == first == await history(root)
    commit(root, c_DOT_py=f"'{TOKENS[1]}'\n")
    commit(root, c_DOT_py="x", a_DOT_py=f"'{TOKENS[2]}'\n")
    more = await history(root, cache=cache)
    assert len(more.findings) == 3
    assert more == await history(root)
    stored = cache.read_bytes()
    assert not any(token[8:].encode() in stored for token in TOKENS)


async def test_a_clone_that_lacks_a_part_says_so(root: Path, tmp_path: Path) -> None:
    commit(root, a=f"'{TOKENS[0]}'\n")
    commit(root, a="x", b=f"'{TOKENS[1]}'\n")
    commit(root, b="x")
    git(root, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{root}", "shallow")
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{root}", "partial")
    shallow, partial = await history(tmp_path / "shallow"), await history(tmp_path / "partial")
    assert len(shallow.findings) == 1
    assert "shallow" in shallow.skipped[0].reason
    assert "partial" in partial.skipped[0].reason
    assert all(one.skipped[0].may_hide("security.secret_history:app/1") for one in (shallow, partial))
    objects = git(root, "rev-list", "--objects", "--all").splitlines()
    (oid,) = [line.split()[0] for line in objects if line.endswith(" b")]
    (root / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    damaged = await history(root)
    assert damaged.skipped


async def test_an_object_that_is_not_what_its_id_says_is_told_and_teaches_nothing(root: Path, tmp_path: Path) -> None:
    commit(root, a=f"'{TOKENS[0]}'\n")
    content = f"'{TOKENS[0]}'\n".encode()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    commit(root, a="x")
    path = root / ".git" / "objects" / oid[:2] / oid[2:]
    kept = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob %d\0" % len(content) + b"#" * len(content)))
    cache = tmp_path / "cache"
    deceived = await history(root, cache=cache)
    assert deceived.findings == ()
    assert deceived.skipped
    path.write_bytes(kept)
    assert len((await history(root, cache=cache)).findings) == 1


async def test_nothing_that_a_repository_names_is_run(root: Path, tmp_path: Path) -> None:
    commit(root, a=f"'{TOKENS[0]}'\n")
    commit(root, a="x")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    trap.chmod(0o755)
    clone = tmp_path / "app2"
    git(root, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{root}", str(clone))
    (clone / ".gitattributes").write_text("* diff=evil filter=evil\n")
    for repository in (root, clone):
        for name in (
            *("core.fsmonitor", "core.pager", "core.sshCommand", "gpg.program", "diff.external", "diff.evil.textconv"),
            *("filter.evil.smudge", "remote.origin.uploadpack", "core.alternateRefsCommand", "core.gitProxy"),
        ):
            git(repository, "config", name, str(trap))
        for name, value in (
            *(("log.showSignature", "true"), ("protocol.ext.allow", "always"), ("core.hooksPath", str(tmp_path))),
            ("remote.origin.url", f"ext::{trap}"),
        ):
            git(repository, "config", name, value)
    assert len((await history(root)).findings) == 1
    assert (await history(clone)).skipped
    assert not (tmp_path / "was-run").exists()


async def test_large_and_binary_objects_and_time(root: Path) -> None:
    commit(root, big="word " * 500_000, huge="\0" * 70_000_000, after=f"'{TOKENS[0]}'\n", z_after=f"'{TOKENS[1]}'\n")
    commit(root, big=None, huge=None, after=None, z_after=None)
    found = await history(root)
    assert len(found.findings) == 2
    assert ["larger than" in skip.reason for skip in found.skipped] == [True]
    checkout = Checkout(name="app", path=root)
    late = await find_leaks_in_history(checkout, "salt", in_tree=(), cache=ResultCache(None), timeout_s=0.01)
    assert late.findings == ()
    assert late.skipped
    assert "did not run" in late.engines["history"]


async def test_without_a_repository_or_a_commit_there_is_nothing_to_look_at(root: Path, tmp_path: Path) -> None:
    assert (await history(root)).skipped == ()
    (tmp_path / "plain").mkdir()
    plain = await history(tmp_path / "plain")
    assert (plain.findings, plain.skipped) == ((), ())

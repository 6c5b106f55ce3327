"""A report names the commit that was looked at, and one that was asked for and not seen is no all-clear."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blocks.errors import ConfigurationError
from models.health_check import Checkout
from tasks.commits import check_commit, commits_of, not_at


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a b.txt").write_text("one\n")
    (root / "c.txt").write_text("two\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


async def told(root: Path) -> str:
    return (await commits_of([Checkout(name="shop", path=root)])).get("shop", "")


async def test_the_commit_is_told_and_whether_files_differ_from_it(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert await told(repository) == head
    (repository / "new.txt").write_text("not tracked\n")
    (repository / "c.txt").touch()
    assert await told(repository) == head
    (repository / "src" / "a b.txt").write_text("ONE\n")
    assert await told(repository) == f"{head} with changes"
    git(repository, "checkout", "--", ".")
    assert await told(repository) == head
    (repository / "c.txt").unlink()
    assert await told(repository) == f"{head} with changes"
    git(repository, "checkout", "--", ".")
    git(repository, "add", "new.txt")
    assert await told(repository) == f"{head} with changes"


async def test_no_program_that_the_repository_names_is_run(repository: Path, tmp_path: Path) -> None:
    (repository / ".gitattributes").write_text("* filter=evil\n")
    git(repository, "config", "filter.evil.clean", f"touch {tmp_path / 'ran'}")
    git(repository, "config", "core.fsmonitor", f"touch {tmp_path / 'ran'}")
    (repository / "c.txt").write_text("other\n")
    assert (await told(repository)).endswith("with changes")
    assert not (tmp_path / "ran").exists()


async def test_what_is_no_repository_has_no_commit(tmp_path: Path) -> None:
    assert await told(tmp_path) == ""
    assert await told(tmp_path / "nowhere") == ""


def test_a_commit_that_no_checkout_is_at_was_not_looked_at() -> None:
    wanted = "a" * 40
    assert not_at(None, {}, area="security", component="vm") == ()
    assert not_at(wanted, {"shop": "b" * 40, "web": wanted}, area="security", component="vm") == ()
    (skip,) = not_at(wanted, {"shop": "b" * 40, "web": f"{wanted} with changes"}, area="security", component="vm")
    assert "shop is at bbbbbbbbbbbb, web is at aaaaaaaaaaaa with changes" in skip.reason
    assert skip.may_hide("security.secret:shop/a")


def test_what_is_no_commit_is_refused_and_a_deleted_branch_asks_for_none() -> None:
    assert check_commit("0" * 40, component="audit") is None
    for text in ("main", "a" * 39, "A" * 40, "a" * 40 + "\n"):
        with pytest.raises(ConfigurationError, match="no id of a commit"):
            check_commit(text, component="audit")

"""Nothing is looked at twice, and nobody can tell by what is found: with the cache and without, it is the same."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.settings import Settings
from models.health_check import Checkout
from models.scan import Engine, ScanSettings
from tasks.result_cache import ResultCache
from tasks.scan.contents import digest_of, digests_of
from tasks.scan.leaks import find_leaks
from tasks.scan.look import scan_checkout
from tasks.scan.looked import Looked
from tasks.scan.sources import list_sources
from tests.programs import require
from tests.scan.corpus import SECRETS, Maker, planted, write

TOKENS = [SECRETS["GitHub"](Maker(seed)) for seed in range(4)]
RISKY = "import subprocess\nsubprocess.run(input(), shell=True)\n"
RULES = "[[rules]]\nid = '{id}'\ntitle = 'A hit.'\npattern = '{pattern}'\n"
ENGINES = (Engine.secrets, Engine.history, Engine.code, Engine.rules)


class Scans:
    """Scans of one checkout with one cache."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "app"
        self.cache = folder / "looked.sqlite"
        self.home = folder / "home"
        self.rules = folder / "rules.toml"
        self.rules.write_text(RULES.format(id="todo", pattern="TODO"))

    async def scan(self, *, cached: bool) -> Looked:
        return await scan_checkout(
            Checkout(name="app", path=self.root),
            settings=Settings(home=self.home),
            chosen=ScanSettings(rules=self.rules, timeout_s=60),
            cache=ResultCache(self.cache if cached else None),
            engines=ENGINES,
        )

    async def same(self) -> Looked:
        """The result, which is the same with the cache, with it again, and without."""
        first = await self.scan(cached=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", "/bin/false")  # any engine that was started would fail, and say so
            assert await self.scan(cached=True) == first
        assert await self.scan(cached=False) == first
        return first

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        require("git")
        subprocess.run(["git", "-C", str(self.root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    made = Scans(tmp_path)
    made.root.mkdir()
    made.git("init", "-q")
    return made


async def test_what_is_found_is_the_same_with_the_cache_and_without_whatever_changes(scans: Scans) -> None:
    samples = planted(5)[::4]
    write(scans.root, samples)
    for name, text in (("a.py", RISKY), ("b.py", f"# TODO\ntoken = '{TOKENS[0]}'\n"), ("c.py", "x = (\n"), ("d", "\0")):
        (scans.root / name).write_text(text)
    (scans.root / "big.txt").write_text("word " * 500_000)
    scans.git("add", "-A")
    scans.git("commit", "-q", "-m", "one")
    first = await scans.same()
    assert len(first.findings) > len(samples)
    assert {"secret", "code", "rule"} <= {one.key.partition(".")[2].partition(":")[0] for one in first.findings}

    # Edited, renamed to another kind of file, swapped, made, gone; the history grows.
    (scans.root / "a.py").write_text("# TODO\n" + RISKY)
    (scans.root / "b.py").rename(scans.root / "tests_b.txt")
    (scans.root / "c.py").write_text(f"token = '{TOKENS[1]}'\n")
    (scans.root / "e.py").write_text(RISKY)
    (scans.root / "d").unlink()
    one, other = (scans.root / sample.name for sample in samples[:2])
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    scans.git("add", "-A")
    scans.git("commit", "-q", "-m", "two")
    # Rules change their order and their patterns; most files do not change with them.
    scans.rules.write_text(RULES.format(id="other", pattern="import") + RULES.format(id="todo", pattern="TODO"))
    second = await scans.same()
    assert {one.key for one in second.findings} > {"security.rule:app/other/e.py", "security.rule:app/todo/a.py"}


async def test_fingerprints_of_another_salt_are_not_taken_from_the_cache(scans: Scans, tmp_path: Path) -> None:
    (scans.root / "a.py").write_text(f"token = '{TOKENS[0]}'\n")
    first = await scans.scan(cached=True)
    scans.home = tmp_path / "other"
    other = await scans.scan(cached=True)
    assert [one.key for one in first.findings] != [one.key for one in other.findings]


async def test_a_result_is_remembered_for_what_was_read_and_not_for_what_was_there_before(tmp_path: Path) -> None:
    root, cache = tmp_path / "app", ResultCache(tmp_path / "cache")
    root.mkdir()
    old, new = f"token = '{TOKENS[0]}'\n", "token = take()\n"

    async def found(digests: dict[str, bytes]) -> int:
        sources = await list_sources(Checkout(name="app", path=root), timeout_s=20)
        looked, _ = await find_leaks(sources, "salt", digests=digests, cache=cache, timeout_s=60)
        return len(looked.findings)

    (root / "a.py").write_text(new)
    assert await found({"a.py": digest_of(old.encode())}) == 0  # it changed after it was hashed
    (root / "a.py").write_text(old)
    assert await found(digests_of(root, ("a.py",))) == 1
    assert await found({}) == 1  # it could not be hashed


async def test_no_value_is_in_the_cache_and_a_damaged_cache_changes_nothing(scans: Scans) -> None:
    samples = planted(6)[::2]
    write(scans.root, samples)
    # bandit repeats what it takes for a password.
    (scans.root / "p.py").write_text(
        f"password = '{TOKENS[2]}'\ndef f(token='{TOKENS[3]}'): pass\nf(token='{TOKENS[1]}')\n"
    )
    scans.git("add", "-A")
    scans.git("commit", "-q", "-m", "one")
    first = await scans.scan(cached=True)
    with sqlite3.connect(scans.cache) as connection:
        rows = connection.execute("SELECT kind, key, value FROM result").fetchall()
        stored = b"\n".join(part if isinstance(part, bytes) else part.encode() for row in rows for part in row)
    connection.close()
    stored += b"".join(path.read_bytes() for path in scans.cache.parent.glob("looked.sqlite*"))
    values = [sample.value for sample in samples if sample.value] + TOKENS
    assert not [value for value in values if value[-16:].encode() in stored]
    assert len(rows) > len(samples)
    assert scans.cache.stat().st_mode & 0o077 == 0
    scans.cache.write_bytes(b"nonsense" * 1000)
    assert await scans.scan(cached=True) == first

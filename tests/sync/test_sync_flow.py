"""The flow and its commands: this device through Prefect and PostgreSQL, another beside it, a vault between them."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError, UnavailableError
from blocks.home import Home
from blocks.settings import Settings, settings
from flows.sync import sync
from lama.cli import cli
from models.report import Status
from models.sync import Category, SyncSettings
from tasks.sync.engine import Engine, Guard, Outcome, Self
from tasks.sync.filters import Filter
from tasks.sync.identity import FILE, Identity
from tasks.sync.trash import discarded
from tasks.sync.vault import Vault
from tests.flow_runs import artifacts_of
from tests.sync.world import Memory


class Other:
    """A second device, without Prefect."""

    def __init__(self, place: Path, store: Path) -> None:
        home = Home(Settings(home=place / "other-home"))
        home.prepare()
        self.identity = Identity.load_or_create(home, "other")
        self.folder = place / "other"
        self.folder.mkdir()
        self.vault = Vault(store, self.identity)
        self._states = Memory()
        self._runs = 0

    def sync(self) -> Outcome:
        self._runs += 1
        category = Category(name="notes", folder=self.folder)
        engine = Engine(category, self.vault, self._states, Filter.of(category))
        me = Self(self.identity.id, 1_800_000_000 + self._runs, f"other-{self._runs}")
        return engine.run(me, guard=Guard(confirmed=True))


@pytest.fixture
def notes(configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the category `notes` of this device, which has an identity and a vault of this test's own."""
    monkeypatch.setattr("flows.sync._sync.retry_delay_seconds", 0.01)  # stores that are away stay away here
    (tmp_path / "store").mkdir()
    folder = tmp_path / "notes"
    folder.mkdir()
    with configured.open("a") as file:
        file.write(f'[sync]\nstore = "{tmp_path / "store"}"\ndevice = "this-one"\nfew = 3\n')
        for name in ("notes", "absent"):
            file.write(f'[[sync.categories]]\nname = "{name}"\nfolder = "{tmp_path / name}"\n')
    secrets = Home(settings()).secrets
    yield folder
    for path in (*secrets.glob("sync-*"), *(settings().home / "sync").glob("mirror")):
        path.unlink()
    assert FILE.startswith("sync-")


def lama(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["sync", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


def names(folder: Path) -> list[str]:
    """The files in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


async def test_two_devices_and_a_vault(notes: Path, tmp_path: Path) -> None:
    assert "The vault" in (await asyncio.to_thread(lama, "init"))[1]
    other = await asyncio.to_thread(Other, tmp_path, tmp_path / "store")
    other.vault.join()
    await asyncio.to_thread(lama, "devices", "approve", other.identity.id)
    (notes / "a.txt").write_text("of this one")
    report = await sync(categories=["notes"])
    assert (report.status, report.summary) == (Status.ok, "1 category: 1 changes were told, 0 done here.")
    assert {"sync", "sync-progress"} <= set(await artifacts_of(report.run_id))
    await asyncio.to_thread(other.sync)
    assert (other.folder / "a.txt").read_text() == "of this one"

    (notes / "a.txt").write_text("changed by this one")
    (other.folder / "a.txt").write_text("changed by the other")
    (other.folder / "new.txt").write_text("new")
    await asyncio.to_thread(other.sync)
    planned = await sync(categories=["notes"], dry_run=True)
    assert planned.summary == "1 category: 1 changes would be told, 2 done here. Nothing was done."
    assert names(notes) == ["a.txt"]
    report = await sync(categories=["notes"])
    assert report.status is Status.degraded
    assert [finding.key for finding in report.findings] == ["sync.conflicts:notes"]
    await asyncio.to_thread(_commands, notes)

    for path in other.folder.glob("*.txt"):
        path.unlink()
    for number in range(5):
        (other.folder / f"{number}").write_text(str(number))
    await asyncio.to_thread(other.sync)
    await sync(categories=["notes"], confirm=True)
    for number in range(5):
        (other.folder / f"{number}").unlink()
    await asyncio.to_thread(other.sync)
    stopped = await sync(categories=["notes"])
    assert [finding.key for finding in stopped.findings] == ["sync.stopped:notes"]
    assert names(notes) == ["0", "1", "2", "3", "4", "a.txt"]  # what this one changed was not deleted
    assert (await sync(categories=["notes"], confirm=True)).status is Status.ok
    assert names(notes) == ["a.txt"]


def _commands(notes: Path) -> None:
    code, out = lama("conflicts", "--json")
    (copy,) = [row["path"] for row in json.loads(out)]
    assert code == 1
    assert {(notes / "a.txt").read_text(), (notes / copy).read_text()} == {
        "changed by this one",
        "changed by the other",
    }
    kept = (notes / copy).read_text()
    mine = kept == "changed by this one"
    chosen = lama("resolve", "notes", copy, "--keep", "ours" if mine else "theirs")[1]
    assert f"{copy} is a.txt now." in chosen
    assert (notes / "a.txt").read_text() == kept
    assert lama("conflicts")[0] == 0
    (entry,) = [
        row for row in json.loads(lama("trash", "notes", "a.txt", "--json")[1]) if row["run"].startswith("resolve")
    ]
    lama("restore", "notes", "a.txt", "--run", entry["run"], "--to", "back/a.txt")
    assert (notes / "back/a.txt").read_text() != kept
    with pytest.raises(Exception, match="something stands there"):
        lama("restore", "notes", "a.txt")
    with pytest.raises(Exception, match="could leave its folder"):
        lama("restore", "notes", "a.txt", "--to", "../a.txt")
    assert "tell         back/a.txt" in lama("plan", "notes")[1]
    assert "new.txt" in lama("ls", "notes")[1]
    told = json.loads(lama("status", "--json")[1])
    assert [(row["category"], row["synced"] is None) for row in told["categories"]] == [
        ("notes", False),
        ("absent", True),
    ]
    assert "notes" in lama("status")[1]
    assert "active" in lama("devices")[1]
    code, out = lama("verify", "--json")
    assert (code, json.loads(out)["problems"]) == (0, [])
    store = json.loads(lama("status", "--json")[1])["store"]
    (rotten, *_) = sorted(Path(store).glob("objects/*/*.age"))
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"x")
    assert lama("verify")[0] == 1


async def test_a_category_that_nobody_has_is_told_and_no_failure(notes: Path) -> None:
    await asyncio.to_thread(lama, "init")
    report = await sync()
    assert [finding.key for finding in report.findings] == ["sync.absent:absent"]
    assert report.status is Status.ok


async def test_a_store_that_is_away_makes_the_report_incomplete(notes: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(lama, "init")
    (notes / "a.txt").write_text("a")
    await sync(categories=["notes"])
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").mkdir()
    report = await sync(categories=["notes"])
    assert report.status is Status.incomplete
    assert (notes / "a.txt").exists()


def _is_a_mirror(configured: Path) -> None:
    configured.write_text(configured.read_text().replace('device = "this-one"', 'device = "this-one"\nkind = "mirror"'))


async def test_a_mirror_holds_the_plain_tree(notes: Path, configured: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(_is_a_mirror, configured)
    report = await sync(categories=["notes"])
    assert report.status is Status.incomplete  # nobody has made it
    assert "is the mirror" in (await asyncio.to_thread(lama, "init"))[1]
    (notes / "a.txt").write_text("of this one")
    assert (await sync(categories=["notes"])).status is Status.ok
    plain = tmp_path / "store" / "notes"
    assert (plain / "a.txt").read_text() == "of this one"
    (plain / "b.txt").write_text("of somebody without Lama")
    await asyncio.sleep(2.5)  # what is younger may still be being written
    await sync(categories=["notes"])
    assert (notes / "b.txt").read_text() == "of somebody without Lama"
    with pytest.raises(ConfigurationError, match="the store is a mirror"):
        await asyncio.to_thread(lama, "devices")
    await asyncio.to_thread(_verify, notes, plain)


def _verify(notes: Path, plain: Path) -> None:
    assert lama("verify") == (0, "2 files of the mirror were read, 0 problems found.\n")
    for folder, path in ((plain, "a.txt"), (notes, "b.txt")):
        status = (folder / path).stat()
        content = (folder / path).read_bytes()
        (folder / path).write_bytes(content[:-1] + b"\xff")
        os.utime(folder / path, ns=(status.st_atime_ns, status.st_mtime_ns))
    code, out = lama("verify", "--json")
    assert code == 1
    rotten = "its content changed, and its times did not"
    assert json.loads(out)["problems"] == [
        {"what": rotten, "component": "notes/b.txt"},
        {
            "what": f"in the shared folder {rotten}; it was put there again as it is here, and what it had become is "
            "in the trash there",
            "component": "notes/a.txt",
        },
    ]
    assert (plain / "a.txt").read_text() == "of this one"
    assert [one.place.read_bytes()[-1:] for one in discarded(plain)] == [b"\xff"]
    assert lama("verify")[1].endswith("2 files of the mirror were read, 1 problems found.\n")


async def test_databases_are_synced_by_a_mirror_too(notes: Path, configured: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(_is_a_mirror, configured)
    await asyncio.to_thread(_has_databases, configured, tmp_path / "db")
    await asyncio.to_thread(lama, "init")
    with closing(sqlite3.connect(tmp_path / "db" / "a.db", isolation_level=None)) as live:
        live.execute("PRAGMA journal_mode = wal")
        live.execute("CREATE TABLE words (word TEXT)")
        live.execute("INSERT INTO words VALUES ('in the log')")
        assert (await sync(categories=["db"])).status is Status.ok
        shared = tmp_path / "store" / "db"
        assert sorted(path.name for path in shared.iterdir()) == [".lama-sync", "a.db"]
        with closing(sqlite3.connect(f"file:{shared / 'a.db'}?immutable=1", uri=True)) as copy:
            assert copy.execute("SELECT word FROM words").fetchall() == [("in the log",)]
    assert (await asyncio.to_thread(lama, "verify"))[1] == "1 files of the mirror were read, 0 problems found.\n"


def _has_databases(configured: Path, folder: Path) -> None:
    folder.mkdir()
    with configured.open("a") as file:
        file.write(f'[[sync.categories]]\nname = "db"\nfolder = "{folder}"\ncontent = "databases"\n')


async def test_what_cannot_be_used_is_refused(notes: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no category 'nothing'"):
        await sync(categories=["nothing"])
    report = await sync(categories=["notes"])  # no vault was made
    assert report.status is Status.incomplete


@pytest.mark.parametrize("command", ["status", "init", "ls notes", "plan notes", "devices", "verify"])
def test_a_database_that_is_away_is_told(notes: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("LAMA_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/lama")
    settings.cache_clear()
    with pytest.raises(UnavailableError, match="does not answer"):
        lama(*command.split())


def test_folders_within_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="within each other"):
        SyncSettings.model_validate({"store": tmp_path, "categories": [{"name": "a", "folder": tmp_path / "a"}]})

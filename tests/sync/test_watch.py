"""Changes of files become names of categories, but for those that sync makes itself."""

from __future__ import annotations

import threading
from pathlib import Path

import watchfiles

from blocks.errors import UnavailableError
from models.sync import Category
from tasks.sync.watch import changed, follow, seen


def test_what_changed_is_named_and_what_sync_makes_is_not(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for folder in folders:
        (folder / ".lama-sync").mkdir(parents=True)
    categories = [Category(name=folder.name, folder=folder) for folder in folders]
    stop = threading.Event()

    def change() -> None:
        (folders[1] / ".lama-sync" / "x").write_text("x")
        (folders[0] / "new.txt").write_text("x")
        (folders[2] / ".lama-tmp-clock").write_text("x")

    timer = threading.Timer(0.5, change)
    timer.start()
    names: list[str] = []
    watching = watchfiles.watch(*folders, watch_filter=seen, step=200, stop_event=stop, rust_timeout=10_000)
    for changes in watching:
        names = changed([path for _, path in changes], categories)
        break
    stop.set()
    timer.join()
    assert names == ["a"]


def test_what_changed_while_the_platform_was_away_is_synced_when_it_is_back(tmp_path: Path) -> None:
    categories = [Category(name=name, folder=tmp_path / name) for name in ("a", "b")]
    started: list[list[str]] = []
    told: list[str] = []

    def start(names: list[str]) -> str:
        started.append(names)
        if len(started) < 3:
            raise UnavailableError("does not answer", component="prefect")
        return "Completed"

    one, other = (("added", str(tmp_path / name / "x.txt")) for name in ("a", "b"))
    follow([{one}, set(), {other}, set(), set()], categories, start, told.append)
    assert started == [["a"], ["a"], ["a", "b"]]
    assert told[-1] == "a, b: Completed"
    assert len(told) == 3

"""Changes of files become names of categories, but for those that sync makes itself."""

from __future__ import annotations

import threading
from pathlib import Path

import watchfiles

from models.sync import Category
from tasks.sync.watch import changed, seen


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

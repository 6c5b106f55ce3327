"""What is only online is no deletion; what cloud drives leave behind is nobody's work, but a conflict copy is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from models.sync import Category
from tasks.sync.filters import Filter
from tasks.sync.placeholders import asks_for, cloud_conflict, is_dataless, stands_for


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (".plan.md.icloud", "plan.md"),
        ("a/b/.c d.txt.icloud", "a/b/c d.txt"),
        ("a/..env.icloud", "a/.env"),
        ("a/plan.icloud", None),
        ("a/.icloud", None),
        (".hidden.icloud/plan.md", None),
    ],
)
def test_a_stand_in_names_what_is_only_online(path, meant) -> None:
    assert stands_for(path) == meant


def test_a_file_without_its_data_is_known_by_its_flag(tmp_path) -> None:
    assert is_dataless(SimpleNamespace(st_flags=0x40000060))
    assert not is_dataless(SimpleNamespace(st_flags=0x60))
    assert not is_dataless(tmp_path.stat())


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("a/plan (Ann's conflicted copy 2024-05-01).md", "a/plan.md"),
        ("plan (conflicted copy 2024-05-01 101500).tar", "plan.tar"),
        ("plan (Case Conflict)", "plan"),
        ("plan.sync-conflict-20240501-101500-ABCDEF7.md", "plan.md"),
        ("plan (draft).md", None),
        ("(conflicted copy).md", None),
    ],
)
def test_conflict_copies_of_cloud_drives_are_known_and_synced(path, meant) -> None:
    assert cloud_conflict(path) == meant
    assert Filter.of(Category(name="notes", folder=Path("/notes"))).takes(path, False)


def test_icloud_is_asked_where_it_is(tmp_path) -> None:
    file = tmp_path / "a;touch x"
    command = tmp_path / "brctl"
    command.write_text(f'#!/bin/sh\nprintf "%s|%s" "$1" "$2" > {tmp_path}/asked\n')
    command.chmod(0o755)
    assert asks_for(file, platform="darwin", command=str(command))
    assert (tmp_path / "asked").read_text() == f"download|{file}"
    command.write_text("#!/bin/sh\nexit 1\n")
    assert not asks_for(file, platform="darwin", command=str(command))
    assert not asks_for(file, platform="darwin", command=str(tmp_path / "missing"))
    assert not asks_for(file, platform="linux", command=str(command))

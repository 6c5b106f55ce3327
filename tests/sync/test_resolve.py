"""`ours` and `theirs` are a person's word about one conflict, and no setting: there they would mean another on each."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from models.sync import Category, Policy
from tasks.sync.resolve import chosen_side, settle

_COPY = "d/a (conflict from anna-0000aaaa, 2026-01-01 101112, 0123abcd).txt"


def test_ours_is_what_this_device_wrote_wherever_it_stands() -> None:
    anna, bert = "anna-0000aaaa", "bert-0000bbbb"
    assert chosen_side(_COPY, "ours", device=anna, writer=bert) == "copy"
    assert chosen_side(_COPY, "theirs", device=anna, writer=bert) == "original"
    assert chosen_side(_COPY, "ours", device=bert, writer=bert) == "original"
    assert chosen_side(_COPY, "theirs", device=bert, writer=bert) == "copy"
    with pytest.raises(ValueError, match="neither"):
        chosen_side(_COPY, "ours", device="cleo-0000cccc", writer=bert)


def test_what_does_not_stay_is_in_the_trash(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / _COPY).write_text("of anna")
    (tmp_path / "d/a.txt").write_text("of bert")
    assert settle(tmp_path, _COPY, "copy", None, run="r") == f"{_COPY} is d/a.txt now."
    assert (tmp_path / "d/a.txt").read_text() == "of anna"
    assert [path.read_text() for path in tmp_path.glob(".lama-sync/trash/r/*a.txt")] == ["of bert"]


@pytest.mark.parametrize("policy", ["ours", "theirs"])
def test_as_a_setting_they_are_refused_with_what_to_write_instead(policy: str) -> None:
    with pytest.raises(ValidationError, match=f'prefer = "<its name>".*--keep {policy}'):
        Category.model_validate({"name": "notes", "folder": "/notes", "policy": policy})


def test_a_policy_may_be_written_as_people_say_it() -> None:
    for written in ("keep both", "keep_both", "keep-both"):
        category = Category.model_validate({"name": "notes", "folder": "/notes", "policy": written})
        assert category.policy is Policy.keep_both

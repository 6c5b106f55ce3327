"""Splits: the past predicts the future, no group is on both sides, what is held out stays held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from models.training import Columns
from tasks.train.splits import groups_of, holdout_for, sampled, splits_for
from tests.train.data import houses, leads

BY_TIME = Columns(target="price", time="sold")
BY_GROUP = Columns(target="price", group="property")
BY_BOTH = Columns(target="price", time="sold", group="property")


@given(seed=st.integers(0, 50), folds=st.integers(2, 6), columns=st.sampled_from([BY_TIME, BY_GROUP, BY_BOTH]))
@settings(max_examples=30)
def test_what_holds_for_every_split(seed: int, folds: int, columns: Columns) -> None:
    frame = houses(150, seed)
    splits = splits_for(frame, columns, folds, seed)
    assert 2 <= len(splits) <= folds
    judged = np.concatenate([one.test for one in splits])
    assert len(set(judged)) == len(judged), "no row is judged twice"
    for one in splits:
        assert not set(one.train) & set(one.test)
        if columns.time:
            assert frame["sold"].iloc[one.train].max() < frame["sold"].iloc[one.test].min()
        if columns.group:
            assert not set(frame["property"].iloc[one.train]) & set(frame["property"].iloc[one.test])
    if not columns.time:
        assert len(judged) == len(frame)


@given(seed=st.integers(0, 50), share=st.floats(0.05, 0.5), columns=st.sampled_from([BY_TIME, BY_GROUP, BY_BOTH]))
@settings(max_examples=30)
def test_what_holds_for_what_is_held_out(seed: int, share: float, columns: Columns) -> None:
    frame = houses(200, seed)
    one = holdout_for(frame, columns, share, seed)
    assert len(one.test)
    assert not set(one.train) & set(one.test)
    if columns.time:
        assert frame["sold"].iloc[one.train].max() < frame["sold"].iloc[one.test].min()
    if columns.group:
        assert not set(frame["property"].iloc[one.train]) & set(frame["property"].iloc[one.test])


@pytest.mark.parametrize("columns", [BY_GROUP, Columns(target="price")])
def test_a_row_that_was_held_out_stays_so_when_the_table_grows_and_is_shuffled(columns: Columns) -> None:
    small = houses(400)
    large = pd.concat([small, houses(400, seed=1).assign(property=lambda frame: frame["property"] + 10_000)])
    large = large.sample(frac=1, random_state=3).reset_index(drop=True)
    key = ["area", "sold", "price"]
    first = small.iloc[holdout_for(small, columns, 0.2, 0).test][key]
    second = large.iloc[holdout_for(large, columns, 0.2, 0).test][key]
    assert set(map(tuple, first.to_numpy())) <= set(map(tuple, second.to_numpy()))
    assert 0.1 < len(second) / len(large) < 0.3


def test_rows_that_repeat_are_kept_together() -> None:
    frame = leads(300)
    groups = groups_of(frame, Columns(target="won"))
    assert groups is not None
    for one in splits_for(frame, Columns(target="won"), 3, 0, frame["won"].to_numpy()):
        assert not set(groups[one.train]) & set(groups[one.test])


def test_classes_are_in_every_fold() -> None:
    frame = leads(200).assign(other=np.random.default_rng(0).normal(size=200))
    for one in splits_for(frame, Columns(target="won"), 5, 0, frame["won"].to_numpy()):
        shares = frame["won"].iloc[one.test].value_counts(normalize=True)
        assert abs(shares["yes"] - (frame["won"] == "yes").mean()) < 0.06


@pytest.mark.parametrize(
    ("frame", "columns", "said"),
    [
        (houses(8), Columns(target="price"), "8 rows are too few"),
        (houses(100).assign(property=1), BY_GROUP, "1 groups are too few"),
        (houses(100).assign(sold=pd.Timestamp("2020-01-01")), BY_TIME, "1 different moments"),
        (houses(100).assign(sold=None), BY_TIME, "rows have no 'sold'"),
        (houses(100).assign(sold="yesterday"), BY_TIME, "'sold' is no date"),
    ],
)
def test_what_cannot_be_split_is_said(frame: pd.DataFrame, columns: Columns, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        splits_for(frame, columns, 5, 0)


def test_one_moment_or_one_group_cannot_be_held_out() -> None:
    for frame, columns in (
        (houses(50).assign(sold=pd.Timestamp("2020-01-01")), BY_TIME),
        (houses(50).assign(property=1), BY_GROUP),
    ):
        with pytest.raises(ConfigurationError, match="no rows can be held out"):
            holdout_for(frame, columns, 0.2, 0)


def test_a_sample_is_of_whole_groups() -> None:
    frame = houses(2_000)
    rows = sampled(frame, BY_GROUP, 500, 0)
    assert 350 < len(rows) < 650
    kept = frame.iloc[rows]
    assert not set(kept["property"]) & set(frame.drop(index=rows)["property"])

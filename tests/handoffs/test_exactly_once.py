"""Killed at random moments, with a target that fails, each message takes effect once and in order."""

from __future__ import annotations

import pytest

from tests.handoffs.storm import storm


@pytest.mark.platform
def test_each_message_takes_effect_once_and_in_order_whatever_is_killed() -> None:
    outcome = storm(messages=240, conversations=20, kills=4, faults=0.1, seed=1, patience_s=150)
    assert outcome.acknowledged == outcome.messages
    assert (outcome.lost, outcome.twice, outcome.out_of_order, outcome.dead) == (0, 0, 0, 0), outcome
    assert sum(outcome.kills.values()) == 4
    assert outcome.kills_with_work_left >= 2, "messages were under way"
    assert outcome.repeated_posts > 0, "faults after the effect were there to be found out"

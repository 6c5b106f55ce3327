"""Weights from outcomes: better than rules that are wrong, not taken when they are not, refused when too few."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from models.qualify import EngagementRule, FitRule, QualifySettings
from tasks.qualify.learn import Labelled, TooFewLabelsError, learn, probability

RULES = QualifySettings(
    fit=(FitRule(name="a", field="phone", points=40), FitRule(name="b", field="email", points=10)),
    engagement=(EngagementRule(name="c", points=20),),
)


def leads(count: int, *, odds: tuple[float, float, float], seed: int = 1) -> list[Labelled]:
    """Leads that are won by log odds that are linear in three features; the rules believe in the first one."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        a, b = (float(draw.random() < 0.5) for _ in range(2))
        c = float(draw.random() * 20)
        told = odds[0] * a + odds[1] * b + odds[2] * (c - 10) / 10 - (odds[0] + odds[1]) / 2
        won = bool(draw.random() < 1 / (1 + math.exp(-told)))
        features = {"fit:a": 40 * a, "fit:b": 10 * b, "engagement:c": c}
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        found.append(Labelled(number, features, sum(features.values()), won, at))
    return found


def test_weights_find_what_the_rules_misjudge_and_their_probabilities_are_calibrated() -> None:
    learned = learn(leads(2000, odds=(0.0, 3.0, 0.0)), RULES)
    told = learned.comparison
    assert told.better
    assert told.auc > told.auc_rules + 0.1
    assert told.log_loss < told.log_loss_rules
    assert told.brier < told.brier_rules
    assert told.predicted_won == pytest.approx(told.won, rel=0.12)
    weight = dict(zip(learned.weights.features, learned.weights.weights, strict=True))
    assert weight["fit:b"] > 3 * abs(weight["fit:a"])
    high = probability(learned.weights, {"fit:a": 0, "fit:b": 10, "engagement:c": 10})
    low = probability(learned.weights, {"fit:a": 40, "fit:b": 0, "engagement:c": 10})
    assert high == pytest.approx(1 / (1 + math.exp(-1.5)), abs=0.06), "the probability that was planted"
    assert low == pytest.approx(1 / (1 + math.exp(1.5)), abs=0.06)


def test_weights_that_learn_noise_are_not_better_than_the_rules() -> None:
    wins = sum(learn(leads(600, odds=(0, 0, 0), seed=seed), RULES).comparison.better for seed in range(12))
    assert wins <= 1


def test_the_same_seed_gives_the_same_weights_whatever_the_order() -> None:
    some = leads(500, odds=(1, 1, 1))
    assert learn(some, RULES, seed=3) == learn(list(reversed(some)), RULES, seed=3)


def test_only_earlier_leads_teach() -> None:
    """What the latest leads show is no part of the weights: another ending changes the comparison alone."""
    some = leads(600, odds=(1, 1, 1))
    other = [*some[:420], *(Labelled(o.contact, o.features, o.score, not o.won, o.decided_at) for o in some[420:])]
    one, two = learn(some, RULES), learn(other, RULES)
    assert one.weights == two.weights
    assert one.comparison != two.comparison


@pytest.mark.parametrize("count", [0, 1, 30, 120])
def test_too_few_are_refused_and_it_is_said_how_many_are_needed(count: int) -> None:
    with pytest.raises(TooFewLabelsError, match=r"need 50 won and 50 lost leads .* about 72 of each"):
        learn(leads(count, odds=(1, 1, 1)), RULES)


def test_one_outcome_alone_and_a_held_out_part_of_one_kind_are_refused() -> None:
    some = [Labelled(o.contact, o.features, o.score, True, o.decided_at) for o in leads(500, odds=(1, 1, 1))]
    with pytest.raises(TooFewLabelsError, match="0 lost"):
        learn(some, RULES)
    mixed = leads(500, odds=(1, 1, 1))
    ending = [*mixed[:350], *some[350:]]
    with pytest.raises(TooFewLabelsError, match="150 won and 0 lost; 10 of each"):
        learn(ending, RULES)


def test_extreme_odds_are_probabilities_without_overflow() -> None:
    learned = learn(leads(600, odds=(1, 1, 1)), RULES)
    for value in (1e308, -1e308):
        assert 0 <= probability(learned.weights, {"engagement:c": value}) <= 1

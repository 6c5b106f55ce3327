"""Encodings, families, blends, intervals, calibration, metrics, comparison: what each of them promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training import Columns
from tasks.train.calibration import Calibrator, calibration_error
from tasks.train.clusters import clusterings
from tasks.train.compare import compared
from tasks.train.encoding import TableEncoder
from tasks.train.engine import fit_folds, out_of_fold
from tasks.train.estimators import HistGradientBoosting, LightGBM, LinearModel
from tasks.train.families import CLASSIFICATION, REGRESSION, Family
from tasks.train.intervals import ConformalIntervals
from tasks.train.losses import loss_for, loss_of
from tasks.train.metrics import measures, regression_figures, roc_auc
from tasks.train.search import blend_weights, candidates_of, probability_weights, survivors
from tasks.train.splits import splits_for
from tests.train.data import houses, leads

PRICE = Columns(target="price", ignore=("property",))


@pytest.mark.parametrize("style", ["tree", "linear"])
def test_a_row_is_encoded_as_it_is_in_a_frame(style: str) -> None:
    frame = houses(200)[["area", "district", "built", "sold"]]
    encoder = TableEncoder(style)  # type: ignore[arg-type]
    encoder.fit_transform(frame, np.arange(200.0))
    other = houses(50, seed=1)[["area", "district", "built", "sold"]]
    other.loc[3, "district"] = "the moon"
    other.loc[4, "district"] = None
    other.loc[5, "sold"] = pd.NaT
    whole = encoder.transform(other)
    rows = encoder.transform_rows(other.to_dict("records"))
    assert np.allclose(whole, rows, equal_nan=True)
    as_text = [{**row, "sold": str(row["sold"]), "area": str(row["area"])} for row in other.to_dict("records")]
    assert np.allclose(whole, encoder.transform_rows(as_text), equal_nan=True), "and as text, as JSON has it"


def test_no_row_tells_its_own_target() -> None:
    """A category of its own for each row: a mean that is not cross-fitted would give the target away."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"who": [f"person {n // 2}" for n in range(90)], "x": draw.normal(size=90)})
    y = draw.normal(size=90)
    encoder = TableEncoder("tree", least=1)
    matrix = encoder.fit_transform(frame, y)
    assert abs(np.corrcoef(matrix[:, -1], y)[0, 1]) < 0.5


def test_nothing_of_other_folds_is_learned() -> None:
    """What is judged can be changed as one likes: what is said of it comes from its own row and the others' rows."""
    frame = houses(150)
    y = frame["price"].to_numpy()
    split = splits_for(frame, PRICE, 3, 0)[:1]
    first = fit_folds(frame, y, split, REGRESSION[0], {}, 0, columns=PRICE)[0]
    torn = y.copy()
    torn[split[0].test] = 1.0
    second = fit_folds(frame, torn, split, REGRESSION[0], {}, 0, columns=PRICE)[0]
    assert (first.predictions == second.predictions).all()


@pytest.mark.parametrize("family", [*REGRESSION, *CLASSIFICATION], ids=lambda one: f"{one.task}-{one.name}")
def test_every_family_beats_a_constant_and_repeats_itself(family: Family) -> None:
    frame = houses(300) if family.task == "regression" else leads(400)
    columns = PRICE if family.task == "regression" else Columns(target="won")
    y = frame[columns.target].to_numpy()
    parameters = {"max_iter": 40} if family.name == "hist_gradient_boosting" else {}
    parameters |= {"n_estimators": 60} if family.name == "lightgbm" else {}
    splits = splits_for(frame, columns, 3, 0, None if family.task == "regression" else y)
    results = fit_folds(frame, y, splits, family, parameters, 1, columns=columns)
    again = fit_folds(frame, y, splits, family, parameters, 1, columns=columns)
    assert all((one.predictions == other.predictions).all() for one, other in zip(results, again, strict=True))
    classes = sorted(set(y)) if family.task == "classification" else []
    said = out_of_fold(results, len(y), classes)
    loss = loss_for(family.task, y)
    if classes:
        constant = np.tile([(y == one).mean() for one in classes], (len(y), 1))
        assert loss_of(loss, y, said, classes) < 0.95 * loss_of(loss, y, constant, classes)
        assert np.allclose(said.sum(axis=1), 1)
    else:
        assert loss == "log_rmse"
        assert loss_of(loss, y, said) < 0.45 * loss_of(loss, y, np.full(len(y), np.median(y)))


def test_every_setting_of_every_space_is_taken() -> None:
    frame = houses(60)[["area", "district"]]
    for family in (*REGRESSION, *CLASSIFICATION):
        for name, values in family.space.items():
            for value in (values[0], values[-1]):
                family.make(Columns(), {name: value}, 0)
    with pytest.raises(ValueError, match="has no 'depth'"):
        LinearModel(depth=3)
    assert np.isfinite(LightGBM(n_estimators=3).fit(frame, np.arange(60.0)).predict(frame)).all()


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_trees_that_are_walked_at_once_say_what_the_library_says(classes: int) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(600, 5)), columns=list("abcde"))
    frame = frame.mask(draw.random(frame.shape) < 0.1)
    y = frame["a"].fillna(0).to_numpy() + draw.normal(0, 0.1, 600)
    if classes:
        y = np.array(list("xyz"))[np.digitize(y, [0.0] if classes == 2 else [-0.5, 0.5])]
    made = HistGradientBoosting("classification" if classes else "regression", max_iter=30).fit(frame, y)
    few = frame.iloc[:200]
    if classes:
        assert np.allclose(made.predict_proba(few), made.predict_proba(frame)[:200], atol=1e-12)
    else:
        assert np.allclose(made.predict(few), made.predict(frame)[:200], atol=1e-12)


def test_a_line_does_not_run_away() -> None:
    frame = houses(200)
    made = LinearModel().fit(frame[["area"]], frame["price"].to_numpy())
    wild = made.predict(pd.DataFrame({"area": [1e12, -1e12, np.nan]}))
    assert (wild < 10 * frame["price"].max()).all()
    assert (wild > 0).all()


def test_weights_are_not_negative_and_together_1() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(10, 3, 500)
    good, bad, worse = (truth + draw.normal(0, s, 500) for s in (1, 1, 9))
    weights = blend_weights(np.column_stack([good, bad, worse]), truth)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert weights[2] < 0.05
    sure = np.where(np.arange(100)[:, None] % 2 == np.arange(2), 0.9, 0.1)
    assert probability_weights([sure, np.full((100, 2), 0.5)], np.arange(100) % 2)[0] > 0.95


def test_settings_are_drawn_by_seed_and_none_twice() -> None:
    family = REGRESSION[2]
    first = candidates_of(family, 12, 5)
    assert first == candidates_of(family, 12, 5)
    assert first[0] == {}
    assert len({str(one) for one in first}) == 12
    assert first != candidates_of(family, 12, 6)
    assert survivors([(3.0, {"a": 1}), (1.0, {"a": 2}), (2.0, {"a": 3}), (9.0, {"a": 4})]) == [{"a": 2}, {"a": 3}]


@given(seed=st.integers(0, 30), coverage=st.sampled_from([0.68, 0.8, 0.9]), log=st.booleans())
@settings(max_examples=25)
def test_intervals_hold_as_many_as_they_say(seed: int, coverage: float, log: bool) -> None:
    draw = np.random.default_rng(seed)
    predicted = np.exp(draw.normal(5, 1, 2_000))
    truth = (
        predicted * np.exp(draw.normal(0, 0.2, 2_000)) if log else predicted + draw.normal(0, 0.2, 2_000) * predicted
    )
    made = ConformalIntervals(log=log).fit(predicted[:1_000], truth[:1_000])
    low, high = made.interval(predicted[1_000:], coverage)
    inside = ((truth[1_000:] >= low) & (truth[1_000:] <= high)).mean()
    assert abs(inside - coverage) < 0.06
    wider = made.interval(predicted[1_000:], coverage + 0.05)
    assert (wider[0] <= low).all()
    assert (wider[1] >= high).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_overconfident_probabilities_are_calibrated_and_true_ones_left(classes: int) -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(0, 1.0, (3_000, classes))
    true = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = np.array([draw.choice(classes, p=one) for one in true])
    loud = true**3 / (true**3).sum(axis=1, keepdims=True)
    made = Calibrator().fit(loud[:1_500], truth[:1_500])
    right = loud[1_500:].argmax(axis=1) == truth[1_500:]
    before = calibration_error(loud[1_500:].max(axis=1), right)
    after = calibration_error(made.apply(loud[1_500:]).max(axis=1), right)
    assert before > 0.1
    assert after < 0.05
    assert (made.apply(loud).argmax(axis=1) == loud.argmax(axis=1)).mean() > 0.97


@given(scale=st.floats(0.01, 1_000), seed=st.integers(0, 20))
@settings(max_examples=20)
def test_figures_that_are_shares_do_not_depend_on_the_currency(scale: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    y = draw.lognormal(10, 0.5, 100)
    said = y * draw.lognormal(0, 0.1, 100)
    order = draw.permutation(100)
    rows = np.arange(100)
    first = {name: one(rows) for name, one in regression_figures(y, said).items()}
    second = {name: one(rows) for name, one in regression_figures(y[order] * scale, said[order] * scale).items()}
    for name in ("r2", "log_rmse", "mdape", "median_ratio"):
        assert second[name] == pytest.approx(first[name], rel=1e-6)
    for name in ("rmse", "mae"):
        assert second[name] == pytest.approx(first[name] * scale, rel=1e-6)


def test_intervals_of_figures_are_wider_when_rows_belong_together() -> None:
    draw = np.random.default_rng(0)
    shared = np.repeat(draw.normal(0, 1, 50), 20)
    y = draw.normal(100, 10, 1_000)
    figures = {"mae": regression_figures(y, y + shared + draw.normal(0, 0.1, 1_000))["mae"]}
    alone = measures(figures, 1_000)["mae"]
    together = measures(figures, 1_000, groups=np.repeat(np.arange(50), 20))["mae"]
    assert alone.high is not None and alone.low is not None  # noqa: PT018
    assert together.high is not None and together.low is not None  # noqa: PT018
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert alone.low < alone.value < alone.high


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(0)
    score, truth = draw.integers(0, 20, 300).astype(float), draw.random(300) > 0.6
    assert roc_auc(truth, score) == pytest.approx(roc_auc_score(truth, score))


def test_chance_is_no_improvement_and_improvement_is_no_chance() -> None:
    draw = np.random.default_rng(0)
    wins = 0
    for seed in range(200):
        old, new = draw.exponential(1, 200), draw.exponential(1, 200)
        wins += compared("m", "rmse", (1, old), (2, new), seed=seed, draws=300).better
    assert wins <= 14, "at most 2.5 % of equals should win, and some for luck"
    old = draw.exponential(1, 300)
    found = compared("m", "rmse", (1, old), (2, old * 0.8))
    assert found.better
    assert "Better beyond noise" in found.verdict
    assert not compared("m", "rmse", (1, old[:10]), (2, old[:10] * 0.1)).better, "ten rows are no proof"
    twins = compared("m", "log_loss", (1, np.repeat(old[:15], 20)), (2, np.repeat(old[:15] * 0.9, 20)),
                     groups=np.repeat(np.arange(15), 20))  # fmt: skip
    assert not twins.better, "fifteen groups are fifteen, whatever their rows"


def test_groups_that_are_there_are_found_again() -> None:
    draw = np.random.default_rng(0)
    where = draw.integers(0, 3, 300)
    frame = pd.DataFrame({"x": draw.normal(where * 10, 1), "y": draw.normal((where == 1) * 10, 1)})
    cuts = clusterings(frame, (), 0)
    best = cuts[0]
    assert best.count == 3
    assert best.stability > 0.95
    assert (best.model.predict(frame) == best.model.predict_rows(frame.to_dict("records"))).all()
    of_density = next(one for one in cuts if one.family == "hdbscan")
    assert of_density.model.predict(pd.DataFrame({"x": [1e4], "y": [1e4]}))[0] in {-1, 0, 1, 2}
    noise = pd.DataFrame(draw.normal(size=(200, 4)), columns=list("abcd"))
    assert clusterings(noise, ("kmeans",), 0)[0].score < 0.3

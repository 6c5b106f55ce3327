"""Drift: what a model's data looked like when it was trained, what it looks like now, and how far apart they are."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from models.report import Report, Value
from models.training import NAME

Verdict = Literal["stable", "small", "moderate", "major", "unknown"]
"""`small`: certainly there, and too little to matter. `unknown`: too few rows to tell."""

Correction = Literal["holm", "bh"]
"""Of several tests: Holm bounds the chance of any false alarm, Benjamini-Hochberg the share of false ones."""

Count = Annotated[int, Field(ge=0)]


class NumericProfile(Value):
    """A column of numbers as it was at training: its distribution over bins, without a single row of it."""

    kind: Literal["numeric"] = "numeric"
    rows: Count = Field(description="How many rows there were.")
    missing: Count = Field(description="How many of them had no number.")
    edges: tuple[float, ...] = Field(
        description="Upper ends of all bins but the last, ascending; each belongs to its bin."
    )
    counts: tuple[Count, ...] = Field(description="Rows a bin; one more than `edges`.")
    low: float | None = Field(description="Smallest number; None when there is none.")
    high: float | None = Field(description="Largest number.")
    mean: float | None = Field(description="Mean of the finite numbers.")
    deviation: float | None = Field(description="Their standard deviation.")
    discrete: bool = Field(description="Whether every bin is one number, so that the bins are categories.")


class CategoryProfile(Value):
    """A column of categories as it was at training."""

    kind: Literal["category"] = "category"
    rows: Count = Field(description="How many rows there were.")
    missing: Count = Field(description="How many of them had no category.")
    counts: dict[str, Count] = Field(description="Rows by category, the most frequent first.")
    other: Count = Field(description="Rows of categories that are not listed.")
    singletons: Count = Field(description="Categories that only one row had: what tells how many more there may be.")
    complete: bool = Field(description="Whether every category is listed, so that a new one can be told.")


class TimeProfile(Value):
    """A column of times. Time always moves on, so only whether it is there is compared."""

    kind: Literal["time"] = "time"
    rows: Count = Field(description="How many rows there were.")
    missing: Count = Field(description="How many of them had no time.")


ColumnProfile = Annotated[NumericProfile | CategoryProfile | TimeProfile, Field(discriminator="kind")]


class LossReference(Value):
    """How a version did on data that it had not seen: what its performance is compared with later."""

    loss: Literal["absolute_error", "error_rate"] = Field(description="Absolute error, or 1 for a wrong class and 0.")
    rows: Annotated[int, Field(ge=1)] = Field(description="Held-out rows.")
    mean: float = Field(ge=0, description="Mean loss.")
    deviation: float = Field(ge=0, description="Standard deviation of the loss.")
    quantiles: tuple[float, ...] = Field(
        min_length=2, description="Quantiles of the loss at even steps from 0 to 1; a sketch of its distribution."
    )
    confidence_gap: float = Field(
        default=0.0, description="Share of right answers less mean confidence, of a classifier: 0 when calibrated."
    )


class LossCell(Value):
    """Held-out rows whose predictions were alike."""

    rows: Count = Field(description="How many.")
    mean: float = Field(ge=0, description="Their mean loss.")
    deviation: float = Field(ge=0, description="Its standard deviation.")


class LossModel(Value):
    """Expected absolute error by prediction and width of its interval, from residuals of held-out rows."""

    value_edges: tuple[float, ...] = Field(description="Upper ends of the bins of predictions, but the last.")
    width_edges: tuple[float, ...] = Field(description="Upper ends of the bins of half widths, but the last.")
    cells: tuple[tuple[LossCell, ...], ...] = Field(description="By bin of predictions, then of widths.")
    rows: Annotated[int, Field(ge=1)] = Field(description="Held-out rows.")
    mean: float = Field(ge=0, description="Their mean absolute error.")


class Profile(Value):
    """What a version was trained on and how it did: kept with the version, compared with what comes later."""

    rows: Count = Field(description="Rows of the table.")
    columns: dict[str, ColumnProfile] = Field(description="By column.")
    prediction: ColumnProfile | None = Field(default=None, description="Of the predictions for held-out rows.")
    performance: LossReference | None = Field(default=None, description="Of the held-out rows.")
    expected_loss: LossModel | None = Field(default=None, description="Of a regression's held-out rows.")


class ColumnCounts(Value):
    """A window of a column, counted by the bins or categories of its profile. Counts of two windows add up."""

    rows: Count = 0
    missing: Count = 0
    invalid: Count = Field(default=0, description="Rows with something that is no number, where numbers are expected.")
    counts: tuple[Count, ...] = Field(default=(), description="By bin; or by category, those not listed last.")
    below: Count = Field(default=0, description="Rows below everything that was seen at training.")
    above: Count = Field(default=0, description="Rows above it.")
    new: dict[str, Count] = Field(
        default_factory=dict, description="Rows by category never seen before; the first few."
    )
    new_rows: Count = Field(default=0, description="Rows of categories never seen before.")


class Outlook(Value):
    """Sums over predictions from which performance is estimated before the truth is known."""

    rows: Count = 0
    confidence: float = Field(default=0.0, description="Sum of the confidences of a classifier.")
    doubt: float = Field(default=0.0, description="Sum of confidence times its complement.")
    cells: dict[str, Count] = Field(default_factory=dict, description="Rows by cell of the loss model, `value/width`.")


class Sketch(Value):
    """What came in during a window: counts only, no row of it."""

    rows: Count = 0
    columns: dict[str, ColumnCounts] = Field(default_factory=dict)
    prediction: ColumnCounts | None = None
    outlook: Outlook = Outlook()


class Comparison(Value):
    """One test of one column."""

    test: Literal["ks", "chi_squared", "fisher", "missing", "new_categories", "range"] = Field(description="Which.")
    statistic: float = Field(description="The test's statistic.")
    p_value: float = Field(ge=0, le=1, description="Chance of one as large without drift, of this test alone.")
    adjusted: float = Field(default=1.0, ge=0, le=1, description="The same, corrected for the number of tests.")
    effect: float = Field(description="How much it is, in shares of the rows: 0 nothing, 1 everything.")


class Stability(Value):
    """The population stability index, and what it would be by chance."""

    value: float = Field(ge=0, description="The index.")
    bins: int = Field(ge=1, description="Over how many bins.")
    expected: float = Field(ge=0, description="Its mean without drift, (bins - 1)(1/n + 1/m).")
    critical: float = Field(ge=0, description="What it exceeds without drift only with the chance alpha.")

    def can_tell(self, limit: float) -> bool:
        """Whether an index of `limit` would be more than chance with so many rows."""
        return self.critical < limit


class ColumnDrift(Value):
    """What became of a column."""

    column: str = Field(description="Its name.")
    kind: Literal["numeric", "category", "time"] = Field(description="What it holds.")
    verdict: Verdict = Field(description="What it comes to.")
    rows: Count = Field(description="Rows of the window.")
    comparisons: tuple[Comparison, ...] = Field(default=(), description="Every test.")
    stability: Stability | None = Field(default=None, description="The population stability index.")
    reason: str = Field(default="", description="A sentence: what was seen, or why it cannot be judged.")


class Performance(Value):
    """A version's mean loss in a window, known or estimated, beside that of its held-out rows."""

    loss: Literal["absolute_error", "error_rate"] = Field(description="What is measured.")
    known: bool = Field(description="Whether from the truth, or estimated before it is there.")
    rows: Count = Field(description="Rows it rests on.")
    held_out: float = Field(ge=0, description="Mean loss of the held-out rows.")
    value: float = Field(ge=0, description="Mean loss of the window.")
    low: float = Field(description="Lower end of the interval of the ratio of the two.")
    high: float = Field(description="Upper end.")
    p_value: float = Field(ge=0, le=1, description="Chance of such a rise without drift.")
    sequential: float | None = Field(
        default=None, description="Bound on that chance over all looks since the version's first truth that is kept."
    )
    verdict: Verdict = Field(description="What it comes to.")


class ModelDrift(Value):
    """What became of one version of a model in a window."""

    model: str = Field(description="`name@version`.")
    rows: Count = Field(description="Rows of the window.")
    columns: tuple[ColumnDrift, ...] = Field(default=(), description="Worst first.")
    performance: tuple[Performance, ...] = Field(default=(), description="Known and estimated.")
    unjudged: str = Field(default="", description="Why its performance could not be judged; empty where it was.")
    challenger: str = Field(default="", description="The flow run that trains one because of it.")


class DriftReport(Report):
    """The report of the flow `drift`."""

    since: datetime | None = Field(default=None, description="Where the window begins.")
    until: datetime | None = Field(default=None, description="Where it ends.")
    models: tuple[ModelDrift, ...] = Field(default=(), description="Each version that was looked at.")


class DriftLimits(Value):
    """From when on drift counts."""

    alpha: float = Field(
        default=0.01, gt=0, lt=0.5, description="Chance of a false alarm in a run, over all columns and tests."
    )
    correction: Correction = Field(
        default="holm",
        description="`holm`: alpha bounds the chance of any false alarm; `bh`: the share of false ones among all.",
    )
    moderate_psi: float = Field(
        default=0.1, gt=0, description="Population stability index from which drift is moderate."
    )
    major_psi: float = Field(default=0.25, gt=0, description="And from which it is major.")
    moderate_share: float = Field(
        default=0.02,
        gt=0,
        le=1,
        description="Share of rows, newly missing, out of range or of new categories, that is moderate.",
    )
    major_share: float = Field(default=0.1, gt=0, le=1, description="And that is major.")
    moderate_loss: float = Field(
        default=1.1, gt=1, description="Loss, over that of the held-out rows, that is moderate."
    )
    major_loss: float = Field(default=1.25, gt=1, description="And that is major.")


class TruthSource(Value):
    """`[[drift.truths]]`: where it is said what came true of what a model predicted."""

    model: str = Field(pattern=NAME, description="The model's name.")
    source: str = Field(
        min_length=1, max_length=20_000, description="The path of a CSV or Parquet file, or `sql:SELECT ...`."
    )
    key: str = Field(min_length=1, max_length=500, description="The column that names the row, as when predicting.")
    value: str = Field(min_length=1, max_length=500, description="The column with what came true.")
    database: str | None = Field(
        default=None, description="Name of the `Lama PostgreSQL` block that is asked; otherwise Lama's own database."
    )


class DriftSettings(Value):
    """`[drift]`."""

    limits: DriftLimits = Field(default=DriftLimits(), description="From when on drift counts.")
    window_days: float = Field(default=7.0, gt=0, le=3650, description="Days of predictions that a run looks at.")
    retention_days: float = Field(
        default=90.0,
        gt=0,
        le=3650,
        description="Days that predictions, their sketches and truths are kept; of older truths, key and time stay.",
    )
    models: tuple[str, ...] = Field(
        default=(),
        description="Models that scheduled runs look at; empty: all that have predicted, or whose truth became known, "
        "in the window.",
    )
    truths: tuple[TruthSource, ...] = Field(default=(), description="Where it is said what came true.")
    trainings: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict,
        description="By model, the parameters of the flow `train` that a challenger is trained with when the model has "
        "drifted much; a model that is not named is only reported.",
    )
    training: str = Field(default="train/train", pattern=r"^[^/]+/[^/]+$", description="The deployment that trains.")

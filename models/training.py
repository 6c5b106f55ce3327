"""What training speaks of: tables and their columns, versions of models, and what they predict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, field_validator, model_validator

from models.report import Grid, Report, Value

__all__ = [
    "ColumnSchema",
    "Columns",
    "Comparison",
    "Interval",
    "Lineage",
    "Measure",
    "ModelVersion",
    "Prediction",
    "Row",
    "TableSchema",
    "TaskType",
    "TrainReport",
    "TrainingTable",
]

TaskType = Literal["regression", "classification", "clustering"]

ColumnKind = Literal["number", "category", "date", "text", "constant"]

CHAMPION = "champion"
CHALLENGER = "challenger"
MARKET_FAMILY = "valuation"
"""The family of a market's model: it values homes in its own units and ranges, and is never asked for predictions."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""What a registered model may be called: it is part of addresses and of file names."""

Row = Mapping[str, object]
"""One row of a table, by column."""

_ColumnName = Annotated[str, Field(min_length=1, max_length=500)]


class Columns(Value):
    """What the columns of a table are for. Every column that is not named here is a feature."""

    target: _ColumnName | None = Field(default=None, description="What is to be predicted; none when clustering.")
    time: _ColumnName | None = Field(default=None, description="When the row was true; the past predicts the future.")
    group: _ColumnName | None = Field(
        default=None, description="Rows of one value belong together, such as sales of one property."
    )
    location: tuple[_ColumnName, _ColumnName] | None = Field(
        default=None, description="Latitude and longitude, in degrees (WGS 84)."
    )
    weight: _ColumnName | None = Field(default=None, description="How much a row counts; above 0.")
    ignore: tuple[_ColumnName, ...] = Field(default=(), description="Columns that are no features.")

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        roles = [self.target, self.time, self.group, self.weight, *(self.location or ()), *self.ignore]
        named = [name for name in roles if name is not None]
        for name in named:
            if named.count(name) > 1 and not (name in self.ignore and self.ignore.count(name) > 1):
                raise ValueError(f"the column {name!r} has two roles; each column has one")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that has a role which the table must have."""
        roles = (self.target, self.time, self.group, self.weight, *(self.location or ()))
        return tuple(name for name in roles if name is not None)

    @property
    def held_back(self) -> frozenset[str]:
        """The columns that are no features: target, group, weight and what is ignored."""
        return frozenset(n for n in (self.target, self.group, self.weight, *self.ignore) if n is not None)

    def features_of(self, names: list[str]) -> list[str]:
        """Of the columns `names`, in their order, those that may be predicted from (time and location among them)."""
        return [name for name in names if name not in self.held_back]


class TrainingTable(Value):
    """A table and what is to be learned from it."""

    source: str = Field(
        min_length=1,
        max_length=20_000,
        description="The path of a CSV or Parquet file, or `sql:SELECT ...`.",
    )
    columns: Columns = Field(description="What its columns are for.")
    task: TaskType = Field(default="regression", description="`regression`, `classification` or `clustering`.")

    @model_validator(mode="after")
    def _target_where_one_is_learned(self) -> Self:
        if (self.columns.target is None) != (self.task == "clustering"):
            wants = "has no target" if self.task == "clustering" else "needs a target"
            raise ValueError(f"{self.task} {wants}")
        return self


class ColumnSchema(Value):
    """One column as the model learned it."""

    name: str
    kind: ColumnKind
    missing: float = Field(default=0.0, ge=0, le=1, description="Share of rows without a value.")
    low: float | None = Field(default=None, description="Smallest number, or seconds since 1970 of a date.")
    high: float | None = None
    levels: tuple[str, ...] = Field(default=(), description="Categories, as text, most frequent first.")


class TableSchema(Value):
    """The features of a model, in the order of the table that it learned from."""

    columns: tuple[ColumnSchema, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all features."""
        return tuple(column.name for column in self.columns)


class Measure(Value):
    """A figure with its uncertainty."""

    value: float
    low: float | None = Field(default=None, description="Lower end of the interval.")
    high: float | None = None
    confidence: float = Field(default=0.95, gt=0, lt=1)


class Lineage(Value):
    """Where a model comes from: enough to make it again."""

    data_hash: str = Field(description="SHA-256 over the values of the table, its columns' names and types.")
    rows: int = Field(ge=0)
    source: str = Field(description="Where the table was, without secrets.")
    code_version: str = Field(description="Commit of the checkout, or version of Lama; `+` marks changed files.")
    environment: dict[str, str] = Field(description="Versions of Python and of the libraries that fit the model.")
    seed: int
    flow_run: str = ""


class ModelVersion(Value):
    """One version of a registered model."""

    name: str = Field(pattern=NAME)
    version: int = Field(default=0, ge=0, description="Counted by the registry from 1; 0: not registered yet.")
    task: TaskType
    created_at: AwareDatetime
    data_hash: str
    code_version: str
    environment: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, JsonValue] = Field(default_factory=dict, description="The family and its parameters.")
    metrics: dict[str, float] = Field(default_factory=dict, description="On held-out data, by name.")
    aliases: tuple[str, ...] = ()
    artifact_hash: str = Field(default="", description="SHA-256 of the artifact; its address in the store.")
    columns: Columns = Columns()
    lineage: Lineage | None = None
    stage: str = Field(default="", description="What became of it: `promoted`, `rolled back`, or nothing yet.")

    @property
    def address(self) -> str:
        """`name@version`, as predictions name it."""
        return f"{self.name}@{self.version}"


class Interval(Value):
    """A range that holds the truth in a share `coverage` of cases."""

    low: float
    high: float
    coverage: float = Field(gt=0, lt=1)


class Prediction(Value):
    """What a model says of one row."""

    value: float | str | None = Field(description="The number, the class, or the cluster; None: it was refused.")
    interval: Interval | None = None
    probabilities: dict[str, float] | None = None
    model: str = Field(description="`name@version` of the model that said it.")
    warnings: tuple[str, ...] = Field(default=(), description="What was missing, unknown or out of range.")


class Comparison(Value):
    """A challenger against a champion, on rows that neither had seen."""

    name: str
    champion: int
    challenger: int
    metric: str = Field(description="The loss that is compared; smaller is better.")
    rows: int
    champion_loss: float
    challenger_loss: float
    difference: Measure = Field(description="Challenger's loss less champion's, with its interval.")
    probability: float = Field(ge=0, le=1, description="Share of resamples in which the challenger is better.")
    better: bool = Field(description="Whether the whole interval of the difference is below 0.")
    verdict: str = Field(description="One sentence.")


class Candidate(Value):
    """One family with its best parameters, as cross-validation found it."""

    family: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    loss: float
    fold_losses: tuple[float, ...] = ()
    tried: int = Field(default=1, description="Settings of this family that were tried.")
    seconds: float = 0.0


class TrainReport(Report):
    """What a training found and made."""

    model: str = Field(default="", description="`name@version` that was registered; empty: none.")
    candidates: tuple[Candidate, ...] = Field(default=(), description="Best first.")
    measures: dict[str, Measure] = Field(default_factory=dict, description="The model's figures on held-out rows.")
    comparison: Comparison | None = Field(default=None, description="Against the champion, when there was one.")
    promoted: bool = False
    card: str = Field(default="", description="The model card, as Markdown, without its plots.")
    splits: str = Field(default="", description="How the rows were split.")
    resumed_folds: int = Field(default=0, ge=0, description="Folds that an earlier, interrupted run had finished.")
    lineage: Lineage | None = None

    @property
    def grids(self) -> tuple[Grid, ...]:
        """What was tried, and how good the one that was taken is."""
        tried = tuple(
            (one.family, f"{one.loss:.4g}", str(one.tried), f"{one.seconds:.1f}", shown_parameters(one.parameters))
            for one in self.candidates
        )
        good = tuple(
            (name, shown_figure(one.value), "" if one.low is None or one.high is None else
             f"{shown_figure(one.low)} to {shown_figure(one.high)}")
            for name, one in self.measures.items()
        )  # fmt: skip
        grids = []
        if good:
            grids.append(Grid("Figures", ("figure", "value", "95 % interval"), good, "On rows that were held out."))
        if tried:
            grids.append(Grid("Candidates", ("family", "loss", "tried", "seconds", "parameters"), tried))
        return tuple(grids)


def shown_figure(value: float) -> str:
    """A figure for a person: four digits that count, and no exponents."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def shown_parameters(parameters: Mapping[str, object]) -> str:
    """Parameters in one line."""
    return (
        ", ".join(
            f"{name} ({shown_parameters(value)})" if isinstance(value, Mapping) and value else f"{name} {value}"
            for name, value in parameters.items()
        )
        or "defaults"
    )


def default_name(source: str, columns: Columns) -> str:
    """What a model of this table is called when nobody says: the file and the target."""
    stem = "query" if source.startswith("sql:") else source.rstrip("/").rpartition("/")[2].partition(".")[0]
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{stem}-{columns.target or 'groups'}").strip("-")
    return words[:128] or "model"


_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def shown_source(source: str) -> str:
    """`source` for a person: without the passwords of addresses, and short."""
    text = _SECRETS.sub("***", source)
    return text if len(text) <= 300 else f"{text[:300]}..."


class TrainParameters(Value):
    """What bounds a training."""

    folds: int = Field(default=5, ge=2, le=50, description="Folds of cross-validation.")
    trials: int = Field(default=6, ge=1, le=500, description="Settings of each family that are tried.")
    holdout: float = Field(default=0.15, ge=0.05, le=0.5, description="Share of the rows that are held out.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    budget_s: float = Field(default=1800.0, gt=0, le=86_400.0, allow_inf_nan=False)
    coverage: float = Field(default=0.9, gt=0.5, lt=1.0, description="Nominal coverage of intervals.")
    families: tuple[str, ...] = Field(default=(), description="Names of families; none: all that fit the task.")
    workers: int = Field(default=0, ge=0, le=256, description="Folds at a time; 0: the cores of the machine.")

    @field_validator("families", mode="after")
    @classmethod
    def _once(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(families)) != len(families):
            raise ValueError("a family is named twice")
        return families

"""Lead qualification: the rules of `[qualify]`, what a lead is graded as, and where grades are kept."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, field_validator, model_validator
from pydantic import Field as ValueField
from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.place import PlaceError, second_of_a_name
from models.report import Grid, Report, Value

SOURCE = "lama:qualify"
"""The source of routes that hand changed grades on."""

LeadField = Literal["phone", "email", "name", "interest", "budget", "timeline"]

_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_WORDS_OF = frozenset({"name", "interest", "timeline", "email"})


class FitRule(Value):
    """`[[qualify.fit]]`: points for what a lead is. Every condition that it has must hold; without one, being there."""

    name: str = ValueField(pattern=_NAME, description="What reasons call it.")
    field: LeadField = ValueField(description="What of the lead is looked at.")
    points: float = ValueField(ge=-100, le=100, description="Points, out of 100; negative ones speak against the lead.")
    missing: bool = ValueField(default=False, description="Whether the points are for the field not being there.")
    words: tuple[str, ...] = ValueField(
        default=(), max_length=200, description="Words or phrases of which one must be in it, whole, in any case."
    )
    at_least: float | None = ValueField(default=None, ge=0, description="Of `budget`: least amount.")
    at_most: float | None = ValueField(default=None, ge=0, description="Of `budget`: largest amount.")
    currency: str | None = ValueField(
        default=None, pattern=r"^[A-Z]{3}$", description="Of `budget`: the currency that the amounts are in."
    )
    within_days: float | None = ValueField(
        default=None, ge=0, le=3650, description="Of `timeline`: days from when it was said within which it is needed."
    )

    @model_validator(mode="after")
    def _fits_the_field(self) -> FitRule:
        money = self.at_least is not None or self.at_most is not None
        if (money or self.currency is not None) and self.field != "budget":
            raise ValueError("at_least, at_most and currency are for field = 'budget'")
        if money and self.currency is None:
            raise ValueError("amounts need a currency to be compared in")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is more than at_most")
        if self.within_days is not None and self.field != "timeline":
            raise ValueError("within_days is for field = 'timeline'")
        if self.words and self.field not in _WORDS_OF:
            raise ValueError(f"words are for {', '.join(sorted(_WORDS_OF))}")
        if self.missing and (money or self.words or self.within_days is not None or self.currency is not None):
            raise ValueError("what is missing has nothing to be compared with")
        return self


class EngagementRule(Value):
    """`[[qualify.engagement]]`: points for each thing that a lead said, which fade as it lies back."""

    name: str = ValueField(pattern=_NAME, description="What reasons call it.")
    points: float = ValueField(ge=-100, le=100, description="Points for one message, on the day that it is said.")
    half_life_days: float = ValueField(
        default=14.0, gt=0, le=3650, description="Days after which a message counts half of its points."
    )
    cap: float = ValueField(default=40.0, gt=0, le=100, description="Most points, for or against, of all its messages.")
    words: tuple[str, ...] = ValueField(
        default=(), max_length=200, description="Words or phrases of which one must be in the text; none: any message."
    )
    fields: tuple[LeadField, ...] = ValueField(
        default=(), description="Fields of which the message must tell one; none: whatever it tells."
    )
    routes: tuple[str, ...] = ValueField(default=(), description="Routes that it must come by; none: any.")
    disqualifies: bool = ValueField(
        default=False, description="Whether one such message puts the lead into the lowest grade, until it is old."
    )


_FIT = (
    FitRule(name="reachable-by-phone", field="phone", points=15),
    FitRule(name="reachable-by-mail", field="email", points=10),
    FitRule(name="named", field="name", points=5),
    FitRule(name="says-what", field="interest", points=20),
    FitRule(name="says-budget", field="budget", points=25),
    FitRule(name="soon", field="timeline", within_days=90, points=25),
    FitRule(name="agent", field="name", words=("realtor", "broker", "makler"), points=-30),
)
_ENGAGEMENT = (
    EngagementRule(name="wrote", points=12, half_life_days=14, cap=40),
    EngagementRule(
        name="wants-to-see-it",
        points=30,
        half_life_days=7,
        cap=45,
        words=("viewing", "visit", "see it", "appointment", "besichtigung", "termin"),
    ),
    EngagementRule(name="told-more", points=10, half_life_days=21, cap=25, fields=("budget", "timeline")),
    EngagementRule(
        name="not-interested",
        points=-50,
        half_life_days=60,
        cap=100,
        words=("not interested", "no longer interested", "kein interesse"),
    ),
    EngagementRule(
        name="leave-me-alone",
        points=-100,
        half_life_days=365,
        cap=100,
        words=("unsubscribe", "stop writing", "do not contact", "don't contact"),
        disqualifies=True,
    ),
)


class QualifySettings(Value):
    """`[qualify]`."""

    fit: tuple[FitRule, ...] = ValueField(default=_FIT, description="Points for what a lead is.")
    engagement: tuple[EngagementRule, ...] = ValueField(
        default=_ENGAGEMENT, description="Points for what a lead does; they fade."
    )
    fit_grades: tuple[float, float, float] = ValueField(
        default=(75.0, 50.0, 25.0), description="Least fit, out of 100, of the letters A, B and C; below them is D."
    )
    engagement_grades: tuple[float, float, float] = ValueField(
        default=(60.0, 30.0, 10.0), description="Least engagement, out of 100, of the figures 1, 2 and 3; below is 4."
    )
    notable: tuple[str, ...] = ValueField(
        default=("A1", "A2", "B1"), description="Grades that the report has a finding about, because somebody waits."
    )
    least_labels: int = ValueField(
        default=50, ge=10, description="Least number of won and of lost leads that weights are learned from."
    )
    labels_per_weight: float = ValueField(
        default=10.0, ge=1, description="Leads of the rarer outcome for each weight that is learned."
    )
    held_out: float = ValueField(
        default=0.3, gt=0.05, lt=0.6, description="Share of the labelled leads, the latest, that weights are judged on."
    )

    @field_validator("fit_grades", "engagement_grades", mode="after")
    @classmethod
    def _descend(cls, limits: tuple[float, float, float]) -> tuple[float, float, float]:
        if not 100 >= limits[0] > limits[1] > limits[2] > 0:
            raise ValueError("three limits between 0 and 100, each lower than the one before it")
        return limits

    @field_validator("notable", mode="after")
    @classmethod
    def _are_grades(cls, grades: tuple[str, ...]) -> tuple[str, ...]:
        for grade in grades:
            if len(grade) != 2 or grade[0] not in "ABCD" or grade[1] not in "1234":
                raise ValueError(f"{grade!r} is no grade such as A1")
        return grades

    @model_validator(mode="after")
    def _names_identify(self) -> QualifySettings:
        for part, names in (("fit", [r.name for r in self.fit]), ("engagement", [r.name for r in self.engagement])):
            if (again := second_of_a_name(names)) is not None:
                raise PlaceError(f"two rules are called {names[again]!r}; names identify them", part, again, "name")
        return self

    @property
    def digest(self) -> str:
        """Stands for the rules: weights that were learned for others do not fit these."""
        told = self.model_dump(mode="json", include={"fit", "engagement"})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class Reason(Value):
    """Why a lead has points, in the rule's words: nothing of the person is in it."""

    rule: str = ValueField(description="The rule's name.")
    part: Literal["fit", "engagement"] = ValueField(description="Which score it counts for.")
    points: float = ValueField(allow_inf_nan=False, description="What it adds, after decay and cap.")
    because: str = ValueField(description="What held.")


class LeadGrade(Value):
    """What one lead is graded as."""

    contact: int = ValueField(description="Id of the contact.")
    grade: str = ValueField(pattern=r"^[A-D][1-4]$", description="Letter for fit, figure for engagement.")
    fit: float = ValueField(ge=0, le=100, description="Fit, out of 100.")
    engagement: float = ValueField(ge=0, le=100, description="Engagement, out of 100, as of the time of grading.")
    probability: float | None = ValueField(
        default=None, ge=0, le=1, description="Calibrated probability that it is won; None without learned weights."
    )
    disqualified: bool = ValueField(default=False, description="Whether a rule puts it into the lowest grade.")
    reasons: tuple[Reason, ...] = ValueField(default=(), description="Where the points come from, largest first.")
    before: str | None = ValueField(default=None, description="The grade before this run; None: it had none.")


class Comparison(Value):
    """Learned weights beside the rules, on leads that neither was made from."""

    leads: int = ValueField(description="Held-out leads.")
    won: int = ValueField(description="Those of them that were won.")
    log_loss: float = ValueField(description="Mean log loss of the weights; lower is better.")
    log_loss_rules: float = ValueField(description="The same of the rules' score, calibrated on the same leads.")
    gain_low: float = ValueField(description="Rules minus weights, lower end of the 95 % interval (paired bootstrap).")
    gain_high: float = ValueField(description="Its upper end.")
    brier: float = ValueField(description="Brier score of the weights.")
    brier_rules: float = ValueField(description="Brier score of the rules.")
    auc: float = ValueField(description="Area under the ROC curve of the weights.")
    auc_rules: float = ValueField(description="The same of the rules.")
    predicted_won: float = ValueField(description="Sum of the probabilities; close to `won` when they are calibrated.")

    @property
    def better(self) -> bool:
        """Whether the weights are better beyond noise."""
        return self.gain_low > 0


class Weights(Value):
    """A logistic regression on the rules' points, as numbers that anybody can read. No pickle is involved."""

    rules: str = ValueField(description="Digest of the rules that it was learned for.")
    features: tuple[str, ...] = ValueField(description="`part:rule` of each weight.")
    means: tuple[float, ...] = ValueField(description="Mean of each feature where it was learned.")
    scales: tuple[float, ...] = ValueField(description="Standard deviation of each.")
    weights: tuple[float, ...] = ValueField(description="Of the standardised features.")
    intercept: float = ValueField(description="Log odds at the mean.")
    slope: float = ValueField(description="Of Platt's calibration, fitted out of fold.")
    offset: float = ValueField(description="Its offset.")


class QualifyReport(Report):
    """What a run graded."""

    leads: tuple[LeadGrade, ...] = ValueField(default=(), description="The best 200, best first.")
    grades: dict[str, int] = ValueField(default_factory=dict, description="How many leads have each grade.")
    comparison: Comparison | None = ValueField(default=None, description="Of weights that were learned in this run.")
    as_of: AwareDatetime = ValueField(description="The time that engagement was decayed to.")

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The best leads with their reasons, and how learned weights compare."""
        rows = tuple(
            (
                str(one.contact),
                one.grade if one.before in (None, one.grade) else f"{one.grade} (was {one.before})",
                f"{one.fit:.0f}",
                f"{one.engagement:.0f}",
                "" if one.probability is None else f"{one.probability:.0%}",
                "; ".join(f"{reason.rule} {reason.points:+.0f}" for reason in one.reasons),
            )
            for one in self.leads
        )
        columns = ("Contact", "Grade", "Fit", "Engagement", "Won", "Reasons")
        leads = Grid("Leads", columns, rows, f"Engagement as of {self.as_of:%Y-%m-%d %H:%M %Z}.")
        return (leads, *((_compared(self.comparison),) if self.comparison else ()))


def _compared(one: Comparison) -> Grid:
    rows = (
        ("log loss", f"{one.log_loss:.4f}", f"{one.log_loss_rules:.4f}"),
        ("Brier score", f"{one.brier:.4f}", f"{one.brier_rules:.4f}"),
        ("area under ROC", f"{one.auc:.3f}", f"{one.auc_rules:.3f}"),
    )
    verdict = "They are used." if one.better else "They are not better beyond noise, so they are not used."
    note = (
        f"{one.leads} held-out leads, {one.won} won, {one.predicted_won:.1f} expected. Gain in log loss, 95 %: "
        f"{one.gain_low:.4f} to {one.gain_high:.4f}. {verdict}"
    )
    return Grid("Learned weights beside the rules", ("Measure", "Weights", "Rules"), rows, note)


class QualificationRecord(SQLModel, table=True):
    """The grade of a contact, as it was last written. It goes with the contact."""

    __tablename__ = "crm_qualification"

    contact_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("crm_contact.id", ondelete="CASCADE"), primary_key=True)
    )
    grade: str
    fit: float
    engagement: float
    probability: float | None = None
    disqualified: bool = False
    reasons: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    rules: str = Field(description="Digest of the rules.")
    as_of: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    graded_since: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False), description="Since when it has this grade."
    )


class OutcomeRecord(SQLModel, table=True):
    """What became of a lead: the labels that weights are learned from."""

    __tablename__ = "crm_outcome"

    contact_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("crm_contact.id", ondelete="CASCADE"), primary_key=True)
    )
    won: bool
    decided_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class WeightsRecord(SQLModel, table=True):
    """Weights that were learned; the newest that is in use counts."""

    __tablename__ = "crm_weights"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    run_id: str = Field(unique=True)
    learned_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    weights: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    comparison: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    in_use: bool = Field(description="Whether they were better than the rules beyond noise.")

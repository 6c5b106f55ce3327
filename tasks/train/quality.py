"""What is wrong with a table, said before anything is learned from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.report import Finding, Severity, Skip
from tasks.train.columns import Kind, as_number, kinds_of
from tasks.train.leakage import Suspect, not_looked, suspects_of
from tasks.train.splits import hash_rows
from tasks.train.subject import Subject

_FAR, _FAR_IN_SHARES = 7.0, 5.0
"""Robust standard deviations: quartiles' distance by 1.349."""
_MANY_MISSING = 0.5
_MOST_TOLD = 12
_CURRENCY = r"^\s*[$€£]?\s*-?\d{1,3}([,.]\d{3})*([.,]\d+)?\s*[$€£%]?\s*$"


@dataclass(frozen=True)
class Quality:
    """What was found."""

    findings: tuple[Finding, ...]
    suspects: tuple[Suspect, ...]
    kinds: dict[str, Kind]
    skipped: tuple[Skip, ...] = ()
    """What could not be looked at."""

    @property
    def excluded(self) -> tuple[str, ...]:
        """The columns that are suspected of knowing the answer, or that only name the row."""
        return tuple(dict.fromkeys(one.columns[-1] for one in self.suspects))


def quality_of(subject: Subject, seed: int = 0, *, keep_suspects: bool = False) -> Quality:
    """Look at every feature and at the rows as a whole; `keep_suspects`: what may know the target is learned from."""
    frame, columns = subject.frame, subject.columns
    features = columns.features_of([str(name) for name in frame.columns])
    kinds = kinds_of(frame[features])
    findings = list(subject.findings)
    for name in features:
        findings += _of_column(frame[name], kinds[name])
    if subject.task == "regression" and columns.target is not None:
        findings += _outliers(frame[columns.target], told_as="target")
    findings += _same_columns(frame, features)
    findings += _same_rows(subject, features)
    suspects = suspects_of(frame, subject.y, columns, subject.task, seed)
    findings += [_suspected(one, kept=keep_suspects) for one in suspects]
    skipped = []
    if why := not_looked(subject.y, subject.task):
        findings.append(
            _finding(
                "unlooked", "leakage", Severity.medium, f"Leakage was not looked for: {why}.",
                "A column that knows the target would not have been noticed.",
                "Give more rows, or look at every column: was it known when the row was to be predicted?",
            )
        )  # fmt: skip
        skipped.append(
            Skip(area="leakage", component=str(columns.target), reason=f"{why}: give more.", hides=("train.leak:",))
        )
    return Quality(tuple(_unique(findings)), tuple(suspects), kinds, tuple(skipped))


def _of_column(column: pd.Series, kind: Kind) -> list[Finding]:
    name = str(column.name)
    found = []
    missing = float(column.isna().mean())
    if kind is Kind.constant:
        what = "has no value" if missing == 1 else "has one value"
        found.append(_finding("constant", name, Severity.info, f"{name!r} {what} in all rows; it is not learned from."))
    elif missing > _MANY_MISSING:
        found.append(_finding("missing", name, Severity.low, f"{name!r} is missing in {missing:.0%} of the rows.",
                              "That it is missing is learned from, too."))  # fmt: skip
    if kind is Kind.text:
        found.append(_finding("text", name, Severity.info, f"{name!r} holds words that hardly repeat; "
                              "it was not learned from."))  # fmt: skip
    if kind in {Kind.category, Kind.text} and _looks_numeric(column):
        found.append(_finding("numbers", name, Severity.medium, f"{name!r} holds numbers that are written as words.",
                              "Currency signs, thousands separators or unit marks make them words.",
                              "Write plain numbers, with a point before decimals."))  # fmt: skip
    if kind is Kind.number:
        found += _outliers(column)
    return found


def _looks_numeric(column: pd.Series) -> bool:
    words = column.dropna().astype(str)
    words = words.iloc[:2_000]
    if words.nunique() < 10:
        return False
    return bool(words.str.match(_CURRENCY).mean() > 0.95)


def _outliers(column: pd.Series, told_as: str = "column") -> list[Finding]:
    """Values far from all others on the scale that suits them, such as the house with 33 bedrooms."""
    values = as_number(column)
    known = values[np.isfinite(values)]
    if len(known) < 50 or len(np.unique(known[:10_000])) <= 2:
        return []
    is_far = _robust_distance(known) > _FAR
    if known.min() >= 0:  # amounts: far on the scale of shares, too, or a long tail would be full of outliers
        is_far &= _robust_distance(np.log1p(known)) > _FAR_IN_SHARES
    far = known[is_far]
    if not len(far) or len(far) > len(known) // 200 + 3:
        return []  # so many are no outliers, but a long tail
    shown = ", ".join(f"{value:g}" for value in sorted(set(far.tolist()), key=lambda one: -abs(one))[:5])
    name = str(column.name)
    return [
        _finding(
            "outliers",
            name,
            Severity.low,
            f"{name!r} has {len(far)} value{'s' if len(far) > 1 else ''} far from all others: {shown}.",
            f"Half of the rows are between {np.quantile(known, 0.25):g} and {np.quantile(known, 0.75):g}.",
            "Mistakes of typing belong corrected, or left out."
            + (" Errors of the target weigh most." if told_as == "target" else ""),
        )
    ]


def _robust_distance(values: np.ndarray) -> np.ndarray:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349
    if spread <= 0:  # more than half of the rows have one value
        spread = float(np.abs(values - middle).mean()) or 1.0
    return np.asarray(np.abs(values - middle) / spread)


def _same_columns(frame: pd.DataFrame, features: list[str]) -> list[Finding]:
    seen: dict[bytes, str] = {}
    found = []
    for name in features:
        if frame[name].nunique(dropna=False) < 2:
            continue
        mark = hashlib.blake2b(hash_rows(frame[[name]]).tobytes()).digest()
        if mark in seen:
            found.append(_finding("same", name, Severity.low, f"{name!r} is the same as {seen[mark]!r}.", "",
                                  f"Leave one of them out: --ignore {name}"))  # fmt: skip
        else:
            seen[mark] = name
    return found


def _same_rows(subject: Subject, features: list[str]) -> list[Finding]:
    hashes = hash_rows(subject.frame[features])
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = int((counts - 1).sum())
    if not again:
        return []
    detail = "Rows that repeat are kept on one side of every split: on both they would flatter the model."
    if subject.columns.group is not None or subject.columns.time is not None:
        detail = "They are split as the group or the time says."
    if subject.y is not None and subject.task == "classification":
        pairs = pd.DataFrame({"row": inverse, "y": subject.y}).drop_duplicates()
        torn = int((pairs["row"].value_counts() > 1).sum())
        detail += f" {torn} of them have different targets." if torn else ""
    severity = Severity.low if again > len(hashes) // 100 else Severity.info
    title = f"{again} of {len(hashes)} rows repeat the features of another one."
    return [_finding("rows", "duplicates", severity, title, detail)]


def _suspected(one: Suspect, *, kept: bool) -> Finding:
    names, last = " and ".join(repr(name) for name in one.columns), one.columns[-1]
    remedy = f"{last!r} was left out; say so with --ignore, or keep it with --keep-suspects if it is known in time."
    if kept:
        remedy = f"Leave {last!r} out with --ignore, unless it is known in time."
    if one.kind == "identifier":
        return _finding("identifier", last, Severity.info, f"{last!r} names the row: {one.reason}.", "", remedy)
    return Finding(
        key=f"train.leak:{'/'.join(one.columns)}",
        severity=Severity.high if kept else Severity.medium,
        component=last,
        title=f"{names} may know the target: {one.reason}.",
        detail="What is only known when the target is, makes a model that is good on paper and useless in use.",
        remedy=remedy,
        evidence={"kind": one.kind, "strength": round(one.strength, 6)},
    )


def _finding(kind: str, name: str, severity: Severity, title: str, detail: str = "", remedy: str = "") -> Finding:
    return Finding(
        key=f"train.{kind}:{name}", severity=severity, component=name, title=title, detail=detail, remedy=remedy
    )


def _unique(findings: list[Finding]) -> list[Finding]:
    """Each key once; of one kind the first dozen, and how many more there are."""
    kept: dict[str, Finding] = {}
    told: dict[str, int] = {}
    for one in findings:
        kind = one.key.partition(":")[0]
        told[kind] = told.get(kind, 0) + 1
        if told[kind] <= _MOST_TOLD or one.severity.rank >= Severity.medium.rank:
            kept.setdefault(one.key, one)
    for kind, count in told.items():
        if count > _MOST_TOLD:
            key = f"{kind}:more"
            kept[key] = Finding(key=key, severity=Severity.info, component="table",
                                title=f"{count - _MOST_TOLD} more columns like these.")  # fmt: skip
    return list(kept.values())

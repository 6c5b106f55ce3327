"""Judges a window against a profile: what has drifted, by how much, and where there is too little to tell. Pure."""

from __future__ import annotations

from models.drift import (
    CategoryProfile,
    ColumnCounts,
    ColumnDrift,
    ColumnProfile,
    Comparison,
    DriftLimits,
    NumericProfile,
    Profile,
    Sketch,
    Stability,
    Verdict,
)
from tasks.drift.distributions import (
    benjamini_hochberg,
    coarse,
    holm,
    homogeneity,
    kolmogorov_smirnov,
    missing_rate,
    new_categories,
    out_of_range,
    stability,
)
from tasks.drift.sketch import reference_counts

PREDICTION = "(prediction)"
"""What the predictions are called among the columns; no table has a column of that name that a model could use."""

_ORDER: tuple[Verdict, ...] = ("major", "moderate", "unknown", "small", "stable")


def judge(profile: Profile, window: Sketch, limits: DriftLimits) -> tuple[ColumnDrift, ...]:
    """What became of every column and of the predictions, the worst first.

    A column has drifted when a test of it, corrected for all tests of the run, says so with `limits.alpha`; how much
    that matters is told by its size alone. With large windows everything is significant, so most is `small`; with
    small ones nothing is, so what a drift that matters could hide in is `unknown` rather than `stable`.
    """
    pairs = [(name, known, window.columns[name]) for name, known in profile.columns.items() if name in window.columns]
    if profile.prediction is not None and window.prediction is not None:
        pairs.append((PREDICTION, profile.prediction, window.prediction))
    tested = [compare(known, counted) for _, known, counted in pairs]
    correct = holm if limits.correction == "holm" else benjamini_hochberg
    adjusted = iter(correct([one.p_value for tests in tested for one in tests]))
    columns = []
    for (name, known, counted), tests in zip(pairs, tested, strict=True):
        corrected = tuple(one.model_copy(update={"adjusted": next(adjusted)}) for one in tests)
        columns.append(_column(name, known, counted, corrected, limits))
    return tuple(sorted(columns, key=lambda column: (_ORDER.index(column.verdict), column.column)))


def compare(profile: ColumnProfile, window: ColumnCounts) -> list[Comparison]:
    """Every test of one column, each with its own p-value."""
    known = reference_counts(profile)
    absent = window.missing + window.invalid
    # Where nothing is missing on either side the test could never tell anything, and would only cost the others power.
    tests = [missing_rate((known.missing, known.rows), (absent, window.rows))] if known.missing + absent else []
    if isinstance(profile, NumericProfile):
        tests.append((homogeneity if profile.discrete else kolmogorov_smirnov)(known.counts, window.counts))
        tests.append(out_of_range(sum(known.counts), window.below + window.above, sum(window.counts)))
    elif isinstance(profile, CategoryProfile):
        tests.append(homogeneity(known.counts, window.counts))
        if profile.complete:
            seen = profile.rows - profile.missing
            tests.append(new_categories(profile.singletons, seen, len(window.new), window.new_rows, sum(window.counts)))
    return tests


def _column(
    name: str, profile: ColumnProfile, window: ColumnCounts, tests: tuple[Comparison, ...], limits: DriftLimits
) -> ColumnDrift:
    index = _stability(profile, window, limits.alpha)
    found = [one for one in tests if one.adjusted <= limits.alpha]
    verdict, reason = _verdict(found, index, window, limits)
    return ColumnDrift(
        column=name,
        kind=profile.kind,
        verdict=verdict,
        rows=window.rows,
        comparisons=tests,
        stability=index,
        reason=reason,
    )


def _stability(profile: ColumnProfile, window: ColumnCounts, alpha: float) -> Stability | None:
    counts = reference_counts(profile).counts
    if not counts:
        return None
    ordered = isinstance(profile, NumericProfile)
    return stability(*coarse(counts, window.counts, ordered=ordered), alpha=alpha)


def _verdict(
    found: list[Comparison], index: Stability | None, window: ColumnCounts, limits: DriftLimits
) -> tuple[Verdict, str]:
    if not window.rows:
        return "unknown", "There are no rows."
    sizes = [(_size(one, index, limits), one) for one in found]
    if sizes:
        size, worst = min(sizes, key=lambda pair: _ORDER.index(pair[0]))
        return size, _told(worst, index, window)
    if index is not None and not index.can_tell(limits.major_psi):
        return "unknown", (
            f"Too few rows: by chance alone the stability index of so many can reach {index.critical:.2f}, "
            f"more than the {limits.major_psi:g} of major drift."
        )
    if index is None and sum(window.counts) == 0 and window.missing + window.invalid < window.rows:
        return "stable", "Only whether it is there is compared."
    if index is not None and not index.can_tell(limits.moderate_psi):
        return "stable", (
            f"No major drift; a moderate one could not be told from chance with so few rows "
            f"(up to {index.critical:.2f})."
        )
    return "stable", "Nothing that chance would not make."


def _size(test: Comparison, index: Stability | None, limits: DriftLimits) -> Verdict:
    if test.test in {"missing", "new_categories", "range"}:
        return _graded(abs(test.effect), limits.moderate_share, limits.major_share)
    if index is None:
        return "small"
    # What chance adds on average is taken off, or a small window would always look worse than a large one.
    return _graded(index.value - index.expected, limits.moderate_psi, limits.major_psi)


def _graded(value: float, moderate: float, major: float) -> Verdict:
    return "major" if value >= major else "moderate" if value >= moderate else "small"


def _told(test: Comparison, index: Stability | None, window: ColumnCounts) -> str:
    chance = f"adjusted p {test.adjusted:.2g}"
    if test.test == "missing":
        absent = (window.missing + window.invalid) / window.rows
        wrong = f", {window.invalid} of them no numbers" if window.invalid else ""
        return f"{absent:.1%} of the rows are missing{wrong}, {100 * test.effect:+.1f} points; {chance}."
    if test.test == "new_categories":
        return f"{test.effect:.1%} of the rows have new categories, such as {_named(window)}; {chance}."
    if test.test == "range":
        return (
            f"{test.effect:.1%} of the rows are outside of the range of training "
            f"({window.below} below, {window.above} above); {chance}."
        )
    psi = f"stability index {index.value:.3f} (chance: {index.expected:.3f}); " if index is not None else ""
    word = "distance of the distributions" if test.test == "ks" else "share of rows in another category"
    new = f"; {window.new_rows} rows have new categories, such as {_named(window)}" if window.new_rows else ""
    return f"{psi}{word} {test.effect:.3f}{new}; {chance}."


def _named(window: ColumnCounts) -> str:
    return ", ".join(repr(name) for name in list(window.new)[:3])

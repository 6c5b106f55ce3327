"""Markets trained, studied and asked: what the flow and the command call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.report import Finding, Severity, compose
from models.training import CHAMPION, Columns, Lineage, ModelVersion, TrainingTable, shown_source
from models.valuation import (
    SQUARE_METRES,
    Market,
    Property,
    RatioStatistics,
    RatioStudy,
    StudyReport,
    TrainMarketReport,
    Valuation,
    ValuationReport,
)
from tasks.train import artifact, lineage, registry
from tasks.train.compare import compared
from tasks.train.subject import hash_of_table
from tasks.train.tables import read_table
from tasks.valuation.appraise import appraise
from tasks.valuation.asked import STUDYING, TRAINING, VALUING, Asked
from tasks.valuation.backtest import study_of
from tasks.valuation.features import days, identities
from tasks.valuation.market import columns_of, is_land, usable
from tasks.valuation.market_model import MarketModel
from tasks.valuation.page import to_markdown
from tasks.valuation.ratio_study import LIMITS
from tasks.valuation.training import Trained, train_market

if TYPE_CHECKING:
    from blocks.model_registry import ModelRegistry
    from blocks.postgres import Postgres
    from tasks.valuation.model import ValuationModel

_COVERAGE_OFF = 0.03
_FEW_JUDGED = 30


def read_sales(market: Market, database: Postgres | None) -> pd.DataFrame:
    """The user's table of sales.

    Raises:
        ConfigurationError: it cannot be read.
        UnavailableError: the database does not answer.
    """
    named = {role: name for role, name in market.columns.model_dump().items() if name is not None}
    table = TrainingTable(source=market.source, columns=Columns(target=named["price"]))
    return read_table(table, database=database)


def trained(table: pd.DataFrame, market: Market, seed: int) -> Trained:
    """The market's model, judged and learned."""
    return train_market(table, market, seed=seed)


@dataclass(frozen=True)
class Kept:
    """A registered market."""

    version: ModelVersion
    verdict: str
    promoted: bool = False


def keep(
    made: Trained, table: pd.DataFrame, market: Market, block: ModelRegistry, *, seed: int, run_id: str,
    code_version: str = "",
) -> Kept:  # fmt: skip
    """Register the model, and promote it when there is no champion or it is better than that beyond noise.

    Both are judged by the sales of the last window that are newer than what the champion has learned from: the champion
    as it answers, the new one as it was before that window. Where hardly any are newer, by the whole window, and the
    champion as it was before its own.

    Raises:
        ConflictError: somebody else has promoted another one in the meantime; run it again.
        UnavailableError: the database does not answer.
    """
    study = made.backtest.study
    metrics = {
        "rmse_log": study.rmse_log, "mae": study.mae, "mdape": study.mdape, "median_ratio": study.overall.median.value,
        "cod": study.overall.cod.value, "prd": study.overall.prd.value, "prb": study.overall.prb.value,
        "mki": study.overall.mki.value,
    } | {f"coverage_{round(100 * one.nominal)}": one.rolling for one in study.coverage}  # fmt: skip
    data_hash = hash_of_table(table)
    environment = lineage.environment()
    candidate = ModelVersion(
        name=market.name,
        task="regression",
        created_at=datetime.now(UTC),
        data_hash=data_hash,
        code_version=code_version,
        environment=environment,
        parameters={"family": "valuation", **made.model.estimator.parameters},
        metrics=metrics,
        columns=columns_of(market),
        lineage=Lineage(
            data_hash=data_hash, rows=len(table), source=shown_source(market.source), code_version=code_version,
            environment=environment, seed=seed, flow_run=run_id,
        ),
    )  # fmt: skip
    version = registry.register(block, made.model, candidate, card=card(made, market.name))
    champion = next((one for one in registry.versions(block, market.name) if CHAMPION in one.aliases), None)
    if champion is None:
        return Kept(
            registry.promote(block, market.name, version.version, reason="the first"), "It is the first.", promoted=True
        )
    if champion.version == version.version:
        return Kept(champion, "It is the champion already.", promoted=True)
    old = artifact.read(registry.path_of(block, champion.artifact_hash), champion.artifact_hash)
    asked, judged, aside = rival(old, made)
    price = np.log(judged["price"].to_numpy(np.float64))
    try:
        said = asked.predict_log(judged.drop(columns="price"))
    except (KeyError, ValueError, TypeError) as error:
        return Kept(version, f"The champion cannot be asked about this table ({error}): promote it by hand.")
    ours = made.backtest.model.predict_log(judged.drop(columns="price"))
    verdict = compared(
        market.name, "rmse", (champion.version, (said - price) ** 2), (version.version, (ours - price) ** 2),
        groups=identities(judged), seed=seed,
    )  # fmt: skip
    told = f"{verdict.verdict}{aside}"
    if verdict.better:
        promoted = registry.promote(block, market.name, version.version, comparison=verdict, reason=verdict.verdict)
        return Kept(promoted, told, promoted=True)
    return Kept(version, told)


def rival(champion: MarketModel, made: Trained) -> tuple[ValuationModel, pd.DataFrame, str]:
    """Who answers for `champion` in a comparison with `made`, about which sales, and what is to be known of that."""
    judged = made.model.sales.iloc[made.backtest.windows.test]
    if "sold" in judged.columns and champion.ranges.days:
        newer = days(judged["sold"]) > champion.ranges.days[1]
        if newer.sum() >= _FEW_JUDGED:
            return champion.estimator, judged[newer], ""
    return champion.measured, judged, (
        f" The champion was asked as it was before it learned from its own judged sales: fewer than {_FEW_JUDGED} of "
        "the judged ones are newer than all that it has learned from."
    )  # fmt: skip


def card(made: Trained, market: str) -> str:
    """The ratio study with its plots, as Markdown."""
    from tasks.valuation import plots  # noqa: PLC0415
    from tasks.valuation.card import card_of  # noqa: PLC0415

    study = made.backtest.study
    drawn = {
        "values over prices, by price": plots.ratios_of(made.backtest.values, made.backtest.prices),
        "median ratios by strata": plots.strata_of(study),
    }
    return card_of(market, study, drawn)


def report_of_training(made: Trained, kept: Kept | None, market: Market, asked: Asked) -> TrainMarketReport:
    """What came of a training."""
    study = made.backtest.study
    findings = study_findings(market.name, study)
    findings += _left_out(market.name, made.excluded)
    if kept is not None and not kept.promoted:
        findings.append(
            Finding(
                key=f"value.challenger:{market.name}", severity=Severity.info, component=market.name,
                title=f"{kept.version.address} is a challenger: the champion goes on answering.", detail=kept.verdict,
            )
        )  # fmt: skip
    overall = study.overall
    summary = (
        f"{market.name}: {len(made.model.sales)} sales; MdAPE {study.mdape:.1%}, "
        f"median ratio {overall.median.value:.3f}, COD {overall.cod.value:.1f}, {study.split}."
    )
    return compose(
        TrainMarketReport,
        capability=TRAINING,
        summary=summary,
        scope=f"training of {market.name}",
        findings=findings,
        metrics=_metrics(study),
        started_at=asked.started_at,
        finished_at=datetime.now(UTC),
        run_id=asked.run_id,
        market=market.name,
        study=study,
        model="" if kept is None else kept.version.address,
        promoted=kept is not None and kept.promoted,
        excluded=dict(made.excluded),
        detail={"candidates": dict(made.backtest.candidates), "verdict": "" if kept is None else kept.verdict},
    )


def _left_out(market: str, excluded: Mapping[str, int]) -> list[Finding]:
    return [
        Finding(
            key=f"value.excluded:{market}/{reason}", severity=Severity.low, component=market,
            title=f"{count} sales were left out: {reason}.", remedy="Correct them in the table.",
            evidence={"sales": count},
        )
        for reason, count in excluded.items()
    ]  # fmt: skip


def study_findings(market: str, study: RatioStudy) -> list[Finding]:
    """What a ratio study shows that somebody should know: statistics that are outside of the IAAO's limits."""
    found = []
    if study.overall.rows < _FEW_JUDGED:
        found.append(
            Finding(
                key=f"value.few:{market}", severity=Severity.low, component=market,
                title=f"Only {study.overall.rows} sales judged it: how good it is, is hardly known.",
                remedy="Train with more sales; some thousand are good.", evidence={"sales": study.overall.rows},
            )
        )  # fmt: skip
    for one in (study.overall, *study.strata):
        whole = one.stratum == "all"
        for name in one.outside:
            if not whole and name not in {"median", "cod"}:
                continue  # within a band of prices, every value is nearer to its middle than its price is
            low, high = LIMITS[name]
            measure = getattr(one, name)
            found.append(
                Finding(
                    key=f"value.ratio-{name}:{market}/{one.stratum}",
                    severity=Severity.medium if whole else Severity.low,
                    component=market,
                    title=f"{_NAMES[name]} of {one.stratum} is {measure.value:.3f}; the IAAO's limits are {low:g} to "
                    f"{high:g}.",
                    detail=f"{one.rows} sales; 95 % interval {measure.low:.3f} to {measure.high:.3f}.",
                    remedy=_REMEDIES[name],
                    evidence={"value": measure.value, "rows": one.rows},
                )
            )
    found += [
        Finding(
            key=f"value.coverage:{market}/{one.nominal}", severity=Severity.medium, component=market,
            title=f"Intervals of {one.nominal:.0%} held {one.found:.1%} of the prices, and kept up to date "
            f"{one.rolling:.1%}.",
            remedy="Train with more recent sales.",
        )
        for one in study.coverage
        if min(one.found, one.rolling) < one.nominal - _COVERAGE_OFF or one.rolling > one.nominal + _COVERAGE_OFF
    ]  # fmt: skip
    return found


_NAMES = {"median": "The median ratio", "cod": "The COD", "prd": "The PRD", "prb": "The PRB", "mki": "The MKI"}
_REMEDIES = {
    "median": "Train with more recent sales: the level of prices has moved.",
    "cod": "Add what properties differ by to the table: condition, view, quality.",
    "prd": "Dear and cheap properties fare differently; look at the strata by value.",
    "prb": "Dear and cheap properties fare differently; look at the strata by value.",
    "mki": "Dear and cheap properties fare differently; look at the strata by value.",
}


def report_of_study(
    model: MarketModel,
    name: str,
    asked: Asked,
    study: RatioStudy | None = None,
    excluded: Mapping[str, int] | None = None,
) -> StudyReport:
    """The ratio study of a registered model, or another one of it, with what was left out of that by reason."""
    study = study or model.study
    market = model.market.name
    return compose(
        StudyReport,
        capability=STUDYING,
        summary=f"{name}: {_sentence(study.overall)}, on {study.overall.rows} sales {study.split}.",
        scope=f"ratio study of {market}",
        findings=[*study_findings(market, study), *_left_out(market, excluded or {})],
        metrics=_metrics(study),
        started_at=asked.started_at,
        finished_at=datetime.now(UTC),
        run_id=asked.run_id,
        market=market,
        study=study,
    )


def report_of_valuation(
    model: MarketModel, subject: Property, asked: Asked, *, name: str, as_of: date | None, coverage: float | None
) -> ValuationReport:
    """A property's valuation as a report: what was refused is a finding of it.

    Raises:
        ConfigurationError: the property cannot be asked about.
    """
    market = model.market
    if as_of is None and not model.ranges.days:  # sales without dates: nobody knows when these prices were
        as_of = asked.started_at.date()
    answer = appraise(model, subject, as_of=as_of, coverage=coverage, name=name)
    valuation = answer.valuation
    findings = [
        Finding(
            key=f"value.refused:{market.name}/{what}", severity=Severity.medium, component=subject.address[:100],
            title=f"It was not valued: {why}",
            remedy="Correct the input; otherwise ask an appraiser: the model knows no such property.",
        )
        for what, why in answer.refused.items()
    ]  # fmt: skip
    page = "" if valuation is None else to_markdown(subject, valuation, model.study)
    return compose(
        ValuationReport,
        capability=VALUING,
        summary=_answer(subject, valuation),
        scope=f"{market.name}: {subject.address[:200]}",
        findings=findings,
        metrics={} if valuation is None else {
            "value": valuation.value, "low": valuation.interval.low, "high": valuation.interval.high,
            "fsd_ratio": valuation.fsd, "confidence": float(valuation.confidence),
        },
        started_at=asked.started_at,
        finished_at=datetime.now(UTC),
        run_id=asked.run_id,
        market=market.name,
        subject=subject,
        valuation=valuation,
        page=page,
    )  # fmt: skip


def new_study(model: MarketModel, table: pd.DataFrame) -> tuple[RatioStudy | None, dict[str, int]]:
    """A study of sales that the model has not learned from, and what was left out of it.

    Args:
        model: of the market.
        table: the user's; what was sold after the last sale that the model has learned from is judged.

    Returns:
        The study, None where fewer than 30 sales are left; and how many were left out by reason: those that training
        would leave out, and those that the model refuses to value.
    """
    market = model.market
    if market.columns.sold is None or not model.ranges.days:
        return None, {}
    frame, excluded = usable(table, market)
    frame = frame[~is_land(frame, market)]
    frame = frame[days(frame["sold"]) > model.ranges.days[1]].reset_index(drop=True)
    for name in model.estimator.features.numbers:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    kept = []
    for number, distance in enumerate(model.estimator.nearest_km(frame) if len(frame) else ()):
        row = frame.iloc[[number]]
        refused = model.ranges.refusals(row, float(distance), row["sold"].iloc[0].date(), market)
        if refused:
            reason = f"{next(iter(refused))} that the model refuses"
            excluded[reason] = excluded.get(reason, 0) + 1
        else:
            kept.append(number)
    if len(kept) < _FEW_JUDGED:
        return None, excluded
    frame = frame.iloc[kept].reset_index(drop=True)
    values = model.estimator.predict(frame.drop(columns="price"))
    split = f"sold after the {len(model.sales)} that it has learned from"
    return study_of(frame, values, split=split, unit=SQUARE_METRES[market.units.area]), excluded


def _answer(subject: Property, valuation: Valuation | None) -> str:
    if valuation is None:
        return f"{subject.address}: not valued."
    interval, currency = valuation.interval, valuation.currency
    return (
        f"{subject.address}: {valuation.value:,.0f} {currency}, {interval.low:,.0f} to {interval.high:,.0f} with "
        f"{interval.coverage:.0%}; confidence {valuation.confidence} of 100 ({valuation.grade})."
    )


def _sentence(overall: RatioStatistics) -> str:
    return (
        f"median ratio {overall.median.value:.3f}, COD {overall.cod.value:.1f}, PRD {overall.prd.value:.3f}, "
        f"PRB {overall.prb.value:+.3f}, MKI {overall.mki.value:.3f}"
    )


def _metrics(study: RatioStudy) -> Mapping[str, float]:
    overall = study.overall
    return {
        "rmse_log": study.rmse_log,
        "mdape_ratio": study.mdape,
        "median_ratio": overall.median.value,
        "cod": overall.cod.value,
        "prd": overall.prd.value,
        "prb": overall.prb.value,
        "mki": overall.mki.value,
    } | {f"coverage_{round(100 * one.nominal)}_ratio": one.rolling for one in study.coverage}

"""What the record says of a client, a valuation and a market: the facts that a draft may tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from models.draft import Fact
from models.market import MarketReport
from models.valuation import ValuationReport
from tasks.handoffs.functions import tidy

_LONGEST = 120
_AREA_UNITS = frozenset({"m2", "sqft", "acre", "ha"})


def of_contact(contact: Mapping[str, Any]) -> list[Fact]:
    """Facts of a row of `crm_contact`. What a person wrote is tidied and cut: it is theirs, and goes into a letter."""
    facts = [_text(f"contact.{key}", contact.get(key)) for key in ("name", "interest", "timeline", "phone", "email")]
    budget = contact.get("budget")
    if isinstance(budget, Mapping):
        facts.append(Fact(name="contact.budget", kind="money", value=float(budget["amount"]), unit=budget["currency"]))
    return [fact for fact in facts if fact is not None]


def of_valuation(report: ValuationReport) -> list[Fact]:
    """Facts of a valuation; none of its figures where it was refused."""
    facts = [_text("valuation.address", report.subject.address), _text("valuation.market", report.market)]
    found = report.valuation
    if found is None:
        return [fact for fact in facts if fact is not None]
    unit = found.currency
    for name, value in (
        ("value", found.value), ("low", found.interval.low), ("high", found.interval.high), ("land", found.land),
        ("building", found.building), ("indicated", found.indicated),
    ):  # fmt: skip
        if value is not None:
            facts.append(Fact(name=f"valuation.{name}", kind="money", value=float(value), unit=unit))
    facts.append(Fact(name="valuation.coverage", kind="percent", value=float(found.interval.coverage)))
    facts.append(Fact(name="valuation.confidence", kind="percent", value=found.confidence / 100))
    facts.append(Fact(name="valuation.as_of", kind="date", value=found.as_of.isoformat()))
    facts.append(Fact(name="valuation.area", kind="area", value=report.subject.area, unit=found.area_unit))
    for name in ("bedrooms", "bathrooms", "year_built"):
        known = getattr(report.subject, name)
        if known is not None:
            facts.append(Fact(name=f"valuation.{name}", kind="number", value=float(known)))
    for number, sale in enumerate(found.comparables, start=1):
        of = f"valuation.comparable_{number}"
        facts.append(Fact(name=f"{of}.price", kind="money", value=sale.price, unit=unit))
        facts.append(Fact(name=f"{of}.adjusted", kind="money", value=sale.adjusted, unit=unit))
        facts.append(Fact(name=f"{of}.area", kind="area", value=sale.area, unit=found.area_unit))
        facts.append(_text(f"{of}.address", sale.address))
        if sale.sold is not None:
            facts.append(Fact(name=f"{of}.sold", kind="date", value=sale.sold.isoformat()))
    return [fact for fact in facts if fact is not None]


def of_market(report: MarketReport) -> list[Fact]:
    """Facts of a market: its first index from end to end, the latest median, what is expected next."""
    facts = [_text("market.market", report.market), Fact(name="market.sales", kind="number", value=float(report.sales))]
    for series in report.series:
        known = [point for point in series.points if point.value is not None]
        if not known:
            continue
        name = series.name.replace(",", "").replace(" ", "_")
        last = known[-1]
        if series.unit == report.currency:
            facts.append(Fact(name=f"market.{name}", kind="money", value=last.value or 0.0, unit=report.currency))
            continue
        facts.append(Fact(name=f"market.{name}", kind="number", value=last.value or 0.0))
        if series.unit == "index" and not any(fact and fact.name == "market.change" for fact in facts):
            change = (last.value or 0.0) / (known[0].value or 1.0) - 1
            facts += [
                Fact(name="market.change", kind="percent", value=change),
                Fact(name="market.first_period", kind="period", value=known[0].period),
                Fact(name="market.last_period", kind="period", value=last.period),
            ]
    return [fact for fact in facts if fact is not None]


def nested(facts: list[Fact]) -> dict[str, Any]:
    """`facts` as what a template is given: `valuation.value` is a fact, `contact.name` its words."""
    tree: dict[str, Any] = {}
    for fact in facts:
        *path, last = fact.name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = fact.value if fact.kind in {"text", "period"} else fact
    return tree


def day_of(fact: Fact) -> date:
    """The day that `fact` says."""
    return date.fromisoformat(str(fact.value))


def _text(name: str, value: Any) -> Fact | None:
    told = tidy(str(value))[:_LONGEST] if value not in (None, "") else ""
    return Fact(name=name, kind="text", value=told) if told else None

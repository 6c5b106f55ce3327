"""What a lead is graded as, by the rules. Pure: the same lead, rules and time give the same grade.

Fit and engagement are apart, as in the matrices of marketing automation: a letter for who it is, a figure for how near
they are. Engagement fades: a message of `t` days ago counts `points * 2 ** (-t / half_life_days)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from models.qualify import EngagementRule, FitRule, LeadGrade, QualifySettings, Reason
from tasks.qualify.horizon import horizon_days

_FADED = 1 / 64
"""Share of its points below which a message does not disqualify any more: six half-lives."""
_LONGEST = 20_000


@dataclass(frozen=True)
class Event:
    """Something that a lead said."""

    at: datetime
    """When; never after it was recorded, whatever the sender's clock said."""
    route: str
    text: str
    found: frozenset[str]
    """Fields that the message tells."""


@dataclass(frozen=True)
class Known:
    """All that is known of a lead."""

    contact: int
    fields: Mapping[str, JsonValue]
    """Of `models.crm.ContactRecord`; those that are not known are missing or None."""
    told_at: datetime
    """When it was last said what is in `fields`: timelines count from then."""
    events: Sequence[Event] = field(default_factory=tuple)


def grade(known: Known, settings: QualifySettings, as_of: datetime) -> LeadGrade:
    """The grade of a lead at `as_of`, with where each of its points comes from; what it said later does not count."""
    reasons = [reason for rule in settings.fit if (reason := _fit(rule, known)) is not None]
    disqualified = False
    for rule in settings.engagement:
        reason, shuts_out = _engagement(rule, known.events, as_of)
        disqualified = disqualified or shuts_out
        if reason is not None:
            reasons.append(reason)
    fit = _within(sum(one.points for one in reasons if one.part == "fit"))
    engagement = _within(sum(one.points for one in reasons if one.part == "engagement"))
    letter = "ABCD"[_step(fit, settings.fit_grades)]
    figure = "1234"[_step(engagement, settings.engagement_grades)]
    return LeadGrade(
        contact=known.contact,
        grade="D4" if disqualified else f"{letter}{figure}",
        fit=fit,
        engagement=engagement,
        disqualified=disqualified,
        reasons=tuple(sorted(reasons, key=lambda one: (-abs(one.points), one.part, one.rule))),
    )


def features(known: Known, settings: QualifySettings, as_of: datetime) -> dict[str, float]:
    """The points of each rule by `part:rule`, zero where it does not hold: what weights are learned for."""
    told = {f"fit:{rule.name}": 0.0 for rule in settings.fit}
    told |= {f"engagement:{rule.name}": 0.0 for rule in settings.engagement}
    return told | {f"{one.part}:{one.rule}": one.points for one in grade(known, settings, as_of).reasons}


def _within(points: float) -> float:
    return round(min(100.0, max(0.0, points)), 3)


def _step(score: float, limits: Sequence[float]) -> int:
    return sum(score < limit for limit in limits)


def _fit(rule: FitRule, known: Known) -> Reason | None:
    value = known.fields.get(rule.field)
    there = value not in (None, "", {})
    if rule.missing:
        return None if there else _reason(rule, f"there is no {rule.field}")
    if not there:
        return None
    because = [f"there is a {rule.field}" if rule.field != "email" else "there is an email"]
    if rule.words:
        word = _word_in(str(value), rule.words)
        if word is None:
            return None
        because = [f"{rule.field} has the word {word!r}"]
    if rule.field == "budget" and rule.currency is not None:
        told = _budget(rule, value)
        if told is None:
            return None
        because = told
    if rule.within_days is not None:
        days = horizon_days(str(value), known.told_at)
        if days is None or days > rule.within_days:
            return None
        because.append(f"it is needed within {rule.within_days:g} days")
    return _reason(rule, " and ".join(because))


def _budget(rule: FitRule, value: JsonValue) -> list[str] | None:
    if not isinstance(value, dict) or value.get("currency") != rule.currency:
        return None
    amount = value.get("amount")
    if not isinstance(amount, int | float):
        return None
    if (rule.at_least is not None and amount < rule.at_least) or (rule.at_most is not None and amount > rule.at_most):
        return None
    because = [f"budget is in {rule.currency}"]
    because += [f"at least {rule.at_least:,.0f}"] if rule.at_least is not None else []
    because += [f"at most {rule.at_most:,.0f}"] if rule.at_most is not None else []
    return because


def _reason(rule: FitRule, because: str) -> Reason:
    return Reason(rule=rule.name, part="fit", points=rule.points, because=because)


def _engagement(rule: EngagementRule, events: Sequence[Event], as_of: datetime) -> tuple[Reason | None, bool]:
    """The reason that `rule` gives, and whether it shuts the lead out."""
    shares = [_share(rule, event, as_of) for event in events if _matches(rule, event, as_of)]
    if not shares:
        return None, False
    raw = rule.points * sum(shares)
    points = max(-rule.cap, min(rule.cap, raw))
    count = "1 message" if len(shares) == 1 else f"{len(shares)} messages"
    capped = f", capped at {rule.cap:g}" if points != raw else ""
    newest = max(shares)
    reason = Reason(
        rule=rule.name,
        part="engagement",
        points=round(points, 3),
        because=f"{count}, the newest at {newest:.0%} of its points{capped}",
    )
    return reason, rule.disqualifies and newest >= _FADED


def _share(rule: EngagementRule, event: Event, as_of: datetime) -> float:
    days = max(0.0, (as_of - event.at).total_seconds() / 86_400)
    return float(2.0 ** (-days / rule.half_life_days))


def _matches(rule: EngagementRule, event: Event, as_of: datetime) -> bool:
    if event.at > as_of:
        return False
    if rule.routes and event.route not in rule.routes:
        return False
    if rule.fields and not event.found & frozenset(rule.fields):
        return False
    return not rule.words or _word_in(event.text, rule.words) is not None


def _word_in(text: str, words: Sequence[str]) -> str | None:
    """The first of `words` that stands whole in `text`. No expression of a user's is run on what a stranger wrote."""
    told = " ".join(text[:_LONGEST].replace("\u2019", "'").casefold().split())
    for word in words:
        wanted = " ".join(word.casefold().split())
        if wanted and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", told):
            return word
    return None

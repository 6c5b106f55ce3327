"""Whether a draft says anything that the record does not. Pure: what cannot be read is refused, never let through.

Every figure, day, name and address of a draft is looked for among the facts. A figure may be rounded: it must be the
fact rounded to the step that it is written in (`352,000` to thousands), and differ by no more than `rounding`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence, Set
from datetime import date
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from models.draft import Fact, Language, Problem
from tasks.draft.spelling import Day, Figure, Unreadable, read

_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<![\w.])\+?\d[\d ()/\u2010-\u2015-]{6,}\d(?!\w)|"
    r"(?<![\w@.])(?:[a-z0-9-]+\.)+(?:com|org|net|io|de|info|biz|app|link|ru|cn|co|me|xyz)(?:/\S*)?(?!\w)",
    re.IGNORECASE,
)
_PERIOD = r"(?<![\w.,+-]){}(?!\w|[-.,]\d|\s?(?:[%\u2030$\u20ac\u00a3]|[A-Z]{{3}}\b))"
"""A period as the record writes it, and no figure of something."""
_LIST_MARK = re.compile(r"(?m)^[ \t]*\d{1,2}[.)](?=\s)")
_UPPER = r"[A-ZÀ-ÖØ-Þ\u0100-\u024f\u0391-\u03a9\u0410-\u042f]"
_WORD = rf"{_UPPER}[\w'\u2019-]*"
_NAME = re.compile(rf"(?<![\w'\u2019-]){_WORD}(?:[ \u00a0]+(?:(?:van|von|de|der|la|bin|of)[ \u00a0]+)?{_WORD})*")
_STARTS = re.compile(r"(?:^|[.!?:;]|\n)[\s\"'\u201c\u2018(*-]*$")
_SALUTATION = re.compile(
    r"\b(?:dear|hello|hi|good (?:morning|afternoon|evening)|sehr geehrte[rs]?|hallo|liebe[rs]?|"
    r"guten (?:tag|morgen|abend))"
    r"[ \t]+(?P<who>[^\n,.!:;]+)",
    re.IGNORECASE,
)
_WORDS = """
i mr mrs ms dr herr frau dear hello hi kind regards best sincerely yours mit freundlichen grüßen
monday tuesday wednesday thursday friday saturday sunday montag dienstag mittwoch donnerstag freitag samstag sonntag
january february march april may june july august september october november december
januar februar märz mai juni juli oktober dezember
we you your our the a an it this that these thank please if in on at for with and or but as by to from is are all ps
ok eur usd gbp chf m2 pdf
"""
_COMMON = frozenset(_WORDS.split())
_AREA = {"m2": Decimal(1), "sqft": Decimal("0.09290304"), "acre": Decimal("4046.8564224"), "ha": Decimal(10_000)}


def check(
    text: str,
    facts: Sequence[Fact],
    *,
    language: Language,
    rounding: float,
    allowed: Sequence[str] = (),
    words: str = "",
    written: Sequence[str] = (),
) -> list[Problem]:
    """What `text` says and `facts` do not, in order; nothing: it may be approved.

    Args:
        text: the draft.
        facts: what the record says.
        language: of the draft. In German, where every noun has a capital, names are looked for after a salutation and
            where several words with capitals follow each other.
        rounding: largest share by which a rounded figure may differ.
        allowed: what the sender may say beside the record, literally.
        words: the words of the template, whose names are the sender's own; figures in them are checked like all others.
        written: figures of the facts as our own filters wrote them: they pass in that rounding, with that unit.
    """
    # NFC only: NFKC would make `m2` of `m²`, and figures of other scripts ours
    plain = unicodedata.normalize("NFC", text)
    masked = _LIST_MARK.sub(lambda match: " " * len(match[0]), plain)
    for one in sorted(allowed, key=len, reverse=True):
        masked = masked.replace(one, re.sub(r"\S", " ", one)) if one.strip() else masked
    for fact in facts:
        if fact.kind == "period" and not str(fact.value).isdigit():  # a year is looked for as one
            masked = re.sub(_PERIOD.format(re.escape(str(fact.value))), lambda match: " " * len(match[0]), masked)
    texts = [str(fact.value) for fact in facts if fact.kind == "text"]
    problems = [*_hidden(masked)]
    for start, end, is_known in _addresses(masked, texts):
        if not is_known:
            why = "this address or number is neither in the record nor allowed"
            problems.append(Problem(quote=masked[start:end], start=start, why=why))
        masked = masked[:start] + " " * (end - start) + masked[end:]
    names = [*_names(masked, texts, language, words)]
    # what stands in a text of the record, such as the number of a house, is the record's
    for one in sorted(texts, key=len, reverse=True):
        masked = _without(masked, one)
    problems += [*names, *_figures(masked, facts, language, rounding, written)]
    return sorted(problems, key=lambda problem: (problem.start, problem.why))


def _without(text: str, words: str) -> str:
    """`text` with blanks for `words` wherever they stand whole."""
    if not re.search(r"[^\W\d_]", words):
        return text  # a name that is a number would take every such figure out of the check
    whole = rf"(?<![\w]){re.escape(words)}(?![\w])"
    return re.sub(whole, lambda match: re.sub(r"\S", " ", match[0]), text)


def _hidden(text: str) -> Iterator[Problem]:
    """Letters that nobody sees, or that turn others round."""
    for match in re.finditer(r"[\u0000-\u0008\u000b-\u001f\u007f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+", text):
        yield Problem(quote=match[0], start=match.start(), why="it holds letters that cannot be seen")


def _addresses(text: str, texts: Sequence[str]) -> list[tuple[int, int, bool]]:
    """Where addresses and numbers of phones stand, and whether the record has them. Pages of the web it never has."""
    found = []
    for match in _ADDRESS.finditer(text):
        told = match[0].rstrip(".,;:)!?")
        known = False
        if not re.search(r"[A-Za-z@]", told):
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{1,2}/\d{1,2}/\d{4}", told):
                continue  # a day
            if not told.startswith("+") and not re.search(r"[()/-]", told):
                continue  # a figure with blanks between its thousands
            digits = re.sub(r"\D", "", told)
            known = any(re.sub(r"\D", "", one) == digits for one in texts)
        elif "@" in told:
            known = any(one.lower() == told.lower() for one in texts)
        found.append((match.start(), match.start() + len(told), known))
    return found


def _figures(
    text: str, facts: Sequence[Fact], language: Language, rounding: float, written: Sequence[str]
) -> Iterator[Problem]:
    ours = {
        (one.value, one.kind, one.unit) for told in written for one in read(told, language) if isinstance(one, Figure)
    }
    periods = [_parts(str(fact.value)) for fact in facts if fact.kind == "period"]
    days = [date.fromisoformat(str(fact.value)) for fact in facts if fact.kind == "date"]
    for one in read(text, language):
        quote = text[one.start : one.end]
        if isinstance(one, Unreadable):
            yield Problem(quote=quote, start=one.start, why="write the figure in digits, so that it can be checked")
        elif isinstance(one, Day):
            known = any(_is_day(reading, day) for reading in one.readings for day in days)
            if not known and not any((year, month, None) in one.readings for year, month in periods):
                yield Problem(quote=quote, start=one.start, why="no record has this date")
        elif (one.value, one.kind, one.unit) in ours or _is_year(one, {*(day.year for day in days), *dict(periods)}):
            continue
        elif not any(_is(one, fact, rounding) for fact in facts):
            yield Problem(quote=quote, start=one.start, why=_why(one))


def _why(figure: Figure) -> str:
    if figure.kind == "money":
        return f"no record has this amount in {figure.unit}"
    if figure.kind == "percent":
        return "no record has this share"
    return "no record has this area" if figure.kind == "area" else "no record has this figure"


def _is_day(reading: tuple[int | None, int, int | None], day: date) -> bool:
    year, month, number = reading
    return month == day.month and year in (None, day.year) and number in (None, day.day)


def _parts(period: str) -> tuple[int, int | None]:
    """Year and month of a period; a quarter or a year has no month."""
    year, _, month = period.partition("-")
    return int(year[:4]), int(month) if month else None


def _is_year(figure: Figure, years: Set[int]) -> bool:
    return figure.kind == "number" and figure.value in years


def _is(figure: Figure, fact: Fact, rounding: float) -> bool:
    """Whether `figure` is what `fact` says, in its unit and rounded as it may be."""
    if not isinstance(fact.value, float | int):
        return False
    told = Decimal(str(fact.value))
    if fact.kind == "percent":
        if figure.kind != "percent":
            return False
        told *= 100
    elif figure.kind == "percent":
        return False
    if figure.kind == "money" and (fact.kind != "money" or fact.unit != figure.unit):
        return False
    if figure.kind == "area":
        if fact.kind != "area" or fact.unit not in _AREA:
            return False
        told = told * _AREA[fact.unit] / _AREA[figure.unit]
    return _rounded(told, figure.value, figure.step, rounding)


def _rounded(told: Decimal, reading: Decimal, step: Decimal, rounding: float) -> bool:
    if told == reading:
        return True
    if abs(told - reading) > abs(told) * Decimal(str(rounding)):
        return False
    # a written zero may be significant: every finer step that the figure can have been rounded to counts
    while step >= Decimal("0.0001"):
        if any((told / step).quantize(Decimal(1), how) * step == reading for how in (ROUND_HALF_EVEN, ROUND_HALF_UP)):
            return True
        step /= 10
    return False


def _names(text: str, texts: Sequence[str], language: Language, words: str) -> Iterator[Problem]:
    known = {word.casefold() for one in (*texts, words) for word in re.findall(r"[\w'\u2019-]+", one)} | _COMMON
    seen: set[int] = set()
    for match in _SALUTATION.finditer(text):
        for word in re.finditer(r"[^\W\d_][\w'\u2019-]*", match["who"]):
            if word[0].casefold() not in known:
                place = match.start("who") + word.start()
                seen.add(place)
                yield Problem(quote=word[0], start=place, why="no record has this name")
    for match in _NAME.finditer(text):
        found = list(re.finditer(r"[^\W\d_][\w'\u2019-]*", match[0]))
        opens = bool(_STARTS.search(text[: match.start()]))
        if language == "de" and len(found) - opens < 2:
            continue
        for number, word in enumerate(found):
            place = match.start() + word.start()
            # the first word of a sentence has its capital from there, unless another one follows it
            if (opens and number == 0 and len(found) == 1) or word[0].casefold() in known or place in seen:
                continue
            if not word[0][0].isupper():
                continue
            seen.add(place)
            yield Problem(quote=word[0], start=place, why="no record has this name")

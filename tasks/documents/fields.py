"""Finds the fields of a property document by rules: a label, and after it a value of the field's kind. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from models.documents import KINDS, DocumentField, FieldName
from tasks.documents.text import Page
from tasks.documents.values import PATTERNS, value_of
from tasks.handoffs.functions import Context, FieldError

_BETWEEN = 60
"""Letters between a label and its value."""
_OF_WORDS = r"[ \t]*[:\-\u2013][ \t]*"
"""Names and addresses follow a label only after a colon or dash: prose says the labels as well."""

_LABELS: dict[FieldName, str] = {
    "address": r"(?:property |premises |street )?address(?: of (?:the )?property)?|premises|objektadresse|anschrift",
    "parcel": r"(?:assessor'?s )?parcel (?:number|no\.?|id)|apn|tax (?:lot|id)|flurst(?:ü|ue)ck|grundbuchblatt",
    "price": r"(?:purchase|sales?|selling|contract|asking|list) price|kaufpreis|price of the property",
    "rent": r"(?:monthly |base |net )?rent(?:al payment)?(?: per month)?|(?:netto|brutto)?kaltmiete|"
    r"(?:monatliche )?miete",
    "deposit": r"security deposit|earnest money(?: deposit)?|deposit|kaution",
    "fee": r"(?:broker(?:'s|age)? |agency |commission )fee|commission|maklerprovision|provision",
    "area": r"(?:living|floor|gross|net|building|total) area|living space|square footage|"
    r"(?:wohn|nutz)fl(?:ä|ae)che",
    "lot": r"(?:lot|land|plot|site) (?:size|area)|grundst(?:ü|ue)cks(?:fl(?:ä|ae)che|gr(?:ö|oe)(?:ß|ss)e)",
    "signed_on": r"dated|date of (?:this )?(?:agreement|contract)|(?:agreement|contract) date|signed on|"
    r"made (?:this|on)|vertragsdatum|datum",
    "starts_on": r"(?:lease |rent )?(?:commencement|starts?)(?: date)?|lease begins|commencing(?: on)?|mietbeginn",
    "ends_on": r"(?:lease |rent )?(?:expiration|end|termination) date|lease ends|ending(?: on)?|expires(?: on)?|"
    r"mietende",
    "closing_on": r"closing (?:date|shall (?:take place|occur) on)|completion date|settlement date|(?:ü|ue)bergabe",
    "notice": r"notice(?: period| of)?|k(?:ü|ue)ndigungsfrist",
    "term": r"(?:lease |initial )?term(?: of (?:the )?lease)?|mietdauer|laufzeit",
    "seller": r"seller(?:\(s\)|s)?|vendor|verk(?:ä|ae)ufer(?:in)?",
    "buyer": r"(?:buyer|purchaser)(?:\(s\)|s)?|k(?:ä|ae)ufer(?:in)?",
    "landlord": r"landlord|lessor|vermieter(?:in)?",
    "tenant": r"tenant(?:\(s\)|s)?|lessee|(?<!ver)mieter(?:in)?",
}
_COMPILED = {name: re.compile(rf"(?<![\w])(?:{label})(?![\w])", re.IGNORECASE) for name, label in _LABELS.items()}
_COLON = re.compile(_OF_WORDS)
_OTHER_LABEL = re.compile("|".join(f"(?<![\\w])(?:{label})\\s*:" for label in _LABELS.values()), re.IGNORECASE)


def find_fields(pages: Sequence[Page], context: Context) -> list[DocumentField]:
    """What the rules find on `pages`: each field as often as it is said with different values, in order."""
    found: dict[tuple[FieldName, str], DocumentField] = {}
    for page in pages:
        for name in KINDS:
            for field in _on(page, name, context):
                found.setdefault((name, repr(field.value)), field)
    return list(found.values())


def conflicts(fields: Sequence[DocumentField]) -> dict[FieldName, list[DocumentField]]:
    """The fields that are said with several values."""
    by_name: dict[FieldName, list[DocumentField]] = {}
    for field in fields:
        by_name.setdefault(field.name, []).append(field)
    return {name: told for name, told in by_name.items() if len(told) > 1}


def _on(page: Page, name: FieldName, context: Context) -> Iterator[DocumentField]:
    kind = KINDS[name]
    for label in _COMPILED[name].finditer(page.text):
        span = _after(page.text, label.end(), words=kind == "words")
        if span is None:
            continue
        start, end = span
        match = (
            PATTERNS[kind].match(page.text, start, end)
            if kind == "words"
            else PATTERNS[kind].search(page.text, start, end)
        )
        if match is None or not match[0].strip():
            continue
        try:
            value = value_of(kind, match[0], context)
        except FieldError:
            continue
        lead = len(match[0]) - len(match[0].lstrip())
        evidence = page.evidence(match.start() + lead, match.start() + len(match[0].rstrip()))
        yield DocumentField(name=name, value=value, by="rules", evidence=evidence)


def _after(text: str, start: int, *, words: bool) -> tuple[int, int] | None:
    """Where the value after a label that ends at `start` may be.

    After a colon on the same line, or on the next where that is empty; amounts and dates also in a sentence, which may
    go over to the next line.
    """
    colon = _COLON.match(text, start)
    if colon is None:
        if words:
            return None
        end = min(len(text), start + _BETWEEN + 60)
        lines = text.find("\n", text.find("\n", start) + 1) if "\n" in text[start:end] else -1
        end = min(end, lines) if lines >= 0 else end
    else:
        start = colon.end()
        end = _line_end(text, start)
        if not text[start:end].strip():
            start = end + 1
            end = _line_end(text, start)
    other = _OTHER_LABEL.search(text, start, end)  # another label takes what comes after it
    end = other.start() if other is not None else end
    return (start, end) if text[start:end].strip() else None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end

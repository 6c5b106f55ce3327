"""A draft with an invented figure, date or name is refused, in whatever spelling; one of the record passes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.draft import DraftSettings, Fact
from tasks.draft.check import check
from tasks.draft.spelling import Figure, read, written, written_day
from tasks.draft.writing import render, words_of

FACTS = [
    Fact(name="contact.name", kind="text", value="Ada Byron"),
    Fact(name="contact.phone", kind="text", value="+491711234567"),
    Fact(name="contact.email", kind="text", value="ada@example.org"),
    Fact(name="valuation.address", kind="text", value="12 Harbour Street, Springfield"),
    Fact(name="valuation.value", kind="money", value=352_437.6, unit="EUR"),
    Fact(name="valuation.low", kind="money", value=1_234_000.0, unit="USD"),
    Fact(name="valuation.coverage", kind="percent", value=0.8),
    Fact(name="market.change", kind="percent", value=-0.0323),
    Fact(name="valuation.as_of", kind="date", value="2026-03-04"),
    Fact(name="valuation.area", kind="area", value=116.0, unit="m2"),
    Fact(name="valuation.bedrooms", kind="number", value=3.0),
    Fact(name="market.sales", kind="number", value=21_613.0),
]


def problems(text: str, language: Any = "en", **more: Any) -> list[str]:
    return [one.quote for one in check(text, FACTS, language=language, rounding=0.01, **more)]


@pytest.mark.parametrize(
    "text",
    [
        "it is 352,437.60 EUR", "it is 352,437.6 EUR", "it is €352,438", "it is EUR 352 438", "it is 352'438 EUR",
        "it is 352.438 EUR", "about 352,000 EUR", "about 352k EUR", "about 352.4 thousand euros", "about 350,000 EUR",
        "about three hundred fifty thousand", "three hundred and fifty-two thousand", "it is 352437.6",
        "1.23 million dollars", "$1,234,000", "USD 1.234m", "1 234 000 USD", "with 80 % chance", "with 80 percent",
        "80%",
        "prices moved by -3.2 %", "moved by \u22123.23 %", "on 4 March 2026", "on March 4th, 2026", "on 2026-03-04",
        "on 04.03.2026", "on 3/4/2026", "in March 2026", "on the 4th of March", "in 2026", "116 m²",
        "116 square metres",
        "1,249 sq ft", "1,250 sq ft", "3 bedrooms", "three bedrooms", "21,613 sales", "about 21,600 sales",
        "12 Harbour Street, Springfield", "Dear Ada Byron,\n\nthank you.", "call +49 171 1234567", "at ada@example.org",
        "1. first\n2. second: 3 rooms", "", "one of the homes",
    ],
)  # fmt: skip
def test_what_the_record_says_passes_in_every_usual_spelling(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("it is 353,000 EUR", "353,000 EUR"), ("it is 360,000 EUR", "360,000 EUR"),
        ("it is 352,437.60 USD", "352,437.60 USD"),
        ("it is 400k", "400k"), ("it is four hundred thousand euros", "four hundred thousand"),
        ("€352,439", "€352,439"),
        ("352,437.61 EUR", "352,437.61 EUR"), ("1.2 million dollars", "1.2 million dollars"), ("90 %", "90 %"),
        ("moved by 3.2 %", "3.2 %"), ("81 percent", "81 percent"), ("3 %", "3 %"), ("on 5 March 2026", "5 March 2026"),
        ("in April 2026", "April 2026"), ("in 2027", "2027"), ("on 04.03.2025", "04.03.2025"),
        ("116 sq ft", "116 sq ft"),
        ("120 m²", "120 m²"), ("four bedrooms", "four"), ("4 bedrooms", "4"), ("at 10:30", "10"),
        ("half a million", "half"),
        ("a dozen sales", "dozen"), ("twice as much", "twice"), ("\u0663 bedrooms", "\u0663"),
        ("\uff13 rooms", "\uff13"),
        ("a \u00bd share", "\u00bd"), ("\u2462 rooms", "\u2462"), ("thousands of homes", "thousands"),
        ("write to eve@example.org", "eve@example.org"), ("see http://evil.example/x", "http://evil.example/x"),
        ("see evil.com", "evil.com"), ("call +49 30 999999", "+49 30 999999"), ("Dear Eve,", "Eve"),
        ("Mr Smith is happy.", "Smith"), ("sold by Grace Hopper", "Grace"), ("it is 352\u200b,437", "\u200b"),
        ("-352,437.60 EUR", "-352,437.60 EUR"), ("352 million EUR", "352 million EUR"), ("352 % of it", "352 %"),
    ],
)  # fmt: skip
def test_what_the_record_does_not_say_is_refused(text: str, quote: str) -> None:
    assert quote in problems(text)


def test_german_drafts_are_read_as_they_are_written() -> None:
    good = (
        "Sehr geehrte Ada Byron,\n\nder Wert ist 352.438 EUR, mit 80 % Wahrscheinlichkeit, am 4.3.2026. "
        "Die Wohnung hat drei Zimmer und 116 m². "
        "Es gab 21.613 Verk\u00e4ufe; die Preise sanken um -3,2 %. Mit freundlichen Gr\u00fc\u00dfen"
    )
    assert problems(good, "de") == []
    for bad, quote in (
        ("Sehr geehrter Herr Babbage", "Babbage"), ("der Wert ist 352,438", "352,438"), ("vier Zimmer", "vier"),
        ("dreihunderttausend Euro", "dreihunderttausend"), ("am 4. Mai 2026", "4. Mai 2026"),
        ("von Grace Hopper", "Grace"),
        ("der Wert hat sich verdoppelt", "verdoppelt"), ("um 5 Prozent", "5 Prozent"),
    ):  # fmt: skip
        assert quote in problems(bad, "de"), bad


def test_a_name_that_is_a_number_or_an_address_lets_nothing_through() -> None:
    facts = [Fact(name="contact.name", kind="text", value="999000"),
             Fact(name="contact.interest", kind="text", value="see http://evil.example now")]  # fmt: skip
    found = check("Dear 999000, it costs 999000 EUR: see http://evil.example now", facts, language="en", rounding=0.01)
    assert [one.quote for one in found] == ["999000", "999000 EUR", "http://evil.example"]


def test_what_the_sender_allows_passes_and_nothing_like_it() -> None:
    mine = ("+49 30 1234567", "within 24 hours", "Lovelace Homes", "www.lovelace.example")
    text = "Call Lovelace Homes at +49 30 1234567 within 24 hours, www.lovelace.example"
    assert problems(text, allowed=mine) == []
    assert problems("within 25 hours", allowed=mine) == ["25"]
    assert problems("+49 30 1234568", allowed=mine) == ["+49 30 1234568"]


def test_names_in_a_template_are_the_senders_and_its_figures_are_not() -> None:
    words = "Kind regards from Lovelace Homes, 99 offers"
    assert problems("Kind regards from Lovelace Homes", words=words) == []
    assert problems("We have 99 offers", words=words) == ["99"]


_MONEY = st.floats(1, 5e8, allow_nan=False).map(lambda value: round(value, 2))


@given(_MONEY, st.sampled_from(["en", "de"]), st.integers(0, 2), st.sampled_from(["EUR", "USD"]))
def test_every_amount_as_we_write_it_is_read_as_what_it_was(
    value: float, language: Any, decimals: int, unit: str
) -> None:
    text = f"it is {written(value, decimals=decimals, language=language)} {unit} now"
    fact = Fact(name="v", kind="money", value=value, unit=unit)
    wanted = Decimal(f"{value:.{decimals}f}")
    (figure,) = read(text, language)
    assert isinstance(figure, Figure)
    assert figure.value == wanted
    if abs(float(wanted) - value) <= 0.01 * value:
        assert check(text, [fact], language=language, rounding=0.01) == []
    assert check(text, [fact.model_copy(update={"unit": "CHF"})], language=language, rounding=0.01) != []


@given(_MONEY, st.floats(1.011, 50), st.booleans(), st.sampled_from(["en", "de"]))
def test_an_amount_that_is_off_by_more_than_the_rounding_is_always_refused(
    value: float, factor: float, larger: bool, language: Any
) -> None:
    other = round(value * factor if larger else value / factor, 2)
    fact = Fact(name="v", kind="money", value=value, unit="EUR")
    if abs(other - value) <= 0.0101 * value:
        return
    text = f"{written(other, decimals=2, language=language)} EUR"
    assert check(text, [fact], language=language, rounding=0.01) != []


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.dates(date(1900, 1, 1), date(2100, 1, 1)),
       st.sampled_from(["en", "de"]))  # fmt: skip
def test_a_day_passes_exactly_when_it_is_the_records(told: date, known: date, language: Any) -> None:
    fact = Fact(name="d", kind="date", value=known.isoformat())
    found = check(f"on {written_day(told, language)}", [fact], language=language, rounding=0.01)
    assert (found == []) is (told == known)


@given(st.text(max_size=300), st.sampled_from(["en", "de"]))
def test_no_text_breaks_the_check_and_quotes_stand_where_it_says(text: str, language: Any) -> None:
    import unicodedata

    plain = unicodedata.normalize("NFC", text)
    for problem in check(text, FACTS, language=language, rounding=0.01):
        assert plain[problem.start : problem.start + len(problem.quote)].split() == problem.quote.split()


@pytest.mark.parametrize("change", [0.0123, -0.0007, 0.361, 1.0 / 3])
@pytest.mark.parametrize(("first", "last"), [("2014-05", "2015-05"), ("2014Q2", "2015Q1"), ("2014", "2015")])
def test_the_letter_about_a_market_that_is_built_in_passes_for_every_market(
    change: float, first: str, last: str
) -> None:
    template = next(one for one in DraftSettings().templates if one.name == "market")
    facts = [
        *FACTS[:3],
        Fact(name="market.market", kind="text", value="king-county"),
        Fact(name="market.sales", kind="number", value=21_613.0),
        Fact(name="market.change", kind="percent", value=change),
        Fact(name="market.first_period", kind="period", value=first),
        Fact(name="market.last_period", kind="period", value=last),
    ]
    subject, text, ours = render(template, facts)
    how: dict[str, Any] = {"language": "en", "rounding": 0.01, "words": words_of(template), "written": ours}
    assert check(f"{subject}\n\n{text}", facts, **how) == []
    for other in (
        "moved by 1.9 %",
        "since 2014-06",
        "since 2014Q3",
        "in 2016",
        "2014-05 EUR",
        "21,613 EUR",
        "in June 2014",
    ):
        assert check(f"{text}\n\n{other}", facts, **how) != [], other


def test_a_month_of_a_period_may_be_written_in_words() -> None:
    facts = [Fact(name="market.first_period", kind="period", value="2014-05")]
    assert check("since May 2014, in 2014", facts, language="en", rounding=0.01) == []
    assert check("since June 2014", facts, language="en", rounding=0.01) != []
    assert check("since 5 May 2014", facts, language="en", rounding=0.01) != []

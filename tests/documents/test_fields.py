"""What rules find, what a model may add, and where on the page it stands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.documents import KINDS, Box, DocumentField
from tasks.documents.ask import asked_for, question, take, wanted_on
from tasks.documents.fields import conflicts, find_fields
from tasks.documents.reading import words_of
from tasks.documents.text import Page, Word, page_of
from tasks.documents.values import value_of
from tasks.handoffs.functions import Context, FieldError

US, DE = Context("US", "USD"), Context("DE", "EUR")


def page(*lines: str, number: int = 1) -> Page:
    """A page of print: letters of five by ten points."""
    words = []
    for row, line in enumerate(lines):
        column = 0
        for word in line.split(" "):
            if word:
                box = Box(
                    left=72 + 5 * column, top=100 + 20 * row, right=72 + 5 * (column + len(word)), bottom=110 + 20 * row
                )
                words.append(Word(word, box))
            column += len(word) + 1
    return page_of(number, words)


def found(told: Page, context: Context = US) -> dict[str, Any]:
    return {field.name: field.value for field in find_fields([told], context)}


def test_an_english_lease_and_a_german_deed_are_read() -> None:
    assert found(
        page("Dated: March 3, 2026", "Landlord: Ada Byron          Tenant: Grace Hopper",
             "Property address: 12 Harbour Street, Springfield", "Monthly rent: $2,450.00 payable",
             "Deposit: USD 4,900",
             "Lease term: 24 months", "Commencement date: 2026-04-01", "Living area: 1,250 sq ft",
             "with notice of 60 days")
    ) == {
        "signed_on": "2026-03-03", "landlord": "Ada Byron", "tenant": "Grace Hopper",
        "address": "12 Harbour Street, Springfield", "rent": {"amount": 2450.0, "currency": "USD"},
        "deposit": {"amount": 4900.0, "currency": "USD"}, "term": "24 months", "starts_on": "2026-04-01",
        "area": {"square_metres": 116.1288, "written": 1250.0, "unit": "sq ft"}, "notice": "60 days",
    }  # fmt: skip
    assert found(
        page("Verkäufer: Otto Lilienthal", "Käufer: Bertha Benz", "Flurstück: 123/45", "Kaufpreis: 389.000,00 EUR",
             "Wohnfläche 96,5 m²", "Grundstücksgröße: 512 m²", "Übergabe: 01.07.2026"), DE
    ) == {
        "seller": "Otto Lilienthal", "buyer": "Bertha Benz", "parcel": "123/45",
        "price": {"amount": 389_000.0, "currency": "EUR"},
        "area": {"square_metres": 96.5, "written": 96.5, "unit": "m²"},
        "lot": {"square_metres": 512.0, "written": 512.0, "unit": "m²"}, "closing_on": "2026-07-01",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "context", "number", "square_metres"),
    [
        ("0.172 acres", US, 0.172, 696.0593), ("0.1725 acres", US, 0.1725, 698.0827), ("0,172 ha", DE, 0.172, 1720.0),
        ("1.234 acres", US, 1.234, 4993.8208), ("1,234 sq ft", US, 1234.0, 114.6424), ("1,234 ha", DE, 1.234, 12_340.0),
        ("1.250 m²", DE, 1250.0, 1250.0), ("1'250.5 m²", Context("CH", "CHF"), 1250.5, 1250.5),
        ("1.250,75 m²", DE, 1250.75, 1250.75), ("1,234,567 sq ft", US, 1_234_567.0, 114_695.0276),
    ],
)  # fmt: skip
def test_three_decimals_are_no_thousands(words: str, context: Context, number: float, square_metres: float) -> None:
    told = found(page(f"Lot size: {words}"), context)["lot"]
    assert (told["written"], told["square_metres"]) == (number, pytest.approx(square_metres, abs=1e-3))


def test_the_evidence_is_where_the_words_stand() -> None:
    told = page("Some words before", "The purchase price shall be", "$ 450,000 in all", number=7)
    (field,) = [one for one in find_fields([told], US) if one.name == "price"]
    assert field.evidence.page == 7
    assert field.evidence.quote == "$ 450,000"
    assert field.evidence.boxes == (Box(left=72, top=140, right=117, bottom=150),)


def test_columns_are_not_read_into_each_other() -> None:
    assert found(page("Seller: Ann Lee" + " " * 30 + "Buyer: Bo Dee"))["seller"] == "Ann Lee"


def test_what_is_no_value_is_no_field() -> None:
    told = found(page("The tenant agrees with the landlord that rent is due.",
                      "Purchase price: to be agreed", "Area: large",
                      "Deposit: 5000", "Closing date: soon", "Seller:", "Parcel number: ---"))  # fmt: skip
    assert told == {}


def test_two_prices_are_a_conflict_and_the_same_twice_is_none() -> None:
    pages = [page("Purchase price: $450,000"), page("Purchase price: $ 450,000.00", number=2),
             page("Sale price: $455,000", number=3)]  # fmt: skip
    fields = find_fields(pages, US)
    assert [(f.value["amount"], f.evidence.page) for f in conflicts(fields)["price"]] == [(450_000, 1), (455_000, 3)]  # type: ignore[index,call-overload]


def test_a_label_takes_only_what_is_its_own() -> None:
    told = found(page("Purchase price: see below. Deposit: $5,000"))
    assert told == {"deposit": {"amount": 5000.0, "currency": "USD"}}


def test_dates_follow_the_region_and_words_do_not() -> None:
    for region, day in (("US", "2026-04-03"), ("DE", "2026-03-04")):
        assert value_of("date", "04/03/2026", Context(region)) == day
        assert value_of("date", "3rd day of April 2026", Context(region)) == "2026-04-03"
    with pytest.raises(FieldError):
        value_of("date", "31.02.2026", DE)


@given(st.text(max_size=200), st.sampled_from(sorted(set(KINDS.values()))))
def test_no_text_breaks_a_value(text: str, kind: Any) -> None:
    try:
        value = value_of(kind, text, US)
    except FieldError:
        return
    assert value


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1, max_size=12), max_size=40),
       st.data())  # fmt: skip
def test_every_quote_of_a_page_is_its_text_and_lies_on_it(words: list[str], data: st.DataObject) -> None:
    boxes = [
        Box(left=x % 5 * 100, top=x // 5 * 20, right=x % 5 * 100 + 40, bottom=x // 5 * 20 + 10)
        for x in range(len(words))
    ]
    told = page_of(1, [Word(word, box) for word, box in zip(words, boxes, strict=True)])
    assert sorted(told.text.split()) == sorted(" ".join(words).split())
    if words:
        start = data.draw(st.integers(0, len(told.text) - 1))
        end = data.draw(st.integers(start + 1, len(told.text)))
        evidence = told.evidence(start, end)
        assert evidence.quote == told.text[start:end]
        if evidence.quote.strip():
            assert evidence.boxes
            assert all(0 <= box.left < box.right <= 440 for box in evidence.boxes)


def test_a_model_may_quote_and_nothing_else() -> None:
    told = page("Between Jane Roe (who sells) and John Doe (who buys) for 450,000 EUR", "on 3 May 2026")
    wanted = wanted_on(told, [])
    assert "rent" in wanted
    assert "area" not in wanted, "there is nothing on the page that could be one"
    assert "tenant: the name of the tenant" in question(told, wanted)
    assert asked_for(wanted).model_validate({"seller": "Jane Roe", "other": 1}).model_dump()["seller"] == "Jane Roe"
    answer = {
        "seller": "Jane Roe", "buyer": "John D", "price": "450,000 EUR", "rent": "50,000 EUR",
        "signed_on": "3 May 2026",
        "closing_on": "4 May 2026", "landlord": "Bob", "tenant": None, "parcel": 7, "area": "450,000 EUR",
        "address": "---",
    }  # fmt: skip
    quoted = take(answer, (*wanted, "area"), told, US)
    assert {field.name: field.value for field in quoted.fields} == {
        "seller": "Jane Roe", "price": {"amount": 450_000.0, "currency": "EUR"}, "signed_on": "2026-05-03",
    }  # fmt: skip
    assert set(quoted.dropped) == {"buyer", "rent", "closing_on", "landlord", "area", "address"}
    assert all(field.by == "model" and field.evidence.boxes for field in quoted.fields)


def test_rules_come_first_and_the_model_is_not_asked_about_them() -> None:
    told = page("Purchase price: $450,000", "Seller: Ann Lee")
    known: list[DocumentField] = find_fields([told], US)
    assert not {"price", "seller"} & set(wanted_on(told, known))


def test_a_table_of_tesseract_gives_words_in_points_and_the_least_sure_word_counts() -> None:
    head = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"
    rows = ("5\t1\t1\t1\t1\t1\t300\t600\t150\t50\t96.1\tSeller:\n5\t1\t1\t1\t1\t2\t480\t600\t100\t50\t71.5\tAnn\n"
            "5\t1\t1\t1\t1\t3\t600\t600\t100\t50\t93\tLee\n4\t1\t1\t1\t1\t0\t0\t0\t9\t9\t-1\t\n"
            "5\t1\t1\t1\t1\t4\t900\t600\t100\t50\t12\t~~\nbroken\n")  # fmt: skip
    told = page_of(1, words_of(head + rows, 72 / 300))
    (field,) = find_fields([told], US)
    assert (field.value, field.evidence.confidence) == ("Ann Lee", 71.5)
    assert field.evidence.boxes == (Box(left=115.2, top=144, right=168, bottom=156),)

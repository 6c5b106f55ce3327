"""Whatever a model answers, only words that stand in the message get into a lead."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.crm import Lead
from tasks.handoffs.extract import ModelLead
from tasks.handoffs.functions import Context, amounts, phone, tidy
from tasks.handoffs.lead import find_lead
from tasks.handoffs.quotes import FIELDS, asked_for, question, take, wanted

HERE = Context(region="DE", currency="EUR")
TEXT = "Hallo, Anna Weber hier. Suche etwas mit Garten bei Ulm, so 1.350.000, gern zum Herbst. Tel 0171 / 123 45 67"


class Says:
    """A model that gives one answer to everything."""

    model = "m"
    at_once = 4

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def get_client(self) -> Says:
        return self

    async def __aenter__(self) -> Says:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, question: str, schema: Any, *, instruction: str, client: Any = None) -> Any:
        return schema.model_validate(self._answer)


def test_what_is_quoted_is_read_like_what_the_rules_find() -> None:
    taken = take(
        {"name": "Anna Weber", "phone": "0171 / 123 45 67", "interest": "etwas mit Garten bei Ulm",
         "budget": "so 1.350.000", "timeline": " zum Herbst "},
        FIELDS, TEXT, HERE,
    )  # fmt: skip
    assert taken.dropped == {}
    assert taken.values == {
        "name": "Anna Weber", "phone": "+491711234567", "interest": "etwas mit Garten bei Ulm",
        "budget": {"amount": 1_350_000.0, "currency": "EUR"}, "timeline": "zum Herbst",
    }  # fmt: skip
    assert {name: TEXT[span.start : span.end] for name, span in taken.spans.items()} == {
        "name": "Anna Weber", "phone": "0171 / 123 45 67", "interest": "etwas mit Garten bei Ulm",
        "budget": "1.350.000", "timeline": "zum Herbst",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "quote", "reason"),
    [
        ("name", "Anna Webber", "not literally"),
        ("name", "anna weber", "not literally"),
        ("name", "Anna Web", "a piece of a word"),
        ("name", "1.350.000", "holds no letter"),
        ("name", "Tel 0171 / 123 45 67", "is no name"),
        ("phone", "0171 1234567", "not literally"),
        ("phone", "123 45 67", "is a piece of a number"),
        ("phone", "171 / 123 45 67", "a piece of a word or number"),
        ("phone", "1.350.000", "nobody can have"),
        ("phone", "Anna Weber", "is not one phone number"),
        ("budget", "350.000", "a piece of a word or number"),
        ("budget", "1.350", "a piece of a word or number"),
        ("budget", "0171 / 123 45 67", "holds no amount"),
        ("budget", "123 45", "holds no amount"),
        ("budget", "etwas mit Garten", "holds no amount"),
        ("interest", TEXT * 2, "longer than"),
        ("timeline", "im Winter", "not literally"),
    ],
)
def test_what_is_not_there_or_only_a_piece_of_it_is_dropped(field: str, quote: str, reason: str) -> None:
    taken = take({field: quote}, FIELDS, TEXT, HERE)
    assert taken.values == {}
    assert reason in taken.dropped[field]


def test_what_could_be_a_phone_number_is_a_budget_where_the_model_says_so_and_it_is_written_like_money() -> None:
    for text, quote in (("so 350.000, gern", "350.000"), ("at 350 000", "350 000")):
        assert take({"budget": quote}, FIELDS, text, HERE).values == {
            "budget": {"amount": 350_000.0, "currency": "EUR"}
        }
    assert take({"budget": "5125550143"}, FIELDS, "on 5125550143", Context("US", "USD")).values == {}


def test_a_small_number_is_no_budget_and_an_amount_no_phone_number() -> None:
    assert "small number" in take({"budget": "3 Zimmer"}, FIELDS, "gern 3 Zimmer", HERE).dropped["budget"]
    assert take({"phone": "030 123 456"}, FIELDS, "EUR 030 123 456", HERE).values == {}


def test_only_what_the_text_could_hold_is_asked_for() -> None:
    def asked(text: str, **more: str) -> tuple[str, ...]:
        return wanted(find_lead({"text": text, **more}, HERE), HERE)

    assert asked("") == asked("?!") == asked("👍") == ()
    assert asked("Suche etwas mit Garten", **{"from": "+491711234567"}, name="Jo") == ("interest", "timeline")
    assert "budget" in asked("nicht mehr als 900")


def test_the_shape_of_an_answer_has_exactly_the_fields_that_are_wanted() -> None:
    schema = asked_for(("name", "budget")).model_json_schema()
    assert set(schema["properties"]) == set(schema["required"]) == {"name", "budget"}
    assert schema["additionalProperties"] is False


def test_of_a_long_message_the_beginning_is_shown() -> None:
    assert len(question("x" * 50_000, FIELDS)) < 5_000


_WORDS = [
    *TEXT.split(),
    "apartment in Berlin",
    "budget 300.000 EUR",
    "I'm Jane Roe",
    "1.350.000",
    "+49171",
    "350k",
    "\n",
]
_MESSAGES = st.text(max_size=200) | st.lists(st.sampled_from(_WORDS), max_size=25).map(" ".join)


@st.composite
def _asked_and_answered(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, Any]]:
    text = draw(_MESSAGES)
    document = {"text": text} | ({"from": "+491719999999"} if draw(st.booleans()) else {})
    pieces = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(lambda at: text[min(at) : max(at)])
    whatever = pieces | st.sampled_from(_WORDS) | st.text(max_size=30) | st.none()
    return document, draw(st.fixed_dictionaries(dict.fromkeys(FIELDS, whatever)))


@given(both=_asked_and_answered())
async def test_whatever_a_model_answers_the_rules_fields_stay_and_the_rest_stands_in_the_text(
    both: tuple[dict[str, str], dict[str, Any]],
) -> None:
    document, answer = both
    rules = find_lead(document, HERE)
    model = ModelLead(Says(answer), HERE)
    await model.prepare([model.ask_about(document)])
    lead = model(document)
    Lead.model_validate(lead)
    assert {name: lead[name] for name in rules if name != "evidence"} == {
        name: value for name, value in rules.items() if name != "evidence"
    }
    evidence, before = lead["evidence"], rules["evidence"]
    assert isinstance(evidence, dict)
    assert isinstance(before, dict)
    assert {name: evidence[name] for name in before} == before
    for name in set(lead) - set(rules):
        where: Any = evidence[name]
        assert where["by"] == "model m"
        piece = document["text"][where["start"] : where["end"]]
        assert piece.strip()
        if name == "phone":
            assert lead[name] == phone(piece, "DE")
        elif name == "budget":
            told = [{"amount": one.amount, "currency": one.currency} for one in amounts(document["text"], "EUR")]
            assert lead[name] in told
        else:
            assert lead[name] == tidy(piece)
            assert piece in str(answer[name])


def test_hostile_texts_take_little_time() -> None:
    began = time.process_time()
    for text in ("1 " * 10_000, "1-" * 10_000 + "x", "a" * 20_000, "1.3" * 6_000, "(" * 20_000):
        lead = find_lead({"text": text}, HERE)
        wanted(lead, HERE)
        take(dict.fromkeys(FIELDS, text[:90]), FIELDS, text, HERE)
        take(dict.fromkeys(FIELDS, text[-1:]), FIELDS, text, HERE)
    assert time.process_time() - began < 10

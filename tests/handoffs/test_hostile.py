"""What routes, schemas and messages cannot do, whoever wrote them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.handoffs.expressions import ExpressionError, compiled
from tasks.handoffs.functions import Context, FieldError
from tasks.handoffs.lead import find_lead
from tasks.handoffs.validate import Validator

HERE = Context(region="DE", currency="EUR")
ROW = list(range(9_000))


def seconds(began: float) -> float:
    return time.thread_time() - began


@pytest.mark.parametrize("expression", ["&a", "[&a]", "{x: &a}", "to_array(&a)", "default(nothing, &a)"])
def test_an_expression_is_no_value(expression: str) -> None:
    with pytest.raises(ExpressionError, match="gives an expression"):
        compiled(expression).search({}, HERE)


@pytest.mark.parametrize("expression", ["to_number('Infinity')", "to_number('NaN')", "sum([to_number('1e999')])"])
def test_numbers_that_json_does_not_have_are_no_values(expression: str) -> None:
    with pytest.raises(ExpressionError, match="not finite"):
        compiled(expression).search({}, HERE)


@pytest.mark.parametrize(
    ("expression", "document"),
    [
        ("split(t, 'a')", {"t": "a" * 1_900_000}),
        ("words(t)", {"t": "a " * 900_000}),
        ("tidy(t)", {"t": "a" * 5_000_000}),
        ("many[*].split(t, ' ')", {"many": [{"t": "a " * 10_000}] * 500}),
        ("many[*].tidy(t)", {"many": [{"t": "a " * 50_000}] * 500}),
        ("[" + ", ".join(["a == b"] * 250) + "]", {"a": [ROW] * 900, "b": [list(map(float, ROW))] * 900}),
    ],
    ids=["split", "words", "tidy", "split many", "tidy many", "compare"],
)
def test_a_large_message_is_given_up_soon(expression: str, document: Any) -> None:
    began = time.thread_time()
    with pytest.raises(ExpressionError):
        compiled(expression).search(document, HERE)
    assert seconds(began) < 6


@pytest.mark.parametrize("text", ["." * 100, "-" * 100, "am " * 33, "1 jan " * 16, "1:" * 50, "1 2 3 " * 9])
def test_what_looks_like_many_dates_takes_no_time(text: str) -> None:
    compiled("date('5 Mai 2027')").search({}, HERE)  # the names of months of all languages, read once
    with pytest.raises(FieldError):
        compiled("date('junk 1')").search({}, HERE)
    began = time.thread_time()
    with pytest.raises(FieldError):
        compiled("date(t)").search({"t": text}, HERE)
    assert seconds(began) < 0.5


@pytest.mark.parametrize("text", ["tomorrow", "in 2 weeks", "yesterday", "next friday", "10:00", "May 2027", "12"])
def test_what_depends_on_the_day_it_is_read_is_no_date(text: str) -> None:
    with pytest.raises(FieldError):
        compiled("date(t)").search({"t": text}, HERE)


@pytest.mark.parametrize(
    "piece",
    ["1 ", "1\u00a0", "a.", "a@", "my name is ", "i am Aa ", "flat in Aa ", "+49 1 2 3 ", "(0)", "20-", "5 bed "],
)
def test_a_lead_is_looked_for_in_time_that_grows_with_the_text(piece: str) -> None:
    began = time.thread_time()
    find_lead({"text": piece * (20_000 // len(piece))}, HERE)
    assert seconds(began) < 3


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"properties": {"a": {"pattern": "^(a|a)*$"}}}, {"a": "a" * 60 + "!"}),
        ({"properties": {"a": {"items": {"pattern": "^(a|a)*$"}}}}, {"a": ["a" * 40 + "!"] * 1000}),
        ({"propertyNames": {"pattern": "^(a|a)*$"}}, {"a" * 60 + "!": 1}),
        ({"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False}, {"a" * 60 + "!": 1}),
    ],
    ids=["text", "items", "names", "additional"],
)
def test_a_pattern_that_goes_back_for_ever_is_stopped(schema: dict[str, Any], payload: dict[str, Any]) -> None:
    began = time.thread_time()
    _, problems = Validator(schema).check(payload)
    assert problems == ["the schema takes too long for this payload"]
    assert seconds(began) < 5


def test_a_payload_that_leads_a_schema_round_and_round_is_stopped() -> None:
    tree = {"$ref": "#/$defs/tree"}
    schema = {"$defs": {"tree": {"properties": {"a": {"anyOf": [tree, tree, {"const": 1}]}}}}, **tree}
    payload: Any = 5
    for _ in range(40):
        payload = {"a": payload}
    payload = {"a": {"a": payload, "b": 1}}
    schema["$defs"]["tree"]["properties"]["a"]["anyOf"] = [  # type: ignore[index]
        {"allOf": [tree, {"const": 1}]}, {"allOf": [tree, {"const": 2}]},
    ]  # fmt: skip
    began = time.thread_time()
    assert "the schema takes too long for this payload" in Validator(schema).check(payload)[1]
    assert seconds(began) < 5


def test_items_are_compared_in_time_and_as_json_does() -> None:
    validator = Validator({"properties": {"a": {"uniqueItems": True}}})
    began = time.thread_time()
    assert validator.check({"a": [{"n": n} for n in range(50_000)]}) == (set(), [])
    assert seconds(began) < 5
    assert validator.check({"a": [1, 2, 1.0]}) == ({"a"}, ["a has an item twice"])
    assert validator.check({"a": [1, True, "1", "n1", [1], {"a": 1}, {"a": "1"}, None]})[1] == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"properties": {"a": {"format": "iban"}}}, "there is no format 'iban'; there are date"),
        ({"properties": {"a": {"pattern": "("}}}, "is no pattern"),
        ({"patternProperties": {"[": {}}}, "is no pattern"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "cannot be used together"),
        ({"allOf": [{"$ref": "https://example.com/x"}]}, "may only refer to the schema itself"),
    ],
)
def test_what_cannot_be_checked_cannot_be_asked_for(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        Validator(schema)


def test_data_and_names_within_a_schema_are_not_taken_for_keywords() -> None:
    Validator(
        {
            "properties": {"format": {"type": "string"}, "pattern": {"const": {"pattern": "("}}},
            "$defs": {"$ref": {"enum": [{"format": "x", "$ref": "http://x"}]}},
        }
    )


@pytest.mark.parametrize(
    ("told", "good", "bad"),
    [
        ("uri", ["https://a.example/x?y#z", "mailto:a@b.example"], ["a.example", "http://", "http://a b", "http://[x"]),
        ("hostname", ["a", "a-b.example"], ["-a", "a..b", "a b", "x" * 64, "ä.example"]),
        ("email", ["jane@roe.example"], ["jane", "jane@roe", "jane @roe.example", "a@b.example, c@d.example"]),
        ("date-time", ["2027-03-03T10:00:00Z", "2027-03-03t10:00:00.5+01:00"], ["2027-03-03", "2027-13-03T10:00:00Z"]),
        ("date", ["2027-03-03"], ["03.03.2027", "2027-02-30"]),
        ("uuid", ["00000000-0000-4000-8000-000000000000"], ["0"]),
        ("ipv4", ["10.0.0.1"], ["10.0.0.256"]),
    ],
)  # fmt: skip
def test_formats_are_checked(told: str, good: list[str], bad: list[str]) -> None:
    validator = Validator({"properties": {"a": {"format": told}}})
    for text in good:
        assert validator.check({"a": text})[1] == []
    for text in bad:
        assert validator.check({"a": text})[1] == [f"a is no {told}"], text
    assert validator.check({"a": 5})[1] == [], "a format says nothing of what is no text"


@given(text=st.text(max_size=300))
def test_formats_answer_whatever_the_text(text: str) -> None:
    for told in ("uri", "hostname", "email", "date-time", "date", "ipv6"):
        Validator({"properties": {"a": {"format": told}}}).check({"a": text})

"""Expressions of routes: JMESPath with a few functions, within bounds whoever wrote them."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jmespath import search as plain_search

from tasks.handoffs.expressions import ExpressionError, compiled
from tasks.handoffs.functions import Context, FieldError

HERE = Context(region="DE", currency="EUR")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("phone('0171 1234567')", "+491711234567"),
        ("phone('+1 (512) 555-0199')", "+15125550199"),
        ("phone(nothing)", None),
        ("money('1.200.000,50 EUR')", {"amount": 1200000.5, "currency": "EUR"}),
        ("money('CHF 1\\'200\\'000')", {"amount": 1200000.0, "currency": "CHF"}),
        ("money('3 rooms for $2.5 million')", {"amount": 2500000.0, "currency": "USD"}),
        ("money('about 350k')", {"amount": 350000.0, "currency": "EUR"}),
        ("date('2027-03-03T10:00:00Z')", "2027-03-03"),
        ("date('3 March 2027')", "2027-03-03"),
        ("datetime(`1700000000`)", "2023-11-14T22:13:20+00:00"),
        ("datetime('Tue, 14 Nov 2023 22:13:20 +0000')", "2023-11-14T22:13:20+00:00"),
        ("email('Jane <Jane.Roe@Example.COM>')", "Jane.Roe@example.com"),
        ("name('ROE, jane')", "Jane Roe"),
        ("slug('Über Äpfel')", "uber-apfel"),
        ("number('1.234,5 EUR')", 1234.5),
        ("number('-3,25')", -3.25),
        ("number('0.125')", 0.125),
        ("number('1.500')", 1500.0),
        ("number(`12.345`)", 12.345),
        ("number(`1e-7`)", 1e-7),
        ("money(`12.345`)", {"amount": 12.345, "currency": "EUR"}),
        ("money('$2.125 million')", {"amount": 2125000.0, "currency": "USD"}),
        ("money('on 10.12.2027 for 350k')", {"amount": 350000.0, "currency": "EUR"}),
        ("date('3.4.27')", "2027-04-03"),
        ("date('4 de marzo de 2027')", "2027-03-04"),
        ("date('4. M\u00e4rz 2027')", "2027-03-04"),
        ("default(nothing, 'x')", "x"),
        ("split('a, b', ',')[1]", "b"),
        ("shorten(tidy('  a   b '), `2`)", "a "),
    ],
)
def test_functions(expression: str, expected: object) -> None:
    assert compiled(expression).search({}, HERE) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "phone('no number')",
        "money('free')",
        "date('soon')",
        "email('none')",
        "number('x')",
        "number('3 rooms for 250')",
        "number('1e400')",
        "name('42')",
    ],
)
def test_what_is_not_what_it_should_be_is_told_without_repeating_it(expression: str) -> None:
    with pytest.raises(FieldError) as caught:
        compiled(expression).search({}, HERE)
    assert expression.split("'")[1] not in str(caught.value)


@pytest.mark.parametrize(
    "expression", ["foo(", "open('/etc/passwd')", "__import__('os')", "(" * 900 + "a", "", "a[::0"]
)
def test_what_cannot_be_read_is_refused_when_the_route_is_read(expression: str) -> None:
    with pytest.raises(ExpressionError):
        compiled(expression)


@pytest.mark.parametrize(
    "expression",
    [
        " | ".join(["[@, @]"] * 200),
        "to_string(" + " | ".join(["[@, @]"] * 100) + ")",
        " | ".join(["{a: @, b: @}"] * 100),
        "join(long, many)",
        "many[*].[" + ", ".join(["many[*].[@]"] * 60) + "]",
        "sort(" + " | ".join(["[@, @][]"] * 60) + ")",
        "a[::0]",
    ],
)
def test_what_would_grow_without_end_is_stopped_at_once(expression: str) -> None:
    document = {"long": "x" * 100_000, "many": [str(n) for n in range(5_000)], "a": [1]}
    began = time.process_time()
    with pytest.raises(ExpressionError):
        compiled(expression).search(document, HERE)
    assert time.process_time() - began < 5


def test_figures_of_a_date_are_ordered_as_in_the_country_of_the_route() -> None:
    told = {region: compiled("date('03/04/2027')").search({}, Context(region=region)) for region in ("US", "DE", "JP")}
    assert told == {"US": "2027-03-04", "DE": "2027-04-03", "JP": "2027-04-03"}
    assert compiled("date('27/03/04')").search({}, Context(region="JP")) == "2027-03-04"


@given(value=st.floats(-1e12, 1e12) | st.integers(-(10**12), 10**12))
def test_a_number_stays_what_it_is(value: float) -> None:
    assert compiled("number(n)").search({"n": value}, HERE) == float(value)


@given(value=st.integers(0, 10**12), cents=st.integers(0, 99))
def test_an_amount_is_read_as_it_is_written_in_either_way(value: int, cents: int) -> None:
    english = f"{value:,}.{cents:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    for told in (english, german, f"{english} EUR", f"EUR {german}", f"it is {german} € then"):
        found = compiled("money(t)").search({"t": told}, HERE)
        assert found == {"amount": float(f"{value}.{cents:02}"), "currency": "EUR"}


@given(document=json_values)
def test_standard_expressions_mean_what_the_library_says(document: object) -> None:
    for expression in ("a.b", "[*].a", "[?a].b", "@", "keys(@)", "a || b", "[0]", "{x: a, y: [b, c]}", "*.a", "[]"):
        try:
            expected = plain_search(expression, document)
        except Exception:  # noqa: BLE001 - whatever the library refuses, we refuse
            with pytest.raises(ExpressionError):
                compiled(expression).search(document, HERE)  # type: ignore[arg-type]
        else:
            assert compiled(expression).search(document, HERE) == expected  # type: ignore[arg-type]


@given(text=st.text(max_size=200))
def test_functions_give_a_value_or_say_that_there_is_none_whatever_they_are_given(text: str) -> None:
    for name in ("phone", "money", "email", "date", "datetime", "name", "number", "tidy", "slug", "digest"):
        with contextlib.suppress(FieldError, ExpressionError):
            compiled(f"{name}(t)").search({"t": text}, HERE)


@given(moment=st.integers(400_000_000, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, tz=UTC)))
def test_a_time_comes_back_as_it_was(moment: datetime) -> None:
    told = compiled("datetime(t)").search({"t": moment.isoformat()}, HERE)
    assert datetime.fromisoformat(str(told)) == moment

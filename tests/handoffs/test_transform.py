"""What a route makes of a message, and how good that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.configuration import parse_configuration
from blocks.errors import ConfigurationError
from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.inbox import natural_id, storable_document
from tasks.handoffs.routes import transformation_of
from tasks.handoffs.transform import Quality, Transformation, idempotency_key
from tests.handoffs.making import make_route

ROUTE = """
[[handoffs.routes]]
name = "leads"
source = "webhook:shop"
fields = { phone = "phone(tel)" }
target = { kind = "crm" }
[[webhooks.sources]]
name = "shop"
kind = "github"
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "leads"', 'name = "Leads!"'), "handoffs.routes[0].name"),
        (("webhook:shop", "ftp:shop"), "whatsapp:NAME or webhook:NAME"),
        (("webhook:shop", "webhook:nobody"), "names the webhook source 'nobody'"),
        (('kind = "crm"', 'kind = "fax"'), "handoffs.routes[0].target"),
        (('target = { kind = "crm" }', 'target = { kind = "crm" }\nrequired = ["name"]'), "required names 'name'"),
        (('target = { kind = "crm" }', 'target = { kind = "crm" }\nregion = "germany"'), "region"),
    ],
)
def test_what_is_wrong_with_a_route_is_said_with_file_and_key(change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(ROUTE.replace(*change), "lama.toml")
    assert said in str(caught.value)
    assert "lama.toml:" in str(caught.value)


def test_a_route_with_an_expression_or_schema_that_cannot_be_read_is_refused_by_its_name() -> None:
    for more in (
        {"fields": {"a": "open("}},
        {"rules": [{"holds": "nofunction(a)", "message": "no"}]},
        {"schema": {"type": "nonsense"}},
        {"schema": {"properties": {"a": {"$ref": "https://example.com/schema.json"}}}},
        {"schema": {"$ref": "file:///etc/passwd"}},
    ):
        with pytest.raises(ConfigurationError, match="'orders' cannot be used"):
            transformation_of(make_route(**more))


def test_a_schema_that_refers_to_itself_is_followed() -> None:
    schema = {
        "$defs": {"tree": {"type": "object", "properties": {"a": {"$ref": "#/$defs/tree"}}}},
        "$ref": "#/$defs/tree",
    }
    good = Transformation(make_route(schema=schema)).apply({"a": {"a": {}}})
    bad = Transformation(make_route(schema=schema)).apply({"a": {"a": 5}})
    assert good.problems == ()
    assert bad.problems == ("a.a must be of type object",)


def test_accuracy_and_completeness_count_fields() -> None:
    route = make_route(
        fields={"phone": "phone(tel)", "name": "name", "age": "age"},
        required=["phone", "name"],
        schema={"properties": {"age": {"type": "integer", "minimum": 18}}},
    )
    made = Transformation(route).apply({"tel": "not a number", "name": "Jane", "age": 7})
    assert made.quality == Quality(given=3, valid=1, required=2, filled=1)
    assert set(made.problems) == {"phone: is no phone number", "age must be at least 18"}
    assert "not a number" not in "".join(made.problems)


def test_rules_hold_of_payloads_that_satisfy_the_schema() -> None:
    route = make_route(
        fields={"low": "low", "high": "high"}, rules=[{"holds": "low < high", "message": "low is not low"}]
    )
    assert Transformation(route).apply({"low": 2, "high": 1}).problems == ("low is not low",)
    assert Transformation(route).apply({"low": 1, "high": 2}).problems == ()


def test_an_optional_field_that_is_broken_is_left_out_and_counted() -> None:
    made = Transformation(make_route(fields={"phone": "phone(tel)", "n": "n"})).apply({"tel": "x", "n": 1})
    assert made.problems == ()
    assert made.payload == {"n": 1}
    assert (made.quality.given, made.quality.valid) == (2, 1)


def test_hand_written_payloads_are_held_to_the_same() -> None:
    transformation = Transformation(make_route(required=["a"], schema={"properties": {"b": {"type": "integer"}}}))
    assert transformation.check({"a": "x", "b": 1}) == []
    assert transformation.check({"b": "1"}) == ["a is required and not there", "b must be of type integer"]


@given(document=st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers() | st.none(), max_size=6))
def test_the_same_message_gives_the_same_and_never_an_exception(document: dict[str, str | int | None]) -> None:
    route = make_route(fields={"a": "a", "p": "phone(b)", "m": "money(a)"}, required=["a"], when="a || b", region="DE")
    first, second = (Transformation(route).apply(document) for _ in range(2))
    assert first == second
    assert first.quality.valid <= first.quality.given
    assert first.quality.filled <= first.quality.required


@given(ids=st.lists(st.text(max_size=2000), max_size=5, unique=True))
def test_ids_stay_apart_and_can_be_stored(ids: list[str]) -> None:
    stored = [natural_id(text) for text in ids if "\x00" not in text and "\ufffd" not in text]
    stored = [text for text in stored if "?" not in text]
    assert len(set(stored)) == len(stored)
    assert all(len(text) <= 600 for text in stored)
    assert len({idempotency_key("r", text) for text in stored}) == len(stored)


def test_documents_are_made_storable() -> None:
    assert storable_document({"a\x00": ["\ud800", float("nan"), 1, None]}) == {"a\ufffd": ["?", "nan", 1, None]}


def test_an_expression_that_is_no_expression_names_its_place() -> None:
    with pytest.raises(ExpressionError, match=r"fields\.a"):
        Transformation(make_route(fields={"a": "]"}))

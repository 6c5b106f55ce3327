"""Routes: values of payloads are put where templates say, and nothing of a payload is ever carried out."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.configuration import parse_configuration
from blocks.errors import ConfigurationError
from blocks.settings import CHECKOUT
from models.webhook import Route
from models.webhook_template import PayloadError, check_template, lookup, matches, resolve
from services.gateway.payload import MAX_DEPTH, GarbageError, parse
from services.gateway.routing import idempotency_key, matching, parameters

PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "repository": {"full_name": "acme/shop", "private": False, "stars": 7},
    "commits": [{"id": "c0"}, {"id": "c1"}],
    "nothing": None,
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("{repository.full_name}", "acme/shop"),
        ("{repository.full_name}@{ref}!", "acme/shop@refs/heads/main!"),
        ("{repository.private} {repository.stars}", "false 7"),
        ("{{ref}} {commits.1.id}", "{ref} c1"),
        ("$.repository", PUSH["repository"]),
        ("$.commits.0.id", "c0"),
        ("$.nothing", None),
        ({"deep": ["$.ref", 3, True, None]}, {"deep": ["refs/heads/main", 3, True, None]}),
    ],
)
def test_templates_take_values_from_the_payload(template: Any, expected: Any) -> None:
    check_template(template)
    assert resolve(template, PUSH) == expected


@pytest.mark.parametrize("template", ["{missing}", "$.commits.2", "$.commits.-1", "$.commits.01", "$.ref.0", "$.ref.x",
                                      "{repository}", "{nothing}", "$.repository.__class__", "{commits}"])  # fmt: skip
def test_what_the_payload_does_not_have_is_an_error_never_a_guess(template: str) -> None:
    with pytest.raises(PayloadError):
        resolve(template, PUSH)


@pytest.mark.parametrize("template", ["{", "}", "{a", "{}", "{a..b}", "{a b}", "$.", "$.a.", "{a.{b}}", ["{"],
                                      {"x": "}"}, {"__prefect_kind": "jinja"}])  # fmt: skip
def test_malformed_templates_are_refused_at_load(template: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_template(template)


@pytest.mark.parametrize("kind", ["jinja", "json", "workspace_variable"])
def test_a_payload_cannot_smuggle_a_template_of_prefect_into_parameters(kind: str) -> None:
    payload = {"title": [{"inner": {"__prefect_kind": kind, "template": "{{ 7 * 7 }}"}}]}
    with pytest.raises(PayloadError, match="reserved"):
        resolve("$.title", payload)


@pytest.mark.parametrize("template", ["$.title", "{title}", "$.inner"])
def test_a_parameter_never_holds_nul(template: str) -> None:
    with pytest.raises(PayloadError, match="NUL"):
        resolve(template, {"title": "a\0b", "inner": [{"k\0": 1}]})
    with pytest.raises(ValueError, match="NUL"):
        check_template("a\0b")


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@given(_text, _text)
def test_text_of_a_payload_is_never_read_as_a_template(first: str, second: str) -> None:
    assert resolve("{a}|{b}", {"a": first, "b": second}) == f"{first}|{second}"


@given(_json, st.text(max_size=30))
def test_hostile_paths_find_nothing_or_something_of_the_payload(payload: Any, path: str) -> None:
    try:
        found = lookup(payload, path)
    except ValueError:
        return
    assert json.dumps(found) in json.dumps(payload)


@given(_json)
def test_every_json_value_survives_its_way_into_a_parameter(value: Any) -> None:
    payload = parse(json.dumps({"value": value}).encode()) if _sendable(value) else {"value": value}
    assert resolve("$.value", payload) == value


def _sendable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_payload_or_a_sentence(body: bytes) -> None:
    with contextlib.suppress(GarbageError):
        assert isinstance(parse(body), dict | list)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"payload=%7B%7D", b'{"a": NaN}', b'{"a": Infinity}', b'"text"', b"1", b"null", b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        '{"a": "ü"}'.encode("latin-1"), b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b"{} {}",
    ],
)  # fmt: skip
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(GarbageError):
        parse(body)


def test_the_deepest_payload_that_is_taken_can_be_walked() -> None:
    body = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    resolve("$.a", parse(body))
    assert parse(b'{"a": "x\\u0000y"}') == {"a": "x\0y"}


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ({}, True),
        ({"ref": "refs/heads/*"}, True),
        ({"ref": "refs/tags/*"}, False),
        ({"ref": "REFS/HEADS/MAIN"}, False),
        ({"repository.private": False}, True),
        ({"repository.private": 0}, False),
        ({"repository.stars": 7}, True),
        ({"repository.stars": "7"}, False),
        ({"nothing": None}, True),
        ({"missing": None}, False),
        ({"ref": "refs/heads/main", "repository.full_name": "acme/[a-s]hop"}, True),
    ],
)
def test_where_compares_values_and_globs_texts(where: dict[str, Any], fits: bool) -> None:
    assert matches(where, PUSH) is fits


def test_a_delivery_takes_every_route_of_its_source_that_matches() -> None:
    routes = [
        Route(source="github", event="push", deployment="a/a"),
        Route(source="github", event="pull_*", deployment="b/b"),
        Route(source="other", deployment="c/c"),
        Route(source="github", deployment="d/d", parameters={"of": "{repository.full_name}"}, name="all"),
    ]
    taken = matching(routes, "github", "push", PUSH)
    assert [route.identity for route in taken] == ["a/a", "all"]
    assert parameters(taken[1], PUSH) == {"of": "acme/shop"}
    assert len({idempotency_key(route, "1") for route in taken}) == 2


def test_github_and_its_push_need_no_configuration() -> None:
    webhooks = parse_configuration("", "lama.toml").webhooks
    assert set(webhooks.registry) == {"github", "standard-webhooks", "whatsapp"}
    assert [route.deployment for route in matching(webhooks.routes, "github", "push", {})] == [
        "health-check/health-check",
        "audit/audit",
        "scan/scan",
        "docs/docs",
        "graph-ingest/graph-ingest",
    ]
    taken = matching(webhooks.routes, "github", "push", {})
    assert [parameters(route, {"after": "a" * 40}) for route in taken] == [{}, *[{"commit": "a" * 40}] * 4]
    assert not matching(webhooks.routes, "github", "ping", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[webhooks.routes]]\nsource='githup'\ndeployment='a/b'", "there are github, standard-webhooks"),
        ("[[webhooks.routes]]\nsource='github'\ndeployment='a'", "lama.toml:3: webhooks.routes[0].deployment"),
        ("[[webhooks.routes]]\nsource='github'\ndeployment='a/b'\n\n[webhooks.routes.parameters]\nx='{'", "single '{'"),
        ("[[webhooks.routes]]\nsource='github'\ndeployment='a/b'\n[[webhooks.routes]]\nsource='github'\ndeployment='a/b'",
         "give each a name"),
        ("[[webhooks.sources]]\nname='x'\nkind='hmac'", "signature_header"),
        ("[[webhooks.sources]]\nname='x'\nkind='github'\nsecret='s'", "lama.toml:4: webhooks.sources[0].secret"),
        ("[[webhooks.sources]]\nname='x'\nkind='github'\n[[webhooks.sources]]\nname='x'\nkind='github'", "two sources"),
    ],
)  # fmt: skip
def test_mistakes_in_the_configuration_are_said_at_load(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, "lama.toml")
    assert expected in str(caught.value)


def test_the_examples_of_the_guide_are_valid() -> None:
    guide = (CHECKOUT / "docs" / "gateway.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    webhooks = parse_configuration("\n".join(examples), "docs/gateway.md").webhooks
    assert set(webhooks.registry) > {"github", "shop"}
    [taken] = webhooks.routes
    payload: dict[str, Any] = {"repository": {"name": "shop", "private": False}, "ref": "refs/heads/x", "commits": []}
    assert matching(webhooks.routes, "github", "push", payload) == (taken,)
    assert parameters(taken, payload)

"""Whatever is sent, the answer is a 4xx in OpenAI's shape; nobody without the key is answered at all."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model_host.running import RunningHost

_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=20) | st.just("x" * 5_000) | st.just("\0"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
_FIELDS = [
    "model", "messages", "prompt", "input", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
    "stop", "stream", "stream_options", "logprobs", "top_logprobs", "response_format", "n", "echo", "tools", "user",
    "encoding_format", "dimensions", "frequency_penalty", "logit_bias", "metadata", "top_k",
]  # fmt: skip
_REQUESTS = st.builds(
    lambda base, wrong: base | wrong,
    st.sampled_from([
        {"model": "smollm2", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
        {"model": "smollm2", "prompt": "x", "max_tokens": 1},
        {"model": "acme/vectors", "input": "x"},
        {},
    ]),
    st.dictionaries(st.sampled_from(_FIELDS), _ANYTHING, min_size=1, max_size=3),
)  # fmt: skip
_PATHS = st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
_MANAGED = st.sampled_from(
    [
        ("PUT", "/host/reserves/smollm2"), ("POST", "/host/plan"), ("POST", "/host/select"),
        ("POST", "/host/jobs/run-1"), ("POST", "/host/models/%00/load"), ("DELETE", "/host/jobs/none"),
    ]
)  # fmt: skip
_OFTEN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)


def in_shape(response: httpx.Response) -> None:
    """Whether it is a 4xx as OpenAI has them."""
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["param"] is None or isinstance(error["param"], str)


@pytest.fixture(scope="module")
def sender(model_host: RunningHost) -> Any:
    with model_host.http() as http:
        yield http


@_OFTEN
@given(path=_PATHS, document=_REQUESTS)
def test_wrong_values_are_refused(sender: httpx.Client, path: str, document: dict[str, Any]) -> None:
    response = sender.post(path, content=json.dumps(document))
    if response.status_code != 200:  # some wishes are fulfilled after all
        in_shape(response)


@_OFTEN
@given(path=_PATHS, body=st.binary(max_size=200) | _ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_bodies_that_are_no_requests_are_refused(sender: httpx.Client, path: str, body: bytes) -> None:
    in_shape(sender.post(path, content=body))


@_OFTEN
@given(place=_MANAGED, document=st.dictionaries(st.sampled_from(["bytes", "model", "ttl_s", "priority"]), _ANYTHING))
def test_the_hosts_own_addresses_refuse_likewise(
    sender: httpx.Client, place: tuple[str, str], document: dict[str, Any]
) -> None:
    response = sender.request(*place, content=json.dumps(document))
    if response.status_code != 200:
        in_shape(response)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"model":"smollm2","messages":' + b"[" * 70 + b"]" * 70 + b"}", 400),
        (b'{"model":"smollm2","prompt":"\xff\xfe"}', 400),
        (b'{"model":"smollm2","prompt":"\\ud800"}', 400),
        (b'{"model":"smollm2","prompt":"x","temperature":NaN}', 400),
        (b'{"model":"smollm2","prompt":"x","temperature":1e999}', 400),
        (b'{"model":"smollm2","prompt":"x","max_tokens":123456789012345678901234567890}', 400),
        (b'{"model":"smollm2","prompt":[-1]}', 400),
        (b'{"model":"smollm2","prompt":[4000000]}', 400),
        (b'{"model":"../../etc/passwd","prompt":"x"}', 400),
        (b" " * (4 * 1024**2 + 1), 413),
        (b"", 400),
    ],
)
def test_bodies_that_are_meant_to_harm_are_refused(sender: httpx.Client, body: bytes, status: int) -> None:
    response = sender.post("/v1/completions", content=body)
    in_shape(response)
    assert response.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/none", 404),
        ("POST", "/host/models/none/load", 404),
        ("PUT", "/host/reserves/none", 400),
    ],
)
def test_addresses_that_are_not_there_have_the_shape_too(
    sender: httpx.Client, method: str, path: str, status: int
) -> None:
    response = sender.request(method, path, content=b"{}" if method == "PUT" else None)
    in_shape(response)
    assert response.status_code == status


def test_a_body_without_a_length_is_bounded_as_well(sender: httpx.Client) -> None:
    in_shape(sender.post("/v1/completions", content=(b" " * 65_536 for _ in range(80))))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic {key}"}, 401),
        ({"Authorization": "Bearer \xe9"}, 401),
        ({"Authorization": "Bearer {key}", "Host": "evil.example"}, 421),
        ({"Authorization": "Bearer {key}", "Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer {key}", "Origin": "null"}, 403),
        ({"Authorization": "bearer {key}", "Host": "localhost:1"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/host/status", "/metrics"])
def test_only_who_has_the_key_and_asks_for_us_is_answered(
    model_host: RunningHost, path: str, headers: dict[str, str], status: int
) -> None:
    sent = {name: value.replace("{key}", model_host.key).encode("latin-1") for name, value in headers.items()}
    response = httpx.get(f"{model_host.url}{path}", headers=sent, trust_env=False)
    assert response.status_code == status
    if status != 200:
        in_shape(response)
    assert model_host.key not in model_host.log.read_text()


def test_health_needs_no_key_but_our_name(model_host: RunningHost) -> None:
    assert httpx.get(f"{model_host.url}/health", trust_env=False).json() == {"status": "ok"}
    assert httpx.get(f"{model_host.url}/ready", trust_env=False).status_code == 200
    strange = httpx.get(f"{model_host.url}/health", headers={"Host": "evil.example"}, trust_env=False)
    assert strange.status_code == 421


def test_nothing_else_listens_and_the_models_server_is_not_reached(model_host: RunningHost) -> None:
    import psutil

    with model_host.http() as http:
        http.post("/host/models/smollm2/load").raise_for_status()
    listening = {
        c.laddr.port for c in psutil.Process(model_host.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN
    }
    assert listening == {model_host.settings.model_host_port}


def test_a_request_that_never_ends_holds_up_nobody(model_host: RunningHost, sender: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", model_host.settings.model_host_port)) as slow:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {model_host.key}\r\n"
        slow.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n{")
        assert sender.get("/v1/models").status_code == 200

"""Deliveries over real sockets: refused for the right reason, in the right order, or durable when answered."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from models.webhook import Source
from services.gateway.signatures import sign
from tests.gateway.conftest import rows
from tests.gateway.running import SECRET, RunningGateway, push, signed

LIMIT = 100_000


def test_a_signed_delivery_is_durable_when_it_is_answered(gateway: RunningGateway, shared_url: str) -> None:
    identifier = str(uuid.uuid4())
    answer = gateway.deliver(push(), X_GitHub_Delivery=identifier)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "id": identifier})
    assert ("github", identifier, "ignored") in rows(shared_url)


def test_a_delivery_that_was_seen_is_answered_200_and_does_nothing(gateway: RunningGateway, shared_url: str) -> None:
    body = json.dumps(push()).encode()
    identifier = str(uuid.uuid4())
    before = len(rows(shared_url))
    codes = [gateway.deliver(body=body, X_GitHub_Delivery=identifier).status_code for _ in range(3)]
    assert codes == [202, 200, 200]
    assert len(rows(shared_url)) == before + 1


def test_of_many_that_come_at_once_one_is_the_first(gateway: RunningGateway, shared_url: str) -> None:
    body = json.dumps(push()).encode()
    headers = signed(body)
    with gateway.client() as client, concurrent.futures.ThreadPoolExecutor(24) as pool:
        sent = [pool.submit(client.post, "/webhooks/github", content=body, headers=headers) for _ in range(72)]
        codes = sorted(answer.result().status_code for answer in sent)
    assert codes == [200] * 71 + [202]
    assert sum(row[1] == headers["X-GitHub-Delivery"] for row in rows(shared_url)) == 1


def test_a_captured_delivery_under_another_id_does_nothing(gateway: RunningGateway, shared_url: str) -> None:
    # GitHub's signature does not cover the id: whoever has one signed delivery could send it for ever.
    body = json.dumps(push()).encode()
    assert gateway.deliver(body=body).status_code == 202
    before = len(rows(shared_url))
    assert gateway.deliver(body=body, X_GitHub_Delivery="another").status_code == 200
    assert len(rows(shared_url)) == before


def _signature(body: bytes, secret: str = SECRET) -> str:
    return signed(body, secret)["X-Hub-Signature-256"]


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha1=" + "0" * 40,
        _signature(b"{}", "wrong secret"),
        _signature(b"{}")[:-1],
        _signature(b"{}")[:40],
        _signature(b"{}") + "0",
        _signature(b"{ }"),
        _signature(b"{}").removeprefix("sha256="),
        "x" * 5000,
        "sha256=\u00e9",
    ],
)
def test_wrong_missing_and_truncated_signatures_are_401(gateway: RunningGateway, signature: str | None) -> None:
    headers = signed(b"{}") | {"X-Hub-Signature-256": signature}
    raw = {name: value.encode("latin-1") for name, value in headers.items() if value is not None}
    with gateway.client() as client:
        assert client.post("/webhooks/github", content=b"{}", headers=raw).status_code == 401


def test_a_bad_signature_is_refused_before_the_body_is_parsed(gateway: RunningGateway) -> None:
    assert gateway.deliver(body=b"garbage", secret="wrong").status_code == 401


@pytest.mark.parametrize(
    "body",
    [b"", b"garbage", b"payload=%7B%7D", b'{"a": NaN}', b'"text"', b"\xff{}", b'{"a": "\\ud800"}', b"[" * 50_000],
)
def test_signed_garbage_is_400(gateway: RunningGateway, body: bytes) -> None:
    assert gateway.deliver(body=body).status_code == 400


@pytest.mark.parametrize("identifier", [None, "", "with space", "x" * 201, "caf\u00e9"])
def test_without_an_id_that_can_be_used_it_is_400(gateway: RunningGateway, identifier: str | None) -> None:
    body = json.dumps(push()).encode()
    headers = signed(body) | {"X-GitHub-Delivery": identifier}
    raw = {name: value.encode("latin-1") for name, value in headers.items() if value is not None}
    with gateway.client() as client:
        assert client.post("/webhooks/github", content=body, headers=raw).status_code == 400


def test_what_postgresql_cannot_hold_in_json_is_stored_all_the_same(gateway: RunningGateway) -> None:
    assert gateway.deliver(body=b'{"text": "a\\u0000b"}').status_code == 202


def test_an_unknown_source_is_404_and_its_body_is_not_waited_for(gateway: RunningGateway) -> None:
    with _socket(gateway) as raw:
        raw.sendall(_head("/webhooks/nobody", "Content-Length: 1000000"))
        assert _status(raw) == 404


@pytest.mark.parametrize("path", ["/webhooks/../etc", "/webhooks/%2e%2e%2fsecrets", "/webhooks/", "/webhooks/GitHub",
                                  "/webhooks/github%00", "/webhooks/github/", "/webhooks/" + "x" * 5000])  # fmt: skip
def test_hostile_paths_are_unknown_sources(gateway: RunningGateway, path: str) -> None:
    with _socket(gateway) as raw:
        raw.sendall(_head(path, "Content-Length: 0"))
        assert _status(raw) in {404, 307, 400}


def test_a_source_without_secrets_refuses_everything(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        answer = client.post("/webhooks/empty", content=b"{}", headers=signed(b"{}", ""))
    assert answer.status_code == 503


def test_an_announced_body_that_is_too_large_is_refused_unread(gateway: RunningGateway) -> None:
    with _socket(gateway) as raw:
        raw.sendall(_head("/webhooks/github", f"Content-Length: {LIMIT + 1}", *_claims()))
        assert _status(raw) == 413


@pytest.mark.parametrize("announced", ["Transfer-Encoding: chunked", f"Content-Length: {LIMIT * 3}"])
def test_a_body_is_measured_whatever_was_announced(gateway: RunningGateway, announced: str) -> None:
    with _socket(gateway) as raw:
        raw.sendall(_head("/webhooks/github", announced, *_claims()))
        try:
            for _ in range(40):
                raw.sendall(b"1388\r\n" + b"x" * 5000 + b"\r\n")
        except OSError:
            pass  # refused in the middle of it, and the connection closed
        assert _status(raw) == 413


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(gateway: RunningGateway) -> None:
    exact = b'{"text": "' + b"y" * (LIMIT - 12) + b'"}'
    assert len(exact) == LIMIT
    assert gateway.deliver(body=exact).status_code == 202
    assert gateway.deliver(body=exact + b" ").status_code == 413


def test_a_body_that_is_shorter_than_announced_is_not_waited_for_for_ever(gateway: RunningGateway) -> None:
    with _socket(gateway) as raw:
        raw.sendall(_head("/webhooks/github", "Content-Length: 500", *_claims()) + b"{}")
        assert _status(raw) == 408


def test_a_longer_body_than_announced_is_not_what_was_signed(gateway: RunningGateway) -> None:
    body = json.dumps(push()).encode()
    headers = [f"{name}: {value}" for name, value in signed(body).items()]
    with _socket(gateway) as raw:
        raw.sendall(_head("/webhooks/github", f"Content-Length: {len(body) - 1}", *headers) + body)
        assert _status(raw) == 401


def test_a_source_with_signed_time_is_told_in_the_configuration(gateway: RunningGateway) -> None:
    shop = Source.model_validate({
        "name": "shop", "kind": "hmac", "signature_header": "X-Shop-Signature", "encoding": "base64",
        "algorithm": "sha512", "id_header": "X-Shop-Id", "timestamp_header": "X-Shop-Time",
        "signed": "{timestamp}:{body}", "prefix": "v0=",
    })  # fmt: skip
    gateway.set_secrets("shop", "one", "two")
    with gateway.client() as client:

        def send(secret: str, seconds: int) -> int:
            moment = str(int(time.time()) + seconds)
            signature = sign(shop, secret.encode(), b"[]", timestamp=moment)
            headers = {"X-Shop-Signature": signature, "X-Shop-Id": uuid.uuid4().hex, "X-Shop-Time": moment}
            return client.post("/webhooks/shop", content=b"[]", headers=headers).status_code

        assert [send("one", 0), send("two", 1), send("three", 2), send("one", -400)] == [202, 202, 401, 401]


def test_secrets_are_rotated_without_a_restart(gateway: RunningGateway) -> None:
    def codes() -> list[int]:
        return [gateway.deliver(push(), secret=secret).status_code for secret in ("old", "new")]

    try:
        gateway.set_secrets("github", "old")
        assert codes() == [202, 401]
        gateway.set_secrets("github", "old", "new")
        assert codes() == [202, 202]
        gateway.set_secrets("github", "new")
        assert codes() == [401, 202]
        gateway.home.webhook_secrets("github").chmod(0o644)
        assert codes() == [503, 503]
        gateway.home.webhook_secrets("github").unlink()
        assert codes() == [503, 503]
    finally:
        gateway.set_secrets("github", SECRET)


def test_only_posts_are_taken(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        assert client.get("/webhooks/github").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.2", ""])
def test_names_that_are_not_ours_are_not_answered(gateway: RunningGateway, host: str) -> None:
    with gateway.client() as client:
        for path in ("/health", "/api/reports", "/metrics", "/docs"):
            assert client.get(path, headers={"Host": host}).status_code in {421, 400}


@pytest.fixture(autouse=True)
def _still_alive(gateway: RunningGateway) -> Iterator[None]:
    yield
    with gateway.client() as client:
        assert client.get("/health").status_code == 200
    assert "Traceback" not in gateway.logged()


def _claims() -> list[str]:
    return [f"{name}: {value}" for name, value in signed(b"{}").items()]


def _socket(gateway: RunningGateway) -> socket.socket:
    url = httpx.URL(gateway.url)
    return socket.create_connection((url.host, url.port), timeout=10)


def _head(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode()


def _status(raw: socket.socket) -> int:
    return int(raw.recv(4096).split(b" ", 2)[1])

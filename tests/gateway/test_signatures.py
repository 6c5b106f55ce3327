"""Signatures: the published vectors hold, and nothing but the exact bytes under an active secret is accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.datastructures import Headers

from models.webhook import Source
from services.gateway.signatures import (
    BadSignatureError,
    UnusableSecretError,
    read_claim,
    sign,
    signing_key,
    verify,
)

GITHUB = Source.model_validate({"name": "github", "kind": "github"})
STANDARD = Source.model_validate({"name": "standard-webhooks", "kind": "standard-webhooks"})
SHOP = Source.model_validate({
    "name": "shop", "kind": "hmac", "signature_header": "X-Sign", "id_header": "X-Id", "algorithm": "sha512",
    "timestamp_header": "X-Time", "signed": "v0:{timestamp}:{body}",
})  # fmt: skip

_NOW = 1614265330.0
_VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
_VECTOR_SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_VECTOR_BODY = b'{"test": 2432232314}'


def accepted(source: Source, headers: dict[str, str] | Headers, body: bytes, *secrets: str, now: float = _NOW) -> bool:
    found = headers if isinstance(headers, Headers) else Headers(headers)
    try:
        verify(source, read_claim(source, found, now), body, [signing_key(source, secret) for secret in secrets])
    except BadSignatureError:
        return False
    return True


def test_githubs_published_vector_is_accepted() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": "1"}
    assert accepted(GITHUB, headers, b"Hello, World!", "It's a Secret to Everybody")
    assert not accepted(GITHUB, headers, b"Hello, World?", "It's a Secret to Everybody")


@pytest.mark.parametrize("secret", [_VECTOR_SECRET, f"whsec_{_VECTOR_SECRET}"])
def test_the_published_vector_of_standard_webhooks_is_accepted(secret: str) -> None:
    assert accepted(STANDARD, _VECTOR, _VECTOR_BODY, secret)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-signature": "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "-1614265330"},
        {"webhook-timestamp": "1614265330.0"},
        {"webhook-timestamp": "١٦١٤٢٦٥٣٣٠".encode().decode("latin-1")},
    ],
)
def test_a_signature_covers_id_time_and_version(changed: dict[str, str]) -> None:
    assert not accepted(STANDARD, _VECTOR | changed, _VECTOR_BODY, _VECTOR_SECRET)


def test_one_right_signature_among_several_is_enough_but_not_behind_endless_wrong_ones() -> None:
    right = _VECTOR["webhook-signature"]
    wrong = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    assert accepted(STANDARD, _VECTOR | {"webhook-signature": f"{wrong} v2,x {right}"}, _VECTOR_BODY, _VECTOR_SECRET)
    flood = " ".join([wrong] * 500 + [right])
    assert not accepted(STANDARD, _VECTOR | {"webhook-signature": flood}, _VECTOR_BODY, _VECTOR_SECRET)


@pytest.mark.parametrize(("seconds", "fits"), [(0, True), (299, True), (-299, True), (301, False), (-301, False)])
def test_outside_of_the_replay_window_a_right_signature_is_refused(seconds: int, fits: bool) -> None:
    assert accepted(STANDARD, _VECTOR, _VECTOR_BODY, _VECTOR_SECRET, now=_NOW + seconds) is fits


def test_while_secrets_rotate_each_of_them_is_accepted_and_no_other() -> None:
    for secret in ("old", "new", "third"):
        headers = {"X-Hub-Signature-256": sign(GITHUB, secret.encode(), b"{}"), "X-GitHub-Delivery": "1"}
        assert accepted(GITHUB, headers, b"{}", "old", "new") is (secret != "third")


def test_two_signature_headers_are_refused_even_when_one_is_right() -> None:
    right = sign(GITHUB, b"s", b"{}").encode()
    raw = [(b"x-hub-signature-256", right), (b"x-hub-signature-256", right)]
    assert not accepted(GITHUB, Headers(raw=raw), b"{}", "s")


def test_without_a_secret_nothing_is_accepted() -> None:
    empty = "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest()
    assert not accepted(GITHUB, {"X-Hub-Signature-256": empty, "X-GitHub-Delivery": "1"}, b"{}")


@pytest.mark.parametrize("secret", ["not base64!", "whsec_", "abc"])
def test_a_secret_that_cannot_be_one_is_not_used(secret: str) -> None:
    with pytest.raises(UnusableSecretError):
        signing_key(STANDARD, secret)


def test_the_same_signature_has_one_fingerprint_whatever_id_it_comes_with() -> None:
    def fingerprint(source: Source, body: bytes, identifier: str) -> bytes | None:
        signature = sign(source, b"s", body, delivery_id=identifier, timestamp="1614265330")
        headers = {
            source.signature_header: signature, source.id_header: identifier, "X-Time": "1614265330",
            "webhook-timestamp": "1614265330",
        }  # fmt: skip
        return verify(source, read_claim(source, Headers(headers), _NOW), body, [b"s"])

    assert fingerprint(GITHUB, b"{}", "a") == fingerprint(GITHUB, b"{}", "b") != fingerprint(GITHUB, b"[]", "a")
    assert fingerprint(SHOP, b"{}", "a") == fingerprint(SHOP, b"{}", "b") is not None
    assert fingerprint(STANDARD, b"{}", "a") is None


_sources = st.sampled_from([GITHUB, STANDARD, SHOP])
_secrets = st.binary(min_size=1, max_size=80)


def _headers(source: Source, key: bytes, body: bytes, identifier: str = "id-1") -> dict[str, str]:
    signature = sign(source, key, body, delivery_id=identifier, timestamp="1614265330")
    headers = {source.signature_header: signature, source.id_header: identifier}
    return headers | ({source.timestamp_header: "1614265330"} if source.timestamp_header else {})


@given(_sources, _secrets, st.binary(max_size=300))
def test_whatever_is_signed_is_accepted(source: Source, key: bytes, body: bytes) -> None:
    claim = read_claim(source, Headers(_headers(source, key, body)), _NOW)
    verify(source, claim, body, [b"other", key])


@given(_sources, _secrets, st.binary(max_size=300), st.binary(max_size=300), _secrets)
def test_another_body_or_another_key_is_never_accepted(
    source: Source, key: bytes, body: bytes, other: bytes, wrong: bytes
) -> None:
    claim = read_claim(source, Headers(_headers(source, key, body)), _NOW)
    if other != body:
        with pytest.raises(BadSignatureError):
            verify(source, claim, other, [key])
    # HMAC fills a key up with zeros: keys that differ in those alone are one key.
    if wrong.rstrip(b"\0") != key.rstrip(b"\0") and max(len(key), len(wrong)) <= 64:
        with pytest.raises(BadSignatureError):
            verify(source, claim, body, [wrong])


@given(_sources, st.binary(max_size=60), st.data())
def test_a_signature_that_is_cut_or_changed_anywhere_is_refused(
    source: Source, body: bytes, data: st.DataObject
) -> None:
    headers = _headers(source, b"key", body)
    right = headers[source.signature_header]
    place = data.draw(st.integers(0, len(right) - 1))
    broken = data.draw(
        st.one_of(st.just(right[:place]), st.characters(min_codepoint=33, max_codepoint=255).map(
            lambda character: right[:place] + character + right[place + 1 :]
        ))
    )  # fmt: skip
    same = broken == right or (
        source.encoding == "hex" and broken.lower() == right and broken.startswith(source.prefix)
    )
    assert accepted_bytes(source, headers | {source.signature_header: broken}, body, b"key") is same


@given(_sources, st.dictionaries(st.sampled_from(
    ["x-hub-signature-256", "x-github-delivery", "webhook-id", "webhook-signature", "webhook-timestamp", "x-sign",
     "x-id", "x-time"]), st.text(st.characters(max_codepoint=255), max_size=400)))  # fmt: skip
def test_hostile_headers_are_refused_and_never_crash(source: Source, headers: dict[str, str]) -> None:
    assert not accepted_bytes(source, headers, b"{}", b"key")


def accepted_bytes(source: Source, headers: dict[str, str], body: bytes, key: bytes) -> bool:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw = [(name.lower(), value) for name, value in raw]
    try:
        verify(source, read_claim(source, Headers(raw=raw), _NOW), body, [key])
    except BadSignatureError:
        return False
    return True


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"signed": "{timestamp}"}, "must hold {body} once"),
        ({"signed": "{body}{body}"}, "must hold {body} once"),
        ({"signed": "{timestamp}{body}"}, "could pass for the other"),
        ({"signed": "{body}"}, "an unsigned time proves nothing"),
        ({"signed": "{timestamp}.{body}.{nonce}"}, "only"),
        ({"timestamp_header": None}, "an unsigned time proves nothing"),
        ({"id_header": "X Id"}, "id_header"),
        ({"id_header": None}, "id_header"),
        ({"name": "../secrets"}, "name"),
        ({"event_path": "a..b"}, "dotted path"),
    ],
)
def test_a_source_that_would_prove_nothing_is_refused_at_load(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint.replace("{", r"\{").replace("}", r"\}")):
        Source.model_validate(SHOP.model_dump() | changes)


def test_base64_is_compared_as_written() -> None:
    # The last character of base64 holds unused bits: several texts decode to one digest. One signature, one text.
    text = sign(STANDARD, b"k", b"{}", delivery_id="i", timestamp="1614265330")
    digest = base64.b64decode(text.removeprefix("v1,"))
    twin = next(
        f"{text[:-2]}{c}=" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        if c != text[-2] and base64.b64decode(f"{text.removeprefix('v1,')[:-2]}{c}=") == digest
    )  # fmt: skip
    headers = {"webhook-id": "i", "webhook-timestamp": "1614265330", "webhook-signature": twin}
    assert not accepted_bytes(STANDARD, headers, b"{}", b"k")

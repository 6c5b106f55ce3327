"""Signatures of webhooks: HMAC over the raw body, in whichever way the source writes it down.

The presets are data of `models.webhook.Source`; this is the only code that judges. Nothing here reads a clock, a file
or a socket, and every comparison takes the same time whatever the outcome.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.webhook import Source

_IDENTIFIER = re.compile(r"[!-~]{1,200}", re.ASCII)
_EVENT = re.compile(r"[!-~]{1,100}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_MOST_SIGNATURES = 10
_LONGEST_SIGNATURE = 256


class Headers(Protocol):
    """Headers of a request; names without regard to case."""

    def getlist(self, key: str) -> list[str]:
        """Every value of the header `key`, in order."""


class BadSignatureError(Exception):
    """The delivery does not prove where it comes from. The reason is one word, for metrics and logs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnusableSecretError(ValueError):
    """A secret is not written the way its source writes secrets."""


@dataclass(frozen=True)
class Claim:
    """What the headers of a delivery say; nothing of it is proven yet."""

    signatures: tuple[bytes, ...]
    """As written, without their prefix."""
    delivery_id: str | None
    timestamp: str | None
    event: str


def signing_key(source: Source, secret: str) -> bytes:
    """The key that `secret` stands for.

    Raises:
        UnusableSecretError: it is not base64, though the source's secrets are.
    """
    if source.key_encoding != "base64":
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableSecretError("not base64") from error
    if not key:
        raise UnusableSecretError("empty")
    return key


def read_claim(source: Source, headers: Headers, now: float) -> Claim:
    """What a delivery claims, known before its body is read. `now` is in seconds since 1970.

    Raises:
        BadSignatureError: no signature, none that can be read, or a time outside of the replay window.
    """
    text = _single(headers, source.signature_header)
    if text is None:
        raise BadSignatureError("missing")
    written = text.split() if source.several else [text]
    signatures = tuple(
        _encoded(source, item.removeprefix(source.prefix))
        for item in written[:_MOST_SIGNATURES]
        if item.startswith(source.prefix) and len(item) <= _LONGEST_SIGNATURE
    )
    if not signatures:
        raise BadSignatureError("malformed")
    identifier = _single(headers, source.id_header) if source.id_header else None
    if identifier is not None and not _IDENTIFIER.fullmatch(identifier):
        identifier = None
    if identifier is None and source.signs_id:
        raise BadSignatureError("missing")
    event = _single(headers, source.event_header) if source.event_header else None
    return Claim(
        signatures=signatures,
        delivery_id=identifier,
        timestamp=_timestamp(source, headers, now),
        event=event_name(event),
    )


def verify(source: Source, claim: Claim, body: bytes, keys: Sequence[bytes]) -> bytes | None:
    """Whether one of `keys` signed `body` as `claim` says.

    Returns:
        16 bytes that are the same for every use of this signature, so that it counts once whatever id it comes with;
        None where the signature covers the id itself.

    Raises:
        BadSignatureError: none of the signatures is right.
    """
    message = _message(source, claim, body)
    proven: bytes | None = None
    for key in keys:
        digest = hmac.digest(key, message, source.algorithm)
        expected = digest.hex().encode() if source.encoding == "hex" else base64.b64encode(digest)
        for signature in claim.signatures:
            if hmac.compare_digest(signature, expected):
                proven = digest
    if proven is None:
        raise BadSignatureError("mismatch")
    if source.signs_id or not source.once_per_signature:
        return None
    return hashlib.blake2b(proven, digest_size=16, person=b"lama.delivery").digest()


def sign(source: Source, key: bytes, body: bytes, *, delivery_id: str = "", timestamp: str = "") -> str:
    """The value of the signature header, as the source would write it. For senders: tests, benchmarks, the guide."""
    claim = Claim(signatures=(), delivery_id=delivery_id, timestamp=timestamp, event="")
    digest = hmac.digest(key, _message(source, claim, body), source.algorithm)
    return source.prefix + (digest.hex() if source.encoding == "hex" else base64.b64encode(digest).decode())


def event_name(text: object) -> str:
    """`text` as the name of an event; empty when it cannot be one."""
    return text if isinstance(text, str) and _EVENT.fullmatch(text) else ""


def _single(headers: Headers, name: str) -> str | None:
    # Two headers of one name: this reader and another might each take a different one for the true one.
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _timestamp(source: Source, headers: Headers, now: float) -> str | None:
    if source.timestamp_header is None:
        return None
    text = _single(headers, source.timestamp_header)
    if text is None:
        raise BadSignatureError("missing")
    if not _SECONDS.fullmatch(text):
        raise BadSignatureError("malformed")
    if abs(now - int(text)) > source.tolerance_s:
        raise BadSignatureError("stale")
    return text


def _encoded(source: Source, signature: str) -> bytes:
    # Hexadecimal digits have no case; base64 has, and is compared as it is.
    text = signature.lower() if source.encoding == "hex" else signature
    return text.encode("latin-1", "replace")


def _message(source: Source, claim: Claim, body: bytes) -> bytes:
    if source.signed == "{body}":
        return body
    values = {
        "id": (claim.delivery_id or "").encode(),
        "timestamp": (claim.timestamp or "").encode(),
        "body": body,
    }
    parts = source.signed_parts
    return b"".join(values[part] if index % 2 else part.encode() for index, part in enumerate(parts))

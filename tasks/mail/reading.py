"""A mail as a message: who, to whom, about what, in which conversation, with what attached. Pure."""

from __future__ import annotations

import contextlib
import email.header
import email.message
import email.utils
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue

from models.handoff import Message
from tasks.mail.calendar import event_of
from tasks.mail.html_text import text_of_html
from tasks.mail.mime import Part, Structure, take_apart, text_of
from tasks.mail.quoting import new_words, subject_of

_LONGEST_HEADER = 8_000
_LONGEST_TEXT = 200_000
_LONGEST_ID = 400
_MOST_ADDRESSES = 200
_MOST_REFERENCES = 100
_LARGEST_TEXT_PART = 4_000_000
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,998})>")
_PRIORITIES = {"1": "high", "2": "high", "3": "normal", "4": "low", "5": "low", "high": "high", "low": "low",
               "urgent": "high", "non-urgent": "low", "normal": "normal"}  # fmt: skip


@dataclass(frozen=True)
class Attachment:
    """A part of a mail that is kept as a file, known by its content."""

    name: str
    content_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of its content, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Mail:
    """A mail that was read."""

    message: Message
    attachments: tuple[Attachment, ...]


def read_mail(
    source: str, raw: bytes, *, sender: str | None = None, recipients: Sequence[str] = (), received_at: datetime
) -> Mail:
    """The message that a mail is. Whatever is wrong with it, there is one: `problems` of its document says what.

    Args:
        source: `email:` and the name of what received it.
        raw: as it came.
        sender: of the envelope; replies to bounces go there. None where there was no envelope.
        recipients: of the envelope.
        received_at: when it came, for mails without a usable date.
    """
    structure = take_apart(raw)
    header = structure.header
    texts, attachments = _sorted_parts(structure)
    text, is_html = _body(texts)
    identifier = _ids(_raw(header, "message-id"))
    references = _references(header)
    occurred_at = _date(header)
    addresses = {name: _addresses(header, name) for name in ("from", "reply-to", "to", "cc")}
    author = addresses["from"][0] if addresses["from"] else {"name": "", "address": (sender or "").lower()}
    natural = _natural_id(identifier, header, raw, structure)
    subject = _text(header, "subject")
    document: dict[str, JsonValue] = {
        "kind": "mail",
        "id": identifier[0] if identifier else None,
        "from": author["address"],
        "name": author["name"],
        "to": [dict(one) for one in addresses["to"]],
        "cc": [dict(one) for one in addresses["cc"]],
        "reply_to": addresses["reply-to"][0]["address"] if addresses["reply-to"] else None,
        "subject": subject,
        "topic": subject_of(subject),
        "text": text[:_LONGEST_TEXT],
        "said": new_words(text[:_LONGEST_TEXT]),
        "html": is_html,
        "occurred_at": (occurred_at or received_at).isoformat(),
        "references": list(references),
        "thread": references[0] if references else identifier[0] if identifier else natural,
        "priority": _priority(header),
        "tags": _plus_tags([*recipients, *(one["address"] for one in (*addresses["to"], *addresses["cc"]))]),
        "list": _text(header, "list-id") or None,
        "automatic": _automatic(header, sender, structure),
        "envelope": {"from": sender, "to": list(recipients)},
        "attachments": [
            {"name": one.name, "content_type": one.content_type, "size": len(one.content), "sha256": one.digest}
            for one in attachments
        ],
        "calendar": event_of(structure.parts),
        "problems": list(structure.problems),
    }
    return Mail(
        Message(
            source=source,
            message_id=natural,
            conversation=str(document["thread"]),
            content_type="message/rfc822",
            raw=raw,
            occurred_at=occurred_at,
            attributes=document,
        ),
        tuple(attachments),
    )


def _natural_id(identifier: Sequence[str], header: email.message.Message, raw: bytes, structure: Structure) -> str:
    """The Message-ID, and a digest of what was said under it.

    Anybody can send a mail with another's Message-ID; with the id alone the second of the two would vanish. What a mail
    gathers on its way (Received, DKIM, spam scores) is not part of the digest, so the same mail is the same.
    """
    digest = hashlib.sha256()
    for name in ("from", "to", "cc", "date", "subject"):
        digest.update(f"{_raw(header, name)}\0".encode("utf-8", "surrogatepass"))
    for part in structure.parts:
        digest.update(hashlib.sha256(part.content.replace(b"\r\n", b"\n").rstrip()).digest())
    if identifier:
        return f"<{identifier[0][:_LONGEST_ID]}>{digest.hexdigest()[:16]}"
    digest.update(raw[structure.body :].replace(b"\r\n", b"\n").rstrip())
    return f"sha256:{digest.hexdigest()}"


def _sorted_parts(structure: Structure) -> tuple[list[Part], list[Attachment]]:
    texts: list[Part] = []
    attachments: list[Attachment] = []
    for number, part in enumerate(structure.parts, start=1):
        is_text = part.content_type in {"text/plain", "text/html"} and len(part.content) <= _LARGEST_TEXT_PART
        if is_text and not part.attached and not part.filename:
            texts.append(part)
        elif part.content:
            attachments.append(Attachment(_file_name(part, number), part.content_type, part.content))
    return texts, attachments


def _body(texts: Sequence[Part]) -> tuple[str, bool]:
    """The text for a reader: plain where there is any; the parts of each kind one after the other."""
    plain = [text_of(part).replace("\r\n", "\n").strip() for part in texts if part.content_type == "text/plain"]
    if any(plain):
        return "\n\n".join(filter(None, plain)), False
    marked = [text_of_html(text_of(part)) for part in texts if part.content_type == "text/html"]
    return "\n\n".join(filter(None, marked)), any(marked)


def _file_name(part: Part, number: int) -> str:
    """A name that is safe to show and to save under: no path, no control characters."""
    told = _decoded(part.filename or part.parameters.get("name", ""))
    bare = re.sub(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "", told.replace("\\", "/").rpartition("/")[2])
    return bare.strip(" .")[:150] or f"part-{number}"


def _raw(header: email.message.Message, name: str) -> str:
    # `get` gives replacement characters for bytes that are not ASCII.
    value = next((str(value) for key, value in header.raw_items() if key.lower() == name), "")
    return re.sub(r"[\r\n]+[ \t]*", " ", value[: 2 * _LONGEST_HEADER])[:_LONGEST_HEADER]


def _text(header: email.message.Message, name: str) -> str:
    return _decoded(_raw(header, name))


def _decoded(value: str) -> str:
    """A header's text, out of RFC 2047; raw bytes, which nothing allows and many send, as UTF-8 or Windows-1252."""
    value = value[:_LONGEST_HEADER]
    if not value.isascii():
        content = value.encode("utf-8", "surrogateescape")
        try:
            value = content.decode("utf-8")
        except UnicodeDecodeError:
            value = content.decode("cp1252", "replace")
    if "=?" in value:
        with contextlib.suppress(Exception):  # whatever the library makes of a broken word, the header stands as it is
            value = str(email.header.make_header(email.header.decode_header(value)))
    return re.sub(r"[\x00-\x1f\x7f]+", " ", value).strip()


def _addresses(header: email.message.Message, name: str) -> list[dict[str, str]]:
    values = [_raw(header, name)] if name in header else []
    try:
        pairs = email.utils.getaddresses(values)
    except (ValueError, IndexError, TypeError, RecursionError):
        pairs = []
    found = []
    for told, address in pairs[:_MOST_ADDRESSES]:
        local, at, domain = address.strip().rpartition("@")
        if at and local and domain:
            found.append({"name": _decoded(told)[:200], "address": f"{_decoded(local)}@{domain.lower()}"[:320]})
    return found


def _ids(value: str) -> list[str]:
    return _MESSAGE_ID.findall(value) or [value.strip()[:_LONGEST_ID]] * bool(value.strip())


def _references(header: email.message.Message) -> list[str]:
    """The mails before this one in its conversation, the first of them first (RFC 5322, 3.6.4)."""
    found = _MESSAGE_ID.findall(_raw(header, "references")) + _MESSAGE_ID.findall(_raw(header, "in-reply-to"))
    unique = list(dict.fromkeys(found))
    return unique[:1] + unique[1:][-_MOST_REFERENCES:]


def _date(header: email.message.Message) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(_raw(header, "date"))
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _priority(header: email.message.Message) -> str:
    for name in ("importance", "priority", "x-priority", "x-msmail-priority"):
        word = _raw(header, name).strip().lower().partition(" ")[0]
        if word in _PRIORITIES:
            return _PRIORITIES[word]
    return "normal"


def _plus_tags(addresses: Iterable[str]) -> list[JsonValue]:
    """What is written behind a plus in an address: `tasks+invoices@example.com`."""
    found = []
    for address in addresses:
        tag = address.partition("@")[0].partition("+")[2].lower()
        if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", tag):
            found.append(tag)
    return list(dict.fromkeys(found))


def _automatic(header: email.message.Message, sender: str | None, structure: Structure) -> bool:
    """Whether no person wrote it (RFC 3834): bounces, notices of absence, bulk."""
    told = _raw(header, "auto-submitted").strip().lower()
    return (
        (bool(told) and not told.startswith("no"))
        or sender == ""
        or _raw(header, "precedence").strip().lower() in {"bulk", "junk", "auto_reply"}
        or any(part.content_type == "message/delivery-status" for part in structure.parts)
    )

"""Real mails, broken ones and hostile ones: each becomes a message, in time, and nothing of it is left out."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import test.test_email
from hypothesis import given
from hypothesis import strategies as st

from tasks.mail.html_text import text_of_html
from tasks.mail.mime import take_apart, text_of
from tasks.mail.reading import read_mail

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
CPYTHON = sorted((Path(test.test_email.__file__).parent / "data").glob("msg_*.txt"))
FOLDER = Path(__file__).parent / "broken"


def read(raw: bytes | str):
    return read_mail("email:desk", raw if isinstance(raw, bytes) else raw.encode(), received_at=AT)


def document(raw: bytes | str):
    return read(raw).message.attributes


def test_every_mail_of_cpythons_own_tests_is_read() -> None:
    assert len(CPYTHON) > 40
    read_ones = {path.name: read(path.read_bytes()) for path in CPYTHON}
    assert all(one.message.attributes["kind"] == "mail" for one in read_ones.values())
    by_id: dict[str, set[bytes]] = {}
    for path in CPYTHON:
        by_id.setdefault(read_ones[path.name].message.message_id, set()).add(path.read_bytes().rstrip())
    # Under one Message-ID, the same words: only how their type is declared differs.
    assert sorted(len(raws) for raws in by_id.values() if len(raws) > 1) == [2, 3]
    assert read_ones["msg_10.txt"].message.attributes["text"].count("Base64 encoded") == 2
    assert [one.name for one in read_ones["msg_07.txt"].attachments] == ["dingusfish.gif"]
    assert len(read_ones["msg_02.txt"].attachments) == 5


def test_every_broken_mail_is_read() -> None:
    found = {path.stem: document(path.read_bytes()) for path in sorted(FOLDER.glob("*.eml"))}
    assert len(found) >= 15
    assert "Grüße" in found["latin1-called-ascii"]["text"]
    assert found["raw-utf8-header"]["subject"] == "Müller fragt"
    assert found["windows-1252-header"]["subject"] == "Preis 100 €"
    assert found["unclosed-multipart"]["text"] == "first"
    assert found["unclosed-multipart"]["problems"] == ["a multipart was never closed"]
    assert found["no-header"]["text"] == "just some words\nand more"
    assert found["bad-base64"]["text"].startswith("Hello")
    assert found["truncated-encoded-word"]["subject"]
    assert found["unknown-charset"]["text"] == "plain words"
    assert found["outlook-invitation"]["calendar"]["summary"] == "Viewing of Elm Street 5"
    assert found["nested-forward"]["attachments"][0]["content_type"] == "message/rfc822"
    assert found["path-in-filename"]["attachments"][0]["name"] == "passwd"
    assert found["folded-oddly"]["subject"] == "one two three"
    assert found["html-only"]["text"] == "Hello Ann\n\n- one\n- two\n\n> quoted"
    assert found["bounce"]["automatic"]
    assert found["mbox-line"]["from"] == "ann@example.com"
    assert found["two-from-headers"]["from"] == "first@example.com"


@pytest.mark.parametrize(
    ("raw", "limit_s"),
    [
        (b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 1_000_000, 3),
        (b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(500)), 3),
        (b"Subject: " + b"=?a?q?" * 100_000 + b"\n\n", 3),
        (b"From: " + b"(" * 100_000 + b"\n\n", 3),
        (b"Content-Type: text/plain;" + b" a=b;" * 100_000 + b"\n\n", 5),
        (b"References: " + b"<a" * 100_000 + b"\n\n", 3),
        (b"Content-Type: text/html\n\n" + b"<a " * 500_000, 5),
        (b"Content-Type: text/html\n\n" + b"<!--" * 500_000, 5),
        (b"Content-Type: text/html\n\n" + b"<script>" * 200_000, 5),
        (b"Content-Type: text/plain; charset=punycode\n\n" + b"a-" * 50_000, 3),
        (b"Content-Type: text/plain; charset=unicode_escape\n\n\\x41", 3),
        (b"A: b\n" * 1_000_000, 5),
        (b"Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n" + b"M\n" * 1_500_000, 5),
        (b"Subject: " + b"Re: " * 50_000 + b"\n\n" + b"On x wrote\n" * 100_000 + b"> y", 5),
        (b"\x00" * 100_000, 3),
        (b"", 3),
    ],
)
def test_what_is_meant_to_hurt_takes_time_in_proportion(raw: bytes, limit_s: float) -> None:
    began = time.process_time()
    assert document(raw)["kind"] == "mail"
    assert time.process_time() - began < limit_s


@given(raw=st.binary(max_size=2000))
def test_whatever_comes_is_a_mail(raw: bytes) -> None:
    found = read(raw)
    assert found.message.raw == raw
    assert found.message.message_id


_PIECES = st.sampled_from(
    [b"--x\r\n", b"--x--\r\n", b"--y\n", b"\r\n\r\n", b"\n\n", b"Content-Type: multipart/mixed; boundary=y\r\n\r\n",
     b"Content-Type: text/plain\r\n\r\n", b"Content-Type: message/rfc822\n\n", b"words",
     b"Content-Disposition: attachment\n"]
)  # fmt: skip


@given(pieces=st.lists(_PIECES | st.binary(max_size=20), max_size=40))
def test_no_line_of_a_body_is_lost_between_parts(pieces: list[bytes]) -> None:
    """Whatever stands behind the first delimiter is in one of the parts, or is a delimiter or a header."""
    body = b"".join(pieces)
    found = take_apart(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nkept\r\n" + body)
    assert any(b"kept" in part.content for part in found.parts)


@given(words=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5))
def test_parts_come_out_as_they_went_in(words: list[str]) -> None:
    texts = [word.replace("\r", " ").replace("\x00", " ") for word in words]
    parts = "".join(f"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n" for text in texts)
    raw = f"Content-Type: multipart/mixed; boundary=b1\r\n\r\npreamble\r\n{parts}--b1--\r\nepilogue".encode(
        "utf-8", "surrogatepass"
    )
    found = take_apart(raw)
    if not any("--b1" in text for text in texts):
        assert [part.content for part in found.parts] == [text.encode("utf-8", "surrogatepass") for text in texts]


def test_a_mail_sent_again_is_the_same_and_a_strangers_with_its_id_is_not() -> None:
    mail = "Message-ID: <1@example.com>\r\nFrom: ann@example.com\r\nDate: Tue, 1 Dec 2026 09:00:00 +0000\r\n\r\nHi\r\n"
    again = "Received: by relay\r\nDKIM-Signature: x\r\n" + mail.replace("\r\n", "\n")
    forged = mail.replace("Hi", "Pay me")
    assert read(mail).message.message_id == read(again).message.message_id
    assert read(mail).message.message_id != read(forged).message.message_id
    assert read(mail).message.message_id.startswith("<1@example.com>")


def test_a_conversation_is_named_by_its_first_mail() -> None:
    first = document("Message-ID: <a@x>\n\n1")
    second = document("Message-ID: <b@x>\nIn-Reply-To: <a@x>\n\n2")
    third = document("Message-ID: <c@x>\nReferences: <a@x>\n <b@x>\nIn-Reply-To: <b@x>\n\n3")
    assert first["thread"] == second["thread"] == third["thread"] == "a@x"
    assert third["references"] == ["a@x", "b@x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes.\n\nOn Tue, 1 Dec 2026, Ann wrote:\n> Will you?\n> Ann", "Yes."),
        ("Yes.\n\nOn Tue, 1 Dec 2026 at 09:00, Ann Roe <ann@example.com>\nwrote:\n> Will you?", "Yes."),
        ("Ja.\n\nAm 1.12.2026 um 9:00 schrieb Ann:\n> Kommst du?", "Ja."),
        ("> Will you?\nYes.\n> And Bob?\nNo.", "> Will you?\nYes.\n> And Bob?\nNo."),
        ("Yes.\n-- \nAnn Roe\nDirector", "Yes."),
        ("Yes.\n\n-----Original Message-----\nFrom: Ann\nWill you?", "Yes."),
        ("> only what was quoted", "> only what was quoted"),
    ],
)
def test_what_is_new_is_told_from_what_is_quoted(text: str, said: str) -> None:
    assert document(f"Subject: x\n\n{text}")["said"] == said


def test_html_is_text_for_a_reader() -> None:
    html = (
        "<html><head><style>p{}</style></head><body><p>Dear&nbsp;Ann,</p><ul><li>one<li>two</ul>1 &lt; 2"
        "<script>x</script>"
    )
    assert text_of_html(html) == "Dear Ann,\n\n- one\n- two\n1 < 2"


def test_a_charset_is_not_believed_when_it_is_wrong() -> None:
    part = take_apart("Content-Type: text/plain; charset=us-ascii\n\nGrüße".encode()).parts[0]
    assert text_of(part) == "Grüße"

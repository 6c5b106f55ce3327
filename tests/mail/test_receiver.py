"""Mail that is sent to us: answered for when it is stored, once each, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.database import dsn
from blocks.settings import Settings
from tests.handoffs.making import Bench
from tests.mail.conftest import NewReceiver
from tests.mail.receiving import DESK, RunningReceiver, mail
from tests.mail.test_mime import CPYTHON, FOLDER, read

STORED = "SELECT message_id, attributes FROM handoff_message ORDER BY seq"


@pytest.fixture
def raw_client() -> Iterator[list[socket.socket]]:
    """Sockets that are closed at the end."""
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def _speak(client: socket.socket, said: bytes, until: bytes) -> bytes:
    """Say something, and read until the answer holds `until`."""
    client.sendall(said)
    heard = b""
    while until not in heard:
        chunk = client.recv(65536)
        assert chunk, heard
        heard += chunk
    return heard


async def test_a_mail_is_stored_before_it_is_answered_for_and_once(new_receiver: NewReceiver, bench: Bench) -> None:
    receiver = new_receiver()
    raw = mail("Roof leaks", Message_ID="<1@example.org>", Importance="high")
    for _ in range(3):
        receiver.send(raw, recipient="Desk+urgent@Example.com")
    receiver.send(mail("Another", Message_ID="<1@example.org>"))  # somebody else's words under the same id
    found = await bench.rows(STORED)
    assert [attributes["subject"] for _, attributes in found] == ["Roof leaks", "Another"]
    document = found[0][1]
    assert (document["from"], document["name"], document["priority"]) == ("ann@example.org", "Ann", "high")
    assert document["tags"] == ["urgent"]
    assert document["envelope"] == {"from": "ann@example.org", "to": ["Desk+urgent@Example.com"]}
    logged = receiver.logged()
    assert "example.org" not in logged
    assert "Roof" not in logged


async def test_every_mail_of_cpython_and_every_broken_one_goes_through(new_receiver: NewReceiver, bench: Bench) -> None:
    receiver = new_receiver()
    raws = [path.read_bytes() for path in (*CPYTHON, *sorted(FOLDER.glob("*.eml")))]
    expected = set()
    with receiver.client() as client:
        for raw in raws:
            assert client.sendmail("x@example.org", [DESK], raw) == {}
            # Over the wire every line ends with CR LF.
            expected.add(read(smtplib._fix_eols(raw.decode("latin-1")).encode("latin-1")).message.message_id)  # type: ignore[attr-defined]
    found = {message_id for message_id, _ in await bench.rows(STORED)}
    assert len(raws) > 65
    assert len(found) == len(expected) > 60
    assert (await bench.rows("SELECT count(*) FROM handoff_message WHERE raw = ''"))[0][0] == 0


async def test_only_our_addresses_are_written_to(new_receiver: NewReceiver, bench: Bench) -> None:
    receiver = new_receiver(protocol="smtp")
    for stranger in ("somebody@elsewhere.example", "desk@evil.example.com", "desk@example.com@elsewhere.example"):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            receiver.send(mail(), recipient=stranger)
    with receiver.client() as client:
        refused = client.sendmail("a@b.example", ["anybody@tasks.example.com", "x@elsewhere.example"], mail("kept"))
    assert list(refused) == ["x@elsewhere.example"]
    assert [attributes["subject"] for _, attributes in await bench.rows(STORED)] == ["kept"]


async def test_what_is_too_large_is_refused_and_the_conversation_goes_on(
    new_receiver: NewReceiver, bench: Bench
) -> None:
    receiver = new_receiver(largest_mib=0.1)
    with receiver.client() as client:
        with pytest.raises(smtplib.SMTPSenderRefused):  # it says its size
            client.sendmail("a@b.example", [DESK], mail(body="x" * 200_000))
        client.rset()
        client.docmd("MAIL", "FROM:<a@b.example>")
        client.docmd("RCPT", f"TO:<{DESK}>")
        assert client.data(mail(body=("x" * 500 + "\r\n") * 5_000))[0] == 552  # it does not
        assert client.sendmail("a@b.example", [DESK], mail("small")) == {}
    assert [attributes["subject"] for _, attributes in await bench.rows(STORED)] == ["small"]


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r"])
async def test_nothing_is_smuggled_behind_a_wrong_end(
    new_receiver: NewReceiver, bench: Bench, raw_client: list[socket.socket], end: bytes
) -> None:
    receiver = new_receiver(protocol="smtp")
    client = socket.create_connection(("127.0.0.1", receiver.port), timeout=10)
    raw_client.append(client)
    _speak(client, b"", b"\r\n")
    _speak(client, b"HELO x\r\n", b"250")
    _speak(client, b"MAIL FROM:<a@b.example>\r\n", b"250")
    _speak(client, b"RCPT TO:<desk@example.com>\r\n", b"250")
    _speak(client, b"DATA\r\n", b"354")
    smuggled = b"MAIL FROM:<b@b.example>\r\nRCPT TO:<desk@example.com>\r\nDATA\r\nSubject: second\r\n\r\nx\r\n.\r\n"
    heard = _speak(client, b"Subject: first\r\n\r\nwords" + end + smuggled, b"\r\n")
    client.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        heard += client.recv(65536)
    assert heard.count(b"250 2.0.0") == 1
    found = await bench.rows(STORED)
    assert [attributes["subject"] for _, attributes in found] == ["first"]
    assert "Subject: second" in found[0][1]["text"]


async def test_commands_in_the_same_packet_as_the_end_are_heard(
    new_receiver: NewReceiver, bench: Bench, raw_client: list[socket.socket]
) -> None:
    receiver = new_receiver()
    client = socket.create_connection(("127.0.0.1", receiver.port), timeout=10)
    raw_client.append(client)
    _speak(client, b"", b"\r\n")
    envelope = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<desk@example.com>\r\nRCPT TO:<x@tasks.example.com>\r\nDATA\r\n"
    _speak(client, b"LHLO x\r\n" + envelope, b"354")
    heard = _speak(client, b"..one\r\n.\r\n" + envelope + b"Subject: two\r\n\r\n.\r\nQUIT\r\n", b"221")
    assert heard.count(b"250 2.0.0 stored") == 4  # of LMTP, each recipient has an answer of their own
    assert [attributes["subject"] for _, attributes in await bench.rows(STORED)] == ["", "two"]
    assert (await bench.rows("SELECT raw FROM handoff_message ORDER BY seq"))[0][0] == b".one\r\n"


async def test_too_many_conversations_are_told_to_come_again(
    new_receiver: NewReceiver, raw_client: list[socket.socket]
) -> None:
    receiver = new_receiver()
    for _ in range(100):
        raw_client.append(socket.create_connection(("127.0.0.1", receiver.port), timeout=10))
        _speak(raw_client[-1], b"", b"220")
    late = socket.create_connection(("127.0.0.1", receiver.port), timeout=10)
    raw_client.append(late)
    assert _speak(late, b"", b"\r\n").startswith(b"421")
    raw_client[0].close()
    deadline = time.monotonic() + 10
    while True:
        again = socket.create_connection(("127.0.0.1", receiver.port), timeout=10)
        raw_client.append(again)
        if _speak(again, b"", b"\r\n").startswith(b"220"):
            return
        assert time.monotonic() < deadline


async def test_while_the_database_is_away_nothing_is_taken(
    new_receiver: NewReceiver, bench: Bench, postgres: Settings, database: str
) -> None:
    receiver = new_receiver()
    receiver.send(mail("before"))
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
        with pytest.raises(smtplib.SMTPDataError) as refused:
            receiver.send(mail("meanwhile"))
        assert refused.value.smtp_code == 451
        connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
    receiver.send(mail("meanwhile"))
    assert [attributes["subject"] for _, attributes in await bench.rows(STORED)] == ["before", "meanwhile"]
    assert "Traceback" not in receiver.logged()


def _storm(receiver: RunningReceiver, senders: list[threading.Thread], answered: list[int]) -> int:
    """Kill the receiver after every sixty mails, until the senders are through; how often it was killed."""
    for sender in senders:
        sender.start()
    hits = 0
    deadline = time.monotonic() + 120
    while any(sender.is_alive() for sender in senders) and time.monotonic() < deadline:
        before = len(answered)
        while len(answered) < min(400, before + 60) and time.monotonic() < deadline:
            time.sleep(0.005)
        if len(answered) < 400:
            receiver.kill()
            hits += 1
            receiver.start()
    for sender in senders:
        sender.join(30)
    return hits


async def test_killed_again_and_again_it_loses_nothing_that_it_answered_for(
    new_receiver: NewReceiver, bench: Bench
) -> None:
    receiver = new_receiver()
    answered: list[int] = []
    stop = threading.Event()

    def deliver(numbers: range) -> None:
        for number in numbers:
            raw = mail(f"m{number}", "x" * 20_000, Message_ID=f"<{number}@example.org>")
            while not stop.is_set():
                try:
                    receiver.send(raw)
                except (OSError, smtplib.SMTPException):
                    time.sleep(0.02)
                    continue
                answered.append(number)
                break

    hits = _storm(receiver, [threading.Thread(target=deliver, args=(range(n, 400, 4),)) for n in range(4)], answered)
    stop.set()
    assert sorted(answered) == list(range(400))
    assert hits >= 4
    found = await bench.rows("SELECT attributes->>'subject', count(*) FROM handoff_message GROUP BY 1")
    assert len(found) == 400
    assert {count for _, count in found} == {1}


async def test_files_are_kept_once_each_and_go_with_the_last_mail_that_has_them(
    new_receiver: NewReceiver, bench: Bench
) -> None:
    from tasks.mail.storing import drop_unused

    receiver = new_receiver()
    raw = (FOLDER / "path-in-filename.eml").read_bytes()
    receiver.send(raw)
    receiver.send(b"Date: Tue, 1 Dec 2026 10:00:00 +0000\n" + raw)
    assert await bench.rows("SELECT count(*) FROM mail_attachment") == [(2,)]
    assert await bench.rows("SELECT count(*) FROM mail_file") == [(1,)]
    async with await bench.connect() as connection:
        assert await drop_unused(connection) == 0
        await connection.execute("DELETE FROM handoff_message")
        assert await drop_unused(connection) == 1


def test_it_says_why_it_does_not_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        receiver = RunningReceiver(home, taken.getsockname()[1], "postgresql://127.0.0.1:9/x", {})
        receiver.start()  # somebody listens: not we
        assert receiver._process is not None
        assert receiver._process.wait(timeout=30) == 2
    assert "cannot listen" in receiver.logged()

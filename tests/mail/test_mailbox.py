"""A real IMAP account is fetched: everything once, whatever breaks between storing here and settling there."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr, ValidationError

from blocks.errors import UnavailableError
from blocks.mailbox import Mailbox as Account
from models.mail import Mailbox
from tasks.mail import fetching
from tasks.mail.fetching import Fetched, fetch, marks_of
from tasks.mail.imap import Folder
from tests.handoffs.making import Bench, make_route
from tests.mail.imap_server import RunningImap
from tests.mail.receiving import mail

ROUTE = make_route(name="desk", source="email:desk", target={"kind": "board"}, extract="task")
SUBJECTS = "SELECT attributes->>'subject' FROM handoff_message ORDER BY seq"


def mailbox(**more: Any) -> Mailbox:
    return Mailbox.model_validate({"name": "desk", "block": "desk"} | more)


async def fetched(bench: Bench, imap: RunningImap, *, dry_run: bool = False, **more: Any) -> Fetched:
    async with await bench.connect() as connection:
        return await fetch(connection, mailbox(**more), imap.block.get_client, [ROUTE], dry_run=dry_run)


async def subjects(bench: Bench) -> list[str]:
    return [row[0] for row in await bench.rows(SUBJECTS)]


async def test_what_is_new_is_stored_once_and_marked_as_read(bench: Bench, imap: RunningImap) -> None:
    imap.put(mail("one"), mail("two"))
    assert (await fetched(bench, imap, dry_run=True)).found == 2
    assert await subjects(bench) == []
    assert imap.mails() == [("one", ()), ("two", ())]
    done = await fetched(bench, imap)
    assert (done.found, done.stored) == (2, 2)
    assert imap.mails() == [("one", (r"\Seen",)), ("two", (r"\Seen",))]
    assert (await fetched(bench, imap)).found == 0
    imap.put(mail("three"))
    assert (await fetched(bench, imap)).found == 1
    assert await subjects(bench) == ["one", "two", "three"]


async def test_what_was_read_by_a_person_is_fetched_all_the_same(bench: Bench, imap: RunningImap) -> None:
    imap.put(mail("read already"), flags=(r"\Seen",))
    await fetched(bench, imap, then="keep")
    imap.put(mail("new"))
    await fetched(bench, imap, then="keep")
    assert await subjects(bench) == ["read already", "new"]
    assert imap.mails() == [("read already", (r"\Seen",)), ("new", ())]


async def test_they_are_moved_where_they_are_to_go(bench: Bench, imap: RunningImap) -> None:
    imap.put(mail("one"), mail("two"))
    await fetched(bench, imap, then="move", move_to="Übergeben")
    assert imap.mails() == []
    assert [subject for subject, _ in imap.mails("Übergeben")] == ["one", "two"]
    imap.put(mail("three"))
    await fetched(bench, imap, then="move", move_to="Übergeben")
    assert await subjects(bench) == ["one", "two", "three"]


async def test_without_move_nothing_is_expunged_that_others_have_marked(
    bench: Bench, imap: RunningImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "_able", lambda _self: frozenset({"UIDPLUS"}))
    imap.put(mail("marked"), flags=(r"\Deleted",))
    await fetched(bench, imap, then="keep")
    imap.put(mail("ours"))
    await fetched(bench, imap, then="move", move_to="Done")
    assert imap.mails() == [("marked", (r"\Deleted",))]
    assert len(imap.mails("Done")) == 1


async def test_what_is_too_large_stays_and_is_taken_once_it_may(bench: Bench, imap: RunningImap) -> None:
    imap.put(mail("small"), mail("large", "x" * 200_000), mail("last"))
    for _ in range(2):
        done = await fetched(bench, imap, largest_mib=0.1)
        assert [one.size > 200_000 for one in done.too_large] == [True]
    assert await subjects(bench) == ["small", "last"]
    assert [flags for subject, flags in imap.mails() if subject == "large"] == [()]
    done = await fetched(bench, imap)
    assert (done.found, done.too_large) == (1, [])
    assert await subjects(bench) == ["small", "last", "large"]


async def test_a_folder_that_counts_anew_is_read_anew_and_nothing_is_stored_twice(
    bench: Bench, imap: RunningImap
) -> None:
    imap.put(mail("one"), mail("two"))
    await fetched(bench, imap)
    async with await bench.connect() as connection:
        before = (await marks_of(connection))["desk"].uidvalidity
    imap.stop()
    (imap.folder / "desk" / "dovecot-uidlist").unlink()
    imap.start()
    imap.put(mail("three"))
    done = await fetched(bench, imap)
    assert (done.found, done.stored) == (3, 1)
    async with await bench.connect() as connection:
        assert (await marks_of(connection))["desk"].uidvalidity != before
    assert await subjects(bench) == ["one", "two", "three"]


@pytest.mark.parametrize("then", [{}, {"then": "move", "move_to": "Done"}])
async def test_cut_off_between_storing_and_settling_it_settles_later(
    bench: Bench, imap: RunningImap, monkeypatch: pytest.MonkeyPatch, then: dict[str, str]
) -> None:
    imap.put(mail("one"), mail("two"))
    whole = Folder.mark_seen, Folder.move

    def cut(*_arguments: Any) -> None:
        imap.stop()
        raise OSError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "mark_seen", cut)
        patch.setattr(Folder, "move", cut)
        with pytest.raises(UnavailableError):
            await fetched(bench, imap, **then)
    assert (Folder.mark_seen, Folder.move) == whole
    assert await subjects(bench) == ["one", "two"]
    imap.start()
    imap.put(mail("three"))
    done = await fetched(bench, imap, **then)
    assert (done.found, done.stored) == (1, 1)
    if then:
        assert imap.mails() == []
    else:
        assert {flags for _, flags in imap.mails()} == {(r"\Seen",)}
    assert await subjects(bench) == ["one", "two", "three"]


async def test_many_mails_go_by_batches_and_a_cut_costs_only_the_last(
    bench: Bench, imap: RunningImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MOST_AT_ONCE", 10)
    imap.put(*(mail(f"m{number}") for number in range(35)))
    whole = Folder.fetch
    asked: list[int] = []

    def cut(self: Folder, uids: Any) -> dict[int, bytes]:
        asked.append(len(uids))
        if len(asked) == 3:
            imap.stop()
        return whole(self, uids)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "fetch", cut)
        with pytest.raises(UnavailableError):
            await fetched(bench, imap)
    assert asked == [10, 10, 10]
    assert len(await subjects(bench)) == 20
    imap.start()
    assert (await fetched(bench, imap)).found == 15
    assert sorted(await subjects(bench)) == sorted(f"m{number}" for number in range(35))


async def test_two_fetches_at_a_time_are_one(bench: Bench, imap: RunningImap) -> None:
    imap.put(*(mail(f"m{number}") for number in range(20)))
    both = await asyncio.gather(fetched(bench, imap), fetched(bench, imap))
    assert sum(one.stored for one in both) == 20
    assert [one.held_elsewhere for one in both].count(True) <= 1


async def test_what_the_server_does_not_give_is_not_passed_over(
    bench: Bench, imap: RunningImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    imap.put(mail("one"), mail("two"))
    whole = Folder.fetch
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "fetch", lambda self, uids: whole(self, uids[1:]))
        with pytest.raises(UnavailableError, match="does not give the mail with UID 1"):
            await fetched(bench, imap)
    assert (await fetched(bench, imap)).found == 2
    assert await subjects(bench) == ["one", "two"]


async def test_faults_of_account_and_server_are_said_without_the_password(bench: Bench, imap: RunningImap) -> None:
    wrong = imap.block.model_copy(update={"password": SecretStr("not this one")})
    async with await bench.connect() as connection:
        with pytest.raises(UnavailableError, match="user or password are refused") as refused:
            await fetch(connection, mailbox(), wrong.get_client, [ROUTE])
        assert "not this one" not in repr(refused.value)
    with pytest.raises(UnavailableError, match="cannot be opened"):
        await fetched(bench, imap, folder="Nowhere")
    imap.stop()
    with pytest.raises(UnavailableError, match="does not answer"):
        await fetched(bench, imap)


def test_passwords_go_over_the_network_only_with_tls() -> None:
    with pytest.raises(ValidationError, match="in the clear"):
        Account(host="mail.example.com", security="none", user="x", password=SecretStr("y"))


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_a_server_is_spoken_to_only_if_its_certificate_is_good(
    bench: Bench, imap: RunningImap, tmp_path: Path
) -> None:
    imap.put(mail("one"))
    imap.stop()
    certificate, key = _certificate(tmp_path)
    imap.start("--cert", str(certificate), "--key", str(key))
    account = imap.block.model_copy(update={"security": "starttls"})
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(account.get_client)
    async with await bench.connect() as connection:
        with pytest.raises(UnavailableError, match="SSLCertVerificationError"):
            await fetch(connection, mailbox(), account.get_client, [ROUTE])
        trusting = account.model_copy(update={"authority": str(certificate)})
        done = await fetch(connection, mailbox(), trusting.get_client, [ROUTE])
    assert done.stored == 1
    shutil.rmtree(imap.folder / "desk")

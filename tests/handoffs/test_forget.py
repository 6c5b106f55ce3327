"""Forgetting a person finds what is told of them, however it is written, and nobody else."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.handoff import Delivered, Effect, Message, Outcome, Refused
from tasks.handoffs import forget, letters
from tasks.handoffs.board_target import BoardTarget
from tasks.handoffs.crm_target import CrmTarget
from tasks.handoffs.mentions import Mentions
from tests.handoffs.making import Bench, Recorder, make_message, make_route

JANE = "+491711234567"
WAMID = (
    "wamid." + base64.b64encode(b"\x1c\x18\x0c491711234567\x15\x02\x00\x12\x18\x14" + b"3EB0C767D71AA4AC6B28").decode()
)


@pytest.mark.parametrize(
    "text",
    [
        "call +49 171 1234567",
        "call 0171/123 45 67 today",
        "0171-1234567",
        "+49 (0)171 1234567",
        "tel:+491711234567;",
        "0049 171 1234567",
        "wa.me/491711234567",
        '{"n": "491711234567"}',
        "+49\u00a0171\u00a01234567",
    ],
)
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert Mentions([JANE]).found_in(text)


@pytest.mark.parametrize(
    "text",
    ["0171 1234568", "order 9171123456712", "4917112345678", "1, 7, 1, 1, 2, 3, 4, 5, 6, 7", "", "+1 171 123 4567"],
)
def test_another_number_is_not_taken_for_it(text: str) -> None:
    assert not Mentions([JANE]).found_in(text)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("mail Jane@Example.com.", True),
        ("<jane@example.com>", True),
        ("mary-jane@example.com", False),
        ("jane@example.com.au", False),
        ("jane@example", False),
    ],
)
def test_an_address_is_found_as_a_whole(text: str, there: bool) -> None:
    assert Mentions(["jane@example.com"]).found_in(text) is there


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_number_is_found_within_base64_wherever_it_lies(before: bytes, after: bytes) -> None:
    identifier = base64.b64encode(before + JANE[1:].encode() + after).decode()
    assert any(pattern.strip("%") in identifier for pattern in Mentions([JANE]).in_ids)


async def everything(bench: Bench) -> str:
    told = ""
    for table in (
        *("handoff_message", "handoff_effect", "handoff_edit", "delivery", "crm_contact", "crm_interaction"),
        *("board_task", "board_entry", "mail_attachment", "mail_file"),
    ):
        told += str(await bench.rows(f"SELECT to_jsonb({table}) FROM {table}"))
        if table == "handoff_message":
            told += str(await bench.rows("SELECT convert_from(raw, 'UTF8') FROM handoff_message"))
    return told


async def test_messages_that_mention_the_person_are_found_and_others_stay(bench: Bench) -> None:
    route = make_route(name="leads", extract="lead", required=["phone"], target={"kind": "crm"})

    def said(number: int, sender: str, text: str) -> Message:
        return make_message(number, f"99:{sender[1:]}", **{"from": sender, "text": text})

    await bench.store(
        route,
        said(1, "+491717654321", "ask my wife Ilse, 0171 / 123 45 67"),
        said(2, "+491717654321", "my order is 17112345670"),
        said(3, "+491717654321", "Ilse's number is 0171-1234567"),
    )
    await bench.rows(
        "INSERT INTO delivery (source, delivery_id, event, content_type, body, received_at, status, flow_run_ids, "
        "attempts, next_attempt_at) SELECT 'w', d, '', '', body, now(), 'handed_on', '{}', 0, now() FROM (VALUES "
        "('d1', '{\"text\": \"Ilse, 0171 / 123 45 67\"}'::bytea), ('d2', '{\"text\": \"17112345670\"}')) AS r (d, body)"
    )
    await bench.drain(route, CrmTarget())
    async with await bench.connect() as connection:
        planned = await forget.forget(connection, JANE, dry_run=True)
        assert "Ilse" in await everything(bench)
        done = await forget.forget(connection, JANE)
        assert (await forget.forget(connection, JANE)).nothing
    assert done == planned
    assert (done.mentioning, done.counts["messages"], done.counts["deliveries"]) == (2, 2, 1)
    left = await everything(bench)
    assert "Ilse" not in left
    assert "17112345670" in left
    assert await bench.rows("SELECT phone FROM crm_contact") == [("+491717654321",)]
    assert await bench.rows("SELECT message_id FROM crm_interaction") == [("m2",)]


async def test_number_and_address_of_a_contact_are_one_person(bench: Bench) -> None:
    route = make_route(name="leads", extract="lead", required=["phone"], target={"kind": "crm"})
    await bench.store(
        route,
        make_message(1, "99:491711234567", **{"from": JANE, "text": "write to Jane@example.com"}),
        make_message(2, "mail", **{"from": "jane@example.com", "text": "it is me again"}),
        make_message(3, "99:491717654321", **{"from": "+491717654321", "text": "somebody else"}),
    )
    await bench.drain(route, CrmTarget())
    assert (JANE, "jane@example.com") in [
        (phone, (mail or "").lower()) for phone, mail in await bench.rows("SELECT phone, email FROM crm_contact")
    ]
    for key in (JANE, "JANE@example.com"):
        async with await bench.connect() as connection:
            done = await forget.forget(connection, key, dry_run=True)
            assert {one.lower() for one in done.keys} == {JANE, "jane@example.com"}
            assert done.counts["messages"] == 2
            assert done.counts["contacts"] == 1


async def test_an_id_that_holds_the_number_is_replaced_and_the_message_is_still_known(bench: Bench) -> None:
    route = make_route()
    told = Message("webhook:shop", WAMID, "99:491711234567", "application/json", b"{}", None, {"from": JANE})
    status = Message("webhook:shop", f"{WAMID}:read", "99:491711234567", "application/json", b"{}", None, {"to": JANE})
    await bench.store(route, told, status, make_message(1, "other"))

    def answer(effect: Effect) -> Outcome:
        return Refused("no") if effect.message_id.endswith(":read") else Delivered("x")

    await bench.drain(route, Recorder(answer))
    async with await bench.connect() as connection:
        await letters.resend(connection, "orders", [status.message_id])
        done = await forget.forget(connection, JANE)
        assert done.counts["ids"] == 2
        assert (await forget.forget(connection, JANE)).nothing
    left = await everything(bench)
    assert "NDkxNzExMjM0NTY3" not in left
    assert "491711234567" not in left
    known = f"forgotten:{hashlib.sha256(WAMID.encode()).hexdigest()}"
    assert (await bench.effects())[known][0] == "delivered", "what was counted stays counted"
    assert await bench.store(route, told, status, make_message(2, "other")) == 1, "only what is new is stored"
    target = Recorder()
    await bench.drain(route, target)
    assert target.ids == ["m2"]


async def attach(bench: Bench, route: str, message_id: str, content: bytes) -> None:
    await bench.rows(
        "INSERT INTO mail_file (digest, size, content) VALUES (sha256(%s::bytea), 1, %s)", content, content
    )  # fmt: skip
    await bench.rows(
        "INSERT INTO mail_attachment (route, message_id, place, digest, name, content_type) "
        "VALUES (%s, %s, 0, sha256(%s::bytea), 'a.pdf', 'application/pdf')", route, message_id, content,
    )  # fmt: skip


async def test_files_tasks_and_what_was_said_about_tasks_go_with_the_person(bench: Bench) -> None:
    route = make_route(
        name="desk",
        fields={"title": "title", "description": "text", "requester": "from", "id": "id"},
        target={"kind": "board"},
    )

    def mail(number: int, thread: str, sender: str, text: str) -> Message:
        more: dict[str, Any] = {"from": sender, "title": text.split(maxsplit=1)[0], "text": text, "id": f"i{number}"}
        return make_message(number, thread, **more)

    await bench.store(
        route,
        mail(1, "t1", "jane@example.com", "Lamp is broken, Jane"),
        mail(2, "t1", "joe@example.com", "Same here, Joe"),
        mail(3, "t2", "joe@example.com", "Door is stuck, Joe"),
        mail(4, "t2", "jane@example.com", "Mine too, Jane"),
        mail(5, "t3", "joe@example.com", "Jane's window: ask jane@example.com"),
        mail(6, "t3", "joe@example.com", "It is the left one"),
    )
    await bench.drain(route, BoardTarget())
    await attach(bench, "desk", "m1", b"of Jane")
    await attach(bench, "desk", "m3", b"of Joe")
    async with await bench.connect() as connection:
        done = await forget.forget(connection, "jane@example.com")
    assert {name: done.counts[name] for name in ("messages", "attachments", "tasks", "retold", "entries")} == {
        "messages": 3, "attachments": 1, "tasks": 1, "retold": 1, "entries": 2,
    }  # fmt: skip
    left = await everything(bench)
    assert "Jane" not in left
    assert "jane@" not in left
    assert await bench.rows("SELECT content FROM mail_file") == [(b"of Joe",)]
    assert await bench.rows("SELECT title, description FROM board_task ORDER BY id") == [
        ("Door", "Door is stuck, Joe"),
        ("forgotten", None),
    ]
    assert await bench.rows("SELECT text FROM board_entry ORDER BY id") == [
        ("Door is stuck, Joe",),
        ("It is the left one",),
    ]


async def test_files_of_messages_that_are_past_their_time_go_and_the_board_stays(bench: Bench) -> None:
    route = make_route(
        name="desk", retention_days=1.0, fields={"title": "title"}, target={"kind": "board"},
    )  # fmt: skip
    await bench.store(route, make_message(1, title="Lamp"), make_message(2, "d", title="Door"))
    await bench.drain(route, BoardTarget())
    await attach(bench, "desk", "m1", b"old")
    await attach(bench, "desk", "m2", b"new")
    async with await bench.connect() as connection:
        await connection.execute("UPDATE handoff_message SET received_at = %s WHERE message_id = 'm1'", (
            datetime(2020, 1, 1, tzinfo=UTC),
        ))  # fmt: skip
        assert await forget.empty_old(connection, [route]) == 1
    assert await bench.rows("SELECT message_id FROM mail_attachment") == [("m2",)]
    assert await bench.rows("SELECT title FROM board_task ORDER BY id") == [("Lamp",), ("Door",)]

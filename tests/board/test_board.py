"""Conversations become tasks: once each, with updates, whatever is handed on twice."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from models.board import NewTask, Priority
from tasks.board.tasks import Origin, add, change, file_of, take_in, task_of, tasks
from tasks.handoffs.board_target import BoardTarget
from tasks.mail.storing import store_mails
from tasks.mail.taking import take_mail
from tests.handoffs.making import Bench, make_route
from tests.mail.receiving import mail
from tests.mail.test_mime import CPYTHON, FOLDER

ROUTE = make_route(name="desk", source="email:desk", target={"kind": "board"}, extract="task")


async def arrive(bench: Bench, *raws: bytes) -> None:
    """Mails that are received one after the other, and handed on."""
    now = datetime.now(UTC)
    async with await bench.connect() as connection:
        for raw in raws:
            one = take_mail("email:desk", raw, sender=None, recipients=(), received_at=now)
            await store_mails(connection, [ROUTE], [one], now)
    await bench.drain(ROUTE, BoardTarget())


async def board(bench: Bench, **more: Any) -> list[dict[str, Any]]:
    async with await bench.connect() as connection:
        return await tasks(connection, **more)


async def shown(bench: Bench, task: int) -> dict[str, Any]:
    async with await bench.connect() as connection:
        found = await task_of(connection, task)
    assert found is not None
    return found


FIRST = mail(
    "[Roof] Please mend it by 2027-01-15", "It leaks.\r\n#urgent-repair", Message_ID="<1@x>", Importance="high"
)
REPLY = mail(
    "Re: [Roof] Please mend it by 2027-01-15", "Also the gutter. #gutter\r\n\r\nOn Monday Ann wrote:\r\n> It leaks.",
    Message_ID="<2@x>", In_Reply_To="<1@x>", References="<1@x>",
)  # fmt: skip


async def test_a_thread_is_one_task_with_updates(bench: Bench) -> None:
    await arrive(bench, FIRST, REPLY)
    (task,) = await board(bench)
    assert task["title"] == "Please mend it by 2027-01-15"
    assert (task["priority"], task["due"], task["requester"]) == ("high", date(2027, 1, 15), "ann@example.org")
    assert task["tags"] == ["roof", "urgent-repair", "gutter"]
    entries = (await shown(bench, task["id"]))["entries"]
    assert [entry["text"] for entry in entries] == ["It leaks.\n#urgent-repair", "Also the gutter. #gutter"]
    assert entries[1]["changes"] == {"tags": ["roof", "urgent-repair", "gutter"]}


async def test_an_answer_whose_references_lost_their_beginning_is_known_by_what_it_answers(bench: Bench) -> None:
    await arrive(bench, FIRST, REPLY)
    await arrive(bench, mail("AW: roof", "and the door", Message_ID="<3@x>", In_Reply_To="<2@x>"))
    (task,) = await board(bench)
    assert len((await shown(bench, task["id"]))["entries"]) == 3


async def test_what_arrives_again_changes_nothing(bench: Bench) -> None:
    await arrive(bench, FIRST, REPLY, FIRST, REPLY)
    await arrive(bench, FIRST)
    (task,) = await board(bench)
    assert task["entries"] == 2


async def test_an_effect_that_is_repeated_is_one_entry(bench: Bench) -> None:
    origin = Origin("desk", "thread", "m1", "key")
    async with await bench.connect() as connection:
        first = await take_in(connection, NewTask(title="one"), origin)
        assert await take_in(connection, NewTask(title="one"), origin) == first
    (task,) = await board(bench)
    assert task["entries"] == 1


async def test_an_answer_opens_again_what_had_ended_and_never_lowers_what_a_person_set(bench: Bench) -> None:
    await arrive(bench, FIRST)
    (task,) = await board(bench)
    async with await bench.connect() as connection:
        changes = {"state": "done", "priority": "urgent", "due": date(2027, 2, 1), "assignee": "Bob"}
        assert await change(connection, task["id"], changes, author="bob", note="mended")
        assert not await change(connection, 999, {"state": "done"}, author="bob", note=None)
        with pytest.raises(ValueError, match="route cannot be changed"):
            await change(connection, task["id"], {"route": "x"}, author="bob", note=None)
    assert await board(bench, states=["open", "doing"]) == []
    await arrive(bench, REPLY)
    (task,) = await board(bench, states=["open"])
    assert (task["priority"], task["due"], task["assignee"]) == ("urgent", date(2027, 2, 1), "Bob")
    assert [entry["author"] for entry in (await shown(bench, task["id"]))["entries"]] == [
        "ann@example.org", "bob", "ann@example.org",
    ]  # fmt: skip


async def test_the_most_urgent_come_first(bench: Bench) -> None:
    async with await bench.connect() as connection:
        for title, priority, due in (
            ("later", Priority.normal, date(2027, 3, 1)),
            ("whenever", Priority.low, date(2026, 12, 1)),
            ("sooner", Priority.normal, date(2027, 1, 1)),
            ("now", Priority.urgent, None),
        ):
            await add(connection, NewTask(title=title, priority=priority, due=due, tags=(title,)), "me")
    assert [task["title"] for task in await board(bench)] == ["now", "sooner", "later", "whenever"]
    assert [task["title"] for task in await board(bench, due=date(2027, 1, 31))] == ["sooner", "whenever"]
    assert [task["title"] for task in await board(bench, tag="later")] == ["later"]


async def test_a_file_is_got_by_its_digest(bench: Bench) -> None:
    await arrive(bench, (FOLDER / "path-in-filename.eml").read_bytes())
    (task,) = await board(bench)
    (file,) = (await shown(bench, task["id"]))["entries"][0]["attachments"]
    async with await bench.connect() as connection:
        content = await file_of(connection, task["id"], file["sha256"][:10])
        assert content is not None
        assert len(content) == file["size"]
        assert await file_of(connection, task["id"], "0" * 64) is None
        assert await file_of(connection, task["id"] + 1, file["sha256"]) is None


async def test_every_mail_of_cpython_and_every_broken_one_is_on_the_board(bench: Bench) -> None:
    raws = [path.read_bytes() for path in (*CPYTHON, *sorted(FOLDER.glob("*.eml")))]
    await arrive(bench, *raws)
    states = await bench.rows("SELECT state, count(*) FROM handoff_effect GROUP BY 1")
    assert [state for state, _ in states] == ["delivered"]
    messages = (await bench.rows("SELECT count(*) FROM handoff_message"))[0][0]
    assert states[0][1] == messages > 60
    assert (await bench.rows("SELECT count(*) FROM board_entry"))[0][0] == messages


async def test_a_conversation_of_many_at_once_is_one_task(bench: Bench) -> None:
    raws = [
        mail(f"Re: roof {number}", f"words {number}", Message_ID=f"<n{number}@x>", References="<root@x>")
        for number in range(40)
    ]
    await arrive(bench, *raws)
    (task,) = await board(bench)
    texts = [entry["text"] for entry in (await shown(bench, task["id"]))["entries"]]
    assert texts == [f"words {number}" for number in range(40)]

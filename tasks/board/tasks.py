"""The board in our database: tasks, and what was said about each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from models.board import NewTask, TaskState

_CHANGEABLE = frozenset({"state", "priority", "due", "assignee", "title", "tags"})

# A mail whose beginning of the conversation was left out of its references is known by any mail that it names.
_KNOWN = """
SELECT id, title, description, state, priority, tags, due, requester FROM board_task
WHERE route = %(route)s AND thread = %(thread)s
UNION ALL
SELECT task.id, task.title, task.description, task.state, task.priority, task.tags, task.due, task.requester
FROM board_entry AS entry JOIN board_task AS task ON task.id = entry.task_id
WHERE entry.route = %(route)s AND entry.mail_id = ANY(%(references)s)
LIMIT 1
"""

_NEW = """
INSERT INTO board_task (route, thread, title, description, state, priority, tags, due, requester, requester_name,
                        created_at, updated_at)
VALUES (%(route)s, %(thread)s, %(title)s, %(description)s, 'open', %(priority)s, %(tags)s, %(due)s, %(requester)s,
        %(requester_name)s, now(), now())
RETURNING id
"""

_ENTRY = """
INSERT INTO board_entry (reference, task_id, route, message_id, mail_id, author, text, changes, attachments,
                         occurred_at, recorded_at)
VALUES (%(reference)s, %(task)s, %(route)s, %(message_id)s, %(mail_id)s, %(author)s, %(text)s, %(changes)s,
        %(attachments)s, %(occurred_at)s, now())
ON CONFLICT (reference) DO NOTHING
"""

_LIST = """
SELECT task.*, (SELECT count(*) FROM board_entry AS entry WHERE entry.task_id = task.id) AS entries
FROM board_task AS task
WHERE (%(states)s::text[] IS NULL OR state = ANY(%(states)s)) AND (%(tag)s::text IS NULL OR tags ? %(tag)s)
  AND (%(route)s::text IS NULL OR route = %(route)s) AND (%(due)s::date IS NULL OR due <= %(due)s)
ORDER BY array_position(ARRAY['urgent', 'high', 'normal', 'low'], priority), due NULLS LAST, id
LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Origin:
    """Which message a task, or something about it, came from."""

    route: str
    thread: str
    """The conversation."""
    message_id: str | None
    reference: str
    """The idempotency key: what was recorded under it is not recorded again."""


async def take_in(connection: psycopg.AsyncConnection[Any], new: NewTask, origin: Origin) -> int:
    """Record what a message says: a new task, or something new about the task of its conversation; the task's id.

    An answer fills in what was not known (due date), adds tags, and opens again what had ended. It never lowers what a
    person has set.
    """
    row = await (
        await connection.execute(
            _KNOWN, {"route": origin.route, "thread": origin.thread, "references": list(new.references)}
        )
    ).fetchone()
    changes: dict[str, Any] = {}
    if row is None:
        values = {
            "route": origin.route,
            "thread": origin.thread,
            "title": new.title,
            "description": new.description,
            "priority": new.priority.value,
            "tags": Jsonb(list(new.tags)),
            "due": new.due,
            "requester": new.requester,
            "requester_name": new.requester_name,
        }
        made = await (await connection.execute(_NEW, values)).fetchone()
        assert made is not None  # noqa: S101 - INSERT ... RETURNING has its row
        task = int(made[0])
        changes["state"] = TaskState.open.value
    else:
        task, _, _, state, _, tags, due, _ = row
        if TaskState(state).ended:
            changes["state"] = TaskState.open.value
        if due is None and new.due is not None:
            changes["due"] = new.due
        more = [tag for tag in new.tags if tag not in tags]
        if more:
            changes["tags"] = [*tags, *more]
        await _set(connection, task, changes)
    await connection.execute(
        _ENTRY,
        {
            "reference": origin.reference,
            "task": task,
            "route": origin.route,
            "message_id": origin.message_id,
            "mail_id": new.id,
            "author": new.requester,
            "text": new.description,
            "changes": Jsonb(_plain(changes)),
            "attachments": Jsonb([one.model_dump(mode="json") for one in new.attachments]),
            "occurred_at": new.occurred_at,
        },
    )
    return task


async def add(connection: psycopg.AsyncConnection[Any], new: NewTask, author: str) -> int:
    """A task that a person makes; its id."""
    key = uuid.uuid4().hex
    async with connection.transaction():
        return await take_in(
            connection, new.model_copy(update={"requester": new.requester or author}), Origin("", key, None, key)
        )


async def change(
    connection: psycopg.AsyncConnection[Any], task: int, changes: Mapping[str, Any], *, author: str, note: str | None
) -> bool:
    """Set fields of a task, and record who did it and what they say; False: there is no such task."""
    unknown = set(changes) - _CHANGEABLE
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]} cannot be changed")
    async with connection.transaction():
        row = await (await connection.execute("SELECT id FROM board_task WHERE id = %s FOR UPDATE", (task,))).fetchone()
        if row is None:
            return False
        await _set(connection, task, changes)
        await connection.execute(
            _ENTRY,
            {
                "reference": uuid.uuid4().hex,
                "task": task,
                "route": "",
                "message_id": None,
                "mail_id": None,
                "author": author,
                "text": note,
                "changes": Jsonb(_plain(changes)),
                "attachments": Jsonb([]),
                "occurred_at": None,
            },
        )
    return True


async def tasks(
    connection: psycopg.AsyncConnection[Any],
    *,
    states: list[str] | None = None,
    tag: str | None = None,
    route: str | None = None,
    due: date | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Tasks, the most urgent first, then those that are due first."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_LIST, {"states": states, "tag": tag, "route": route, "due": due, "limit": limit})
        return await cursor.fetchall()


async def task_of(connection: psycopg.AsyncConnection[Any], task: int) -> dict[str, Any] | None:
    """A task with all that was said about it, oldest first; None: there is none."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM board_task WHERE id = %s", (task,))
        found = await cursor.fetchone()
        if found is None:
            return None
        await cursor.execute("SELECT * FROM board_entry WHERE task_id = %s ORDER BY id", (task,))
        return {**found, "entries": await cursor.fetchall()}


async def file_of(connection: psycopg.AsyncConnection[Any], task: int, digest: str) -> bytes | None:
    """A file that came with a message of a task, by (the beginning of) its SHA-256; None: there is none."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT file.content FROM board_entry AS entry
        JOIN mail_attachment AS attachment USING (route, message_id) JOIN mail_file AS file USING (digest)
        WHERE entry.task_id = %s AND encode(attachment.digest, 'hex') LIKE %s LIMIT 2
        """,
        (task, f"{digest}%"),
    )
    rows = await cursor.fetchall()
    return bytes(rows[0][0]) if len(rows) == 1 else None


async def _set(connection: psycopg.AsyncConnection[Any], task: int, changes: Mapping[str, Any]) -> None:
    columns = [name for name in sorted(changes) if name in _CHANGEABLE]
    assignments = "".join(f"{name} = %s, " for name in columns)
    values = [Jsonb(changes[name]) if name == "tags" else changes[name] for name in columns]
    await connection.execute(
        f"UPDATE board_task SET {assignments}updated_at = now() WHERE id = %s".encode(),  # noqa: S608 - names are ours
        (*values, task),
    )


def _plain(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in changes.items()}

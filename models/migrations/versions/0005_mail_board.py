"""Files of mails, marks of mailboxes, and the board."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mail_file",
        sa.Column("digest", sa.LargeBinary(), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    # What is attached is mostly compressed already: trying again costs time, and reading a piece of it all of it.
    op.execute("ALTER TABLE mail_file ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_table(
        "mail_attachment",
        sa.Column("route", sa.String(), primary_key=True),
        sa.Column("message_id", sa.String(), primary_key=True),
        sa.Column("place", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["route", "message_id"],
            ["handoff_message.route", "handoff_message.message_id"],
            ondelete="CASCADE",
            name="mail_attachment_message",
        ),
        sa.ForeignKeyConstraint(["digest"], ["mail_file.digest"], name="mail_attachment_file"),
    )
    op.create_index("mail_attachment_digest", "mail_attachment", ["digest"])
    op.create_table(
        "mail_mailbox",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("stored_uid", sa.BigInteger(), nullable=False),
        sa.Column("settled_uid", sa.BigInteger(), nullable=False),
        sa.Column("left", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "board_task",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("thread", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("tags", JSONB(), nullable=False),
        sa.Column("due", sa.Date(), nullable=True),
        sa.Column("requester", sa.String(), nullable=True),
        sa.Column("requester_name", sa.String(), nullable=True),
        sa.Column("assignee", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("board_task_thread", "board_task", ["route", "thread"], unique=True)
    op.create_index("board_task_state", "board_task", ["state", "due"])
    op.create_table(
        "board_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("reference", sa.String(), nullable=False, unique=True),
        sa.Column("task_id", sa.BigInteger(), sa.ForeignKey("board_task.id", ondelete="CASCADE"), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=True),
        sa.Column("mail_id", sa.String(), nullable=True),
        sa.Column("author", sa.String(), nullable=True),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("changes", JSONB(), nullable=False),
        sa.Column("attachments", JSONB(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("board_entry_task", "board_entry", ["task_id", "id"])
    op.create_index("board_entry_mail", "board_entry", ["route", "mail_id"])
    op.create_index("board_entry_message", "board_entry", ["route", "message_id"])


def downgrade() -> None:
    for name in ("board_entry", "board_task", "mail_mailbox", "mail_attachment", "mail_file"):
        op.drop_table(name)

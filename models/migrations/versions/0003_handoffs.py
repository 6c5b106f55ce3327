"""Handoffs: the inbox, the outbox, and what people changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "handoff_message",
        sa.Column("route", sa.String(), primary_key=True),
        sa.Column("message_id", sa.String(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("conversation", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("attributes", JSONB(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("given", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("valid", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("required", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("filled", sa.Integer(), nullable=False, server_default="0"),
    )
    for name, state in (("waiting", "waiting"), ("dead", "dead")):
        op.create_index(
            f"handoff_message_{name}", "handoff_message", ["route", "seq"],
            postgresql_where=sa.text(f"state = '{state}'"),
        )  # fmt: skip
    op.create_index("handoff_message_conversation", "handoff_message", ["conversation"])
    op.create_index("handoff_message_received", "handoff_message", ["route", "received_at"])
    op.create_index(
        "handoff_message_kept", "handoff_message", ["route", "received_at"],
        postgresql_where=sa.text("raw <> ''::bytea"),
    )  # fmt: skip
    op.create_table(
        "handoff_effect",
        sa.Column("route", sa.String(), primary_key=True),
        sa.Column("message_id", sa.String(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("conversation", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False, unique=True),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reference", sa.String(), nullable=True),
        sa.Column("answer", JSONB(), nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["route", "message_id"],
            ["handoff_message.route", "handoff_message.message_id"],
            ondelete="CASCADE",
            name="handoff_effect_message",
        ),
    )
    op.create_index(
        "handoff_effect_pending", "handoff_effect", ["route", "seq"], postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index(
        "handoff_effect_tried", "handoff_effect", ["route", "conversation"],
        postgresql_where=sa.text("state = 'pending' AND (attempts > 0 OR lease_until IS NOT NULL)"),
    )  # fmt: skip
    op.create_index(
        "handoff_effect_dead", "handoff_effect", ["route", "conversation"],
        postgresql_where=sa.text("state = 'dead'"),
    )  # fmt: skip
    op.create_index("handoff_effect_delivered", "handoff_effect", ["route", "delivered_at"])
    op.create_table(
        "handoff_edit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("before", JSONB(), nullable=True),
    )
    op.create_index("handoff_edit_message", "handoff_edit", ["route", "message_id"])


def downgrade() -> None:
    op.drop_table("handoff_edit")
    op.drop_table("handoff_effect")
    op.drop_table("handoff_message")

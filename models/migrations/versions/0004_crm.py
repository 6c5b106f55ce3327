"""Contacts, and what they said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "crm_contact",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("phone", sa.String(), nullable=True, unique=True),
        sa.Column("email", sa.String(), nullable=True, unique=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("interest", sa.String(), nullable=True),
        sa.Column("budget", JSONB(), nullable=True),
        sa.Column("timeline", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "crm_interaction",
        sa.Column("reference", sa.String(), primary_key=True),
        sa.Column("contact_id", sa.BigInteger(), sa.ForeignKey("crm_contact.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("found", JSONB(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("crm_interaction_contact", "crm_interaction", ["contact_id", "seq"])
    op.create_index("ix_crm_interaction_message_id", "crm_interaction", ["message_id"])


def downgrade() -> None:
    op.drop_table("crm_interaction")
    op.drop_table("crm_contact")

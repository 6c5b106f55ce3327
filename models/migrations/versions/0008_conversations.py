"""Conversations with language models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_turn",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("conversation", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("model_turn_conversation", "model_turn", ["conversation", "id"])
    op.create_index("ix_model_turn_said_at", "model_turn", ["said_at"])
    op.create_index("model_turn_once", "model_turn", ["conversation", "run_id", "role"], unique=True)


def downgrade() -> None:
    op.drop_table("model_turn")

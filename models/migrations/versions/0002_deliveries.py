"""Deliveries of webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "delivery",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("delivery_id", sa.String(), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("flow_run_ids", JSONB(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.UniqueConstraint("source", "fingerprint", name="delivery_once_per_signature"),
    )
    op.create_index("ix_delivery_received_at", "delivery", ["received_at"])
    op.create_index("delivery_due", "delivery", ["next_attempt_at"], postgresql_where=sa.text("status = 'stored'"))
    # lz4 takes a fraction of the default's time; servers that were built without it keep the default.
    known = "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    if op.get_bind().scalar(sa.text(known)):
        op.execute("ALTER TABLE delivery ALTER COLUMN body SET COMPRESSION lz4")


def downgrade() -> None:
    op.drop_table("delivery")

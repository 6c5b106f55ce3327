"""Reports and snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "report",
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("capability", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("summary", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
    )
    op.create_index("ix_report_capability", "report", ["capability"])
    op.create_index("ix_report_finished_at", "report", ["finished_at"])
    op.create_index("report_latest", "report", ["capability", "scope", sa.text("finished_at DESC")])
    op.create_table(
        "snapshot",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("snapshot_latest", "snapshot", ["kind", "subject", sa.text("recorded_at DESC")])


def downgrade() -> None:
    op.drop_table("snapshot")
    op.drop_table("report")

"""What sync remembers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sync_category",
        sa.Column("device", sa.String(), primary_key=True),
        sa.Column("category", sa.String(), primary_key=True),
        sa.Column("state", JSONB(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "sync_shard",
        sa.Column("device", sa.String(), primary_key=True),
        sa.Column("category", sa.String(), primary_key=True),
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    # Compressed before it comes here.
    op.execute("ALTER TABLE sync_shard ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_table(
        "sync_done",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("paths", sa.ARRAY(sa.String()), nullable=False),
    )
    op.create_index("sync_done_category", "sync_done", ["device", "category", "id"])
    op.create_table(
        "sync_device",
        sa.Column("device", sa.String(), primary_key=True),
        sa.Column("counters", JSONB(), nullable=False),
        sa.Column("collected_at", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    for table in ("sync_device", "sync_done", "sync_shard", "sync_category"):
        op.drop_table(table)

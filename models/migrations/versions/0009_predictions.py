"""What models predicted, the profiles that it is compared with, and what came true."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_profile",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "prediction_batch",
        sa.Column("batch", sa.Uuid(), primary_key=True),
        sa.Column("part", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("predicted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sketch", JSONB(), nullable=False),
    )
    op.create_index("prediction_batch_window", "prediction_batch", ["model", "version", "predicted_at"])
    op.create_index("prediction_batch_age", "prediction_batch", ["predicted_at"])
    op.create_table(
        "prediction",
        sa.Column("batch", sa.Uuid(), primary_key=True),
        sa.Column("place", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("predicted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
    )
    op.create_index("prediction_key", "prediction", ["model", "key", "predicted_at"])
    op.create_index("prediction_age", "prediction", ["predicted_at"])
    op.create_table(
        "prediction_truth",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("prediction_truth_age", "prediction_truth", ["known_at"])


def downgrade() -> None:
    for table in ("prediction_truth", "prediction", "prediction_batch", "model_profile"):
        op.drop_table(table)

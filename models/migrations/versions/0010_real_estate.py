"""Grades of leads and what became of them; what documents say; drafts to clients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _contact() -> sa.Column[int]:
    return sa.Column(
        "contact_id", sa.BigInteger(), sa.ForeignKey("crm_contact.id", ondelete="CASCADE"), primary_key=True
    )


def upgrade() -> None:
    op.create_table(
        "crm_qualification",
        _contact(),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("fit", sa.Float(), nullable=False),
        sa.Column("engagement", sa.Float(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("disqualified", sa.Boolean(), nullable=False),
        sa.Column("reasons", JSONB(), nullable=False),
        sa.Column("rules", sa.String(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("graded_since", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "crm_outcome",
        _contact(),
        sa.Column("won", sa.Boolean(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "crm_weights",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("run_id", sa.String(), nullable=False, unique=True),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("weights", JSONB(), nullable=False),
        sa.Column("comparison", JSONB(), nullable=False),
        sa.Column("in_use", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "property_document",
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("document", JSONB(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "client_draft",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("run_id", sa.String(), nullable=False, unique=True),
        sa.Column("contact_id", sa.BigInteger(), sa.ForeignKey("crm_contact.id", ondelete="CASCADE"), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("facts", JSONB(), nullable=False),
        sa.Column("problems", JSONB(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("written_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
    )
    op.create_index("client_draft_state", "client_draft", ["state", "id"])
    op.create_index("ix_client_draft_contact_id", "client_draft", ["contact_id"])


def downgrade() -> None:
    op.drop_table("client_draft")
    op.drop_table("property_document")
    op.drop_table("crm_weights")
    op.drop_table("crm_outcome")
    op.drop_table("crm_qualification")

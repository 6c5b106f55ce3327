"""What belongs to a message follows when its id is replaced, which forgetting a person does."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OF_MESSAGE = (("handoff_effect", "handoff_effect_message"), ("mail_attachment", "mail_attachment_message"))


def upgrade() -> None:
    for table, name in _OF_MESSAGE:
        _replace(table, name, onupdate="CASCADE")


def downgrade() -> None:
    for table, name in _OF_MESSAGE:
        _replace(table, name, onupdate=None)


def _replace(table: str, name: str, *, onupdate: str | None) -> None:
    columns = ["route", "message_id"]
    op.drop_constraint(name, table, type_="foreignkey")
    op.create_foreign_key(name, table, "handoff_message", columns, columns, ondelete="CASCADE", onupdate=onupdate)

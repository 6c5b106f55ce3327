"""Runs migrations over the connection that the caller brought along; nothing here knows an address."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import models.board
import models.conversation
import models.crm
import models.delivery
import models.documents
import models.draft
import models.handoff
import models.mail
import models.prediction_tables
import models.qualify
import models.record
import models.sync_tables  # noqa: F401 - all register their tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()

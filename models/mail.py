"""`[mail]` of `lama.toml`: where mail comes in. Also the tables of files that came with it, and of mailboxes' marks."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator
from sqlalchemy import ARRAY, BigInteger, Column, DateTime, ForeignKeyConstraint, Index, LargeBinary
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel

from models.report import Value

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_RECIPIENT = re.compile(r"^([A-Za-z0-9._-]{1,64}|\*)@[a-z0-9.-]{1,253}$")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Receiver(Value):
    """`[[mail.receivers]]`: takes mail by SMTP, or by LMTP from a mail server on this machine."""

    name: str = Field(pattern=NAME, description="What routes call it: `email:NAME`.")
    protocol: Literal["lmtp", "smtp"] = Field(
        default="lmtp", description="`lmtp`, which a mail server (Postfix, Exim) delivers by, or `smtp`."
    )
    host: str = Field(default="127.0.0.1", description="Address that it listens on.")
    port: int = Field(default=8824, ge=1, le=65535, description="Port that it listens on.")
    recipients: tuple[str, ...] = Field(
        min_length=1,
        description="Addresses that it takes mail for, `*@example.com` for all of a domain. `name+tag@` is `name@`.",
    )
    largest_mib: float = Field(default=25.0, gt=0, le=200, description="Largest mail that is taken, in MiB.")
    open: bool = Field(
        default=False, description="Must be true to listen on other than loopback: anybody there may send mail then."
    )

    @field_validator("recipients", mode="after")
    @classmethod
    def _addresses(cls, recipients: tuple[str, ...]) -> tuple[str, ...]:
        for one in recipients:
            if not _RECIPIENT.fullmatch(one):
                raise ValueError(f"{one[:100]!r} is neither name@domain nor *@domain, the domain in small letters")
        return recipients

    @model_validator(mode="after")
    def _guarded(self) -> Receiver:
        if self.host not in _LOOPBACK and not self.open:
            raise ValueError("listens on other than loopback: say open = true if anybody there may send mail")
        return self


class Mailbox(Value):
    """`[[mail.mailboxes]]`: a folder of an IMAP account that is looked into."""

    name: str = Field(pattern=NAME, description="What routes call it: `email:NAME`.")
    block: str = Field(description="Name of the `Lama Mailbox` block with server, user and password.")
    folder: str = Field(default="INBOX", min_length=1, max_length=200, description="Folder that is looked into.")
    then: Literal["keep", "seen", "move"] = Field(
        default="seen", description="What becomes of a mail there once it is stored here."
    )
    move_to: str | None = Field(default=None, max_length=200, description="Folder that `move` moves to.")
    largest_mib: float = Field(
        default=25.0, gt=0, le=200, description="Larger mails are left where they are, in MiB, and reported."
    )

    @model_validator(mode="after")
    def _moves_somewhere(self) -> Mailbox:
        if (self.then == "move") != (self.move_to is not None):
            raise ValueError('then = "move" and move_to belong together')
        if self.move_to == self.folder:
            raise ValueError("move_to is the folder itself")
        return self


class MailSettings(Value):
    """`[mail]`."""

    receivers: tuple[Receiver, ...] = Field(default=(), description="Where mail is delivered to.")
    mailboxes: tuple[Mailbox, ...] = Field(default=(), description="Where mail is fetched from.")

    @property
    def names(self) -> tuple[str, ...]:
        """Every source that a route can name."""
        return (*(one.name for one in self.receivers), *(one.name for one in self.mailboxes))

    @model_validator(mode="after")
    def _identify(self) -> MailSettings:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources of mail are called {twice[0]!r}; names identify them")
        places = [(one.host, one.port) for one in self.receivers]
        if len(set(places)) < len(places):
            raise ValueError("two receivers listen on the same port")
        return self


class FileRecord(SQLModel, table=True):
    """The content of attachments, each once."""

    __tablename__ = "mail_file"

    digest: bytes = ColumnField(sa_column=Column(LargeBinary, primary_key=True), description="SHA-256.")
    size: int = ColumnField(sa_column=Column(BigInteger, nullable=False), description="Bytes.")
    content: bytes = ColumnField(sa_column=Column(LargeBinary, nullable=False))


class AttachmentRecord(SQLModel, table=True):
    """Which message has which file, and what its sender calls it."""

    __tablename__ = "mail_attachment"
    __table_args__ = (
        ForeignKeyConstraint(
            ["route", "message_id"],
            ["handoff_message.route", "handoff_message.message_id"],
            ondelete="CASCADE",
            onupdate="CASCADE",
            name="mail_attachment_message",
        ),
        ForeignKeyConstraint(["digest"], ["mail_file.digest"], name="mail_attachment_file"),
        Index("mail_attachment_digest", "digest"),
    )

    route: str = ColumnField(primary_key=True)
    message_id: str = ColumnField(primary_key=True)
    place: int = ColumnField(primary_key=True, description="Its place among the attachments of the message.")
    digest: bytes = ColumnField(sa_column=Column(LargeBinary, nullable=False))
    name: str
    content_type: str


class MailboxRecord(SQLModel, table=True):
    """How far a mailbox has been fetched."""

    __tablename__ = "mail_mailbox"

    name: str = ColumnField(primary_key=True)
    uidvalidity: int = ColumnField(
        sa_column=Column(BigInteger, nullable=False), description="Of the folder; when it changes, all UIDs are new."
    )
    stored_uid: int = ColumnField(
        sa_column=Column(BigInteger, nullable=False), description="Mails up to this UID are stored here."
    )
    settled_uid: int = ColumnField(
        sa_column=Column(BigInteger, nullable=False), description="Mails up to this UID were marked or moved there."
    )
    left: list[int] = ColumnField(
        sa_column=Column(ARRAY(BigInteger), nullable=False), description="UIDs of mails that were too large."
    )
    fetched_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))

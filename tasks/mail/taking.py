"""A mail from outside as one that can be stored, whatever it is: a fault of the reader must not cost a mail."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from blocks.logs import logger
from models.handoff import Message
from tasks.mail.reading import Mail, read_mail

_log = logger("mail")


def take_mail(source: str, raw: bytes, *, sender: str | None, recipients: Sequence[str], received_at: datetime) -> Mail:
    """`read_mail`, or when that fails a message that holds it unread, for a person to look at."""
    try:
        return read_mail(source, raw, sender=sender, recipients=recipients, received_at=received_at)
    except Exception as error:  # noqa: BLE001 - it is logged, and the mail is kept
        digest = hashlib.sha256(raw).hexdigest()
        _log.exception("mail %s could not be read", digest[:16])
        return Mail(
            Message(
                source=source,
                message_id=f"sha256:{digest}",
                conversation=f"sha256:{digest}",
                content_type="message/rfc822",
                raw=raw,
                attributes={
                    "kind": "unread",
                    "from": sender,
                    "envelope": {"from": sender, "to": list(recipients)},
                    "problems": [f"it could not be read: {type(error).__name__}"],
                },
            ),
            (),
        )

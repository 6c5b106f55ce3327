"""One SMTP or LMTP conversation (RFC 5321, RFC 2033): mail is answered for when it is stored, and not before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from blocks.logs import logger
from models.mail import Receiver
from tasks.mail.addressing import accepted

_log = logger("mail")

_LONGEST_LINE = 64 * 1024
"""Bytes of a line of a command, and half of what is buffered while nobody reads. Lines of mails have no limit."""
_MOST_CONNECTIONS = 100
_MOST_RECIPIENTS = 100
_IDLE_S = 120.0
_LONGEST_DATA_S = 900.0
_END = b"\r\n.\r\n"
AGAIN = "451 4.3.0 not stored, try again later"

Take = Callable[[str, list[str], bytes], Awaitable[str]]
"""Takes a mail (sender and recipients of the envelope, and what it is); the reply."""

# It writes senders, recipients and commands into its log.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


class Connections:
    """How many conversations there are right now."""

    def __init__(self) -> None:
        self.open = 0


class _Conversation(SMTP):
    """What SMTP and LMTP have in common here."""

    line_length_limit = _LONGEST_LINE
    command_size_limit = 2048

    def __init__(self, receiver: Receiver, take: Take, connections: Connections, hostname: str) -> None:
        super().__init__(
            _Envelopes(receiver),
            data_size_limit=int(receiver.largest_mib * 1024 * 1024),
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="Lama",
            timeout=_IDLE_S,
            loop=asyncio.get_running_loop(),
        )
        self._take = take
        self._connections = connections
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._connections.open += 1
        if self._connections.open > _MOST_CONNECTIONS:
            self._refused = True
            writer = cast("asyncio.Transport", transport)
            writer.write(b"421 4.3.2 too many connections, try again later\r\n")
            writer.close()
            return
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connections.open -= 1
        if not self._refused:
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if not self._refused:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """Nothing comes any more."""
        return None if self._refused else super().eof_received()

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - the library's name
        """Take a mail. Only CR LF . CR LF ends it: what ends it for one server and not for the next smuggles mail."""
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 5.5.1 need RCPT before DATA")
            return
        if arg:
            await self.push("501 5.5.4 DATA takes nothing")
            return
        await self.push("354 end with <CR><LF>.<CR><LF>")
        raw = await self._body()
        if raw is None:
            reply = "552 5.3.4 larger than what is taken here"
        else:
            self._reset_timeout(_LONGEST_DATA_S)
            reply = await self._take(envelope.mail_from or "", list(envelope.rcpt_tos), raw)
            self._reset_timeout()
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push("\r\n".join([reply] * self._replies(len(envelope.rcpt_tos))))

    def _replies(self, _recipients: int) -> int:
        return 1

    async def _body(self) -> bytes | None:
        """What comes up to the end; None when it is too large."""
        limit = self.data_size_limit or 0
        data = bytearray(b"\r\n")  # a first line that is the end is one, too
        too_large = False
        async with asyncio.timeout(_LONGEST_DATA_S):
            while True:
                looked = max(0, len(data) - len(_END) + 1)
                # All that is there, so that what comes behind the end can be put back.
                chunk = await self._reader.read(1 << 30)
                if not chunk:
                    raise ConnectionResetError("the sender has gone")
                self._reset_timeout()
                data += chunk
                ends = data.find(_END, looked)
                if ends >= 0:
                    rest = bytes(data[ends + len(_END) :])
                    if rest:
                        self._reader.feed_data(rest)
                    break
                if len(data) > limit + len(_END):
                    too_large = True
                    del data[: -len(_END)]
        if too_large or ends > limit + 2:
            return None
        # A line that begins with a dot was given another (4.5.2).
        return bytes(data[: ends + 2]).replace(b"\r\n.", b"\r\n")[2:]

    async def handle_exception(self, error: Exception) -> str:
        """A fault of ours is no fault of the mail: it is to be sent again."""
        _log.error("a conversation failed: %s", type(error).__name__)
        return AGAIN


class _Smtp(_Conversation):
    """SMTP: one reply for all recipients."""


class _Lmtp(_Conversation, LMTP):
    """LMTP: a reply for each recipient (RFC 2033, 4.2)."""

    def _replies(self, recipients: int) -> int:
        return recipients


class _Envelopes:
    """Who may be written to. Whoever else is asked for is refused, so nothing is ever passed on."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take `address` for a recipient, or not."""
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        if not accepted(address, self._receiver.recipients):
            return "550 5.1.1 nobody of that name here"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"


def conversation(receiver: Receiver, take: Take, connections: Connections, hostname: str) -> asyncio.Protocol:
    """A conversation of `receiver`'s protocol, for a connection that is being made."""
    kind: Any = _Lmtp if receiver.protocol == "lmtp" else _Smtp
    return cast("asyncio.Protocol", kind(receiver, take, connections, hostname))

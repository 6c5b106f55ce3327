"""A mailbox as a block: an IMAP account."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.settings import LOOPBACK

if TYPE_CHECKING:
    from imap_tools.mailbox import BaseMailBox


class Mailbox(Block):
    """An account on an IMAP server."""

    _block_type_name: ClassVar[str] = "Lama Mailbox"
    _block_type_slug: ClassVar[str] = "lama-mailbox"
    _documentation_url: ClassVar[Any] = "https://www.rfc-editor.org/rfc/rfc9051"

    host: str = Field(min_length=1, description="Name of the IMAP server.")
    port: int = Field(default=993, ge=1, le=65535, description="Its port: 993 with TLS, 143 with STARTTLS.")
    security: Literal["tls", "starttls", "none"] = Field(
        default="tls", description="How the connection is guarded; `none` only on this machine."
    )
    user: str = Field(min_length=1, description="Who logs in.")
    password: SecretStr = Field(description="Their password, best one for this application alone.")
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for an answer.")
    authority: str | None = Field(
        default=None, description="File with the certificate of the authority that signed the server's, if not public."
    )

    @model_validator(mode="after")
    def _guarded(self) -> Mailbox:
        if self.security == "none" and self.host not in LOOPBACK:
            raise ValueError("without TLS, passwords would be sent to another machine in the clear")
        return self

    def get_client(self) -> BaseMailBox:
        """A client that has logged in; use it as a context manager. It blocks: call it in a thread.

        Raises:
            imap_tools.errors.MailboxLoginError: user or password are wrong.
            OSError: the server cannot be reached.
        """
        from imap_tools.mailbox import MailBox, MailBoxStartTls, MailBoxUnencrypted  # noqa: PLC0415

        client: BaseMailBox
        if self.security == "none":
            client = MailBoxUnencrypted(self.host, self.port, timeout=self.timeout_s)
        else:
            context = ssl.create_default_context(cafile=self.authority)
            kind = MailBox if self.security == "tls" else MailBoxStartTls
            client = kind(self.host, self.port, timeout=self.timeout_s, ssl_context=context)
        try:
            return client.login(self.user, self.password.get_secret_value(), initial_folder=None)
        except BaseException:
            client.client.shutdown()
            raise

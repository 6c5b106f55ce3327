"""What a server's TLS is worth: its certificate, whether this machine trusts it, and the oldest version it takes."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from blocks.errors import UnavailableError

if TYPE_CHECKING:
    from cryptography import x509

_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""PostgreSQL's request for TLS (PostgreSQL documentation, section "Message Formats", SSLRequest)."""
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Certificate:
    """What matters of a server's certificate."""

    begins: datetime
    ends: datetime
    names: tuple[str, ...]
    """Host names and addresses that it is for."""

    def is_for(self, host: str) -> bool:
        """Whether it is for `host`: a name, perhaps by a wildcard in its leftmost part, or an address (RFC 6125)."""
        try:
            address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            wanted = host.rstrip(".").lower()
            parent = wanted.partition(".")[2]
            return any(name == wanted or (parent and name == f"*.{parent}") for name in map(str.lower, self.names))
        return str(address) in self.names


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server speaks TLS."""

    certificate: Certificate
    distrust: str
    """Why this machine does not trust the certificate; empty when it does. Says nothing about dates and names."""
    old: str
    """The version before 1.2 that it takes; empty for none."""
    old_untried: bool
    """Whether this machine's own library cannot speak such versions."""


async def look_at_tls(host: str, port: int, *, postgresql: bool, timeout_s: float) -> Tls | None:
    """The TLS of the server at `host` and `port`; None when a PostgreSQL says that it has none.

    Raises:
        UnavailableError: it cannot be reached, or what answers does not speak TLS.
    """
    try:
        certificate = await _handshake(_any_version(), host, port, postgresql=postgresql, timeout_s=timeout_s)
        if certificate is None:
            return None
    except ssl.SSLError as error:
        raise UnavailableError("does not speak TLS.") from error
    distrust = old = ""
    untried = False
    try:
        await _handshake(_trusting(), host, port, postgresql=postgresql, timeout_s=timeout_s)
    except ssl.SSLCertVerificationError as error:
        # Dates are judged by the certificate itself; whether it is trusted stays open then.
        distrust = (
            "" if error.verify_code in {9, 10} else error.verify_message or "it is not signed by a known authority"
        )
    except ssl.SSLError as error:
        raise UnavailableError("ended the handshake when it was asked again.") from error
    try:
        await _handshake(_old_versions(), host, port, postgresql=postgresql, timeout_s=timeout_s)
        old = "1.1 or older"
    except ssl.SSLError as error:
        untried = error.reason == "NO_PROTOCOLS_AVAILABLE"
    except UnavailableError:
        old = ""  # it answered before: this is how some refuse
    return Tls(_read(certificate), distrust, old, untried)


async def _handshake(
    context: ssl.SSLContext, host: str, port: int, *, postgresql: bool, timeout_s: float
) -> bytes | None:
    """The certificate that the server shows, in DER; None when a PostgreSQL declines TLS."""
    async with _connected(host, port, timeout_s) as (reader, writer):
        if postgresql:
            writer.write(_SSL_REQUEST)
            answer = await reader.readexactly(1)
            if answer == b"N":
                return None
            if answer != b"S":
                raise UnavailableError("does not answer as a PostgreSQL does.")
        await writer.start_tls(context, server_hostname=host, ssl_handshake_timeout=timeout_s)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if not shown:
            raise UnavailableError("shows no certificate.")
        return bytes(shown)


@asynccontextmanager
async def _connected(
    host: str, port: int, timeout_s: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            yield reader, writer
    except TimeoutError as error:
        raise UnavailableError("did not answer in time.") from error
    except ssl.SSLError:
        raise
    except (OSError, EOFError, UnicodeError) as error:
        raise UnavailableError(f"cannot be reached ({type(error).__name__}).") from error
    finally:
        if writer is not None:
            writer.transport.abort()


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False  # names are compared by `Certificate.is_for`, so that one flaw hides no other
    return context


def _any_version() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: only the certificate is looked at
    context.set_ciphers("ALL:@SECLEVEL=0")
    _oldest(context)
    return context


def _old_versions() -> ssl.SSLContext:
    context = _any_version()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def _oldest(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that they are old is why they are asked for
        context.minimum_version = ssl.TLSVersion.TLSv1


def _read(content: bytes) -> Certificate:
    from cryptography import x509  # noqa: PLC0415

    try:
        read = x509.load_der_x509_certificate(content)
        return Certificate(read.not_valid_before_utc, read.not_valid_after_utc, _names(read))
    except ValueError as error:
        raise UnavailableError("shows a certificate that cannot be read.") from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509  # noqa: PLC0415

    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()  # names in the subject have not counted since RFC 6125
    names = [*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))]
    return tuple(name for name in names if len(name) <= _LONGEST_NAME)

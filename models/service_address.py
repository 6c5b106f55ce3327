"""The address of a service: where to connect, and how to show it without what is secret in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from models.health_check import ServiceKind

_SCHEMES: dict[ServiceKind, dict[str, int | None]] = {
    ServiceKind.http: {"http": 80, "https": 443},
    ServiceKind.prefect: {"http": 80, "https": 443},
    ServiceKind.letta: {"http": 80, "https": 443},
    ServiceKind.tcp: {"tcp": None},
    ServiceKind.postgresql: {"postgresql": 5432, "postgres": 5432},
    ServiceKind.bolt: dict.fromkeys(("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"), 7687),
}


class AddressError(ValueError):
    """An address that cannot be probed; the message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Address:
    """The parts of a service's URL."""

    scheme: str
    host: str
    """Empty for a UNIX socket."""
    port: int | None
    """None for a UNIX socket."""
    path: str
    user: str | None
    password: str | None

    @property
    def shown(self) -> str:
        """The address for reports: no user, no password, no query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = f"{host}:{self.port}" if self.port is not None else host
        return f"{self.scheme}://{place}{self.path}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a request may be sent to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(kind: ServiceKind, url: str) -> Address:
    """The address that `url` gives for a service of `kind`.

    Raises:
        AddressError: it is no such address. The message never repeats the URL: it may hold a password.
    """
    known = _SCHEMES[kind]
    wanted = " or ".join(f"{scheme}://" for scheme in known)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"its url is not valid; it should begin with {wanted} and name a host and a port") from error
    if parts.scheme not in known:
        raise AddressError(f"its url should begin with {wanted} for a service of kind {kind.value}")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise AddressError("its url holds blanks or control characters")
    host = parts.hostname or ""
    socket = kind is ServiceKind.postgresql and not host
    if not host and not socket:
        raise AddressError("its url names no host")
    port = port if port is not None else known[parts.scheme]
    if port is None and not socket:
        raise AddressError("its url names no port, such as tcp://127.0.0.1:6379")
    return Address(
        scheme=parts.scheme,
        host=host,
        port=None if socket else port,
        path=parts.path,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )

"""Which hosts may be spoken to. An address that a message or a person wrote must not lead into our own network.

A name is resolved once, and the connection goes to the very address that was looked at: a name that leads elsewhere a
moment later (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """The address leads to where nobody may be sent."""


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet, whatever it is wrapped in."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if wrapped is None and address in _NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            address = wrapped
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedTransport(httpx.AsyncBaseTransport):
    """A transport that connects to public addresses only, and to hosts that were allowed by name.

    Args:
        allow_private: names of hosts that may have any address, lower case.
        resolver: finds addresses; replaced in tests.
        inner: what connects.
    """

    def __init__(
        self,
        allow_private: Collection[str] = (),
        *,
        resolver: Resolve = resolve,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(name.lower() for name in allow_private)
        self._resolve = resolver
        self._inner = inner or httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=64))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` to an address that was looked at.

        Raises:
            ForbiddenAddressError: no address of its host is a public one.
            httpx.ConnectError: its host has no address.
        """
        host = request.url.host.lower()
        if request.url.scheme not in {"http", "https"} or not host:
            raise ForbiddenAddressError(f"{request.url.scheme!r} is neither http nor https")
        if request.url.userinfo:
            raise ForbiddenAddressError("the address holds a user or a password")
        address = await self._address(host, request.url.port or (443 if request.url.scheme == "https" else 80))
        if address != host:
            request.headers.setdefault("Host", request.url.netloc.decode())
            request.extensions = {**request.extensions, "sni_hostname": host}
            request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def _address(self, host: str, port: int) -> str:
        try:
            found: Sequence[str] = [str(ipaddress.ip_address(host))]
        except ValueError:
            try:
                found = await self._resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise httpx.ConnectError(f"{host} has no address: {type(error).__name__}") from error
        if host in self._allowed:
            return found[0]
        # All of them, not one: what is private in part is not a public host.
        if not found or not all(is_public(address) for address in found):
            raise ForbiddenAddressError(
                f"{host} leads to an address that is not public; name the host in allow_private if that is meant"
            )
        return found[0]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

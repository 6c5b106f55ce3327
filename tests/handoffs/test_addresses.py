"""Nobody is sent into our own network, whatever an address looks like."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.handoffs.addresses import ForbiddenAddressError, GuardedTransport, is_public


class Inner(httpx.AsyncBaseTransport):
    """Remembers where it would have connected to."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(200)


def guarded(inner: Inner, names: dict[str, list[str]] | None = None, allow: Sequence[str] = ()) -> httpx.AsyncClient:
    async def resolver(host: str, _port: int) -> Sequence[str]:
        found = (names or {}).get(host)
        if found is None:
            raise OSError("no such host")
        return found

    return httpx.AsyncClient(transport=GuardedTransport(allow, resolver=resolver, inner=inner))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1", "fe80::1%eth0"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_addresses_that_are() -> None:
    assert all(is_public(address) for address in ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://inside.example/",
     "http://half.example/", "http://user:secret@outside.example/", "http://[::ffff:127.0.0.1]/"],
)  # fmt: skip
async def test_requests_that_lead_inside_are_refused_before_anything_is_connected(url: str) -> None:
    inner = Inner()
    names = {"inside.example": ["10.1.2.3"], "half.example": ["8.8.8.8", "127.0.0.1"], "outside.example": ["8.8.8.8"]}
    async with guarded(inner, names) as client:
        with pytest.raises(ForbiddenAddressError) as caught:
            await client.get(url)
    assert inner.seen == []
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "017700000001"])
async def test_other_spellings_of_loopback_lead_nowhere(host: str) -> None:
    """They are names to us, so the resolver decides; what it makes of them is looked at like any other answer."""
    inner = Inner()
    async with guarded(inner, {host: ["127.0.0.1"]}) as client:
        with pytest.raises((ForbiddenAddressError, httpx.InvalidURL)):
            await client.get(f"http://{host}/")
    assert inner.seen == []


async def test_the_connection_goes_to_the_address_that_was_looked_at_and_the_name_stays_in_the_request() -> None:
    inner = Inner()
    async with guarded(inner, {"outside.example": ["8.8.8.8"]}) as client:
        await client.get("https://outside.example:8443/x?y=1")
    (request,) = inner.seen
    assert str(request.url) == "https://8.8.8.8:8443/x?y=1"
    assert request.headers["host"] == "outside.example:8443"
    assert request.extensions["sni_hostname"] == "outside.example"


async def test_a_host_that_was_allowed_may_be_inside_and_no_other() -> None:
    inner = Inner()
    async with guarded(inner, {"crm.internal": ["10.0.0.5"], "b.internal": ["10.0.0.5"]}, ["crm.internal"]) as client:
        await client.get("http://crm.internal/")
        with pytest.raises(ForbiddenAddressError):
            await client.get("http://b.internal/")
        with pytest.raises(httpx.ConnectError):
            await client.get("http://nowhere.example/")
    assert [request.url.host for request in inner.seen] == ["10.0.0.5"]


@given(number=st.integers(0, 2**32 - 1))
def test_wrapping_an_address_does_not_change_what_it_is(number: int) -> None:
    import ipaddress

    plain = ipaddress.IPv4Address(number)
    wrapped = [
        str(ipaddress.IPv6Address((0xFFFF << 32) | number)),
        str(ipaddress.IPv6Address((0x0064FF9B << 96) | number)),
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
    ]
    assert {is_public(text) for text in wrapped} == {is_public(str(plain))}

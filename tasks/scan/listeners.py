"""What on this machine listens beyond loopback."""

from __future__ import annotations

import contextlib
import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.report import Finding, Severity, Skip
from tasks.scan.looked import Looked

DELICATE = {
    2375: "Docker without TLS",
    3306: "MySQL",
    4200: "Prefect",
    5432: "PostgreSQL",
    6379: "Redis",
    7474: "Neo4j",
    7687: "Bolt",
    8283: "Letta",
    9200: "Elasticsearch",
    11211: "memcached",
    11434: "Ollama",
    27017: "MongoDB",
}
"""Ports of servers that by default ask nobody for a password, or guard data."""


@dataclass(frozen=True)
class Listener:
    """A TCP socket that waits for connections."""

    address: str
    port: int
    process: str
    """The process's name; empty when that is not shown to us."""


def listening() -> tuple[Listener, ...]:
    """Every listening TCP socket of this machine.

    Raises:
        PermissionError: the system does not show them to this user.
    """
    import psutil  # noqa: PLC0415

    found: set[Listener] = set()
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                name = ""
                if connection.pid:
                    with contextlib.suppress(psutil.Error):  # it ended meanwhile, or is not shown
                        name = psutil.Process(connection.pid).name()
                found.add(Listener(connection.laddr.ip, connection.laddr.port, name))
    except psutil.AccessDenied as error:
        raise PermissionError("the system does not show other users' sockets") from error
    return tuple(sorted(found, key=lambda listener: (listener.port, listener.address, listener.process)))


def look_at_listeners(host: str, allowed: Sequence[str]) -> Looked:
    """The listeners beyond loopback that `allowed` does not name."""
    try:
        return Looked(judge_listeners(host, listening(), allowed))
    except OSError as error:
        reason = f"Listeners were not looked at: {error}; run the check as root to see them."
        return Looked(skipped=(Skip(area="security", component=host, reason=reason, hides=("security.listener:",)),))


def judge_listeners(host: str, found: Iterable[Listener], allowed: Sequence[str]) -> tuple[Finding, ...]:
    """One finding for each port with a listener that can be reached from elsewhere."""
    ports: dict[int, list[Listener]] = defaultdict(list)
    for listener in found:
        if not is_loopback(listener.address) and not any(_matches(listener, pattern) for pattern in allowed):
            ports[listener.port].append(listener)
    return tuple(_finding(host, port, listeners) for port, listeners in sorted(ports.items()))


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `address` (an IP address or a host's name)."""
    bare = address.strip("[]").partition("%")[0]
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        return bare.lower() in {"localhost", "localhost.localdomain"}
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _matches(listener: Listener, pattern: str) -> bool:
    address, _, port = pattern.rpartition(":")
    return address.strip("[]") in {"*", listener.address} and port in {"*", str(listener.port)}


def _finding(host: str, port: int, listeners: Sequence[Listener]) -> Finding:
    addresses = sorted({listener.address for listener in listeners})
    names = sorted({listener.process for listener in listeners} - {""})
    known = DELICATE.get(port)
    who = ", ".join(names) or "a process that is not shown to this user"
    return Finding(
        key=f"security.listener:{host}/tcp/{port}",
        severity=Severity.high if known else Severity.medium,
        component=host,
        title=f"Port {port} can be reached from other machines ({who}).",
        detail=f"It listens on {', '.join(addresses)}." + (f" That is the port of {known}." if known else ""),
        remedy="Let it listen on 127.0.0.1, or, when it is meant to be reached, name it in allowed_listeners of "
        f"[scan] in lama.toml: `{addresses[0]}:{port}`.",
        evidence={"port": port, "addresses": list(addresses), "processes": list(names)},
    )

"""What the worker and its fork server say to each other, and what a run is told when it begins.

Between worker and fork server: a `SOCK_SEQPACKET` pair, one small JSON object a packet. A packet that asks for a
fork carries three descriptors (`SCM_RIGHTS`): the run's own socket, its standard output, its standard error.

Between worker and run: a stream pair over which the run first says that it leads its process group, and then reads
its `RunRequest`. The fork server never sees the request, so nothing of one run can reach the next through it.

This module imports nothing but the standard library: the fork server needs it before anything else.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

PACKET_BYTES = 64 * 1024
"""No packet between worker and fork server is larger."""

GROUP = struct.Struct("!I")
"""What a run says first: its process id. It leads its process group then, so that it can be signalled."""

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True)
class RunRequest:
    """All that a forked child must know to become the process of one flow run."""

    environment: dict[str, str]
    """The complete environment; nothing is inherited beside it."""

    directory: str
    """Working directory to start in."""

    workspace_config: str
    """Path of the JSON that Prefect's workspace supervisor reads."""

    fresh_interpreter: bool = False
    """Whether to execute a new interpreter instead of using what is imported already."""

    memory_limit_bytes: int | None = None
    """Limit of private, writable memory of each process of the run."""

    def encode(self) -> bytes:
        """The request on the wire: a length, then JSON."""
        body = json.dumps(asdict(self)).encode("ascii")
        return _LENGTH.pack(len(body)) + body

    @classmethod
    def receive(cls, stream: socket.socket) -> RunRequest:
        """Read one request.

        Raises:
            EOFError: the worker went away before it was complete.
        """
        (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
        return cls(**json.loads(_read_exactly(stream, length)))


def packet(**fields: Any) -> bytes:
    """A packet that says `fields`."""
    return json.dumps(fields).encode("ascii")[:PACKET_BYTES]


def _read_exactly(stream: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = stream.recv(min(size - len(received), 1 << 20))
        if not chunk:
            raise EOFError("the worker went away while it described a run")
        received += chunk
    return bytes(received)

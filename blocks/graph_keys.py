"""The keys that sensitive properties of the graph are encrypted with: in the home, or given by `LAMA_GRAPH_KEY`."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import Settings

FILE = "graph-keys"
"""In the secrets of the home: one key a line, in base64, the one that is used first."""
BYTES = 32


@dataclass(frozen=True)
class GraphKey:
    """One key."""

    content: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """What names it beside what it has encrypted; says nothing about it."""
        return hashlib.blake2b(self.content, digest_size=4, person=b"lama graph key").hexdigest()


def graph_keys(settings: Settings) -> tuple[GraphKey, ...]:
    """All keys of this node: the first encrypts, the others still decrypt; made on first use.

    Raises:
        ConfigurationError: what is written is no key.
    """
    if settings.graph_key is not None:
        parts = settings.graph_key.get_secret_value().split(",")
        return tuple(_key(part.strip(), "LAMA_GRAPH_KEY") for part in parts)
    home = Home(settings)
    path = home.secrets / FILE
    if not path.exists():
        home.write_secret(FILE, _fresh(), replace=False)
    lines = path.read_text(encoding="ascii", errors="replace").split()
    if not lines:
        raise ConfigurationError("it is empty.", component=str(path), remedy="Put it back from a backup of the home.")
    return tuple(_key(line, str(path)) for line in lines)


def add_graph_key(settings: Settings) -> GraphKey:
    """Make a new key that encrypts from now on; the others still decrypt.

    Raises:
        ConfigurationError: the keys are given by `LAMA_GRAPH_KEY`, where only its owner can add one.
    """
    if settings.graph_key is not None:
        raise ConfigurationError(
            "the key is given by LAMA_GRAPH_KEY.",
            component="graph",
            remedy="Put a new one before it, with a comma between them, and run this again with --no-new-key.",
        )
    with _alone(settings):
        keys = graph_keys(settings)
        fresh = _fresh()
        _write(settings, [fresh, *(_text(key) for key in keys)])
    return _key(fresh, FILE)


def drop_graph_keys(settings: Settings, kept: GraphKey) -> int:
    """Forget every key but `kept`; returns how many. Those of `LAMA_GRAPH_KEY` are their owner's to remove."""
    if settings.graph_key is not None:
        return 0
    with _alone(settings):
        keys = graph_keys(settings)
        _write(settings, [_text(kept)])
    return sum(key.id != kept.id for key in keys)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    with (Home(settings).run / "graph-keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(settings: Settings, lines: list[str]) -> None:
    Home(settings).write_secret(FILE, "\n".join(lines))


def _fresh() -> str:
    return base64.b64encode(secrets.token_bytes(BYTES)).decode()


def _text(key: GraphKey) -> str:
    return base64.b64encode(key.content).decode()


def _key(text: str, place: str) -> GraphKey:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != BYTES:
        raise ConfigurationError(
            f"it is not {BYTES} bytes in base64.",
            component=place,
            remedy="Make one with `openssl rand -base64 32`.",
        )
    return GraphKey(content)

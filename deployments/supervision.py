"""The supervisor: its generated configuration, and a client for it.

`supervisord` keeps the processes up (restart with growing delays, then a limit), keeps and rotates their output, and
stops them in order. It listens on a UNIX socket inside the home only.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client  # nosec B411 - spoken with our own supervisor, over a socket in our own home
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from blocks.errors import ConfigurationError, StartError, UnavailableError
from blocks.home import Home
from blocks.settings import CHECKOUT, Settings
from deployments.programs import Program, log_file

_UP = (10, 20)  # STARTING and RUNNING, among the process states of supervisor

_INHERITED = frozenset({
    "PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "TMPDIR", "PIP_CONFIG_FILE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
})  # fmt: skip

START_SECONDS = 60
"""A process that ends sooner than this has not started; it is tried again, later each time.

Longer than any of them needs to start: one that ends by a mistake of ours after its imports, or when it first meets a
broken database, would otherwise be started again at once, for ever.
"""
START_RETRIES = 6
"""After this many tries in a row (1 + 2 + ... seconds apart) a process is given up as FATAL."""


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor says of one process."""

    name: str
    state: str
    """STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED or FATAL."""
    pid: int
    since: float
    """When it was started, in seconds since the epoch; 0 when it is not up."""
    detail: str

    @property
    def given_up(self) -> bool:
        """Whether the supervisor will not try again."""
        return self.state == "FATAL"


class Supervisor:
    """The supervisor of one home, running or not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Home(settings)
        self.socket = self._home.sockets / "supervisor.sock"
        self.configuration = self._home.run / "supervisord.conf"
        self._process: subprocess.Popen[bytes] | None = None  # when it is our own child

    def write_configuration(self, programs: Iterable[Program]) -> None:
        """Write the configuration for `programs`, mode 0600: it holds their environment.

        Raises:
            ConfigurationError: a value cannot be written down without changing its meaning.
        """
        text = "\n\n".join([self._head(), *(self._program(program) for program in programs)]) + "\n"
        temporary = self.configuration.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(self.configuration)

    def start(self) -> int:
        """Start the supervisor in a session of its own, with no process up yet; returns its pid.

        Raises:
            StartError: it did not come up.
        """
        self.socket.unlink(missing_ok=True)  # left by a crash; a running supervisor was ruled out before
        with log_file(self._home.logs, "supervisord").open("ab") as output:
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.configuration)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output,
                start_new_session=True, cwd=CHECKOUT, env=self._environment(),
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.running():
                return process.pid
            if process.poll() is not None:
                break
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise StartError(
            "the supervisor did not start.",
            component="supervisord",
            remedy=f"Its log: {log_file(self._home.logs, 'supervisord')}",
        )

    def running(self) -> bool:
        """Whether it answers.

        Raises:
            UnavailableError: it is there and does not answer: not to be taken for one that is gone.
        """
        try:
            self._call("getState")
        except (ConnectionError, FileNotFoundError):
            return False
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise UnavailableError(
                f"it does not answer: {error}.", component="supervisord", remedy="Is the machine overloaded?"
            ) from error
        return True

    def pid(self) -> int | None:
        """Its process id, or None when it does not answer."""
        try:
            return int(self._call("getPID"))
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return None

    def states(self) -> dict[str, ProcessState]:
        """Every process by name; empty when the supervisor does not answer."""
        try:
            rows = self._call("getAllProcessInfo")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return {}
        return {
            row["name"]: ProcessState(
                name=row["name"],
                state=row["statename"],
                pid=row["pid"],
                since=row["start"] if row["state"] in _UP else 0,
                detail=row["spawnerr"] or row["description"],
            )
            for row in rows
        }

    def start_process(self, name: str) -> None:
        """Ask for `name` to be started; does not wait. Nothing happens when it is up already.

        Raises:
            StartError: the supervisor cannot even try.
        """
        try:
            self._call("startProcess", name, False)  # noqa: FBT003 - XML-RPC has positions only
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StartError(fault.faultString, component=name) from fault

    def stop_process(self, name: str) -> None:
        """Stop `name` and wait for its end."""
        with contextlib.suppress(xmlrpc.client.Fault):  # it is not running
            self._call("stopProcess", name)

    def shutdown(self, timeout_s: float) -> None:
        """Ask for an orderly end of everything and wait up to `timeout_s` seconds for it."""
        pid = self.pid()
        with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
            self._call("shutdown")
        with contextlib.suppress(psutil.Error, subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(timeout_s)
            elif pid is not None:
                psutil.Process(pid).wait(timeout_s)

    def _call(self, method: str, *arguments: Any) -> Any:
        with xmlrpc.client.ServerProxy(
            "http://supervisor", transport=_UnixTransport(self.socket), allow_none=True
        ) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _environment(self) -> dict[str, str]:
        # Each program gets its own variables; the supervisor hands down only what every process needs.
        kept = (
            "PATH",
            "LANG",
            "LC_ALL",
            "TZ",
            "HOME",
            "USER",
            "TMPDIR",
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
        )
        inherited = {n: v for n, v in os.environ.items() if n in kept or n.startswith("PIP_")}
        return inherited | {"LAMA_INSTANCE": self._settings.instance}

    def _head(self) -> str:
        return "\n".join(
            (
                "; Written by `lama up` at every start.",
                "[unix_http_server]",
                f"file={_escaped(str(self.socket))}",
                "chmod=0700",
                "",
                "[supervisord]",
                f"logfile={_escaped(str(log_file(self._home.logs, 'supervisord')))}",
                "logfile_maxbytes=5MB",
                "logfile_backups=2",
                f"pidfile={_escaped(str(self._home.run / 'supervisord.pid'))}",
                "umask=077",
                f"identifier=lama-{self._settings.instance}",
                "",
                "[rpcinterface:supervisor]",
                "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            )
        )

    def _program(self, program: Program) -> str:
        environment = dict(program.environment) | {"LAMA_COMPONENT": program.name}
        lines = [
            f"[program:{program.name}]",
            f"command={_escaped(_command(program.command))}",
            f"environment={_escaped(_environment_line(environment))}",
            f"directory={_escaped('/' if program.user else str(CHECKOUT))}",
            f"priority={program.priority}",
            "autostart=false",
            "autorestart=true",
            f"startsecs={START_SECONDS}",
            f"startretries={START_RETRIES}",
            f"stopsignal={program.stop_signal}",
            f"stopwaitsecs={program.stop_wait_s}",
            f"killasgroup={str(program.kill_group).lower()}",
            "redirect_stderr=true",
            f"stdout_logfile={_escaped(str(log_file(self._home.logs, program.name)))}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=4",
        ]
        if program.user:
            lines.append(f"user={program.user}")
        return "\n".join(lines)


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        self._connection = host, _UnixConnection(self._path)  # kept, so that the proxy closes it
        return self._connection[1]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("supervisor", timeout=10)
        self._path = path

    def connect(self) -> None:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh.settimeout(self.timeout)
        try:
            fresh.connect(str(self._path))
        except OSError:
            fresh.close()
            raise
        self.sock = fresh


def _escaped(value: str) -> str:
    """Supervisor expands `%(...)s` in every value, and reads ` ;` and ` #` as starts of a comment."""
    if "\n" in value or " ;" in value or " #" in value:
        raise ConfigurationError(  # without the value: it may hold a secret
            "a path or a variable holds a line break, ' ;' or ' #'.",
            component="supervisord",
            remedy="Choose one without.",
        )
    return value.replace("%", "%%")


def _command(command: tuple[str, ...]) -> str:
    import shlex  # noqa: PLC0415

    return shlex.join(command)


def _environment_line(environment: Mapping[str, str]) -> str:
    for name, value in environment.items():
        if "'" in value or '"' in value or "\n" in value:  # supervisor has no way to escape a quote
            raise ConfigurationError(
                f"the value of {name} holds a quote or a line break.",
                component="supervisord",
                remedy="Choose a value without them.",
            )
    return ",".join(f'{name}="{value}"' for name, value in sorted(environment.items()))

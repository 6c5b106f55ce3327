"""The platform of one node as a whole: start it, see it, stop it, and clear away what a crash left behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import psutil

from blocks.errors import ConfigurationError, StartError
from blocks.home import Home
from blocks.settings import Settings
from deployments.embedded_postgres import EmbeddedPostgres
from deployments.guard import refuse_unguarded
from deployments.programs import Program, log_file, programs
from deployments.schema import create_databases, upgrade
from deployments.supervision import ProcessState, Supervisor

Observer = Callable[[str, str], None]
"""Called with a process's name and what happens to it: `starting`, `ready`, or a sentence."""

WAITS = "is being started or stopped by another process: waiting until that is done"
"""What an observer is told of the platform while somebody else has it in hand."""

_POLL_S = 0.1
_STOP_S = 150.0
"""Seconds for an orderly end; more than the longest `stop_wait_s` of two programs one after the other."""


def _silent(_name: str, _event: str) -> None:
    return


class Platform:
    """The processes of one home.

    Args:
        settings: the node's settings.
        only: names of the programs to run; all of them by default. Whoever names them needs them: a start waits for
            each of those.
    """

    def __init__(self, settings: Settings, only: Iterable[str] | None = None) -> None:
        self.settings = settings
        self.home = Home(settings)
        self.supervisor = Supervisor(settings)
        self.programs = programs(settings)
        named = None if only is None else set(only)
        self.chosen = [name for name in self.programs if named is None or name in named]
        self._awaited = {name for name, one in self.programs.items() if one.awaited or name in (named or ())}

    def start(
        self, observe: Observer = _silent, meanwhile: Callable[[], None] | None = None, *, keep: bool = False
    ) -> bool:
        """Bring every program up and wait until all are ready; those that are up already stay as they are.

        Args:
            observe: told what happens.
            meanwhile: something worth doing while the servers start, such as slow imports.
            keep: it is to stay up after its temporary users (see `in_use`) have left.

        Returns:
            False when the platform was up already; at most what was missing has been started then.

        Raises:
            ConfigurationError: it must not start like this (no authentication beyond loopback, a taken port).
            StartError: something did not come up; whatever had been started is stopped again.
        """
        for name in self.chosen:
            refuse_unguarded(self.settings, name)
        self.home.prepare()
        with self._alone(observe):
            if self.supervisor.running():
                if keep:
                    self.home.keep_mark.touch(mode=0o600)
                self.bring(self._missing(), observe, meanwhile)
                return False
            self.sweep()
            self._refuse_taken_ports()
            try:
                if keep:
                    self.home.keep_mark.touch(mode=0o600)
                if "postgres" in self.chosen:
                    EmbeddedPostgres(self.settings).prepare()
                self.supervisor.write_configuration(self.programs.values())
                self.supervisor.start()
                self.bring(self.chosen, observe, meanwhile)
            except OSError as error:  # a full or read-only disk
                self._stop()
                raise StartError(
                    f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.",
                    component=str(self.home.path),
                    remedy="Is there room, and is it writable?",
                ) from error
            except BaseException:  # also Ctrl-C: half a platform is of no use to anybody
                self._stop()
                raise
        return True

    @contextlib.contextmanager
    def coming_up(self, observe: Observer = _silent) -> Iterator[None]:
        """Within it, nobody else on this node brings the platform up and Prefect to what the checkout says.

        Who comes second waits until the first is done, and is told so.
        """
        self.home.prepare()
        with _held(self.home.run / "coming-up.lock", observe):
            yield

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While it lasts, a platform that nobody keeps up is not stopped; the last user to leave stops it."""
        self.home.prepare()
        with (self.home.run / "users.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                yield
            finally:
                fcntl.flock(users, fcntl.LOCK_UN)
                with self._alone():
                    if not self.kept and _nobody_holds(users):
                        self._stop()

    @property
    def kept(self) -> bool:
        """Whether a `lama up` keeps it up; `stop` ends that."""
        return self.home.keep_mark.exists()

    def bring(
        self, names: Iterable[str], observe: Observer = _silent, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Start the programs called `names` under the running supervisor and wait until they are ready.

        The database comes first; the others start together, each waits by itself for what it needs.

        Raises:
            StartError: one did not come up; the others keep running.
        """
        chosen = [self.programs[name] for name in self.programs if name in set(names)]
        first = [program for program in chosen if program.name == "postgres"]
        rest = [program for program in chosen if program.name != "postgres"]
        if not chosen:
            return
        self._start(first, observe)
        self._wait(first, observe)
        if first or not self.settings.embeds_postgres:
            create_databases(self.settings)
        self._start([program for program in rest if program.name in self._awaited], observe)
        if first or not self.settings.embeds_postgres:
            upgrade(self.settings)  # while they start: who needs the tables waits for them
        if meanwhile is not None:
            meanwhile()  # in this thread: two threads that import at once can meet half-made modules
        self._wait(rest, observe)
        # Last: while they start they would take time on the processor from those that are waited for.
        self._start([program for program in rest if program.name not in self._awaited], observe)

    def states(self) -> dict[str, ProcessState]:
        """Every supervised process; empty when the platform is down."""
        return self.supervisor.states()

    def stop(self) -> None:
        """Stop everything in order, then whatever did not listen; no process is left."""
        if not self.home.run.exists():
            return  # never started
        with self._alone():
            self._stop()

    def _stop(self) -> None:
        self.home.keep_mark.unlink(missing_ok=True)
        if self.supervisor.running():
            self.supervisor.shutdown(_STOP_S)
        self.sweep()
        self.supervisor.socket.unlink(missing_ok=True)

    def _missing(self) -> list[str]:
        states = self.states()
        return [
            name
            for name in self.chosen
            if (state := states.get(name)) is None
            or state.state not in {"STARTING", "RUNNING"}
            or (name in self._awaited and not self.programs[name].ready(state.since))
        ]

    def sweep(self) -> list[int]:
        """End processes of this home that no supervisor looks after; returns their pids.

        They are what a killed supervisor leaves: a Prefect server that holds its port, a PostgreSQL that holds its
        data. They are known by a variable in their environment, never by their name.
        """
        strays = self._own_processes()
        # PostgreSQL last and gently, and never its children by themselves: that would look like a crash to it.
        database = [process for process in strays if _is_postgres(process)]
        others = [process for process in strays if process not in database]
        _end(others, grace_s=10)
        masters = [p for p in database if _parent(p) not in {q.pid for q in database}]
        for process in masters:
            with contextlib.suppress(psutil.Error):
                process.send_signal(2)
        psutil.wait_procs(database, timeout=30)
        _end(database, grace_s=1)
        return [process.pid for process in strays]

    def _start(self, wave: Iterable[Program], observe: Observer) -> None:
        for program in wave:
            observe(program.name, "starting")
            self.supervisor.start_process(program.name)

    def _wait(self, wave: Iterable[Program], observe: Observer) -> None:
        waiting = {program.name: program for program in wave if program.name in self._awaited}
        deadline = time.monotonic() + self.settings.start_timeout_s
        while waiting:
            states = self.supervisor.states()
            if not states and not self.supervisor.running():
                raise self._failed("supervisord", "ended while the platform was starting")
            for name, program in list(waiting.items()):
                state = states.get(name)
                if state is None:
                    continue  # the supervisor was too busy to say
                if state.given_up:
                    raise self._failed(name, "keeps ending right after its start and was given up")
                if state.state in {"STARTING", "RUNNING"} and program.ready(state.since):
                    observe(name, "ready")
                    del waiting[name]
                elif state.state == "BACKOFF":
                    observe(name, "ended at its start; trying again")
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise self._failed(", ".join(waiting), f"not ready within {self.settings.start_timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def _failed(self, name: str, what: str) -> StartError:
        paths = [log_file(self.home.logs, part) for part in name.split(", ")]
        tail = "\n".join(f"  {line}" for path in paths for line in last_lines(path, 8))
        logs = ", ".join(map(str, paths))
        return StartError(f"{what}.", component=name, remedy=f"Log: {logs}\n{tail}")

    def _refuse_taken_ports(self) -> None:
        for program in (self.programs[name] for name in self.chosen):
            if program.port is None:
                continue
            owner = _port_owner(self.settings.host, program.port)
            if owner is not None:
                raise ConfigurationError(
                    f"port {program.port} is taken by {owner}.",
                    component=program.name,
                    remedy=f"End that process, or set LAMA_{_variable(program.name)}_PORT to another port.",
                )

    @contextlib.contextmanager
    def _alone(self, observe: Observer = _silent) -> Iterator[None]:
        """One start or stop at a time: a second `lama up` waits here, and then finds the platform up."""
        with _held(self.home.run / "up.lock", observe):
            yield

    def _own_processes(self) -> list[psutil.Process]:
        ourselves = psutil.Process()
        spared = {ourselves.pid, *(parent.pid for parent in ourselves.parents())}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid in spared or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("LAMA_INSTANCE") == self.settings.instance:
                    found.append(process)
        return found


@contextlib.contextmanager
def _held(path: Path, observe: Observer) -> Iterator[None]:
    """The lock of `path`; waits for whoever has it, and then says so: a start can take a minute."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            observe("platform", WAITS)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _variable(program: str) -> str:
    """What a program is called in the names of variables; those of further devices follow the first one's port."""
    return re.sub(r"-(\d+|front)$", "", program).replace("-", "_").upper()


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log file; empty when there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def _port_owner(host: str, port: int) -> str | None:
    """Who listens on `port`, in words; None when it can be bound."""
    import socket  # noqa: PLC0415

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return "nobody, but binding it is not permitted to this user"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _listener(port)
            raise ConfigurationError(
                f"nothing can listen on {host}:{port}: {error.strerror or error}.",
                component="LAMA_HOST",
                remedy="Is it an address of this machine?",
            ) from error
    return None


def _listener(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS shows other processes' sockets to root only
        return "another process"
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and getattr(connection.laddr, "port", None) == port
            and connection.pid
        ):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid}, user {process.username()})"
    return "a process of another user"


def _is_postgres(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return Path(process.exe()).name == "postgres"
    return False


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return process.ppid()
    return None


def _end(processes: list[psutil.Process], grace_s: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=10)


def _nobody_holds(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

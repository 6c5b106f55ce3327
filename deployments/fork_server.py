"""The fork server: one thread, Prefect and the flows imported, and a fork for every run.

It is the parent of the runs, so it learns first how they end and tells the worker. If the worker goes away, it kills
every run with all its process group, so that no run goes on unseen while another worker repeats it. If the fork
server itself goes away, the kernel kills its runs, and the worker their process groups.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # pragma: no cover - the path must be set before the first import of our own
    # What `python -m prefect.engine` would have on its path before the environment has its say.
    _OWN_PATH = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    _BASE_PATH = [entry for entry in sys.path[1:] if entry not in _OWN_PATH]
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - no imports yet

import contextlib
import gc
import importlib
import json
import select
import signal
import socket
import time
import traceback
from typing import TYPE_CHECKING

from deployments.fork_protocol import PACKET_BYTES, packet

if TYPE_CHECKING:
    from pydantic import BaseModel

_PREFECT = (
    "prefect.flow_engine",
    "prefect.runner._workspace_supervisor",
    "prefect.deployments.steps.pull",
    "prefect._internal.observers",
    "encodings.idna",
    "pydantic.v1",
    "rich._emoji_codes",
)
"""What every run imports, at the latest when it runs; the flows come after."""

_MEETING_LIMIT_S = 5.0

_SETTLE_S = 1.0
"""How long a thread that an import started may take to end by itself."""


class ForkServer:
    """The loop that forks, reaps and reports, over the socket to the worker."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._runs: dict[int, str] = {}
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.settimeout(0)

    def serve(self) -> tuple[socket.socket, int, int] | None:
        """Fork until the worker goes away.

        Returns:
            In a child: the run's socket and the descriptors of its standard output and error.
            In the server: None, when it is over.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _event in poll.poll()}
            if self._woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    while self._woken.recv(4096):
                        pass
                self._reap()
            if self._control.fileno() in ready:
                try:
                    message, descriptors, _flags, _address = socket.recv_fds(self._control, PACKET_BYTES, 3)
                except ConnectionError:
                    message, descriptors = b"", []
                if not message:
                    self._end()
                    return None
                if self._fork(json.loads(message)["fork"], descriptors):
                    run, stdout, stderr = descriptors
                    return socket.socket(fileno=run), stdout, stderr

    def _fork(self, run: str, descriptors: list[int]) -> bool:
        try:
            child = os.fork()
        except OSError as error:
            self._tell(refused=run, error=error.strerror)
            child = -1
        if child == 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for end in (self._control, self._woken, self._wake):
                end.close()
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        if child > 0:
            self._runs[child] = run
        return False

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if run := self._runs.pop(pid, None):  # the others are what runs have left behind
                    self._tell(ended=run, pid=pid, status=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        for child in self._runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # forked a moment ago, leads no group yet
                os.kill(child, signal.SIGKILL)
        for child in self._runs:
            os.waitpid(child, 0)

    def _tell(self, **fields: object) -> None:
        with contextlib.suppress(ConnectionError):  # the worker is gone: the next `recv` says so
            self._control.send(packet(**fields))


def preload(control: socket.socket, modules: list[str]) -> None:
    """Import Prefect, then each of `modules`, telling the worker how each went.

    A module that cannot be imported is left to the runs that need it: they fail with its own message.
    """
    for module in (*_PREFECT, *modules):
        control.send(packet(importing=module))
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever a flow's module raises, the others still load
            control.send(packet(unimportable=module, error=_last_line(error)))
            continue
        if not _single_threaded():
            # Only the thread that forks lives on in the child; locks of the others would stay locked forever.
            control.send(packet(threaded=module))
            sys.exit(3)
    control.send(packet(importing=""))


def warm() -> None:
    """Do once what every run would do first and Python or Prefect then remember."""
    import logging  # noqa: PLC0415 - after the preload has told the worker what is being imported

    import anyio  # noqa: PLC0415
    from prefect import flow  # noqa: PLC0415
    from prefect._internal.version_checking import check_server_version  # noqa: PLC0415
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.settings import get_current_settings  # noqa: PLC0415
    from pydantic import BaseModel  # noqa: PLC0415

    async def meet_the_server(url: str) -> None:
        with anyio.move_on_after(_MEETING_LIMIT_S):
            await check_server_version(url, logging.getLogger(__name__), raise_on_error=False)
            async with get_client():
                pass

    def nothing(number: int = 0) -> None:
        pass

    flow(nothing)  # imports what describes parameters
    for model in _subclasses(BaseModel):
        if model.__module__.startswith("prefect.") and not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)
    if url := get_current_settings().api.url:  # without one, Prefect would start a server
        anyio.run(meet_the_server, url)


def main(base_path: list[str]) -> None:
    """Serve on the descriptor named by the first argument; in a child, become the run."""
    from deployments.fork_child import Origin, adopt_orphans, begin, project_packages  # noqa: PLC0415
    from deployments.late_tls import read_authorities_late  # noqa: PLC0415

    control = socket.socket(fileno=int(sys.argv[1]))
    environment = dict(os.environ)
    adopt_orphans()
    read_authorities_late()
    ours = [name for name in sys.modules if name.partition(".")[0] == "deployments"]
    try:
        order = json.loads(control.recv(PACKET_BYTES))
        sys.path.insert(0, order["checkout"])
        preload(control, order["modules"])
        try:
            warm()
        except Exception as error:  # noqa: BLE001 - it only saves time, and another Prefect may do things otherwise
            control.send(packet(unprepared=_last_line(error)))
        if not _single_threaded():
            control.send(packet(threaded=""))
            sys.exit(3)
        for name in ours:  # a run finds them where it would without us, or not at all
            del sys.modules[name]
        origin = Origin(os.getpid(), environment, tuple(base_path), project_packages(list(sys.modules)))
        gc.collect()
        gc.freeze()  # what is here now is never collected, so its pages stay shared with the children
        control.send(packet(ready=True))
        began = ForkServer(control).serve()
    except ConnectionError:  # the worker is gone
        return
    if began is not None:
        begin(*began, origin)


def _last_line(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()[-2000:]


def _single_threaded() -> bool:
    """Whether this is the only thread, once those that end by themselves or at a fork have ended."""
    if _threads() == 1:
        return True
    probe = os.fork()  # OpenBLAS and its like end their threads before a fork and start them again when needed
    if probe == 0:
        os._exit(0)
    os.waitpid(probe, 0)
    until = time.monotonic() + _SETTLE_S
    while _threads() > 1 and time.monotonic() < until:
        time.sleep(0.02)
    return _threads() == 1


def _subclasses(model: type[BaseModel]) -> set[type[BaseModel]]:
    direct = set(model.__subclasses__())
    return direct.union(*(_subclasses(one) for one in direct))


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - counts, does not name


if __name__ == "__main__":
    main(_BASE_PATH)

"""What a forked child does to become the process of one flow run, as if it had been started afresh.

It follows the stock worker's steps: Prefect's workspace supervisor prepares the workspace (pull steps), then the
engine runs in it. Where the stock worker executes a new interpreter in between, the child goes on with what the fork
server has imported, if and only if a new interpreter would import the same. Otherwise it executes one, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.machinery
import os
import resource
import runpy
import signal
import site
import socket
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.fork_protocol import GROUP, RunRequest

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_ENGINE = [sys.executable, "-m", "prefect.engine"]

_READ_AT_START = (
    "PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG",
    "OMP_", "OPENBLAS_", "MKL_", "KMP_", "GOMP_", "NUMBA_", "HF_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "JAX_",
)  # fmt: skip
"""Prefixes of variables that an interpreter or a library reads once, when it starts or is imported."""

_prctl = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(frozen=True)
class Origin:
    """What the fork server was when it imported everything."""

    parent: int
    """Its process id."""

    environment: Mapping[str, str]
    """Its environment."""

    base_path: tuple[str, ...]
    """The module search path of an interpreter without working directory and without `PYTHONPATH`."""

    project: Mapping[str, str | None]
    """Where each top-level package came from that was imported and is neither Python's nor installed."""

    def started_alike(self, environment: Mapping[str, str]) -> bool:
        """Whether a new interpreter with `environment` would start as the fork server has started."""
        return _read_at_start(environment) == _read_at_start(self.environment)

    def configures_alike(self, environment: Mapping[str, str]) -> bool:
        """Whether Prefect reads the same settings from `environment` as the fork server has read."""
        return _prefect_settings(environment) == _prefect_settings(self.environment)


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind, so that it is reaped when it ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def begin(run: socket.socket, stdout: int, stderr: int, origin: Origin) -> None:
    """Become the run that is described over `run`; returns when its engine has returned.

    Raises:
        SystemExit: the usual end of a run, with its exit status.
    """
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != origin.parent:  # the fork server died before it could be bound to
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run.sendall(GROUP.pack(os.getpid()))
        request = RunRequest.receive(run)
    except (EOFError, ConnectionError):
        os._exit(1)
    run.close()
    _take_streams(stdout, stderr)
    _take_environment(request.environment)
    os.chdir(request.directory)
    if request.memory_limit_bytes:
        # Private writable memory only: address space is also reserved by what never uses it (threads, CUDA).
        resource.setrlimit(resource.RLIMIT_DATA, (request.memory_limit_bytes, request.memory_limit_bytes))
    supervisor = [sys.executable, "-m", "prefect.runner._workspace_supervisor", request.workspace_config]
    if request.fresh_interpreter or not origin.started_alike(request.environment):
        os.execv(sys.executable, supervisor)  # noqa: S606 - no shell, on purpose
    _reseed()
    _search(request.directory, origin)
    if not origin.configures_alike(os.environ) or _configures_prefect(Path.cwd()):
        _settle_prefect()
    _supervise(request.workspace_config, origin)


def _supervise(config: str, origin: Origin) -> None:
    from prefect.runner import _workspace_supervisor as supervisor  # noqa: PLC0415

    execute = supervisor._launch_engine  # noqa: SLF001
    imported = set(sys.modules)
    start = Path.cwd()
    chosen: list[tuple[Path, dict[str, str]]] = []

    async def launch(command: list[str], *, cwd: Path, environment: dict[str, str]) -> int:
        new = sys.modules.keys() - imported
        if command == _ENGINE and _would_import_the_same(new, cwd, environment, origin):
            chosen.append((cwd, environment))
            return 0
        return await execute(command, cwd=cwd, environment=environment)

    # The one seam: everything before it and after it is Prefect's own code.
    supervisor._launch_engine = launch  # noqa: SLF001
    status = supervisor.main([config])
    if not chosen:
        raise SystemExit(status)
    directory, environment = chosen[0]
    _take_environment(environment)
    os.chdir(directory)
    _search(str(directory), origin)
    if _configures_prefect(start) or _configures_prefect(directory):
        _settle_prefect()
    _cancel_without_a_crash()
    _fail_for_unknown_parameters()
    engine = sys.modules.pop("prefect.engine", None)  # `python -m` runs a module that nobody has imported
    sys.argv = [str(engine.__file__ if engine else "prefect.engine")]
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _cancel_without_a_crash() -> None:
    """Let Prefect take no cancelled run for a crashed one, in whatever shape the signal comes out of the flow.

    It knows the signal and asyncio's cancellation. Out of a group of tasks, where it interrupted one of them, the
    signal comes as a group of exceptions, and out of a library as that library's own.
    """
    from prefect import flow_engine  # noqa: PLC0415

    def of_all(engine: Any) -> None:
        crash: Any = engine.handle_crash

        @functools.wraps(crash)
        def handle_crash(self: Any, exc: BaseException) -> Any:
            cancelled = flow_engine._termination_intent() == "cancel"  # noqa: SLF001
            return self.handle_cancellation(exc) if cancelled else crash(self, exc)

        engine.handle_crash = handle_crash

    for engine in (flow_engine.FlowRunEngine, flow_engine.AsyncFlowRunEngine):
        of_all(engine)


def _fail_for_unknown_parameters() -> None:
    """Let Prefect fail a run with a parameter that its flow does not have as it fails one with a value of a wrong type.

    It looks at the names before there is an engine that could set a state: the run would crash. Its check of the
    values looks at the names again, and says which are expected.
    """
    from prefect import flow_engine  # noqa: PLC0415
    from prefect.exceptions import SignatureMismatchError  # noqa: PLC0415

    read: Any = flow_engine._flow_parameters  # noqa: SLF001

    def parameters_of(flow: Any, flow_run: Any, parameters: Any) -> Any:
        try:
            return read(flow=flow, flow_run=flow_run, parameters=parameters)
        except SignatureMismatchError:
            if not flow.should_validate_parameters:
                raise
            return flow_run.parameters

    flow_engine._flow_parameters = parameters_of  # noqa: SLF001


def _would_import_the_same(new: Iterable[str], directory: Path, environment: Mapping[str, str], origin: Origin) -> bool:
    """Whether a new interpreter in `directory` with `environment` would find the modules that are here."""
    if not origin.started_alike(environment) or _prefect_settings(environment) != _prefect_settings(os.environ):
        return False
    if project_packages(new):  # a pull step has imported code that its own interpreter would have taken to the grave
        return False
    path = _search_path(str(directory), environment, origin)
    entrypoint, colon, _name = environment.get("PREFECT__FLOW_ENTRYPOINT", "").rpartition(":")
    if colon and entrypoint.endswith(".py"):  # Prefect puts the folder of a flow's file first
        path.insert(0, str((directory / entrypoint).parent))
    importlib.invalidate_caches()
    return all(_found(name, path) == place for name, place in origin.project.items())


def project_packages(modules: Iterable[str]) -> dict[str, str | None]:
    """Where the top-level package of each of the imported `modules` is that is neither Python's nor installed."""
    places: dict[str, str | None] = {}
    for name in modules:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if isinstance(spec, importlib.machinery.ModuleSpec):
            place = _place(spec)
            if place is not None and not place.startswith(_INSTALLED):
                top = name.partition(".")[0]
                above = getattr(sys.modules.get(top), "__spec__", None)
                places[top] = _place(above) if isinstance(above, importlib.machinery.ModuleSpec) else None
    return places


def _found(name: str, path: list[str]) -> str | None:
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    for finder in sys.meta_path:
        if spec is not None:
            break
        if finder is not importlib.machinery.PathFinder:  # an editable installation brings a finder of its own
            spec = finder.find_spec(name, None)
    return _place(spec) if spec is not None else None


def _place(spec: importlib.machinery.ModuleSpec) -> str | None:
    if spec.has_location and spec.origin:
        return os.path.abspath(spec.origin)  # noqa: PTH100 - thousands of them, and no link is to be followed
    return next((os.path.abspath(place) for place in spec.submodule_search_locations or ()), None)  # noqa: PTH100


_INSTALLED = tuple(
    {
        os.path.join(os.path.abspath(place), "")  # noqa: PTH100, PTH118
        for place in (
            *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),
            site.getusersitepackages(),
        )
    }
)


def _take_streams(stdout: int, stderr: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        os.close(source)


def _take_environment(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    time.tzset()
    settings: Any = sys.modules.get("blocks.settings")
    if settings is not None:
        settings.settings.cache_clear()


def _reseed() -> None:
    # Python's own generator reseeds itself at a fork; numpy's global one does not, and every run would draw the same.
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _search(directory: str, origin: Origin) -> None:
    sys.path[:] = _search_path(directory, os.environ, origin)
    importlib.invalidate_caches()


def _search_path(directory: str, environment: Mapping[str, str], origin: Origin) -> list[str]:
    own = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return [*([] if sys.flags.safe_path else [directory]), *own, *origin.base_path]


def _settle_prefect() -> None:
    """Let Prefect read its settings and set up its logging anew: they are not what the fork server has."""
    import prefect.context  # noqa: PLC0415
    import prefect.logging.configuration  # noqa: PLC0415

    prefect.context.refresh_global_settings_context()
    prefect.logging.configuration.setup_logging(incremental=False)


def _configures_prefect(directory: Path) -> bool:
    """Whether Prefect finds settings of its own in the working directory."""
    if (directory / ".env").exists() or (directory / "prefect.toml").exists():
        return True
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
        return "prefect" in tomllib.loads((directory / "pyproject.toml").read_text("utf-8")).get("tool", {})
    return False


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(_READ_AT_START) and name != "PYTHONPATH"
    }


def _prefect_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if (name.startswith("PREFECT_") and not name.startswith("PREFECT__")) or name == "HOME"
    }

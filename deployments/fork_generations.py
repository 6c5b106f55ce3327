"""The fork server that has the code that is on disk now: a new one is started whenever the code has changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from blocks.errors import StartError
from deployments.fork_client import (
    ForkedProcess,
    ForkRefusedError,
    ForkServerClient,
    Logger,
    ModuleUnfitError,
)
from deployments.fork_code import Checkout
from deployments.fork_protocol import RunRequest

_LOOK_S = 2.0
_RETRY_S = 60.0
_IMPORT_LIMIT_S = 120.0


class Generations:
    """Fork servers one after the other, of which only the newest gets runs.

    Used as an asynchronous context manager: the first one starts on entry, in the background.
    """

    def __init__(self, checkout: Checkout, environment: Mapping[str, str], logger: Logger) -> None:
        self._checkout = checkout
        self._environment = environment
        self._logger = logger
        self._code: Mapping[str, tuple[int, int]] = {}
        self._boot: asyncio.Task[ForkServerClient] | None = None
        self._boot_failed_at = 0.0
        self._unfit: set[str] = set()
        self._warned: set[str] = set()
        self._all: set[ForkServerClient] = set()
        self._looking = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Generations:
        try:
            await self._renew_if_changed()
        except StartError as error:
            self._logger.warning("%s", error)
            self._renew()
        self._watch = asyncio.create_task(self._keep_watch())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for task in (self._watch, self._boot):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, StartError):
                    await task
        for server in self._all:
            server.close()

    async def ready(self) -> None:
        """Wait until the newest fork server is ready.

        Raises:
            StartError: it could not be started.
        """
        assert self._boot is not None  # noqa: S101 - entering has made it
        await asyncio.shield(self._boot)

    async def fork(self, request: RunRequest, stdout: int, stderr: int) -> ForkedProcess:
        """A child of the fork server that has imported the code as it is on disk at this moment.

        Raises:
            StartError: there is no such server, or it could not make a child; nothing of the run has happened.
        """
        await self._renew_if_changed()
        for _attempt in range(2):
            assert self._boot is not None  # noqa: S101 - `_renew_if_changed` has made it
            boot = self._boot
            server = await asyncio.shield(boot)
            try:
                return await server.fork(request, stdout, stderr)
            except ForkRefusedError:
                if server.alive:
                    raise
                if self._boot is boot:  # it died while nobody looked
                    self._renew()
        raise ForkRefusedError("has died twice in a row", component="fork server")

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._renew_if_changed()
            except StartError as error:  # the next look may work; runs that start meanwhile say so too
                self._warn_once(str(error))

    async def _renew_if_changed(self) -> None:
        async with self._looking:
            try:
                code = await asyncio.to_thread(self._checkout.state, self._note_unreadable)
            except OSError as error:
                raise StartError(f"cannot look at the code: {error}", component="fork server") from error
            if self._boot is not None and code != self._code:
                changed = min(path for path, _stamp in code.items() ^ self._code.items())
                self._logger.info("The code has changed (%s): starting a new fork server.", changed)
                self._unfit.clear()
            if self._boot is None or code != self._code or self._is_lost(self._boot):
                self._code = code
                self._renew()

    def _note_unreadable(self, error: OSError) -> None:
        self._warn_once(f"Changes there are not noticed, it cannot be looked at: {error}")

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._logger.warning("%s", sentence)

    def _is_lost(self, boot: asyncio.Task[ForkServerClient]) -> bool:
        if not boot.done():
            return False
        if boot.cancelled() or boot.exception():
            return asyncio.get_running_loop().time() > self._boot_failed_at + _RETRY_S
        return not boot.result().alive

    def _renew(self) -> None:
        if self._boot is not None:
            self._boot.add_done_callback(_retire)
        self._boot = asyncio.create_task(self._start())
        self._boot.add_done_callback(self._note_failure)

    async def _start(self) -> ForkServerClient:
        try:
            modules = await asyncio.to_thread(self._checkout.modules)
        except ValueError as error:
            self._logger.error(  # noqa: TRY400 - the sentence says it all
                "%s; only Prefect is imported ahead of runs.", error
            )
            modules = []
        except OSError as error:
            raise StartError(f"cannot look at the code: {error}", component="fork server") from error
        began = asyncio.get_running_loop().time()
        while True:
            server = ForkServerClient(self._logger)
            self._all = {known for known in self._all if known.alive} | {server}
            wanted = [module for module in modules if module not in self._unfit]
            try:
                await server.start(self._checkout.path, wanted, self._environment, _IMPORT_LIMIT_S)
            except ModuleUnfitError as error:
                if error.module not in wanted:
                    raise
                self._logger.warning("%s; it is imported anew by every run that needs it.", error)
                self._unfit.add(error.module)
                continue
            took = asyncio.get_running_loop().time() - began
            self._logger.info("Fork server ready (PID %s, %s flow modules, %.1f s).", server.pid, len(wanted), took)
            return server

    def _note_failure(self, boot: asyncio.Task[ForkServerClient]) -> None:
        if not boot.cancelled() and (error := boot.exception()):
            self._boot_failed_at = asyncio.get_running_loop().time()
            self._logger.error("No fork server, runs start in interpreters of their own: %s", error)


def _retire(boot: asyncio.Task[ForkServerClient]) -> None:
    if not boot.cancelled() and not boot.exception():
        boot.result().retire()

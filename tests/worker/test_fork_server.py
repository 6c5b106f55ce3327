"""The fork server by itself: what it imports, what it refuses, and when it is renewed."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from blocks.errors import StartError
from blocks.settings import Settings
from deployments.fork_code import Checkout
from deployments.fork_generations import Generations
from deployments.fork_protocol import RunRequest
from deployments.fork_starter import limiting
from tests.worker.conftest import gone

LOGGER = logging.getLogger("tests.fork_server")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(__file__).parent / "checkout", tmp_path / "checkout"))


def deploy(code: Path, *entrypoints: str) -> None:
    rows = "".join(f"  - name: d{number}\n    entrypoint: {entry}\n" for number, entry in enumerate(entrypoints))
    (code / "prefect.yaml").write_text(f"deployments:\n{rows}")


def servers() -> list[int]:
    return [
        child.pid
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and any("fork_server" in word for word in child.cmdline())
    ]


def state(code: Path) -> Mapping[str, tuple[int, int]]:
    unreadable: list[OSError] = []
    seen = Checkout(code).state(unreadable.append)
    assert not unreadable
    return seen


async def test_what_cannot_be_imported_ahead_is_named(
    code: Path, prefect_server: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken module is reported; one that leaves a thread or ends the process is left out; the server is ready."""
    (code / "warmed" / "deadly.py").write_text("import os\nos._exit(7)\n")
    deploy(code, "warmed.broken.flow", "warmed.threaded.threaded", "warmed.deadly.flow", "warmed.flows.observe")
    caplog.set_level(logging.INFO, LOGGER.name)
    async with Generations(Checkout(code), dict(os.environ), LOGGER) as generations:
        await generations.ready()
        (server,) = servers()
        assert len(psutil.Process(server).threads()) == 1
    said = caplog.text
    assert "warmed.broken cannot be imported" in said
    assert "this module never imports" in said
    assert "warmed.threaded: its import leaves threads running" in said
    assert "warmed.deadly: its import ended the fork server" in said
    assert "2 flow modules" in said
    await asyncio.sleep(0.5)
    assert gone(server)


async def test_a_change_of_code_starts_another(code: Path, prefect_server: Settings) -> None:
    """The old server ends, and the new one is ready before anybody needs it."""
    deploy(code, "warmed.flows.observe")
    async with Generations(Checkout(code), dict(os.environ), LOGGER) as generations:
        await generations.ready()
        (before,) = servers()
        (code / "warmed" / "new.py").write_text("")
        async with asyncio.timeout(30):
            while not (now := servers()) or before in now:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await generations.ready()
        assert gone(before)


def test_checkout_knows_what_flows_need(code: Path) -> None:
    """A module entrypoint gives its module, a file gives what it imports, and nothing is named twice."""
    deploy(code, "warmed.flows.observe", "loose/script.py:script", "warmed.flows:nap", "loose/missing.py:flow")
    assert Checkout(code).modules() == ["warmed.flows", "os", "prefect", "warmed", "warmed.facts"]


def test_garbage_is_said_to_be_garbage(code: Path) -> None:
    """An unreadable `prefect.yaml` is an error that names the file."""
    (code / "prefect.yaml").write_text("deployments: [")
    with pytest.raises(ValueError, match=r"prefect\.yaml"):
        Checkout(code).modules()


@pytest.mark.parametrize("path", ["warmed/facts.py", "prefect.yaml", "constraints.txt", "warmed/more/query.sql"])
def test_every_kind_of_code_counts(code: Path, path: str) -> None:
    """A change of any file that a run may use changes the state; looking twice does not."""
    before = state(code)
    assert state(code) == before
    changed = code / path
    changed.parent.mkdir(exist_ok=True)
    changed.write_text("# changed")
    assert state(code) != before


def test_what_is_no_code_does_not_count(code: Path) -> None:
    """Caches, environments, tests and loops of links are not looked at."""
    before = state(code)
    for name in ("__pycache__", ".cache", "tests", "env"):
        (code / name).mkdir()
        (code / name / "file.py").write_text("")
    (code / "env" / "pyvenv.cfg").write_text("")
    (code / "warmed" / "loop").symlink_to(code)
    assert state(code) == before


def test_what_cannot_be_looked_at_is_named_and_hides_nothing_else(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without permission and a link to itself are told; a change beside them still counts."""
    (code / "closed").mkdir()
    (code / "self.py").symlink_to("self.py")
    look = os.scandir

    def refuse(folder: str) -> Any:  # root, as whom tests may run, is refused nothing
        if folder.endswith("/closed"):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return look(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    unreadable: list[OSError] = []
    before = Checkout(code).state(unreadable.append)
    assert {str(error.filename) for error in unreadable} == {str(code / "closed"), str(code / "self.py")}
    (code / "warmed" / "new.py").write_text("")
    assert Checkout(code).state(unreadable.append) != before


async def test_what_cannot_be_looked_at_stops_no_worker(
    code: Path, prefect_server: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The fork server starts and the watch goes on; each obstacle is told once."""
    deploy(code, "warmed.flows.observe")
    (code / "self.py").symlink_to("self.py")
    async with Generations(Checkout(code), dict(os.environ), LOGGER) as generations:
        await generations.ready()
        (before,) = servers()
        (code / "warmed" / "new.py").write_text("")
        async with asyncio.timeout(30):
            while not (now := servers()) or before in now:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await generations.ready()
    assert sum("self.py" in record.getMessage() for record in caplog.records) == 1


async def test_without_a_look_at_the_code_a_run_is_told_to_start_otherwise(
    code: Path, prefect_server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of the whole look is a `StartError`, upon which the run starts as the stock worker would start it."""

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Checkout, "state", fail)
    monkeypatch.setattr(Checkout, "modules", fail)
    request = RunRequest(
        environment={}, directory=str(code), workspace_config="", fresh_interpreter=False, memory_limit_bytes=None
    )
    async with Generations(Checkout(code), dict(os.environ), LOGGER) as generations:
        with pytest.raises(StartError, match="Too many open files"):
            await generations.ready()
        with pytest.raises(StartError, match="Too many open files"):
            await generations.fork(request, 1, 2)


def test_a_system_that_cannot_limit_another_process_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on macOS: the run starts, without a limit and with a warning."""
    monkeypatch.delattr(resource, "prlimit")
    limiting(None, 1 << 30, LOGGER).started(4321)
    assert "without a limit" in caplog.text
    assert "4321" in caplog.text

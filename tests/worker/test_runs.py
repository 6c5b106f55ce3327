"""What a run of the warm worker is: a process of its own that a fresh one could not be told from."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType

from deployments.fork_child import Origin
from tests.worker.conftest import Bench, Worker, logged, until


async def test_runs_share_nothing(bench: Bench, worker: Worker) -> None:
    """Two runs have their own environment, module state, randomness, process group and no files of each other."""
    first = await bench.trigger("observe", job={"env": {"ONLY_FIRST": "1", "BOTH": "first"}})
    second = await bench.trigger("observe", job={"env": {"BOTH": "second"}})
    one, two = await first.seen_at_end(), await second.seen_at_end()
    assert one["warm"]
    assert two["warm"]
    assert (one["count"], two["count"]) == (1, 1)
    assert one["environment"]["ONLY_FIRST"] == "1"
    assert "ONLY_FIRST" not in two["environment"]
    assert (one["environment"]["BOTH"], two["environment"]["BOTH"]) == ("first", "second")
    assert one["random"] != two["random"]
    for seen in (one, two):
        assert seen["pid"] == seen["group"] == seen["session"]
        assert seen["directory"] == str(bench.checkout)
        assert seen["main"] == "prefect.engine"
        assert seen["interrupt"]
        assert not [
            file for file in seen["files"] if file.endswith((".py", ".json", ".log")) and file != str(worker.log)
        ]
    assert one["environment"]["PREFECT__FLOW_RUN_ID"] == str(first.run.id)
    until(lambda: f"printed by {first.out}" in worker.written(), "the output of the run")


async def test_logs_reach_the_api(bench: Bench, client: PrefectClient) -> None:
    """What a run logs is found by its run id."""
    started = await bench.trigger("observe")
    await started.seen_at_end()
    assert await logged(client, started.run, f"seen: {started.out}")


async def test_prefect_settings_of_a_run_hold_in_it(bench: Bench, client: PrefectClient) -> None:
    """A setting in the job variables is not the one that the fork server has read."""
    started = await bench.trigger("observe", job={"env": {"PREFECT_LOGGING_LEVEL": "DEBUG"}})
    seen = await started.seen_at_end()
    assert seen["warm"]
    assert seen["level"] == "DEBUG"
    assert seen["debug"]
    assert await logged(client, started.run, "closely seen")


async def test_settings_in_the_working_directory_hold(bench: Bench, tmp_path: Path) -> None:
    """A `prefect.toml` in the working directory configures its runs, as it does with a fresh interpreter."""
    (tmp_path / "prefect.toml").write_text("[results]\npersist_by_default = true\n")
    started = await bench.trigger("observe", directory=tmp_path, job={"env": {"PYTHONPATH": str(bench.checkout)}})
    seen = await started.seen_at_end()
    assert seen["persists"]
    assert seen["warm"]
    assert not (await (await bench.trigger("observe")).seen_at_end())["persists"]


async def test_a_fresh_interpreter_for_who_asks(bench: Bench) -> None:
    """The run is one of a new interpreter then, with the same limit of memory."""
    started = await bench.trigger("observe", job={"fresh_interpreter": True, "memory_limit_mib": 600})
    seen = await started.seen_at_end()
    assert not seen["warm"]
    assert seen["memory_limit"] == 600 * 1024 * 1024


async def test_a_command_of_its_own_is_executed(bench: Bench) -> None:
    """An explicit command starts as it does with the stock worker, with the same limit of memory."""
    command = f"{sys.executable} -m prefect.engine"
    seen = await (await bench.trigger("observe", job={"command": command, "memory_limit_mib": 600})).seen_at_end()
    assert not seen["warm"]
    assert seen["memory_limit"] == 600 * 1024 * 1024


def test_what_is_read_at_start_needs_a_start() -> None:
    """A variable that Python or a library reads once, when it starts, is not taken for one that can be set later."""
    origin = Origin(parent=1, environment={"LANG": "C", "HOME": "/a"}, base_path=(), project={})
    assert origin.started_alike({"LANG": "C", "HOME": "/b", "PYTHONPATH": "/c"})
    for other in ({"LANG": "C", "PYTHONHASHSEED": "1"}, {"LANG": "de_DE"}, {"LANG": "C", "HF_HOME": "/d"}, {}):
        assert not origin.started_alike(other)


async def test_a_file_is_executed_in_the_run(bench: Bench) -> None:
    """A flow that is deployed as a file runs, with what it imports already there."""
    started = await bench.trigger("script", entrypoint="loose/script.py:script")
    seen = await started.seen_at_end()
    assert seen["executed_here"]
    assert seen["warm"]


async def test_code_of_the_workspace_wins(bench: Bench, tmp_path: Path) -> None:
    """Where the pull steps lead to another copy of a package, the run imports that one."""
    other = Path(shutil.copytree(bench.checkout, tmp_path / "other"))
    facts = other / "warmed" / "facts.py"
    facts.write_text(facts.read_text().replace('"first"', '"other"'))
    started = await bench.trigger("observe", directory=other)
    seen = await started.seen_at_end()
    assert seen["value"] == "other"
    assert seen["code"] == str(facts)


async def test_memory_limit(bench: Bench, worker: Worker, client: PrefectClient) -> None:
    """A run beyond its memory limit fails and says why; one below it, and the worker, do not notice."""
    started = await bench.trigger("eat", mib=2000, job={"memory_limit_mib": 600})
    run = await started.final()
    assert run.state is not None
    assert run.state.type is StateType.FAILED
    assert await logged(client, run, "memory limit of 600 MiB")
    assert "MemoryError" in (run.state.message or "")
    below = await (await bench.trigger("eat", mib=100, job={"memory_limit_mib": 600})).final()
    assert below.state is not None
    assert below.state.is_completed()


async def test_new_code_is_used_by_the_next_run(bench: Bench) -> None:
    """A run that is triggered after a file has changed sees the change, and is warm again."""
    facts = bench.checkout / "warmed" / "facts.py"
    before = facts.read_text()
    facts.write_text(before.replace('"first"', '"second"'))
    try:
        seen = await (await bench.trigger("observe")).seen_at_end()
        assert seen["value"] == "second"
        assert seen["warm"]
    finally:
        facts.write_text(before)
    assert (await (await bench.trigger("observe")).seen_at_end())["value"] == "first"

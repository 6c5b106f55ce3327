"""Which worker of pytest-xdist runs which files, and in what order."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

LONGEST_S = {
    "tests/platform: one node": 150,
    "tests/model_host/test_loading.py": 120,
    "tests/worker/test_gpu_runs.py": 90,
    "tests/model_host/test_storm_host.py": 70,
    "tests/handoffs/test_mcp.py": 60,
    "tests/worker: one worker": 60,
    "tests/docs/test_incremental.py": 50,
    "tests/handoffs/test_exactly_once.py": 50,
    "tests/worker/test_gpu_places.py": 45,
    "tests/model_host/test_transformers_engine.py": 45,
    "tests/sync/test_faults.py": 45,
    "tests/docs/test_flow.py": 40,
    "tests/gateway/test_dispatch.py": 40,
    "tests/platform/test_secrets.py": 32,
    "tests/handoffs/test_tryton.py": 30,
    "tests/model_host/test_generate.py": 30,
    "tests/model_host/test_gguf_fuzz.py": 30,
    "tests/sync/test_model.py": 30,
    "tests/platform/test_model_programs.py": 25,
    "tests/platform/test_zombies.py": 20,
}
"""What takes seconds by the dozen, about how many on two cores. The rest is short enough for any order."""

SHARED = {
    "tests/platform/test_faults.py": "tests/platform: one node",
    "tests/platform/test_lifecycle.py": "tests/platform: one node",
    "tests/worker/test_ends.py": "tests/worker: one worker",
    "tests/worker/test_runs.py": "tests/worker: one worker",
}
"""Files that share what takes long to start: they stay together."""


def unit(nodeid: str) -> str:
    """What is run by one worker as a whole: a file, or files that share what they start."""
    file = nodeid.partition("::")[0]
    return SHARED.get(file, file)


def longest_first(nodeid: str) -> float:
    """A key to sort tests by: what takes long begins first, so that it is not what everybody waits for in the end."""
    return -LONGEST_S.get(unit(nodeid), 0)


class ByUnit(LoadFileScheduling):
    """Hands out units in the order in which they were collected; otherwise as `--dist loadfile` does."""

    def schedule(self) -> None:
        self.config.option.loadscopereorder = False  # by the number of tests, which says nothing about their time
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

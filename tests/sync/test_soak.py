"""Two devices edit and sync against one store at the same time; `make soak` has them do so for ten minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SECONDS = float(os.environ.get("LAMA_SYNC_SOAK_S", "5"))


@pytest.mark.parametrize("kind", ["vault", "mirror"])
def test_two_who_edit_and_sync_at_the_same_time_agree_and_lose_nothing(tmp_path: Path, kind: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.sync.soak", kind, str(tmp_path), str(_SECONDS)],
        capture_output=True, text=True, check=False, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr

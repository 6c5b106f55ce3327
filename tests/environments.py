"""Python environments of outside systems that tests run for real, each made once a machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest


def environment(name: str, packages: tuple[str, ...]) -> Path:
    """An environment with `packages` in it; skips the test where they cannot be installed."""
    places = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lama-tests"
    places.mkdir(parents=True, exist_ok=True)
    place = places / f"{name}-{packages[0].partition('==')[2]}"
    with (places / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            done = subprocess.run([*pip, *packages], check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{packages[0]} cannot be installed here: {done.stderr.strip()[-200:]}")
            (place / ".ready").touch()
    return place

"""Two versions of a package: the one that is installed, and an older one from the registry, kept once a machine."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def installed(package: str, into: Path) -> Path:
    """A folder with a copy of the installed `package` and nothing else."""
    specification = importlib.util.find_spec(package)
    assert specification is not None
    assert specification.origin is not None
    into.mkdir(parents=True, exist_ok=True)
    shutil.copytree(
        Path(specification.origin).parent, into / package, ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    return into


def older(distribution: str, version: str) -> Path:
    """The unpacked wheel of an older version; skips the test where the registry cannot be reached."""
    places = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lama-tests"
    places.mkdir(parents=True, exist_ok=True)
    place = places / f"source-{distribution}-{version}"
    with (places / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
            wheel = ["--only-binary", ":all:", "--dest", str(place), f"{distribution}=={version}"]
            done = subprocess.run([*pip, *wheel], check=False, capture_output=True, text=True, timeout=300)
            wheels = list(place.glob("*.whl"))
            if done.returncode or not wheels:
                pytest.skip(f"{distribution}=={version} cannot be fetched here: {done.stderr.strip()[-200:]}")
            with zipfile.ZipFile(wheels[0]) as archive:
                archive.extractall(place)
            (place / ".ready").touch()
    return place

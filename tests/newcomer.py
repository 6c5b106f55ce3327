"""The two commands of the README as somebody new meets them: `make newcomer`.

A fresh clone, an empty HOME, and a PATH on which there is Python and make and nothing else. `make run` has to install
everything, print a report and its addresses, answer at them, and end at Ctrl-C without a process left; `make test` has
to pass. It downloads gigabytes and takes as long as the tests do, so it is no part of them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from blocks.settings import CHECKOUT, Settings
from deployments.embedded_postgres import EmbeddedPostgres
from tests.conftest import free_port
from tests.platform.node import Node

_PASSED_ON = ("PIP_", "SSL_CERT", "REQUESTS_CA_BUNDLE")
_INSTALL_S = 3600
_REPORT_S = 300


def main() -> None:
    """Do both, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-tests", action="store_true", help="`make run` only")
    without_tests = parser.parse_args().without_tests
    with tempfile.TemporaryDirectory(prefix="lama-newcomer-") as folder:
        place = Path(folder)
        clone, home = place / "lama", place / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(CHECKOUT), str(clone)], check=True)
        ports = {"LAMA_PREFECT_PORT": str(free_port()), "LAMA_GATEWAY_PORT": str(free_port())}
        environment = _bare(place, home)
        try:
            figures = _run(clone, home, environment | ports)
            if not without_tests:
                figures |= _test(clone, environment)
        finally:
            node = Settings(home=home / ".lama")
            for process in Node(node.home).processes():
                process.kill()
            EmbeddedPostgres(node).remove()
    print(json.dumps({"check": "newcomer", **figures}))
    sys.exit(0 if figures["ok"] and figures.get("tests_ok", True) else 1)


def _bare(place: Path, home: Path) -> dict[str, str]:
    """Only Python and make; and how packages are reached from here, which is no part of what is tested."""
    tools = place / "bin"
    tools.mkdir()
    for name, real in (("python3", sys._base_executable), ("make", shutil.which("make"))):  # type: ignore[attr-defined]
        assert real is not None, f"{name} is not installed"
        (tools / name).symlink_to(real)
    kept = {n: v for n, v in os.environ.items() if n.startswith(_PASSED_ON) or n.lower().endswith("_proxy")}
    pip = Path("~/.config/pip/pip.conf").expanduser()
    named = {"PIP_CONFIG_FILE": str(pip)} if pip.exists() and "PIP_CONFIG_FILE" not in kept else {}
    return kept | named | {"PATH": str(tools), "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": tempfile.gettempdir()}


def _run(clone: Path, home: Path, environment: dict[str, str]) -> dict[str, Any]:
    """`make run`, until it has printed everything, and Ctrl-C."""
    begun = time.monotonic()
    subprocess.run(["make", "install"], cwd=clone, env=environment, check=True, timeout=_INSTALL_S)
    installed = time.monotonic()
    output = home / "output"
    with output.open("w") as file:
        process = subprocess.Popen(["make", "run"], cwd=clone, env=environment, stdout=file, stderr=file)
        try:
            while "Ctrl-C stops it." not in (text := output.read_text()):
                assert process.poll() is None, f"make run ended by itself:\n{text}"
                assert time.monotonic() - installed < _REPORT_S, f"there is no report:\n{text}"
                time.sleep(0.2)
            reported = time.monotonic()
            for url in (
                f"http://127.0.0.1:{environment['LAMA_PREFECT_PORT']}/api/health",
                f"http://127.0.0.1:{environment['LAMA_GATEWAY_PORT']}/ready",
            ):
                with urllib.request.urlopen(url, timeout=20) as answer:
                    assert answer.status == 200, url
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children():
                    child.send_signal(signal.SIGINT)  # as a terminal does: to the command, not only to make
            process.wait(180)
    left = [" ".join(one.cmdline())[:100] for one in Node(home / ".lama").processes()]
    print(output.read_text())
    return {
        "ok": "Health check" in text and not left,
        "install_s": round(installed - begun, 1),
        "run_s": round(reported - installed, 1),
        "processes_left": left,
    }


def _test(clone: Path, environment: dict[str, str]) -> dict[str, Any]:
    """`make test`."""
    begun = time.monotonic()
    done = subprocess.run(["make", "test"], cwd=clone, env=environment, check=False)
    return {"tests_ok": done.returncode == 0, "test_s": round(time.monotonic() - begun, 1), "test_rc": done.returncode}


if __name__ == "__main__":
    main()

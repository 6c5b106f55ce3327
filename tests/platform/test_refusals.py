"""What cannot work is refused with one readable sentence before anything is started."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.node import Node


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Node]:
    """A node that was never started."""
    fresh = Node(tmp_path / "home")
    yield fresh
    assert not fresh.processes(), "something was started and left behind"
    fresh.remove()


def test_a_garbage_lama_toml_is_refused_with_file_line_and_key(bare: Node) -> None:
    bare.home.mkdir()
    (bare.home / "lama.toml").write_text("[performance]\ndisk_ratio = 'full'\n")
    for command in (("up", "--detach"), ("health-check",)):
        done = bare.lama(*command)
        assert done.returncode == 2
        assert "lama.toml:2: performance.disk_ratio: " in done.stderr


def test_a_port_that_somebody_else_has_is_reported_with_its_owner(bare: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bare.prefect_port = taken.getsockname()[1]
        done = bare.lama("up", "--detach")
    assert done.returncode == 2
    assert f"port {bare.prefect_port} is taken by" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({}, "Prefect's API would listen on 0.0.0.0 without authentication"),
        ({"LAMA_PREFECT_AUTH": ""}, "Prefect's API would listen on 0.0.0.0 without authentication"),
        ({"LAMA_PREFECT_AUTH": ":"}, "user:password"),
    ],
)
def test_beyond_loopback_nothing_starts_without_authentication(
    bare: Node, extra: dict[str, str], sentence: str
) -> None:
    bare.extra = {"LAMA_HOST": "0.0.0.0", **extra}
    for command in (("up", "--detach"), ("serve", "prefect")):
        done = bare.lama(*command)
        assert done.returncode == 2
        assert sentence in done.stderr
    bare.extra = {}


def test_an_address_that_this_machine_does_not_have_is_not_called_taken(bare: Node) -> None:
    bare.extra = {"LAMA_HOST": "203.0.113.9", "LAMA_PREFECT_AUTH": "u:p"}
    done = bare.lama("up", "--detach")
    bare.extra = {}
    assert done.returncode == 2
    assert "nothing can listen on 203.0.113.9" in done.stderr


def test_a_schedule_for_what_is_not_deployed_is_refused_before_anything_starts(bare: Node) -> None:
    bare.home.mkdir()
    (bare.home / "lama.toml").write_text("[schedules]\nno-such-deployment = '0 * * * *'\n")
    done = bare.lama("up", "--detach")
    assert done.returncode == 2
    assert "lama.toml:2: schedules.no-such-deployment: there is no such deployment" in done.stderr
    assert not (bare.home / "logs" / "supervisord.log").exists()


def test_a_home_that_cannot_be_written_is_refused(bare: Node) -> None:
    bare.home.parent.mkdir(exist_ok=True)
    bare.home.write_text("a file, not a folder")
    done = bare.lama("up", "--detach")
    bare.home.unlink()
    assert done.returncode == 2
    assert "LAMA_HOME" in done.stderr


def test_a_bad_setting_names_its_variable(bare: Node) -> None:
    bare.extra = {"LAMA_GATEWAY_PORT": "many"}
    done = bare.lama("status")
    bare.extra = {}
    assert done.returncode == 2
    assert "GATEWAY_PORT" in done.stderr


def test_a_full_disk_is_said_and_leaves_nothing_running(bare: Node) -> None:
    bare.home.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(bare.home)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with pytest.raises(OSError, match="No space"):
            (bare.home / "ballast").write_bytes(bytes(1 << 20))
        done = bare.lama("up", "--detach")
        assert done.returncode == 2, done.stdout + done.stderr
        assert "No space left on device" in done.stderr
        assert not bare.processes()
    finally:
        subprocess.run(["umount", "-l", str(bare.home)], check=True)


def test_status_and_reports_of_a_platform_that_is_down(bare: Node) -> None:
    done = bare.lama("status")
    assert done.returncode == 2
    assert "down" in done.stdout


def test_a_misspelt_command_is_answered_with_a_guess(bare: Node) -> None:
    done = bare.lama("helth-check")
    assert done.returncode == 2
    assert "health-check" in done.stderr


def test_help_answers_at_once(bare: Node) -> None:
    bare.lama("--help")
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert bare.lama("--help").returncode == 0
        took.append(time.monotonic() - began)
    assert min(took) < 0.5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(bare: Node, shell: str) -> None:
    done = bare.lama("completion", shell)
    assert done.returncode == 0
    assert "_LAMA_COMPLETE" in done.stdout


def test_completion_knows_deployments_and_processes(bare: Node) -> None:
    bare.extra = {"_LAMA_COMPLETE": "bash_complete", "COMP_WORDS": "lama run he", "COMP_CWORD": "2"}
    assert "health-check" in bare.lama().stdout
    bare.extra = {"_LAMA_COMPLETE": "bash_complete", "COMP_WORDS": "lama logs pre", "COMP_CWORD": "2"}
    assert "prefect" in bare.lama().stdout
    bare.extra = {}


def test_a_secret_is_kept_with_mode_0600_and_never_shown(bare: Node) -> None:
    done = bare.lama("secret", "webhooks/github", stdin="first-secret\n")
    assert done.returncode == 0
    assert bare.lama("secret", "webhooks/github", "--add", stdin="second-secret\n").returncode == 0
    path = bare.home / "secrets" / "webhooks" / "github"
    assert path.read_text().split() == ["first-secret", "second-secret"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "first-secret" not in done.stdout + done.stderr
    for name in ("../outside", "/etc/passwd", "a/b/c", "UPPER", ".."):
        assert bare.lama("secret", name, stdin="x").returncode == 2

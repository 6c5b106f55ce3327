"""The embedded PostgreSQL's own user gets what it needs of root's, and no more."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.database import dsn
from blocks.errors import StartError
from blocks.home import Home
from blocks.settings import Settings
from deployments import embedded_postgres
from deployments.embedded_postgres import EmbeddedPostgres

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has a user of its own")


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Settings]:
    config = Settings(home=tmp_path / "home")
    Home(config).prepare()
    yield config
    EmbeddedPostgres(config).remove()


def test_only_the_leaves_belong_to_the_server(config: Settings) -> None:
    server = EmbeddedPostgres(config)
    server.prepare()
    user = _user(server)
    place = server.location.data.parent
    assert _owner_and_mode(place) == (0, 0o711)
    assert _owner_and_mode(server.location.data) == (user.pw_uid, 0o700)
    assert _owner_and_mode(server.location.sockets) == (user.pw_uid, 0o700)
    for name in ("pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf", "PG_VERSION"):
        assert _owner_and_mode(server.location.data / name) == (user.pw_uid, 0o600)
    assert sorted(path.name for path in place.iterdir()) == ["postgres", "sockets"]
    _starts_and_stops(config, server)


def test_a_home_of_the_earlier_layout_still_starts(config: Settings) -> None:
    server = EmbeddedPostgres(config)
    server.prepare()
    place = server.location.data.parent
    user = _user(server)
    os.chown(place, user.pw_uid, user.pw_gid)
    place.chmod(0o700)
    server.prepare()
    assert _owner_and_mode(place) == (0, 0o711)
    _starts_and_stops(config, server)


@pytest.mark.parametrize("leaf", ["sockets", "postgres"])
def test_a_planted_link_is_refused_and_what_it_leads_to_stays_as_it_was(
    config: Settings, tmp_path: Path, leaf: str
) -> None:
    server = EmbeddedPostgres(config)
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o750)
    server.location.data.parent.mkdir(mode=0o700, parents=True)
    (server.location.data.parent / leaf).symlink_to(precious)
    with pytest.raises(StartError, match="link"):
        server.prepare()
    assert _owner_and_mode(precious) == (0, 0o750)
    assert list(precious.iterdir()) == []


def test_a_linked_place_is_refused(config: Settings, tmp_path: Path) -> None:
    server = EmbeddedPostgres(config)
    place = server.location.data.parent
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path)
    try:
        with pytest.raises(StartError, match="link"):
            server.prepare()
    finally:
        place.unlink()


def test_a_link_in_place_of_a_file_is_replaced_not_followed(config: Settings, tmp_path: Path) -> None:
    server = EmbeddedPostgres(config)
    server.prepare()
    precious = tmp_path / "precious"
    precious.write_text("root's")
    hba = server.location.data / "pg_hba.conf"
    hba.unlink()
    hba.symlink_to(precious)
    server.prepare()
    assert precious.read_text() == "root's"
    assert _owner_and_mode(precious)[0] == 0
    assert not hba.is_symlink()
    assert "peer" in hba.read_text()


def test_initdb_does_not_get_our_environment(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_TEST_SECRET", "hunter2")
    binaries = Path("/tmp") / f"lama-initdb-{os.getpid()}"
    binaries.mkdir(mode=0o755)
    (binaries / "initdb").write_text("#!/bin/sh\nenv >&2\nexit 1\n")
    (binaries / "initdb").chmod(0o755)
    monkeypatch.setattr(EmbeddedPostgres, "binaries", property(lambda _: binaries))
    try:
        with pytest.raises(StartError, match="LC_ALL=C") as refusal:
            EmbeddedPostgres(config).prepare()
    finally:
        shutil.rmtree(binaries)
    assert "hunter2" not in str(refusal.value)
    place = EmbeddedPostgres(config).location.data.parent
    assert [path.name for path in place.iterdir()] == ["sockets"], "nothing half-made is left"


def _user(server: EmbeddedPostgres) -> pwd.struct_passwd:
    assert server.location.os_user is not None
    return pwd.getpwnam(server.location.os_user)


def _owner_and_mode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, stat.S_IMODE(found.st_mode)


def _starts_and_stops(config: Settings, server: EmbeddedPostgres) -> None:
    user = _user(server)
    process = subprocess.Popen(
        server.command(), user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not server.ready():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with psycopg.connect(dsn(config, "postgres")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("lama",)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_copy_of_the_programs_runs_where_the_checkout_cannot_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout in root's own folder is closed to the server's user; what its programs need has to come along."""
    monkeypatch.setattr(embedded_postgres, "_ROOT_BINARIES", tmp_path)
    monkeypatch.setattr(embedded_postgres, "_reachable_by_all", lambda _: False)
    programs = EmbeddedPostgres(Settings(home=tmp_path / "home")).binaries
    assert programs.is_relative_to(tmp_path)
    for name in ("initdb", "postgres"):
        done = subprocess.run([programs / name, "--version"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

"""A device is itself, and no copy of it."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from blocks.errors import ConfigurationError
from tasks.sync.identity import FILE, Identity, Known, machine_id
from tests.sync.devices import new_home


def test_a_device_is_the_same_the_next_time(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    first = Identity.load_or_create(home, "mac")
    again = Identity.load_or_create(home, "renamed")
    assert (again.id, again.keys) == (first.id, first.keys)
    assert first.id.startswith("mac-")


def test_only_the_owner_reads_the_keys_and_nothing_shows_them(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    identity = Identity.load_or_create(home, "mac")
    assert (home.secrets / FILE).stat().st_mode & 0o777 == 0o600
    assert str(identity.age) not in repr(identity)


def test_age_reads_the_identity_as_it_is(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    identity = Identity.load_or_create(home, "mac")
    lines = (home.secrets / FILE).read_text().splitlines()
    (key,) = (line for line in lines if not line.startswith("#"))
    secret = pyrage.encrypt(b"hello", [identity.age.to_public()])
    assert pyrage.decrypt(secret, [pyrage.x25519.Identity.from_str(key)]) == b"hello"


def test_a_copied_home_is_noticed_and_becomes_a_device_of_its_own(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    first = Identity.load_or_create(home, "mac", lambda: "one")
    first.remember(Known("vault"))
    with pytest.raises(ConfigurationError, match="lama sync devices reset"):
        Identity.load_or_create(home, "mac", lambda: "other")
    reset = Identity.reset(home, "copy", machine=lambda: "other")
    assert reset.id != first.id
    assert reset.known() is None
    assert Identity.load_or_create(home, "mac", lambda: "other").id == reset.id
    assert str(first.age) in (home.secrets / "sync-identity-before").read_text()


def test_a_home_that_moved_stays_the_same_device(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    first = Identity.load_or_create(home, "mac", lambda: "one")
    first.remember(Known("vault"))
    kept = Identity.reset(home, "ignored", keep_keys=True, machine=lambda: "other")
    assert kept.id == first.id
    assert kept.known() == Known("vault")
    assert Identity.load_or_create(home, "mac", lambda: "other").id == first.id


def test_a_machine_that_cannot_be_told_apart_is_no_copy(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    first = Identity.load_or_create(home, "mac", lambda: None)
    assert Identity.load_or_create(home, "mac", lambda: "one").id == first.id


def test_a_damaged_identity_is_refused_and_kept(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    Identity.load_or_create(home, "mac")
    home.write_secret(FILE, "# lama-sync identity 1: mac")
    with pytest.raises(ConfigurationError, match="not the identity"):
        Identity.load_or_create(home, "mac")
    assert (home.secrets / FILE).exists()


def test_this_machine_says_the_same_twice() -> None:
    assert machine_id() == machine_id()

"""A vault lets in whom its devices let in, and the store has no say in it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import orjson
import pyrage
import pytest
from blake3 import blake3

from blocks.errors import ConfigurationError, UnavailableError
from models.sync_store import DeviceState
from tasks.sync.devices import seal
from tests.sync.devices import Node


def test_a_device_waits_until_it_is_let_in(mac: Node, pi: Node) -> None:
    mac.put(b"secret")
    with pytest.raises(ConfigurationError, match=f"approve {pi.id}"):
        pi.vault.check()
    with pytest.raises(ConfigurationError):
        pi.get(blake3(b"secret").digest())
    assert {one.id: one.state for one in mac.vault.devices()} == {
        mac.id: DeviceState.active,
        pi.id: DeviceState.waiting,
    }
    mac.vault.approve(pi.id)
    assert pi.get(blake3(b"secret").digest()) == b"secret"


def test_the_list_says_who_and_since_when(mac: Node, pc: Node) -> None:
    pc.clock += 1000
    pc.publish(1, "a.md")
    (found,) = (one for one in mac.vault.devices() if one.id == pc.id)
    assert (found.name, found.platform, found.state) == ("pc", sys.platform, DeviceState.active)
    assert (found.registered, found.last_seen) == (int(mac.clock), int(pc.clock))
    assert found.fingerprint == pc.identity.keys.fingerprint


def test_whoever_was_let_in_may_let_in(mac: Node, pc: Node, pi: Node) -> None:
    pc.vault.approve(pi.id)
    pi.publish(1, "pi.md")
    assert mac.trees() == {pi.id: {"pi.md"}}


def test_nobody_lets_themselves_in(mac: Node, pi: Node) -> None:
    keys = pi.identity.keys
    value = {"vault": mac.vault.id, "device": pi.id, "sign": keys.sign.hex(), "age": keys.age, "at": 1}
    for by in (pi.id, mac.id):
        folder = mac.store / "approvals" / by
        folder.mkdir(exist_ok=True)
        data = orjson.loads(seal("approval", value, pi.identity)) | {"by": by}
        (folder / f"{pi.id}.json").write_bytes(orjson.dumps(data))
    with pytest.raises(ConfigurationError, match="waits"):
        pi.vault.check()
    mac.vault.check()
    assert f"{mac.id} has not signed it" in mac.told()


def test_a_record_that_its_device_has_not_signed_is_a_problem(mac: Node, pc: Node) -> None:
    path = mac.store / "devices" / f"{pc.id}.json"
    path.write_bytes(path.read_bytes().replace(f'"{sys.platform}"'.encode(), b'"amiga"'))
    assert "amiga" not in {one.platform for one in mac.vault.devices()}
    assert f"devices/{pc.id}.json" in mac.told()


def test_a_record_with_other_keys_under_the_same_id_lets_nobody_in(mac: Node, pi: Node, tmp_path: Path) -> None:
    stranger = Node(tmp_path, mac.store, "stranger")
    stranger.vault.join()
    record = orjson.loads((mac.store / "devices" / f"{stranger.id}.json").read_bytes()) | {"by": pi.id}
    (mac.store / "devices" / f"{pi.id}.json").write_bytes(orjson.dumps(record))
    with pytest.raises(ConfigurationError, match="has not asked"):
        mac.vault.approve(pi.id)


def test_a_revoked_device_reads_nothing_new_and_is_believed_nothing_new(mac: Node, pc: Node, pi: Node) -> None:
    mac.vault.approve(pi.id)
    pi.publish(1, "before.md")
    before = mac.put(b"before")
    pi.vault.check()
    mac.vault.revoke(pi.id)
    after = mac.put(b"after")
    assert pc.get(after) == b"after"
    assert pc.get(before) == b"before", "what was there stays readable"
    with pytest.raises(ConfigurationError, match="was revoked"):
        pi.vault.check()
    assert pc.trees() == {}
    assert [set(one.tree) for one in pc.vault.last_words("notes")] == [{"before.md"}]
    assert {one.id: one.state for one in pc.vault.devices()}[pi.id] is DeviceState.revoked


def test_no_key_of_a_revoked_device_opens_what_came_after(mac: Node, pc: Node) -> None:
    mac.vault.revoke(pc.id)
    mac.put(b"after")
    epochs = [
        pyrage.x25519.Identity.from_str(pyrage.decrypt(path.read_bytes(), [pc.identity.age]).decode().split()[-1])
        for path in (mac.store / "keys" / pc.id).rglob("*.age")
    ]
    assert epochs != []
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(mac.object().read_bytes(), epochs)


def test_what_a_revoked_device_signs_afterwards_is_worth_nothing(mac: Node, pc: Node, pi: Node) -> None:
    aside = pc.store.with_name("aside")
    shutil.copytree(pc.store, aside)
    pc.store = aside
    pc.fresh()  # a stolen device with a copy of the store from before
    mac.vault.revoke(pc.id)
    pc.publish(5, "poison.md")
    pc.vault.approve(pi.id)
    pc.vault.revoke(mac.id)
    for folder in ("manifests", "approvals", "revocations", "keys"):
        shutil.copytree(aside / folder, mac.store / folder, dirs_exist_ok=True)
    mac.fresh()
    assert mac.trees() == {}
    assert mac.vault.last_words("notes") == []
    assert "after the device was revoked" in mac.told()
    states = {one.id: one.state for one in mac.vault.devices()}
    assert states == {mac.id: DeviceState.active, pc.id: DeviceState.revoked, pi.id: DeviceState.waiting}


def test_a_store_that_forgets_a_revocation_is_not_believed(mac: Node, pc: Node, pi: Node) -> None:
    mac.vault.approve(pi.id)
    mac.vault.revoke(pi.id)
    pc.vault.check()
    shutil.rmtree(mac.store / "revocations")
    shutil.rmtree(mac.store / "approvals")
    pc.fresh()
    assert {one.id: one.state for one in pc.vault.devices()}[pi.id] is DeviceState.revoked
    assert "gone from the store" in pc.told()


def test_two_that_revoke_at_once_leave_no_key_with_whom_either_revoked(
    mac: Node, pc: Node, pi: Node, tmp_path: Path
) -> None:
    tablet = Node(tmp_path, mac.store, "tablet")
    tablet.vault.join()
    for one in (pi, tablet):
        mac.vault.approve(one.id)
    aside = tmp_path / "aside"
    shutil.copytree(mac.store, aside)
    shared, pc.store = pc.store, aside
    pc.fresh().revoke(pi.id)
    mac.vault.revoke(tablet.id)
    shutil.copytree(aside, shared, dirs_exist_ok=True)
    pc.store = shared
    pc.fresh()
    mac.fresh()
    digest = mac.put(b"after")
    assert pc.fresh() is not None
    assert pc.get(digest) == b"after"
    for one in (pi, tablet):
        with pytest.raises(ConfigurationError, match="was revoked"):
            one.fresh().check()
        keys = [
            pyrage.x25519.Identity.from_str(pyrage.decrypt(path.read_bytes(), [one.identity.age]).decode().split()[-1])
            for path in (mac.store / "keys" / one.id).rglob("*.age")
        ]
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(mac.object().read_bytes(), keys)


def test_a_key_that_a_device_missed_is_given_by_the_next_that_publishes(mac: Node, pc: Node, pi: Node) -> None:
    mac.vault.approve(pi.id)
    shutil.rmtree(mac.store / "keys" / pi.id)
    with pytest.raises(UnavailableError, match="keys of the vault have not arrived"):
        pi.fresh().has(blake3(b"").digest())
    pc.publish(1, "a.md")
    assert pi.fresh().has(blake3(b"").digest()) is False
    assert set(pi.trees()) == {pc.id}


def test_a_planted_key_is_not_used(mac: Node, pc: Node) -> None:
    (real,) = (mac.store / "keys" / pc.id / mac.id).iterdir()
    text = pyrage.decrypt(real.read_bytes(), [pc.identity.age]).decode()
    planted = pyrage.x25519.Identity.generate()
    forged = text.replace(text.split()[-1], str(planted))
    recipient = pc.identity.age.to_public()
    (real.parent / "000009-00000000.age").write_bytes(pyrage.encrypt(forged.encode(), [recipient]))
    pc.fresh()
    digest = pc.put(b"secret")
    assert mac.get(digest) == b"secret"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(mac.object().read_bytes(), [planted])
    assert "not the one that was signed" in pc.told()

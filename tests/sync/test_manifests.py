"""What a device says of a category is believed as it said it, and never otherwise."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import orjson
import pyrage
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from models.sync import Content, Kind, Version
from models.sync_store import Manifest
from tasks.sync import manifests
from tasks.sync.devices import seal
from tasks.sync.identity import Identity
from tasks.sync.names import problem_of
from tasks.sync.versions import directory
from tests.sync.devices import Node, a_file, new_home

_DEVICES = st.sampled_from(["mac-00000000", "pc-11111111", "pi-22222222"])
_PATHS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda path: problem_of(path) is None
)
_COUNTS = st.integers(0, (1 << 53) - 1)
_CONTENTS = st.one_of(
    st.none(),
    st.builds(
        Content, st.just(Kind.file), st.binary(min_size=32, max_size=32), _COUNTS, st.integers(0, 0o7777), st.just("")
    ),
    st.integers(0, 0o7777).map(lambda mode: Content(Kind.directory, mode=mode)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).map(
        lambda target: Content(Kind.link, mode=0o777, target=target)
    ),
)
_VECTORS = st.dictionaries(_DEVICES, _COUNTS, max_size=3).map(lambda one: tuple(sorted(one.items())))
_TREES = st.dictionaries(_PATHS, st.builds(Version, _CONTENTS, _VECTORS, _DEVICES, st.integers(-(1 << 40), 1 << 40)))


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.load_or_create(new_home(tmp_path_factory.mktemp("home")), "mac")


def _decoded(data: bytes, identity: Identity) -> tuple[Manifest, list[str]]:
    envelope, counter, body = manifests.head(data, "vault", identity.id, "notes")
    assert envelope.signed_with(identity.keys)
    return manifests.decode(envelope, counter, body)


def _said(columns: dict[str, Any], identity: Identity) -> bytes:
    """A manifest that its device did sign, whatever it says."""
    body = gzip.compress(orjson.dumps({"files": [], "directories": [], "links": [], "deleted": []} | columns))
    value = {
        "vault": "vault",
        "device": identity.id,
        "category": "notes",
        "counter": 1,
        "body": blake3(body).hexdigest(),
    }
    return seal("manifest", value, identity) + b"\n" + body


@given(_TREES, _COUNTS)
def test_a_manifest_comes_back_as_it_was(identity: Identity, tree: dict[str, Version], counter: int) -> None:
    manifest = Manifest(identity.id, "notes", counter, tree)
    data = manifests.encode(manifest, "vault", identity)
    back, dropped = _decoded(data, identity)
    assert (back.device, back.category, back.counter, back.tree) == (identity.id, "notes", counter, tree)
    assert dropped == []
    assert back.digest == _decoded(data, identity)[0].digest


@given(st.data())
def test_no_bit_of_a_manifest_can_be_changed(identity: Identity, data: st.DataObject) -> None:
    tree = {"a.md": a_file(identity.id, b"a"), "b.md": a_file(identity.id, b"b")}
    whole = manifests.encode(Manifest(identity.id, "notes", 3, tree), "vault", identity)
    place = data.draw(st.integers(0, len(whole) - 1))
    forged = bytearray(whole)
    forged[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        envelope, counter, body = manifests.head(bytes(forged), "vault", identity.id, "notes")
    except ValueError:
        return
    if envelope.signed_with(identity.keys):  # a digit of the signature written the other way
        assert manifests.decode(envelope, counter, body)[0].tree == tree


def test_paths_that_could_leave_the_folder_are_dropped_and_told(identity: Identity) -> None:
    rows = [
        [path, "00" * 32, 1, 0o644, 0, 0, 1]
        for path in ("fine.md", "../up.md", "/etc/passwd", "a/../../b", ".lama-sync.json", "x\0y", "", "e\u0301.md")
    ]
    said = _said({"devices": [identity.id], "vectors": [[0, 1]], "files": rows}, identity)
    manifest, dropped = _decoded(said, identity)
    assert set(manifest.tree) == {"fine.md"}
    assert len(dropped) == len(rows) - 1


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"devices": ["mac"], "vectors": [[0]]},
        {"devices": ["mac"], "vectors": [[0, -1]]},
        {"devices": ["mac"], "vectors": [[0, 1, 0, 2]]},
        {"devices": ["mac"], "vectors": [[-1, 1]]},
        {"devices": [7], "vectors": []},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00", 1, 0o644, 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "zz" * 32, 1, 0o644, 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00" * 32, -1, 0o644, 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00" * 32, 1, 1 << 20, 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00" * 32, 1, 0o644, -1, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00" * 32, 1, 0o644, 1, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00" * 32, 1, 0o644, 0, 0, "1"]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [[["a"], "00" * 32, 1, 0o644, 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "files": [["a", "00" * 32, 1, [], 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "directories": [[5, 0o755, 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "deleted": [["a", 0, 0, 1], ["a", 0, 0, 1]]},
        {"devices": ["mac"], "vectors": [[0, 1]], "deleted": {"a": 1}},
        {"devices": ["mac"], "vectors": [[0, 1]], "deleted": 3},
    ],
)
def test_what_no_device_would_say_is_refused(identity: Identity, columns: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="malformed"):
        _decoded(_said(columns, identity), identity)


def test_a_manifest_that_unpacks_without_end_is_refused(identity: Identity) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    value = {
        "vault": "vault",
        "device": identity.id,
        "category": "notes",
        "counter": 1,
        "body": blake3(body).hexdigest(),
    }
    with pytest.raises(ValueError, match="more than a tree"):
        _decoded(seal("manifest", value, identity) + b"\n" + body, identity)


def test_devices_see_what_the_others_published(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    pc.publish(1, "b.md", "c.md")
    for node in (mac, pc):
        assert node.trees() == {mac.id: {"a.md"}, pc.id: {"b.md", "c.md"}}
        assert node.told() == ""
    assert mac.counters == {(mac.id, "notes"): 1, (pc.id, "notes"): 1}


def test_the_digest_tells_whether_there_is_something_new(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    (first,) = pc.vault.others("notes")
    assert pc.vault.others("notes")[0] is first, "an unchanged file is not read again"
    mac.publish(2, "a.md")
    assert pc.vault.others("notes")[0].digest != first.digest


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_truncated_manifest_is_a_problem_and_left_out(mac: Node, pc: Node, keep: int) -> None:
    mac.publish(1, "a.md")
    assert set(pc.trees()) == {mac.id}
    whole = mac.file().read_bytes()
    mac.file().write_bytes(whole[:keep])
    assert pc.trees() == {}
    assert f"manifests/{mac.id}/notes.age: not believed" in pc.told()
    mac.file().write_bytes(whole)
    assert set(pc.trees()) == {mac.id}


def test_a_manifest_does_for_no_other_device_or_category(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    pc.publish(1, "b.md")
    shutil.copy(mac.file(), pc.file())
    shutil.copy(mac.file(), mac.file("code"))
    assert pc.trees() == {mac.id: {"a.md"}}
    assert pc.trees("code") == {}
    assert pc.told().count("that of another device or category") == 2


def test_who_has_the_key_of_the_vault_cannot_speak_for_another(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    state = pc.vault._registry.active()
    forged = manifests.encode(Manifest(pc.id, "notes", 9, {}), state.marker.vault, pc.identity)
    line, _, body = forged.partition(b"\n")
    claimed = orjson.loads(line)
    claimed["by"] = claimed["value"]["device"] = mac.id
    data = orjson.dumps(claimed) + b"\n" + body
    mac.file().write_bytes(pyrage.encrypt(data, [state.epochs[0].key.to_public()]))
    assert pc.trees() == {}
    assert f"{mac.id} has not signed it" in pc.told()


def test_a_store_that_was_set_back_is_noticed(mac: Node, pc: Node) -> None:
    mac.publish(1, "old.md")
    old = mac.file().read_bytes()
    mac.publish(2, "new.md")
    assert pc.trees() == {mac.id: {"new.md"}}
    mac.file().write_bytes(old)
    assert pc.trees() == {mac.id: {"new.md"}}, "the newer one is known"
    assert "older manifest than before" in pc.told()
    pc.fresh()
    assert pc.trees() == {}, "the newer one is no longer known, and the older one not believed"
    assert "older manifest than before" in pc.told()


def test_a_manifest_that_goes_away_is_a_problem(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    assert set(pc.trees()) == {mac.id}
    mac.file().unlink()
    assert pc.trees() == {}
    assert "the manifest is gone" in pc.told()


def test_a_link_in_place_of_a_manifest_is_not_followed(mac: Node, pc: Node, tmp_path: Path) -> None:
    mac.publish(1, "a.md")
    elsewhere = tmp_path / "elsewhere.age"
    mac.file().rename(elsewhere)
    mac.file().symlink_to(elsewhere)
    assert pc.trees() == {}
    assert "a link or a file stands where it should not" in pc.told()


def test_a_pipe_in_place_of_a_manifest_holds_nobody_up(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    mac.file().unlink()
    os.mkfifo(mac.file())
    assert pc.trees() == {}
    assert "it is no file" in pc.told()


def test_a_manifest_beyond_all_measure_is_not_read(mac: Node, pc: Node) -> None:
    mac.publish(1, "a.md")
    os.truncate(mac.file(), (1 << 30) + 1)
    assert pc.trees() == {}
    assert "larger than" in pc.told()


def test_a_device_publishes_only_its_own_and_only_forward(mac: Node, pc: Node) -> None:
    with pytest.raises(ValueError, match="not published by"):
        mac.vault.publish(Manifest(pc.id, "notes", 1, {}))
    mac.publish(2, "a.md")
    with pytest.raises(ValueError, match="published before"):
        mac.publish(1, "a.md")


def test_age_and_gunzip_read_a_manifest(mac: Node) -> None:
    mac.publish(1, "a.md")
    (key,) = (mac.store / "keys" / mac.id / mac.id).iterdir()
    text = pyrage.decrypt(key.read_bytes(), [mac.identity.age]).decode()
    (line,) = (line for line in text.splitlines() if not line.startswith("#"))
    plain = pyrage.decrypt(mac.file().read_bytes(), [pyrage.x25519.Identity.from_str(line)])
    columns = orjson.loads(gzip.decompress(plain.partition(b"\n")[2]))
    assert columns["files"][0][:2] == ["a.md", blake3(b"a.md").hexdigest()]


def test_another_key_of_a_device_is_not_its_key(identity: Identity) -> None:
    other = Ed25519PrivateKey.generate()
    assert not identity.keys.signed(b"message", other.sign(b"message"))


def test_a_folder_that_nobody_made_and_that_has_to_be_is_believed(mac: Node, pc: Node) -> None:
    tree = {"d": Version(directory(), (), "", 0), "d/a": a_file(mac.id, b"a")}
    mac.vault.publish(Manifest(mac.id, "notes", 1, tree))
    assert pc.trees() == {mac.id: {"d", "d/a"}}
    assert pc.told() == ""

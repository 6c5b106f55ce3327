"""A vault keeps contents from everybody but its devices, and its devices from whatever the store makes of it."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import threading
from pathlib import Path

import orjson
import pyrage
import pytest
from blake3 import blake3

from blocks.errors import ConfigurationError, UnavailableError
from models.sync_store import Progress, StoreProblem
from tasks.sync.faults import Changed, Corrupted, Missing
from tasks.sync.identity import FILE
from tasks.sync.shelf import MARKER
from tests.sync.devices import Node

_LARGE = os.urandom(1 << 20) * 3 + b"end"


class TestContents:
    @pytest.mark.parametrize(
        "content", [b"", b"small", bytes(1 << 20), _LARGE], ids=["none", "small", "1 MiB", "large"]
    )
    def test_what_one_device_puts_the_other_fetches(self, mac: Node, pc: Node, content: bytes) -> None:
        digest = mac.put(content)
        assert pc.vault.has(digest)
        assert pc.get(digest) == content

    def test_neither_names_nor_bytes_show_the_content(self, mac: Node) -> None:
        content = b"a well known document"
        digest = mac.put(content)
        assert digest.hex() not in str(mac.object())
        assert blake3(digest).hexdigest() not in str(mac.object())
        assert content not in mac.object().read_bytes()

    def test_age_restores_an_object(self, mac: Node) -> None:
        mac.put(_LARGE)
        (key,) = (mac.store / "keys" / mac.id / mac.id).iterdir()
        epoch = pyrage.decrypt(key.read_bytes(), [mac.identity.age]).decode().splitlines()[-1]
        assert pyrage.decrypt(mac.object().read_bytes(), [pyrage.x25519.Identity.from_str(epoch)]) == _LARGE

    def test_a_content_is_stored_once(self, mac: Node, pc: Node) -> None:
        mac.put(b"same")
        before = mac.object().read_bytes()
        pc.put(b"same")
        assert mac.object().read_bytes() == before

    @pytest.mark.parametrize("content", [b"other", _LARGE + b"more"])
    def test_a_file_that_changes_while_it_is_read_leaves_nothing(self, mac: Node, content: bytes) -> None:
        digest = blake3(_LARGE).digest()
        with pytest.raises(Changed):
            mac.vault.put(digest, io.BytesIO(content))
        assert not mac.vault.has(digest)
        assert [path for path in (mac.store / "objects").rglob("*") if path.is_file()] == []

    def test_a_source_that_fails_is_told_as_it_failed(self, mac: Node) -> None:
        class Source(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() > 2 << 20:
                    raise PermissionError(13, "taken away")
                return super().read(size)

        with pytest.raises(PermissionError, match="taken away"):
            mac.vault.put(blake3(_LARGE).digest(), Source(_LARGE))
        assert not mac.vault.has(blake3(_LARGE).digest())

    def test_a_target_that_is_full_is_no_fault_of_the_object(self, mac: Node) -> None:
        digest = mac.put(_LARGE)
        with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
            mac.vault.fetch(digest, full)
        assert mac.get(digest) == _LARGE

    def test_what_has_not_arrived_is_missing(self, mac: Node) -> None:
        with pytest.raises(Missing):
            mac.get(blake3(b"nowhere").digest())

    def test_what_the_cloud_drive_took_off_the_disk_is_missing(self, mac: Node) -> None:
        digest = mac.put(b"evicted")
        path = mac.object()
        path.rename(path.with_name(f".{path.name}.icloud"))
        with pytest.raises(Missing, match="in the cloud"):
            mac.get(digest)

    @pytest.mark.parametrize("content", [b"small", _LARGE], ids=["small", "large"])
    @pytest.mark.parametrize("harm", ["flipped", "cut", "foreign", "folder", "link"])
    def test_a_corrupted_object_is_set_aside_and_put_again(
        self, mac: Node, pc: Node, content: bytes, harm: str, tmp_path: Path
    ) -> None:
        digest = mac.put(content)
        path, whole = mac.object(), mac.object().read_bytes()
        if harm == "flipped":
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        elif harm == "cut":
            path.write_bytes(whole[:-40])
        elif harm == "foreign":
            stranger = pyrage.x25519.Identity.generate().to_public()
            path.write_bytes(pyrage.encrypt(content, [stranger]))
        elif harm == "folder":
            path.unlink()
            path.mkdir()
        else:
            (tmp_path / "elsewhere").write_bytes(whole)
            path.unlink()
            path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(Corrupted):
            pc.get(digest)
        assert not pc.vault.has(digest)
        mac.put(content)
        assert pc.get(digest) == content

    def test_no_more_is_written_than_the_content_has(self, mac: Node) -> None:
        digest = mac.put(_LARGE)
        state = mac.vault._registry.active()
        mac.object().write_bytes(pyrage.encrypt(_LARGE * 4, [state.epochs[0].key.to_public()]))
        into = io.BytesIO()
        with pytest.raises(Corrupted, match="larger than the content"):
            mac.vault.fetch(digest, into, size=len(_LARGE))
        assert len(into.getvalue()) <= len(_LARGE)

    def test_asking_what_is_there_writes_nothing(self, mac: Node, pc: Node) -> None:
        mac.put(b"a.md")
        mac.publish(1, "a.md")
        before = sorted(mac.store.rglob("*"))
        pc.vault.check()
        pc.vault.has(blake3(b"a.md").digest())
        pc.trees()
        pc.vault.devices()
        assert pc.get(blake3(b"a.md").digest()) == b"a.md"
        assert sorted(mac.store.rglob("*")) == before

    def test_an_object_under_another_name_is_found_out(self, mac: Node) -> None:
        one = mac.put(b"one")
        path = mac.object()
        mac.put(b"two")
        (other,) = set((mac.store / "objects").rglob("*.age")) - {path}
        shutil.copy(other, path)
        with pytest.raises(Corrupted, match="another content"):
            mac.get(one)

    def test_a_folder_of_objects_that_leads_elsewhere_is_not_written_to(self, mac: Node, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (mac.store / "objects").symlink_to(outside)
        with pytest.raises(Exception, match="a link or a file stands where it should not"):
            mac.put(b"content")
        assert list(outside.iterdir()) == []

    def test_a_batch_counts_at_once_and_stands_at_its_end(self, mac: Node, pc: Node) -> None:
        with mac.vault.batch():
            digests = [mac.put(b"%d" % number) for number in range(600)]
            assert all(map(mac.vault.has, digests))
            assert mac.put(b"0") == digests[0]
        assert [pc.get(digest) for digest in digests] == [b"%d" % number for number in range(600)]

    def test_what_was_put_stands_before_the_manifest_that_names_it(self, mac: Node, pc: Node) -> None:
        with mac.vault.batch():
            digest = mac.put(b"a.md")
            mac.publish(1, "a.md")
            assert pc.get(digest) == b"a.md"

    def test_threads_put_side_by_side(self, mac: Node, pc: Node) -> None:
        def work() -> None:
            for number in range(100):
                mac.put(b"%d" % number)

        threads = [threading.Thread(target=work) for _ in range(4)]
        with mac.vault.batch():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(list((mac.store / "objects").rglob("*.age"))) == 100
        assert [one for one in pc.vault.verify() if isinstance(one, StoreProblem)] == []

    def test_a_full_disk_is_told_and_leaves_nothing(self, mac: Node) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            for content in (os.urandom(500_000), _LARGE):
                with pytest.raises(UnavailableError, match="cannot be"):
                    mac.put(content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [path for path in (mac.store / "objects").rglob("*") if path.is_file()] == []
        assert mac.get(mac.put(_LARGE)) == _LARGE


class TestUpkeep:
    def test_verify_finds_what_is_corrupted_and_what_is_missing(self, mac: Node) -> None:
        mac.put(b"a.md")
        mac.object().write_bytes(b"x" * 300)
        mac.publish(1, "a.md", "b.md")
        found = list(mac.vault.verify())
        told = [one.what for one in found if isinstance(one, StoreProblem)]
        assert [what for what in told if "corrupted" in what] != []
        assert sum("no object holds the content" in what for what in told) == 2
        assert Progress(1, 1, 0) in found

    def test_collect_removes_what_is_old_and_not_named(self, mac: Node, pc: Node) -> None:
        named, live, dead, young = (mac.put(one) for one in (b"a.md", b"live", b"dead", b"young"))
        pc.publish(1, "a.md")
        for path in (mac.store / "objects").rglob("*.age"):
            os.utime(path, (mac.clock - 40 * 86_400,) * 2)
        mac.put(b"young")  # it is there, and made young again
        assert mac.vault.collect({live}, keep_days=30) == 1
        assert [mac.vault.has(one) for one in (named, live, dead, young)] == [True, True, False, True]

    def test_nothing_is_collected_while_a_manifest_cannot_be_read(self, mac: Node, pc: Node) -> None:
        mac.put(b"b.md")
        pc.publish(1, "b.md")
        os.utime(mac.object(), (0, 0))
        pc.file().write_bytes(pc.file().read_bytes()[:-1])
        assert mac.vault.collect(set(), keep_days=1) == 0
        assert "nothing was collected" in mac.told()
        assert mac.object().exists()

    def test_what_was_cut_off_is_swept_up(self, mac: Node) -> None:
        mac.put(b"a.md")
        left = mac.object().with_name(".lama-tmp-0123")
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        mac.vault.collect({blake3(b"a.md").digest()}, keep_days=30)
        assert not left.exists()


class TestRoot:
    def test_a_store_that_is_not_there_stops_everything(self, mac: Node) -> None:
        mac.store.rename(mac.store.with_name("unplugged"))
        for touch in (mac.vault.check, lambda: mac.put(b"a"), lambda: mac.publish(1, "a.md"), mac.trees):
            with pytest.raises(UnavailableError):
                touch()
        assert not mac.store.exists()

    def test_nothing_is_made_in_the_empty_folder_that_an_unmounted_disk_leaves(self, mac: Node) -> None:
        mac.put(b"before")
        mac.store.rename(mac.store.with_name("unplugged"))
        mac.store.mkdir()
        for touch in (mac.vault.check, lambda: mac.put(b"a"), lambda: mac.publish(1, "a.md"), mac.vault.join):
            with pytest.raises(UnavailableError, match="Mount or connect"):
                touch()
        assert list(mac.store.iterdir()) == []

    def test_another_vault_in_its_place_is_refused(self, tmp_path: Path, mac: Node) -> None:
        mac.store.rename(mac.store.with_name("first"))
        mac.store.mkdir()
        other = Node(tmp_path, mac.store, "other")
        other.vault.create()
        for touch in (mac.vault.check, mac.vault.join):
            with pytest.raises(ConfigurationError, match="and not"):
                touch()
        assert mac.vault.join(other.vault.id) == other.vault.id

    def test_a_format_of_tomorrow_is_refused(self, mac: Node) -> None:
        marker = mac.store / MARKER
        marker.write_bytes(orjson.dumps(orjson.loads(marker.read_bytes()) | {"format": 2}))
        with pytest.raises(ConfigurationError, match="Update Lama"):
            mac.vault.check()

    @pytest.mark.parametrize("marker", [b"", b"{}", b"[]", b'{"format": 1}', b"\xff" * 100_000])
    def test_a_marker_that_is_none_is_refused(self, mac: Node, marker: bytes) -> None:
        (mac.store / MARKER).write_bytes(marker)
        with pytest.raises(ConfigurationError, match="not that of a vault"):
            mac.vault.check()

    def test_the_keys_of_a_vault_cannot_be_exchanged_under_its_id(self, mac: Node) -> None:
        marker = mac.store / MARKER
        marker.write_bytes(orjson.dumps(orjson.loads(marker.read_bytes()) | {"sign": "00" * 32}))
        with pytest.raises(ConfigurationError, match="forged"):
            mac.vault.check()

    def test_a_vault_is_made_only_in_an_empty_folder(self, tmp_path: Path, store: Path) -> None:
        (store / "photo.jpg").touch()
        with pytest.raises(ConfigurationError, match="empty folder"):
            Node(tmp_path, store, "mac").vault.create()

    def test_a_device_that_never_joined_is_told_so(self, tmp_path: Path, mac: Node) -> None:
        with pytest.raises(ConfigurationError, match="in no vault"):
            Node(tmp_path, mac.store, "stranger").vault.check()


@pytest.mark.skipif(shutil.which("age") is None, reason="the age tool is not installed")
def test_age_and_a_shell_restore_what_the_vault_holds(mac: Node, tmp_path: Path) -> None:
    mac.put(b"a.md")
    mac.publish(1, "a.md")
    script = """
        set -e -o pipefail
        age -d -i "$IDENTITY" keys/$DEVICE/$DEVICE/*.age > "$WORK/epoch"
        age -d -i "$WORK/epoch" manifests/$DEVICE/notes.age | tail -n +2 | gunzip > "$WORK/manifest"
        age -d -i "$WORK/epoch" objects/*/*.age > "$WORK/file"
    """
    environment = {
        "IDENTITY": str(mac.home.secrets / FILE),
        "DEVICE": mac.id,
        "WORK": str(tmp_path),
        "PATH": os.defpath,
    }
    subprocess.run(["bash", "-c", script], cwd=mac.store, env=environment, check=True)
    assert orjson.loads((tmp_path / "manifest").read_bytes())["files"][0][0] == "a.md"
    assert (tmp_path / "file").read_bytes() == b"a.md"
